"""Correlation with human opinion: pairwise answers vote for images, the votes are set against mean opinion scores.

Each answer to "which is better, A or B?" is a vote; an image's score is the mean of its votes. Scores and
opinions are correlated within each reference (only there are the images compared) and averaged; the figures
over all images pooled are there for comparison with papers that give them. Ties get the mean of their ranks
(srcc) and count for neither side (krcc, tau-b), as in scipy.

Starting scipy takes longer than counting 178,500 votes: each figure is computed, and what it needs imported, when it
is first asked for.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from depictqa.errors import InputError
from depictqa.evaluation.joining import Problems, join, some, text_column
from depictqa.evaluation.ranking import fit

CHOICES = {"Image A": 1.0, "Image B": 0.0}
MAX_EVALUATIONS = 20_000  # of a curve; the slowest golden fit takes 3,700


class Agreement:
    """Correlations of scores with opinions. A fit that fails (too few images, no convergence) leaves None.

    Arguments:
        scores, opinions: [images].

    Raises:
        InputError: fewer than two images, or all scores or all opinions equal: no correlation is defined.
    """

    FIGURES = ("srcc", "krcc", "plcc", "plcc_logistic4", "plcc_logistic5")

    def __init__(self, scores: np.ndarray, opinions: np.ndarray):
        for what, values in (("scores", scores), ("opinions", opinions)):
            if len(values) < 2 or np.ptp(values) == 0:
                raise InputError(f"the {what} of the {len(values)} images are all equal: no correlation is defined")
        self.scores, self.opinions = scores, opinions

    @cached_property
    def srcc(self) -> float:
        """Spearman's rank correlation."""
        return pearson(ranks(self.scores), ranks(self.opinions))

    @cached_property
    def krcc(self) -> float:
        """Kendall's tau-b."""
        return kendall(self.scores, self.opinions)

    @cached_property
    def plcc(self) -> float:
        """Pearson's correlation of the scores as they are."""
        return pearson(self.scores, self.opinions)

    @cached_property
    def plcc_logistic4(self) -> float | None:
        """Pearson's correlation of the scores mapped by `fit_logistic4`."""
        return self._plcc(fit_logistic4(self.scores, self.opinions))

    @cached_property
    def plcc_logistic5(self) -> float | None:
        """Pearson's correlation of the scores mapped by `fit_logistic5`."""
        return self._plcc(fit_logistic5(self.scores, self.opinions))

    def _plcc(self, mapped: np.ndarray | None) -> float | None:
        if mapped is None or np.ptp(mapped) <= 1e-9 * np.abs(mapped).max():  # flat
            return None
        return pearson(mapped, self.opinions)

    def figures(self) -> dict[str, float | None]:
        """All of them, by name."""
        return {name: getattr(self, name) for name in self.FIGURES}


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of values [n]; equal values get the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two columns [n] that are not constant."""
    return float(np.corrcoef(x, y)[0, 1])


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b of two columns [n] that are not constant."""
    from scipy.stats import kendalltau

    tau, _ = kendalltau(x, y)
    return float(tau)  # pyright: ignore[reportArgumentType]  (scipy does not say what its result holds)


@dataclass(frozen=True)
class Reference:
    """The distorted images of one reference: score from votes and mean opinion score, both [images]."""

    name: str
    scores: np.ndarray
    opinions: np.ndarray


@dataclass(frozen=True)
class Correlation:
    """The correlations of a data set: within each reference, and over all images pooled."""

    references: tuple[Reference, ...]
    per_reference: tuple[Agreement, ...]
    pooled: Agreement
    problems: Problems

    @property
    def srcc(self) -> float:
        """Mean over the references."""
        return float(np.mean([one.srcc for one in self.per_reference]))

    @property
    def plcc(self) -> float:
        """Mean over the references, after the 4-parameter logistic. Raises InputError where that has no fit."""
        values = []
        for reference, one in zip(self.references, self.per_reference):
            if one.plcc_logistic4 is None:
                raise InputError(f"reference {reference.name}: the 4-parameter logistic cannot be fitted to its images")
            values.append(one.plcc_logistic4)
        return float(np.mean(values))


