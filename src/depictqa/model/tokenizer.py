"""Text to token ids and back, by the rule that released checkpoints were trained with.

Vicuna's checkpoints need the ids of the *slow* Llama tokenizer of transformers 4: text is split at the special
tokens and each part goes through sentencepiece alone. Today's Llama tokenizers give other ids, so folders with
a `tokenizer.model` use `SentencePieceTokenizer`; every other tokenizer goes through transformers.

Both have the members of `Tokenizer`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from depictqa.errors import InputError
from depictqa.model.folder import TOKENIZER_FILES, check_json, read_json

_SPACE = "▁"
_ModelProto = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue]  # made by protobuf on import


class Tokenizer(Protocol):
    bos_token_id: int | None
    eos_token_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of text; special tokens in it are recognised, none are added."""
        ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        ...

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text, its leading space included; special tokens as they are written."""
        ...

    def token_id(self, text: str) -> int | None:
        """The id of the special token that is written `text`, or None if it is not one token."""
        ...


class SentencePieceTokenizer:
    """The slow Llama tokenizer: sentencepiece, split at `<s>`, `</s>` and `<unk>`.

    Args:
        model_path: a sentencepiece `tokenizer.model`.
        legacy: the flag of tokenizer_config.json. True: every part between special tokens gets sentencepiece's
            dummy space; False: only the beginning of the text does.
    """

    def __init__(self, model_path: str | Path, legacy: bool):
        try:
            proto = _ModelProto.FromString(Path(model_path).read_bytes())
            self._model = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
            proto.normalizer_spec.add_dummy_prefix = False
            self._bare = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        except (OSError, RuntimeError, DecodeError) as error:
            raise InputError(f"{model_path}: not a sentencepiece model ({error})") from None
        self.legacy = legacy
        self.bos_token_id: int | None = self._model.bos_id()
        self.eos_token_id: int = self._model.eos_id()
        ids = (self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        self._special_ids = {self._model.id_to_piece(i): i for i in ids}
        self._special_pattern = re.compile("(" + "|".join(map(re.escape, self._special_ids)) + ")")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(self._special_pattern.split(text)):
            if part in self._special_ids:
                ids.append(self._special_ids[part])
            elif part:
                gets_dummy_space = self.legacy or index == 0
                ids += (self._model if gets_dummy_space else self._bare).encode(part)
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        special = set(self._special_ids.values())
        if skip_special_tokens:
            ids = [i for i in ids if i not in special]
        pieces = [self._model.id_to_piece(i) for i in ids]
        if pieces and pieces[0].startswith(_SPACE):
            pieces[0] = pieces[0][1:]
        model = self._model if self.legacy else self._bare  # whether decoding drops a part's first space
        text, part = "", []
        for index, piece in enumerate(pieces):
            if piece not in self._special_ids:
                part.append(piece)
                continue
            previous_is_special = index > 0 and pieces[index - 1] in self._special_ids
            if self.legacy and index > 0 and not previous_is_special:
                text += " "  # the dummy space that decoding a part drops
            text += model.decode_pieces(part) + piece
            part = []
        return text + model.decode_pieces(part)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        texts = []
        for i in ids:
            piece = self._model.id_to_piece(i)
            is_byte = self._model.is_byte(i)  # "<0x0A>"
            texts.append(
                bytes([int(piece[3:5], 16)]).decode(errors="replace") if is_byte else piece.replace(_SPACE, " ")
            )
        return texts

    def token_id(self, text: str) -> int | None:
        return self._special_ids.get(text)


class TransformersTokenizer:
    """Any tokenizer of transformers, behind the same members.

    Args:
        tokenizer: a loaded `PreTrainedTokenizerBase`.
        adds_bos: whether this model family begins its sequences with `bos_token`.
    """

    def __init__(self, tokenizer, adds_bos: bool):
        self._tokenizer = tokenizer
        self.bos_token_id = tokenizer.bos_token_id if adds_bos else None
        self.eos_token_id = tokenizer.eos_token_id

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        return [self.decode([i], skip_special_tokens=False) for i in ids]

    def token_id(self, text: str) -> int | None:
        ids = self.encode(text)
        is_special = len(ids) == 1 and ids[0] in self._tokenizer.all_special_ids
        return ids[0] if is_special else None


def first_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """The first token of each text, by which one answer of several is told from the others.

    Raises:
        InputError: two texts begin with the same token.
    """
    ids = [tokenizer.encode(text)[0] for text in texts]
    if len(set(ids)) < len(ids):
        begins = ", ".join(f"{text.split()[0]} by {id}" for text, id in zip(texts, ids, strict=True))
        raise InputError(
            f"the tokenizer of model.llm_path does not tell the levels of a score apart by their first token: {begins}; "
            "scores need another language model"
        )
    return ids


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Load the tokenizer of a Hugging Face model folder.

    Raises:
        InputError: the folder holds no tokenizer that can be read; where a file of it is broken, its name.
    """
    folder = Path(folder)
    config_path = folder / "tokenizer_config.json"
    check_json(folder, TOKENIZER_FILES)
    config = read_json(config_path) if config_path.exists() else {}
    if (folder / "tokenizer.model").exists():
        return SentencePieceTokenizer(folder / "tokenizer.model", legacy=config.get("legacy", True))
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # a broken file may lead transformers to any
        raise InputError(
            f"{folder}: no tokenizer found ({next(iter(str(error).splitlines()), type(error).__name__)})"
        ) from error
    return TransformersTokenizer(tokenizer, adds_bos=bool(config.get("add_bos_token", False)))
