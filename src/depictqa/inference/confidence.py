"""How sure an answer is, read off the probabilities of its tokens.

Tokens are found by their text, so any tokenizer will do. Where there is nothing to read (an empty answer, a comparison
that names no image), the confidence is None.
"""

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from depictqa.inference.sampling import Completion
from depictqa.model.tokenizer import Tokenizer
from depictqa.prompts import Task

MOST_BRIEF_WORDS = 21
HEAVIEST_TOKENS = 30
_REQUEST = re.compile("word|phrase", re.IGNORECASE)
_NAMED_IMAGE = re.compile(r"Image\s+([AB])(?![A-Za-z])")


class SentenceModel(Protocol):
    """What is needed of a `SentenceTransformer`."""

    def encode(self, sentences: list[str], **options) -> np.ndarray: ...


def is_brief(text: str) -> bool:
    return len(text.split(" ")) <= MOST_BRIEF_WORDS


def asks_for_a_word(question: str) -> bool:
    """Whether the question itself requests a single word or phrase."""
    return _REQUEST.search(question) is not None


def brief_confidence(task: Task, tokens: Sequence[str], prob: Sequence[float], sep2: str) -> float | None:
    """Confidence of a brief answer.

    A comparison: the probability of the "A" or "B" after the first "Image". One image: the mean probability of the
    tokens before the end ("\\n " + sep2), the first "and" left out.

    Args:
        tokens: what each generated token adds to the text (`Tokenizer.token_texts`).
        prob: their probabilities.
    """
    if "<unk>" in tokens:
        return None
    return _named_image(tokens, prob) if task.is_comparison else _mean_before_end(tokens, prob, sep2)


def _named_image(tokens: Sequence[str], prob: Sequence[float]) -> float | None:
    match = _NAMED_IMAGE.search("".join(tokens))
    if match is None:
        return None
    starts = np.cumsum([0, *map(len, tokens)])
    return prob[int(np.searchsorted(starts, match.start(1), side="right")) - 1]


def _mean_before_end(tokens: Sequence[str], prob: Sequence[float], sep2: str) -> float | None:
    end = f"\n {sep2}"
    length = next((i for i in range(len(tokens)) if "".join(tokens[i:]).startswith(end)), len(tokens))
    kept = list(range(length))
    conjunction = next((i for i in kept if tokens[i].strip() == "and"), None)
    if conjunction is not None:
        kept.remove(conjunction)
    return float(np.mean([prob[i] for i in kept])) if kept else None


def detail_confidence(answer: Completion, tokenizer: Tokenizer, sentence_model: SentenceModel) -> float | None:
    """Confidence of a long answer: its most meaningful tokens' probabilities, averaged by meaning.

    A token's weight is 1 - cosine between the sentence embeddings of the answer with and without it
    (after SAR, Duan et al., 2023); the HEAVIEST_TOKENS heaviest count.

    Returns:
        None where the tokens do not spell the text: `legacy` sentencepiece tokenizers put a space in front of an
        answer that ends with a special token.
    """
    ids = answer.output_id
    text = tokenizer.decode(ids)
    if not ids or not tokenizer.decode(ids, skip_special_tokens=False).startswith(text):
        return None
    shortened = [tokenizer.decode(ids[:i] + ids[i + 1 :]) for i in range(len(ids))]
    embeddings = sentence_model.encode([text, *shortened], normalize_embeddings=True, show_progress_bar=False)
    weight = 1 - embeddings[1:] @ embeddings[0]  # [tokens]
    heaviest = np.argsort(-weight, kind="stable")[:HEAVIEST_TOKENS]
    total = weight[heaviest].sum()
    return float((weight[heaviest] * np.asarray(answer.prob)[heaviest]).sum() / total) if total > 0 else None
