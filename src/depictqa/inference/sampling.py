"""How the tokens of an answer are drawn, and where it ends. Knows nothing of models or batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from depictqa.model.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]  # an answer's own end (or a stop text), or `max_new_tokens`
STOP_WINDOW = 8  # last tokens that are searched for a separator that is several tokens long


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn, and where it ends.

    Args:
        temperature: 0 is greedy.
        top_p: the nucleus (Holtzman et al., 2020).
        max_new_tokens: an answer that has no end by then is cut.
        stop: texts that end an answer; neither they nor what follows them is part of its `text`.
        seed: the draws are a function of it alone, whatever else is in the batch; None: fresh draws.
        watched: tokens whose probabilities of coming first in the answer are kept.
    """

    temperature: float = 0.0
    top_p: float = 0.9
    max_new_tokens: int = 400
    stop: tuple[str, ...] = ()
    seed: int | None = None
    watched: tuple[int, ...] = ()

    @property
    def of_follow_up(self) -> "Sampling":
        """For a question that is ours: stop texts and watched tokens are about the answer to the user's."""
        return replace(self, stop=(), watched=())


@dataclass
class Completion:
    """A generated answer. `output_id` and `prob` go together: every token, end included, with its probability.

    Attributes:
        text: without its end and surrounding white space; empty until the answer has ended.
        prob: the model's own probabilities (temperature 1, whole vocabulary).
        finish_reason: why it ended; None: it has not.
        second: the answer to its follow-up question, where one was asked.
        watched: the model's probabilities of `Sampling.watched` as the first token.
    """

    text: str = ""
    output_id: list[int] = field(default_factory=list)
    prob: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    second: "Completion | None" = None
    watched: list[float] = field(default_factory=list)


class StopCriteria:
    """An answer ends with the end-of-sequence token, with the format's separator (one token or a text), or before one
    of the user's stop texts."""

    def __init__(self, tokenizer: Tokenizer, sep2: str):
        self._tokenizer = tokenizer
        separator_id = tokenizer.token_id(sep2)
        self.ids = {tokenizer.eos_token_id, separator_id} - {None}
        self.text = sep2 if separator_id is None and sep2.strip() else None

    def finish_reason(self, output_id: list[int], sampling: Sampling) -> FinishReason | None:
        """Why an answer with these tokens has ended; None: it goes on."""
        if output_id[-1] in self.ids:
            return "stop"
        if self.text is not None and self.text in self._tokenizer.decode(output_id[-STOP_WINDOW:]):
            return "stop"
        if sampling.stop:  # a stop text may have any number of tokens, so all of the answer is searched
            text = self._tokenizer.decode(output_id)
            if any(stop in text for stop in sampling.stop):
                return "stop"
        return "length" if len(output_id) >= sampling.max_new_tokens else None

    def text_of(self, output_id: list[int], stop: Sequence[str] = (), is_whole: bool = True) -> str:
        """An answer's text, without its end and surrounding white space.

        Args:
            is_whole: False: more tokens follow, so what may be the start of a stop text, or half a character, is left
                out. The texts of a growing answer only ever grow, up to the text of the whole.
        """
        ends = [*stop, *([] if self.text is None else [self.text])]
        text = self._tokenizer.decode(output_id)
        text = text[: min((text.find(end) for end in ends if end in text), default=len(text))]
        if not is_whole:
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            text = text[: len(text) - max((_started(end, text) for end in ends), default=0)]
        return text.strip()


def _started(end: str, text: str) -> int:
    """How many characters at the end of `text` are the start of `end`."""
    return next((count for count in range(min(len(end) - 1, len(text)), 0, -1) if text.endswith(end[:count])), 0)


def choose(logits: torch.Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> torch.Tensor:
    """One token id per row of logits [b, V].

    A draw is the winner of an exponential race with one random number for every id of the vocabulary, made from the
    row's seed and step. Logits that differ by rounding, as those of another batch do, give another token only where two
    are as good as tied; inverting a cumulative distribution, or a generator that rows share, would carry the difference
    on.

    Args:
        steps: how many tokens each row has already.

    Returns:
        token ids [b].
    """
    chosen = logits.argmax(-1)
    for row, (sampling, step) in enumerate(zip(samplings, steps, strict=True)):
        if sampling.temperature <= 0:
            continue
        scaled = (logits[row] - logits[row].max()) / sampling.temperature  # at most 0: no temperature is too small
        probabilities = scaled.softmax(-1).cpu()  # [V]
        descending, ids = probabilities.sort(descending=True, stable=True)
        outside = descending.cumsum(0) - descending > sampling.top_p  # the token that crosses top_p stays in
        probabilities[ids[outside]] = 0
        rng = np.random.default_rng(None if sampling.seed is None else [sampling.seed % 2**64, step])
        waits = -torch.from_numpy(rng.random(len(probabilities))).log()  # [V], exponential, never 0
        chosen[row] = (probabilities / waits).argmax()
    return chosen
