"""Accuracy of closed answers: one distortion, several distortions, the better of two images, a choice.

A task is a function from (predicted text, true answer) to a score between 0 and 1; `TASKS` lists them. All
take the same way: join by id, score each pair, average, group by confidence.

    result = single_distortion(predictions, answers)
    result.accuracy, result.intervals((0, 0.5, 1))
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from depictqa.errors import InputError
from depictqa.evaluation.joining import Problems, join, some, text_field

BORDERS = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
CONFIDENCE_DIGITS = 6  # a float32 mean of ones may come out a little above 1

_AND = re.compile(r"\band\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One scored answer. `confidence` is None where the prediction has none; `text` is None where it is missing."""

    id: str | int
    text: str | None
    answer: str
    score: float
    confidence: float | None
    severity: int | None


@dataclass(frozen=True)
class Interval:
    """The samples whose confidence lies in (low, high]; `accuracy` is None where there are none."""

    low: float
    high: float
    count: int
    accuracy: float | None


@dataclass(frozen=True)
class Accuracy:
    """The scored samples of one answers file and what did not pair up."""

    task: str
    samples: tuple[Sample, ...]
    problems: Problems

    @property
    def accuracy(self) -> float:
        """Mean score, between 0 and 1."""
        return sum(sample.score for sample in self.samples) / len(self.samples)

    def intervals(self, borders: Sequence[float] = BORDERS) -> list[Interval]:
        """Accuracy of the samples in each (borders[i], borders[i + 1]]; missing answers are in none.

        Raises:
            InputError: the borders do not ascend, or a confidence is null or outside them.
        """
        if len(borders) < 2 or list(borders) != sorted(set(borders)):
            raise InputError(f"--intervals: expected at least two ascending numbers, found {some(borders)}")
        present = [sample for sample in self.samples if sample.text is not None]
        _complain("no confidence (run infer with --confidence)", [s.id for s in present if s.confidence is None])
        rounded = [(round(sample.confidence, CONFIDENCE_DIGITS), sample) for sample in present]
        _complain(
            f"a confidence outside ({borders[0]}, {borders[-1]}]",
            [f"{sample.id} ({value})" for value, sample in rounded if not borders[0] < value <= borders[-1]],
        )
        groups: list[list[float]] = [[] for _ in borders[1:]]
        for value, sample in rounded:
            groups[bisect_left(borders, value) - 1].append(sample.score)
        return [
            Interval(low, high, len(scores), sum(scores) / len(scores) if scores else None)
            for low, high, scores in zip(borders, borders[1:], groups)
        ]


def _complain(what: str, ids: list) -> None:
    if ids:
        raise InputError(f"{len(ids)} predictions have {what}: {some(ids)}")


def exact(text: str, answer: str) -> float:
    """1 for the same text, capitals included, but for surrounding white space."""
    return float(text == answer)


def split_words(text: str) -> list[str]:
    """The names between the words "and", in lower case: "Noise AND sandstone" -> ["noise", "sandstone"]."""
    return [part.strip().lower() for part in _AND.split(text)]


def split_letters(text: str) -> list[str]:
    """As the original: cut at the letters "and", also inside a word, but not at "And" or "AND"."""
    return [part.strip().lower() for part in text.split("and")]


def overlap(text: str, answer: str, split: Callable[[str], list[str]] = split_words) -> float:
    """Distortions named rightly, over the larger of the two numbers of names. A repeated guess counts once."""
    named, true = set(split(text)), split(answer)
    return len(named.intersection(true)) / max(len(named), len(true))


TASKS: dict[str, Callable[[str, str], float]] = {
    "single_distortion": exact,
    "multi_distortion": overlap,
    "multi_distortion_strict": partial(overlap, split=split_letters),
    "rating": exact,
}


def evaluate(task: str, predictions: list[dict], answers: list[dict], *, allow_missing: bool = False) -> Accuracy:
    """Score the predictions of one file.

    Arguments:
        task: a name in `TASKS`.
        predictions: items with `id`, `text` and, where known, `confidence` in (0, 1].
        answers: items with `id`, `answer` and, where known, `severity` (1 to 5, 0 for an undistorted picture).
        allow_missing: an answer without prediction counts as wrong; otherwise it is left out and told in `problems`.

    Raises:
        InputError: a field has another type, or no prediction has an answer.
    """
    score = TASKS[task]
    pairs, missing, problems = join(predictions, answers)
    samples = [_sample(score, prediction, answer) for prediction, answer in pairs]
    if allow_missing:
        samples += [Sample(a["id"], None, text_field(a, "answer"), 0.0, None, _severity(a)) for a in missing]
    if not samples:
        raise InputError(f"none of the {len(predictions)} predictions has an id of the {len(answers)} answers")
    return Accuracy(task, tuple(samples), problems)


def _sample(score: Callable, prediction: dict, answer: dict) -> Sample:
    text, true = text_field(prediction, "text"), text_field(answer, "answer")
    confidence = prediction.get("confidence")
    if confidence is not None and (isinstance(confidence, bool) or not isinstance(confidence, int | float)):
        raise InputError(f"item {prediction['id']}: the field 'confidence' must be a number or null, found {confidence!r}")
    return Sample(prediction["id"], text, true, score(text, true), confidence, _severity(answer))


def _severity(answer: dict) -> int | None:
    """The severity of the picture; of two distortions (`severities`) the heavier one."""
    value = answer.get("severity", answer.get("severities"))
    return max(value) if isinstance(value, list) and value else value


single_distortion = partial(evaluate, "single_distortion")
multi_distortion = partial(evaluate, "multi_distortion")
rating = partial(evaluate, "rating")
