"""How sure a figure is and where the errors are: intervals, calibration, classes, and tests between two models.

Everything takes arrays or `Accuracy` results and returns numbers; `summary` puts them together, `plots` draws.
"""

from dataclasses import dataclass

import numpy as np

from depictqa.errors import InputError
from depictqa.evaluation.accuracy import TASKS, Accuracy, Sample, split_words
from depictqa.evaluation.correlation import CHOICES
from depictqa.prompts import DISTORTIONS, NO_DISTORTION

RESAMPLES = 10_000
CALIBRATION_BINS = 10
OTHER = "(other)"  # a predicted text that is no class

VOCABULARY = tuple(word.capitalize() for word in (*DISTORTIONS.values(), NO_DISTORTION))
_WORDS = {name.lower() for name in VOCABULARY}


def kind_of(answers: list[dict]) -> str:
    """Which figures apply, from what the true answers look like."""
    texts = [text for item in answers if isinstance(text := item.get("answer"), str)]
    if all("options" in item for item in answers):
        return "choice"
    if len(texts) < len(answers):
        return "voting"
    if all(text.strip() in CHOICES for text in texts):
        return "rating"
    names = [split_words(text) for text in texts]
    if all(set(parts) <= _WORDS for parts in names):
        return "multi_distortion" if any(len(parts) > 1 for parts in names) else "single_distortion"
    return "detail"


def bootstrap_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron, 1979). Independent of the order of the values, [n].

    Drawing n values with replacement is drawing how often each distinct value comes: a multinomial, so that
    179,000 scores of 0 or 1 cost no more than two.
    """
    distinct, counts = np.unique(values, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(values), counts / len(values), size=RESAMPLES)  # [resamples, distinct]
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn @ distinct / len(values), [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float | None  # mean; None where there are none
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Does a confidence of 0.8 mean right four times in five? `ece` is the mean gap, weighted by samples."""

    ece: float
    bins: tuple[Bin, ...]


def calibration(confidences: np.ndarray, scores: np.ndarray, bins: int = CALIBRATION_BINS) -> Calibration:
    """Expected calibration error over bins of equal width (Guo et al., ICML 2017). Both arrays [n], within 0 and 1."""
    places = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    rows, gap = [], 0.0
    for place in range(bins):
        inside = places == place
        count = int(inside.sum())
        borders = place / bins, (place + 1) / bins
        if count:
            mean, accuracy = float(confidences[inside].mean()), float(scores[inside].mean())
            rows.append(Bin(*borders, count, mean, accuracy))
            gap += count * abs(mean - accuracy)
        else:
            rows.append(Bin(*borders, 0, None, None))
    return Calibration(gap / len(scores), tuple(rows))


def rejection_curve(confidences: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy over what remains when the least confident answers are left out.

    Answers of one confidence stay or go together. Returns the share kept, ascending to 1, and the accuracy, both
    [distinct confidences] (Nadeem et al., "Accuracy-rejection curves", 2009).
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order]
    last = np.append(np.flatnonzero(np.diff(sorted_confidences)), len(order) - 1)  # last of each group of ties
    kept = last + 1
    return kept / len(order), np.cumsum(scores[order])[last] / kept


def confident(result: Accuracy) -> tuple[np.ndarray, np.ndarray] | None:
    """Confidences, clipped to [0, 1], and scores of the answers, both [n]; None unless every answer has one."""
    present = [sample for sample in result.samples if sample.text is not None]
    confidences = [sample.confidence for sample in present if sample.confidence is not None]
    if not present or len(confidences) < len(present):
        return None
    return np.clip(confidences, 0, 1), np.array([sample.score for sample in present])


def class_labels(result: Accuracy) -> list[str]:
    """The classes of the true answers: the vocabulary of distortions where that covers them, else those that occur."""
    labels = TASKS[result.task].labels
    occurring = {label for sample in result.samples for label in labels(sample.answer)}
    vocabulary = [label for name in VOCABULARY for label in labels(name)]
    return vocabulary if occurring <= set(vocabulary) else sorted(occurring)


def confusion_matrix(result: Accuracy) -> tuple[list[str], np.ndarray]:
    """True classes by predicted classes, the last column for texts that are no class: labels and counts [n, n + 1]."""
    labels = class_labels(result)
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1), dtype=int)
    for sample in result.samples:
        counts[place[sample.answer], place.get(sample.text or OTHER, len(labels))] += 1
    return labels, counts


@dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one class; None where nothing was predicted (precision) or true (recall)."""

    label: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


def per_class(result: Accuracy) -> list[ClassFigures]:
    """Figures of each class, over all the classes that each answer names."""
    names = TASKS[result.task].labels
    true = [set(names(sample.answer)) for sample in result.samples]
    named = [set(names(sample.text)) if sample.text is not None else set() for sample in result.samples]
    figures = []
    for label in class_labels(result):
        right = sum(label in t and label in p for t, p in zip(true, named))
        support, predicted = sum(label in t for t in true), sum(label in p for p in named)
        f1 = 2 * right / (support + predicted) if support + predicted else None
        figures.append(ClassFigures(label, support, _ratio(right, predicted), _ratio(right, support), f1))
    return figures


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class McNemar:
    """Which of two models is right more often on the same questions; `p_value` is two-sided and exact."""

    only_first: int  # questions that only the first model gets right
    only_second: int
    p_value: float


def mcnemar(first: Accuracy, second: Accuracy) -> McNemar:
    """McNemar's exact test (McNemar, 1947) over the questions that both answered; a score below 1 is not right.

    Raises:
        InputError: the two have no question in common.
    """
    right: dict = {sample.id: _is_right(sample) for sample in first.samples}
    from scipy.stats import binomtest

    pairs = [(right[sample.id], _is_right(sample)) for sample in second.samples if sample.id in right]
    if not pairs:
        raise InputError("the two prediction files answer no question in common")
    only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    p_value = binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    return McNemar(only_first, only_second, float(p_value))


def _is_right(sample: Sample) -> bool:
    return sample.score == 1
