"""Opinion scores of pictures, on any scale, to soft labels over the five levels of an answer.

The method is that of DeQA-Score (You et al., "Teaching Large Language Models to Regress Accurate Image Quality Scores
Using Score Distribution", CVPR 2025).
"""

import math
from dataclasses import dataclass

from depictqa.errors import InputError
from depictqa.prompts import LEVELS

LEAST_STD = 0.2  # on the scale of LEVELS; below it, five samples of the density say little about the distribution
MOST_SHIFT = 0.1  # of a soft label's mean from the opinions' mean
KEYS = ("mean", "std", "min", "max")


@dataclass(frozen=True)
class Opinion:
    """What people think of a picture, on the scale of LEVELS: 1 (bad) to 5 (excellent).

    Attributes:
        std: standard deviation of single votes; 0 where it is not known.
        dataset: opinions are comparable within one data set only.
    """

    mean: float
    std: float
    dataset: str

    @property
    def label(self) -> list[float]:
        """The soft label: a probability for each word of LEVELS, in its order."""
        return soft_label(self.mean, self.std)


def read_opinion(score, dataset) -> Opinion:
    """The opinion of a meta file's item: its fields `score` {mean, std, min, max} and `dataset`.

    `min` and `max` are the ends of the data set's scale, worst and best; `std` may be null.

    Raises:
        InputError: a field is missing or out of range.
    """
    if not isinstance(dataset, str) or not dataset:
        raise InputError(f"dataset: expected the name of the data set that the score is from, found {dataset!r}")
    if not isinstance(score, dict) or score.keys() != set(KEYS):
        raise InputError(f"score: expected {{mean, std, min, max}}, found {score!r}")
    mean, std, low, high = (score[key] for key in KEYS)
    std = 0 if std is None else std
    for key, value in zip(KEYS, (mean, std, low, high), strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"score.{key}: expected a number, found {value!r}")
    if not low <= mean <= high or low == high or std < 0:
        raise InputError(f"score: expected min <= mean <= max, min < max and std >= 0, found {score!r}")
    worst, best = min(LEVELS.values()), max(LEVELS.values())
    scale = (best - worst) / (high - low)
    return Opinion(worst + scale * (mean - low), scale * std, dataset)


def soft_label(mean: float, std: float) -> list[float]:
    """Probabilities of the words of LEVELS, in its order, whose mean is that of the opinions.

    The density of a normal distribution at each level, shifted and scaled so that the sum is 1 and the mean is kept;
    what is then below 0 becomes 0 (the sum may reach 1.06, which only weighs the sample). Where that does not keep the
    mean, the two neighbouring levels share the probability.

    Args:
        mean, std: on the scale of LEVELS.
    """
    levels = list(LEVELS.values())
    if std >= LEAST_STD:
        density = [math.exp(-0.5 * ((c - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)) for c in levels]
        total = sum(density)
        tilt = sum(p * (c - 3) for p, c in zip(density, levels, strict=True))
        if abs(mean - 3) > 1e-9:
            alpha = (mean - 3) / tilt
        else:  # what the quotient tends to
            alpha = std**2 / sum(p * (c - 3) ** 2 for p, c in zip(density, levels, strict=True))
        beta = (1 - alpha * total) / 5
        label = [max(alpha * p + beta, 0.0) for p in density]
        if abs(sum(p * c for p, c in zip(label, levels, strict=True)) - mean) <= MOST_SHIFT:
            return label
    return [max(0.0, 1 - abs(c - mean)) for c in levels]