def logistic4(x: np.ndarray, high: float, low: float, middle: float, width: float) -> np.ndarray:
    """low + (high - low) / (1 + exp(-(x - middle) / |width|)): VQEG, Final report on FR-TV, phase I, 2000."""
    from scipy.special import expit

    return low + (high - low) * expit((x - middle) / np.abs(width))


def logistic5(x: np.ndarray, height: float, slope: float, middle: float, tilt: float, base: float) -> np.ndarray:
    """A logistic plus a line: Sheikh, Sabir, Bovik, "A statistical evaluation of recent FR IQA algorithms", 2006."""
    from scipy.special import expit

    return height * (0.5 - expit(-slope * (x - middle))) + tilt * x + base


def fit_logistic4(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Map scores x [n] to opinions y [n] by the least-squares logistic; None where it cannot be fitted."""
    return _fit(logistic4, x, y, [y.max(), y.min(), x.mean(), 0.5])


def fit_logistic5(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """As `fit_logistic4`, with the 5-parameter curve."""
    return _fit(logistic5, x, y, [np.ptp(y), 1 / x.std(), x.mean(), 0.0, y.mean()])


def _fit(curve: Callable, x: np.ndarray, y: np.ndarray, start: list[float]) -> np.ndarray | None:
    from scipy.optimize import OptimizeWarning, curve_fit

    if len(x) < len(start):
        return None
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # about the covariance, which is not used
            parameters, _ = curve_fit(curve, x, y, p0=start, maxfev=MAX_EVALUATIONS)
            mapped = curve(x, *parameters)
    except RuntimeError:  # no convergence
        return None
    return mapped if np.isfinite(mapped).all() else None


def vote(
    predictions: list[dict],
    comparisons: list[dict],
    opinions: dict,
    *,
    confidence: bool = False,
    skip_invalid: bool = False,
    scores: str = "mean",
) -> tuple[tuple[Reference, ...], Problems]:
    """Turn answers into one score an image.

    An answer gives its confidence (1 without `confidence`) to the image it prefers and the rest to the other.

    Arguments:
        predictions: items with `id`, `text` ("Image A" or "Image B") and, for `confidence`, `confidence` in [0, 1].
        comparisons: items with `id`, `image_ref`, `image_A`, `image_B`.
        opinions: reference -> {"dist_paths": [...], "mos_list": [...]}.
        skip_invalid: an answer that is neither choice casts no vote and is told in `problems`; otherwise it is an error.
        scores: a name in `SCORES`: "mean" of an image's votes, or "bradley-terry", which takes into account whom it was
            compared with, where not all pairs were asked.

    Raises:
        InputError: an answer is neither choice, a confidence is missing, an image got no vote or has two opinions.
    """
    if not isinstance(opinions, dict) or not opinions:
        raise InputError("opinions: expected an object of references, each with 'dist_paths' and 'mos_list'")
    pairs, _, problems = join(predictions, comparisons)
    texts = text_column([answer for answer, _ in pairs], "text")
    if invalid := {answer["id"]: text for (answer, _), text in zip(pairs, texts) if text not in CHOICES}:
        if not skip_invalid:
            name, text = next(iter(invalid.items()))
            raise InputError(
                f"item {name}: the field 'text' must be 'Image A' or 'Image B', found {text!r} "
                f"({len(invalid)} of {len(pairs)} answers are neither; --skip_invalid leaves them out)"
            )
        pairs = [pair for pair, text in zip(pairs, texts) if text in CHOICES]
        texts = [text for text in texts if text in CHOICES]
    answers, items = [answer for answer, _ in pairs], [item for _, item in pairs]
    names, *images = (text_column(items, field) for field in ("image_ref", "image_A", "image_B"))
    if not set(names) <= set(opinions):
        item, name = next((item, name) for item, name in zip(items, names) if name not in opinions)
        raise InputError(f"item {item['id']}: its reference {name} is not among the opinions")

    wins = np.array(list(map(CHOICES.__getitem__, texts)), dtype=float)  # [votes], 1 where A is preferred
    weights = _weights(answers) if confidence else np.ones(len(wins))
    shares = np.where(wins == 1, weights, 1 - weights)  # of Image A
    references, of_reference = _codes(names)
    pictures, of_picture = _codes(images[0] + images[1])
    compared = of_picture.reshape(2, -1).T  # [votes, 2], Image A and Image B
    score_of: dict[tuple[str, str], float] = {}
    in_order = np.argsort(of_reference, kind="stable")
    for name, rows in zip(references, np.split(in_order, np.bincount(of_reference).cumsum()[:-1])):
        shown, places = np.unique(compared[rows], return_inverse=True)
        values = SCORES[scores](len(shown), places.reshape(-1, 2), shares[rows])
        score_of |= {(name, pictures[picture]): value for picture, value in zip(shown, values.tolist())}
    problems = replace(problems, invalid=tuple(invalid))
    return tuple(_reference(name, table, score_of) for name, table in opinions.items()), problems


def mean_votes(count: int, pairs: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The mean of each image's votes, [count]; arguments as in `ranking.fit`."""
    order = np.argsort(pairs, axis=None, kind="stable")
    votes = np.stack([shares, 1 - shares], axis=1).ravel()[order]
    return np.array([one.mean() for one in np.split(votes, np.bincount(pairs.ravel(), minlength=count).cumsum()[:-1])])


SCORES: dict[str, Callable[[int, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": mean_votes,
    "bradley-terry": lambda count, pairs, shares: fit(count, pairs, shares).scores,
}
"""How the votes within a reference become scores: (images, pairs [votes, 2], shares of the first [votes]) -> [images]."""


def _codes(values: list[str]) -> tuple[list[str], np.ndarray]:
    """The distinct values, and for each value its place among them, [n]."""
    distinct = dict(zip(dict.fromkeys(values), range(len(values))))
    return list(distinct), np.array(list(map(distinct.__getitem__, values)), dtype=int)


def _weights(predictions: Sequence[dict]) -> np.ndarray:
    """The confidences, [n]. Raises InputError for one that is none."""
    values = [prediction.get("confidence") for prediction in predictions]
    weights = np.array(values, dtype=float) if set(map(type, values)) <= {float, int} else None
    if weights is None or not ((weights >= 0) & (weights <= 1 + 1e-6)).all():
        prediction = next(one for one, weight in zip(predictions, values) if not _is_share(weight))
        raise InputError(
            f"item {prediction['id']}: the field 'confidence' must lie between 0 and 1, "
            f"found {prediction.get('confidence')!r}"
        )
    return weights


def _is_share(value) -> bool:
    return type(value) in (float, int) and 0 <= value <= 1 + 1e-6


def _reference(name: str, table: dict, scores: dict[tuple[str, str], float]) -> Reference:
    paths, opinions = table.get("dist_paths"), table.get("mos_list")
    if not isinstance(paths, list) or not isinstance(opinions, list) or len(paths) != len(opinions):
        raise InputError(f"reference {name}: expected lists 'dist_paths' and 'mos_list' of one length")
    if not all(isinstance(opinion, int | float) and np.isfinite(opinion) for opinion in opinions):
        raise InputError(f"reference {name}: the field 'mos_list' must hold finite numbers only")
    if repeated := [path for path, count in Counter(paths).items() if count > 1]:
        raise InputError(
            f"reference {name}: the field 'dist_paths' lists {len(repeated)} images more than once: {some(repeated)}; "
            "keep one opinion of each"
        )
    without = [path for path in paths if (name, path) not in scores]
    if without:
        raise InputError(f"reference {name}: {len(without)} images are in no answered comparison: {some(without)}")
    return Reference(name, np.array([scores[name, path] for path in paths]), np.array(opinions, dtype=float))


def srcc_plcc(predictions: list[dict], comparisons: list[dict], opinions: dict, **options: Any) -> Correlation:
    """Vote, then correlate within each reference and pooled. Options and errors are those of `vote` and `Agreement`."""
    references, problems = vote(predictions, comparisons, opinions, **options)
    figures = []
    for one in references:
        try:
            figures.append(Agreement(one.scores, one.opinions))
        except InputError as error:
            raise InputError(f"reference {one.name}: {error}") from None
    every_score, every_opinion = (
        np.concatenate([getattr(one, name) for one in references]) for name in ("scores", "opinions")
    )
    pooled = Agreement(every_score, every_opinion)
    return Correlation(references, tuple(figures), pooled, problems)
