"""Correlation with human opinion: pairwise answers vote for images, the votes are set against mean opinion scores.

Each answer to "which is better, A or B?" is a vote; an image's score is the mean of its votes. Scores and
opinions are correlated within each reference (only there are the images compared) and averaged.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import pearsonr, spearmanr

from depictqa.errors import InputError
from depictqa.evaluation.joining import Problems, join, text_field

CHOICES = {"Image A": 1.0, "Image B": 0.0}
MAX_EVALUATIONS = 100_000


@dataclass(frozen=True)
class Reference:
    """The distorted images of one reference: score from votes and mean opinion score, both [images]."""

    name: str
    scores: np.ndarray
    opinions: np.ndarray


@dataclass(frozen=True)
class Correlation:
    """Spearman's and Pearson's correlation, averaged over the references."""

    srcc: float
    plcc: float  # after the 4-parameter logistic
    references: tuple[Reference, ...]
    problems: Problems


def logistic4(x: np.ndarray, high: float, low: float, middle: float, width: float) -> np.ndarray:
    """The 4-parameter logistic of the VQEG reports (Final report on FR-TV phase I, 2000)."""
    with np.errstate(over="ignore"):
        return low + (high - low) / (1 + np.exp(-(x - middle) / np.abs(width)))


def fit_logistic4(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Map scores x [n] to opinions y [n] by the least-squares logistic; returns the mapped scores [n]."""
    return _fit(logistic4, x, y, [y.max(), y.min(), x.mean(), 0.5])


def _fit(curve: Callable, x: np.ndarray, y: np.ndarray, start: list[float]) -> np.ndarray:
    try:
        parameters, _ = curve_fit(curve, x, y, p0=start, maxfev=MAX_EVALUATIONS)
    except (RuntimeError, TypeError) as error:  # no convergence; fewer images than parameters
        raise InputError(f"{curve.__name__} cannot be fitted to {len(x)} images ({error})") from None
    return curve(x, *parameters)


def vote(
    predictions: list[dict], comparisons: list[dict], opinions: dict, *, confidence: bool = False
) -> tuple[tuple[Reference, ...], Problems]:
    """Turn answers into one score an image.

    An answer gives its confidence (1 without `confidence`) to the image it prefers and the rest to the other.

    Arguments:
        predictions: items with `id`, `text` ("Image A" or "Image B") and, for `confidence`, `confidence` in [0, 1].
        comparisons: items with `id`, `image_ref`, `image_A`, `image_B`.
        opinions: reference -> {"dist_paths": [...], "mos_list": [...]}.

    Raises:
        InputError: an answer is neither choice, a confidence is missing, or an image got no vote.
    """
    pairs, _, problems = join(predictions, comparisons)
    votes: dict[tuple[str, str], list[float]] = {}
    for prediction, item in pairs:
        share = _share(prediction, confidence)
        votes.setdefault((item["image_ref"], item["image_A"]), []).append(share)
        votes.setdefault((item["image_ref"], item["image_B"]), []).append(1 - share)
    return tuple(_reference(name, table, votes) for name, table in opinions.items()), problems


def _share(prediction: dict, confidence: bool) -> float:
    text = text_field(prediction, "text")
    if text not in CHOICES:
        raise InputError(f"item {prediction['id']}: expected 'Image A' or 'Image B' as the field 'text', found {text!r}")
    if not confidence:
        return CHOICES[text]
    weight = prediction.get("confidence")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1 + 1e-6:
        raise InputError(f"item {prediction['id']}: the field 'confidence' must lie between 0 and 1, found {weight!r}")
    return weight if CHOICES[text] else 1 - weight


def _reference(name: str, table: dict, votes: dict) -> Reference:
    paths, opinions = table.get("dist_paths"), table.get("mos_list")
    if not isinstance(paths, list) or not isinstance(opinions, list) or len(paths) != len(opinions):
        raise InputError(f"reference {name}: expected lists 'dist_paths' and 'mos_list' of one length")
    without = [path for path in paths if (name, path) not in votes]
    if without:
        raise InputError(f"reference {name}: {len(without)} images are in no answered comparison: {without[0]}")
    scores = np.array([np.mean(votes[name, path]) for path in paths])
    return Reference(name, scores, np.array(opinions, dtype=float))


def srcc_plcc(
    predictions: list[dict], comparisons: list[dict], opinions: dict, *, confidence: bool = False
) -> Correlation:
    """Vote, then correlate within each reference. Arguments and errors as in `vote`."""
    references, problems = vote(predictions, comparisons, opinions, confidence=confidence)
    srcc = np.mean([spearmanr(one.scores, one.opinions).statistic for one in references])
    plcc = np.mean([pearsonr(fit_logistic4(one.scores, one.opinions), one.opinions).statistic for one in references])
    return Correlation(float(srcc), float(plcc), references, problems)
