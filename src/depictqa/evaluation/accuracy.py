"""Accuracy of closed answers: one distortion, several distortions, the better of two images, a choice.

`TASKS` says for each how an answer is read and scored between 0 and 1. All take the same way: join by id,
score each pair, average, group by confidence or by a field of the true answers.

    result = single_distortion(predictions, answers)
    result.accuracy, result.intervals((0, 0.5, 1))
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite

import numpy as np

from depictqa.errors import InputError
from depictqa.evaluation.choice import read_choice, true_choice
from depictqa.evaluation.joining import Problems, join, some, text_field

BORDERS = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
NO_CONFIDENCE = "no confidence (run infer.py with --set infer.output_confidence=true)"
CONFIDENCE_DIGITS = 6  # a float32 mean of ones may come out a little above 1

_AND = re.compile(r"\band\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One scored answer."""

    id: str | int
    text: str | None  # what was read out of the prediction; None where it is missing
    answer: str
    score: float  # 0 to 1
    confidence: float | None  # None where the prediction has none
    item: dict  # the true answer's item, for grouping by its other fields


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

    @property
    def scores(self) -> np.ndarray:
        """Score of each sample, [samples]."""
        return np.array([sample.score for sample in self.samples])

    @property
    def near_misses(self) -> tuple:
        """Ids of answers that differ from a class only by case, white space or a final dot, and count as written."""
        labels = TASKS[self.task].labels
        classes = {label for sample in self.samples for label in labels(sample.answer)}
        forms = {_bare(label) for label in classes}
        return tuple(
            sample.id
            for sample in self.samples
            if sample.text and any(label not in classes and _bare(label) in forms for label in labels(sample.text))
        )

    def by(self, field: str) -> dict:
        """Value of a field of the true answers -> the accuracy over the samples that have it, in order of value.

        A dotted path reaches inside (`distortion_A.2`). A list of numbers counts as its largest: of two distortions
        (`severities: [1, 3]`) the heavier one.
        """
        groups: dict = {}
        for sample in self.samples:
            value = _group(sample.item, field)
            if value is not None:
                groups.setdefault(value, []).append(sample)
        order = sorted(groups, key=lambda value: (isinstance(value, str), value))
        return {value: Accuracy(self.task, tuple(groups[value]), Problems()) for value in order}

    def intervals(self, borders: Sequence[float] = BORDERS) -> list[Interval]:
        """Accuracy of the samples in each (borders[i], borders[i + 1]]; missing answers are in none.

        Raises:
            InputError: the borders do not ascend, or a confidence is null or outside them.
        """
        if len(borders) < 2 or list(borders) != sorted(set(borders)):
            raise InputError(f"--intervals: expected at least two ascending numbers, found {some(borders)}")
        present = [sample for sample in self.samples if sample.text is not None]
        complain(NO_CONFIDENCE, [sample.id for sample in present if sample.confidence is None])
        rounded = [(round(one.confidence, CONFIDENCE_DIGITS), one) for one in present if one.confidence is not None]
        complain(
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


def _bare(text: str) -> str:
    """Without case, white space and a final dot."""
    return "".join(text.split()).casefold().removesuffix(".")


def complain(what: str, ids: list) -> None:
    """Raises InputError where there are any."""
    if ids:
        raise InputError(f"{len(ids)} predictions have {what}: {some(ids)}")


def _group(item: dict, field: str) -> str | int | float | None:
    """The value at a dotted path ("severity", "distortion_A.2"); of a list of numbers the largest."""
    value = item
    for step in field.split("."):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = value.get(step) if isinstance(value, dict) else None
    if value is None and field == "severity":
        return _group(item, "severities")  # the name where there are two distortions
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        value = max(value)
    if not isinstance(value, str | int | float | None):
        raise InputError(f"item {item['id']}: the field '{field}' must be a number or text to group by, not {value!r}")
    return value


def exact(text: str, answer: str) -> float:
    """1 for the same text, capitals included."""
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


@dataclass(frozen=True)
class Task:
    """How an answer is read out of a predicted text and out of its item, and how the two are compared."""

    score: Callable[[str, str], float] = exact
    read: Callable[[str, dict], str] = lambda text, item: text
    true: Callable[[dict], str] = lambda item: text_field(item, "answer")
    labels: Callable[[str], list[str]] = lambda answer: [answer]  # the classes an answer names


TASKS: dict[str, Task] = {
    "single_distortion": Task(),
    "multi_distortion": Task(overlap, labels=split_words),
    "multi_distortion_strict": Task(partial(overlap, split=split_letters), labels=split_letters),
    "rating": Task(),
    "choice": Task(read=read_choice, true=true_choice),
}


def evaluate(task: str, predictions: list[dict], answers: list[dict], *, allow_missing: bool = False) -> Accuracy:
    """Score the predictions of one file.

    Arguments:
        task: a name in `TASKS`.
        predictions: items with `id`, `text` and, where known, `confidence` in (0, 1].
        answers: items with `id`, `answer`, for choices `options`, and whatever one groups by (`severity`).
        allow_missing: an answer without prediction counts as wrong; otherwise it is left out and told in `problems`.

    Raises:
        InputError: a field has another type, or no prediction has an answer.
    """
    rules = TASKS[task]
    pairs, missing, problems = join(predictions, answers)
    samples = [_sample(rules, prediction, answer) for prediction, answer in pairs]
    if allow_missing:
        samples += [Sample(item["id"], None, rules.true(item), 0.0, None, item) for item in missing]
    if not samples:
        raise InputError(f"none of the {len(predictions)} predictions has an id of the {len(answers)} answers")
    return Accuracy(task, tuple(samples), problems)


def _sample(rules: Task, prediction: dict, item: dict) -> Sample:
    text, true = rules.read(text_field(prediction, "text"), item), rules.true(item)
    return Sample(prediction["id"], text, true, rules.score(text, true), _confidence(prediction), item)


def _confidence(prediction: dict) -> float | None:
    value = prediction.get("confidence")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value)):
        raise InputError(f"item {prediction['id']}: the field 'confidence' must be a number or null, found {value!r}")
    return value


single_distortion = partial(evaluate, "single_distortion")
multi_distortion = partial(evaluate, "multi_distortion")
rating = partial(evaluate, "rating")
choice = partial(evaluate, "choice")
