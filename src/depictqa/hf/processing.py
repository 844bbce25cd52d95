"""Questions and images to the inputs of `DepictQAForConditionalGeneration`, and ids back to text.

Prompts are those of `prompts`, ids those of `model.tokenizer`, pixels those of `data.preprocess`: the same as our own
programs', where transformers' own Llama tokenizer would give other ids.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import load_image
from transformers.utils import PROCESSOR_NAME
from transformers.utils.hub import cached_file

from depictqa.data.images import open_image
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError
from depictqa.model.tokenizer import Tokenizer, load_tokenizer
from depictqa.prompts import FORMATS, IMAGE_PLACEHOLDER, LABELS, TASKS, Task, get_task, render, task_of

if TYPE_CHECKING:
    from depictqa.data.images import Source

BY_COUNT = {
    1: "quality_single_A_noref",
    2: "quality_compare_noref",
    3: "quality_compare",
}  # images -> task, unless told
FIELD_OF = {label.lower(): field for field, label in LABELS.items()}
TOKENIZER_FILES = (  # of the kinds that `load_tokenizer` reads
    "tokenizer_config.json",
    "tokenizer.model",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


class DepictQAProcessor(ProcessorMixin):
    """Makes model inputs; `from_pretrained` of an exported folder or hub repository makes one.

    Args:
        folder: where the tokenizer's files are.
        preprocess: keyword arguments of `data.preprocess.ImagePreprocessor`.
        conv_type: a key of `prompts.FORMATS`.
        unique_tag: image tags name the image's role.
        image_tokens: tokens that an image becomes; None: one per patch.
    """

    padding_side = "left"

    def __init__(
        self,
        folder: str | Path,
        preprocess: dict[str, Any],
        conv_type: str = "vicuna_v1",
        unique_tag: bool = True,
        image_tokens: int | None = None,
    ):
        super().__init__()
        self.folder, self.preprocess, self.conv_type = Path(folder), preprocess, conv_type
        self.unique_tag, self.image_tokens = unique_tag, image_tokens
        self.text: Tokenizer = load_tokenizer(folder)
        self.pad_token_id = self.text.eos_token_id  # masked wherever it pads
        self._prepare = ImagePreprocessor(**preprocess)

    @property
    def tokenizer(self) -> DepictQAProcessor:
        """Pipelines and streamers ask a tokenizer for `decode`, `pad_token_id`, `padding_side`: all of them are here."""
        return self

    image_processor = tokenizer  # pipelines pad pixels where there is one; ours need no padding

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        task: str | Sequence[str] | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Inputs of one question, or of a batch with any mix of tasks and image sizes.

        Args:
            images: the images of the question, in the order reference, A, B; for a batch a list of lists. Each is what
                `data.images.open_image` takes, or a URL.
            text: the question, or a list of them; or what `apply_chat_template` makes without `tokenize`.
            task: a name of `prompts.TASKS`, or one per question; None: one image is assessed, two are compared, three
                are compared with the first as the reference.

        Returns:
            input_ids, attention_mask, mm_token_type_ids (1: image) [B, T]; pixel_values [patches, 3, p, p] of uint8;
            image_sizes [images, 2] in pixels.

        Raises:
            InputError: no question, an unreadable image, or a number of images that the task does not take.
        """
        questions = [text] if isinstance(text, str) else list(text or ())
        if not questions or not all(questions):
            raise InputError("text: expected a question, found none")
        if isinstance(text, str):
            images = [images if isinstance(images, list | tuple) else [images]]
        elif images and not isinstance(images[0], list | tuple):
            images = [[image] for image in images]
        names = [task] * len(questions) if task is None or isinstance(task, str) else task
        rows = list(zip(questions, images or [[]] * len(questions), names, strict=True))
        return self._batch([self._pieces(*row) for row in rows], [image for _, given, _ in rows for image in given])

    def apply_chat_template(self, conversation, tokenize: bool = False, return_dict: bool = False, **kwargs):
        """The prompt of a user's message: text, or with `tokenize` what `__call__` returns.

        Args:
            conversation: [{"role": "user", "content": [{"type": "image", "url": ...}, {"type": "text", "text": ...}]}], or
                a list of those. A text block "Reference Image:", "Image A:" or "Image B:" says what the next image is.
            return_dict: False returns the input_ids alone.
        """
        is_batch = not isinstance(conversation[0], dict)
        chats = [_read_chat(one) for one in (conversation if is_batch else [conversation])]
        texts = [IMAGE_PLACEHOLDER.join(self._pieces(question, images, task)) for question, images, task in chats]
        if not tokenize:
            return texts if is_batch else texts[0]
        inputs = self(images=[images for _, images, _ in chats], text=texts)
        return inputs if return_dict else inputs["input_ids"]

    def _pieces(self, question: str, images: Sequence, task: str | Task | None) -> Sequence[str]:
        """The pieces of text with an image between each two."""
        if IMAGE_PLACEHOLDER in question:  # rendered already
            pieces = question.split(IMAGE_PLACEHOLDER)
            if len(pieces) != len(images) + 1:
                raise InputError(
                    f"images: expected {len(pieces) - 1}, one per {IMAGE_PLACEHOLDER}, found {len(images)}"
                )
            return pieces
        if task is None and len(images) not in BY_COUNT:
            raise InputError(f"images: expected 1 to 3, found {len(images)}")
        task = task or BY_COUNT[len(images)]
        task = task if isinstance(task, Task) else get_task(task, inference=True)
        if len(task.slots) != len(images):
            raise InputError(f"images: expected {len(task.slots)} for {task.name}, found {len(images)}")
        return render(task, question, FORMATS[self.conv_type], self.unique_tag).pieces

    def _batch(self, prompts: Sequence[Sequence[str]], sources: Sequence[Source]) -> BatchFeature:
        images = [self._prepare(_open(source)) for source in sources]  # [3, H, W] each
        size, rest = self._prepare.patch_size, iter(images)
        rows: list[tuple[list[int], list[int]]] = []
        for first, *others in prompts:
            ids = [] if self.text.bos_token_id is None else [self.text.bos_token_id]
            ids += self.text.encode(first)
            kinds = [0] * len(ids)
            for piece in others:
                _, height, width = next(rest).shape
                count = self.image_tokens or (height // size) * (width // size)
                tail = self.text.encode(piece)
                ids += [self.pad_token_id] * count + tail
                kinds += [1] * count + [0] * len(tail)
            rows.append((ids, kinds))
        length = max(len(ids) for ids, _ in rows)
        missing = [length - len(ids) for ids, _ in rows]
        data: dict[str, Any] = {
            "input_ids": [[self.pad_token_id] * lacks + ids for lacks, (ids, _) in zip(missing, rows)],
            "attention_mask": [[0] * lacks + [1] * (length - lacks) for lacks in missing],
            "mm_token_type_ids": [[0] * lacks + kinds for lacks, (_, kinds) in zip(missing, rows)],
        }
        if images:
            data["pixel_values"] = torch.cat([patchify(image, size) for image in images])
            data["image_sizes"] = [list(image.shape[1:]) for image in images]
        return BatchFeature(data, tensor_type="pt")

    def decode(self, ids, skip_special_tokens: bool = True, **kwargs) -> str:
        """The text of one sequence of ids."""
        return self.text.decode(torch.as_tensor(ids).tolist(), skip_special_tokens)

    def batch_decode(self, ids, skip_special_tokens: bool = True, **kwargs) -> list[str]:
        """The texts of B sequences of ids."""
        return [self.decode(row, skip_special_tokens) for row in ids]

    def post_process_image_text_to_text(self, ids, skip_special_tokens: bool = True, **kwargs) -> list[str]:
        return self.batch_decode(ids, skip_special_tokens)

    def to_dict(self) -> dict[str, Any]:
        """What processor_config.json holds."""
        names = ("preprocess", "conv_type", "unique_tag", "image_tokens")
        return {"processor_class": type(self).__name__} | {name: getattr(self, name) for name in names}

    def save_pretrained(self, save_directory, **kwargs) -> list[str]:
        """Write processor_config.json and the tokenizer's files as they were."""
        target = Path(save_directory)
        target.mkdir(parents=True, exist_ok=True)
        for path in map(self.folder.joinpath, TOKENIZER_FILES):
            if path.exists() and not (target / path.name).exists():
                shutil.copyfile(path, target / path.name)
        self.to_json_file(target / PROCESSOR_NAME)
        return [str(target / PROCESSOR_NAME)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs) -> DepictQAProcessor:
        """Load from a folder or a hub repository. Raises InputError: no tokenizer there that can be read."""
        given, _ = cls.get_processor_dict(pretrained_model_name_or_path, **kwargs)
        names = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        found = [
            cached_file(pretrained_model_name_or_path, name, _raise_exceptions_for_missing_entries=False, **hub)
            for name in TOKENIZER_FILES
        ]
        folder = next((Path(path).parent for path in found if path), Path(pretrained_model_name_or_path))
        return cls(folder, **{name: value for name, value in given.items() if name in cls.__init__.__annotations__})


def _read_chat(messages: Sequence[dict]) -> tuple[str, list[Any], Task]:
    """The question, the images in the order of the task's slots, and the task."""
    turns = [message for message in messages if message["role"] != "system"]
    if len(turns) != 1 or turns[0]["role"] != "user":
        raise InputError("conversation: expected one message of the role 'user'; the model answers single questions")
    content = turns[0]["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts, labelled, label = [], [], None
    for block in blocks:
        if block["type"] == "text":
            label = FIELD_OF.get(block["text"].strip().rstrip(":").lower())
            texts += [] if label else [block["text"].strip()]
        else:
            labelled.append((label, next(block[key] for key in ("image", "url", "path", "base64") if key in block)))
            label = None
    if all(field is None for field, _ in labelled):
        if len(labelled) not in BY_COUNT:
            raise InputError(f"images: expected 1 to 3, found {len(labelled)}")
        fields = TASKS[BY_COUNT[len(labelled)]].fields
        labelled = [(field, image) for field, (_, image) in zip(fields, labelled, strict=True)]
    given = dict(labelled)
    if None in given or len(given) != len(labelled):
        raise InputError("conversation: label every image once (Reference Image:, Image A:, Image B:), or none")
    task = task_of(list(given))
    return "\n".join(texts), [given[field] for field in task.fields], task


def _open(source: Any):
    """An image from anywhere: what is no file is transformers' to fetch."""
    is_remote = isinstance(source, str) and source.startswith(("http://", "https://", "data:"))
    return open_image(load_image(source) if is_remote else source)


def patchify(image: torch.Tensor, size: int) -> torch.Tensor:
    """[3, H, W] -> [N, 3, size, size], row by row."""
    patches = image.unfold(1, size, size).unfold(2, size, size)  # [3, h, w, size, size]
    return patches.permute(1, 2, 0, 3, 4).flatten(0, 1)
