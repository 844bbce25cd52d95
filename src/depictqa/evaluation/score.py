"""Scores of single images against opinion scores: correlations, errors, intervals, and what the error bars are worth.

A set is a file of scores with a file of opinions; figures of several sets are averaged with their numbers of images as
weights, since opinions of different sets have different scales.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from depictqa.errors import InputError
from depictqa.evaluation.correlation import CHOICES, Agreement, fit_logistic4, kendall, pearson, ranks
from depictqa.evaluation.joining import Problems, is_number, join, number_field, some, text_field

RESAMPLES = 1000


@dataclass(frozen=True)
class Scored:
    """The scores of one set beside the opinions of the same images.

    Attributes:
        ids: [images].
        scores: [images], what the model gives: 1 (bad) to 5 (excellent).
        stds: [images], the scores' error bars; NaN where there is none.
        opinions: [images], mean opinion scores in the data set's unit.
        opinion_stds: [images], deviation of the votes; NaN where it is not known.
    """

    ids: tuple
    scores: np.ndarray
    stds: np.ndarray
    opinions: np.ndarray
    opinion_stds: np.ndarray
    problems: Problems

    @cached_property
    def mapped(self) -> np.ndarray:
        """The scores in the opinions' unit, by the 4-parameter logistic. Raises InputError where that has no fit."""
        mapped = fit_logistic4(self.scores, self.opinions)
        if mapped is None:
            raise InputError(f"the 4-parameter logistic cannot be fitted to the {len(self.ids)} images")
        return mapped

    @cached_property
    def figures(self) -> dict[str, float]:
        """The names of `FIGURES` -> values. Raises InputError where they are not defined."""
        Agreement(self.scores, self.opinions)  # refuses constant columns
        return {name: figure(self.scores, self.mapped, self.opinions) for name, figure in FIGURES.items()}

    def intervals95(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Percentile bootstrap intervals of the figures over images (Efron, 1979). The curve is fitted once."""
        generator = np.random.default_rng(seed)
        columns = np.stack([self.scores, self.mapped, self.opinions])  # [3, images]
        drawn: dict[str, list[float]] = {name: [] for name in FIGURES}
        while len(drawn["srcc"]) < RESAMPLES:
            resampled = columns[:, generator.integers(len(self.ids), size=len(self.ids))]
            if (np.ptp(resampled, axis=1) > 0).all():  # of two or three images all may be the same one
                for name, figure in FIGURES.items():
                    drawn[name].append(figure(*resampled))
        return {name: _percentiles(values) for name, values in drawn.items()}

    @property
    def error_bars(self) -> float | None:
        """Spearman correlation of a score's error bar with its distance to the opinion, or None without error bars."""
        errors = np.abs(self.mapped - self.opinions)
        if np.isnan(self.stds).any() or np.ptp(self.stds) == 0 or np.ptp(errors) == 0:
            return None
        return pearson(ranks(self.stds), ranks(errors))

    def by_std(self, borders: Sequence[float]) -> list[tuple[float, float, int, float | None]]:
        """(low, high, images, RMSE) of the images whose error bar lies in (low, high]; the curve is that of all.

        Raises:
            InputError: the borders do not ascend, or a score has no error bar.
        """
        if len(borders) < 2 or list(borders) != sorted(set(borders)):
            raise InputError(f"--intervals: expected at least two ascending numbers, found {some(borders)}")
        if without := [key for key, std in zip(self.ids, self.stds) if np.isnan(std)]:
            raise InputError(f"{len(without)} predictions lack the field 'score_std': {some(without)}")
        rows = []
        for low, high in zip(borders, borders[1:]):
            inside = (self.stds > low) & (self.stds <= high)
            error = _rmse(self.scores[inside], self.mapped[inside], self.opinions[inside]) if inside.any() else None
            rows.append((low, high, int(inside.sum()), error))
        return rows


def _srcc(scores: np.ndarray, mapped: np.ndarray, opinions: np.ndarray) -> float:
    return pearson(ranks(scores), ranks(opinions))


def _krcc(scores: np.ndarray, mapped: np.ndarray, opinions: np.ndarray) -> float:
    return kendall(scores, opinions)


def _plcc_linear(scores: np.ndarray, mapped: np.ndarray, opinions: np.ndarray) -> float:
    return pearson(scores, opinions)


def _plcc(scores: np.ndarray, mapped: np.ndarray, opinions: np.ndarray) -> float:
    return pearson(mapped, opinions)


def _rmse(scores: np.ndarray, mapped: np.ndarray, opinions: np.ndarray) -> float:
    return float(np.sqrt(np.mean((mapped - opinions) ** 2)))


FIGURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "srcc": _srcc,
    "krcc": _krcc,
    "plcc": _plcc,  # after the 4-parameter logistic (VQEG, 2000), as RMSE
    "plcc_linear": _plcc_linear,
    "rmse": _rmse,  # in the opinions' unit
}
"""name -> function of (scores, scores mapped by the logistic, opinions), [images] each."""


def evaluate_scores(predictions: list[dict], opinions: list[dict]) -> Scored:
    """Pair the scores of one file with the opinions of another.

    Arguments:
        predictions: items with `id`, `score` and, where known, `score_std`.
        opinions: items with `id` and either `score`: {"mean", "std", ...} (as `make_score_labels.py` writes it) or
            `mos` and, where known, `std`.

    Raises:
        InputError: a field has another type, or no prediction has an opinion.
    """
    pairs, _, problems = join(predictions, opinions, field="score")
    if not pairs:
        raise InputError(f"none of the {len(predictions)} predictions has an id of the {len(opinions)} answers")
    means, deviations = zip(*(_opinion(item) for _, item in pairs))
    return Scored(
        ids=tuple(prediction["id"] for prediction, _ in pairs),
        scores=np.array([number_field(prediction, "score") for prediction, _ in pairs]),
        stds=np.array([_optional(prediction, "score_std") for prediction, _ in pairs]),
        opinions=np.array(means),
        opinion_stds=np.array(deviations),
        problems=problems,
    )


def _opinion(item: dict) -> tuple[float, float]:
    """Mean and deviation (NaN where it is not known)."""
    if isinstance(item.get("score"), dict):
        score = item["score"] | {"id": item["id"]}
        return number_field(score, "mean"), _optional(score, "std")
    if not is_number(item.get("mos")):
        raise InputError(
            f"item {item['id']}: expected an opinion, 'mos': number or 'score': {{'mean': number, ...}}, "
            f"found mos {item.get('mos')!r} and score {item.get('score')!r}"
        )
    return float(item["mos"]), _optional(item, "std")


def _optional(item: dict, field: str) -> float:
    return float("nan") if item.get(field) is None else number_field(item, field)


def weighted(
    sets: Sequence[Scored], names: Sequence[str] = ("srcc", "krcc", "plcc", "plcc_linear")
) -> dict[str, float]:
    """Means over sets, weighted by their numbers of images; not of RMSE, whose unit differs from set to set."""
    sizes = [len(one.ids) for one in sets]
    return {name: float(np.average([one.figures[name] for one in sets], weights=sizes)) for name in names}


@dataclass(frozen=True)
class OrderAgreement:
    """How often the better score is that of the image preferred in a direct comparison; a tie of scores counts half.

    Attributes:
        pairs: comparisons of two scored images.
        share: of the pairs whose order agrees.
        clear_pairs: those whose scores differ by more than their error bars, sqrt(std_A^2 + std_B^2).
        clear_share: of these; None where there are none or the scores have no error bars.
    """

    pairs: int
    share: float
    clear_pairs: int
    clear_share: float | None


def order_agreement(
    predictions: list[dict], questions: list[dict], comparisons: list[dict], compared: list[dict]
) -> OrderAgreement:
    """Set scores against the same model's comparisons.

    Arguments:
        predictions: items with `id`, `score`, `score_std`.
        questions: items with `id` and `image_A`, the image that was scored.
        comparisons: items with `id` and `text` ("Image A" or "Image B"); other texts are left out.
        compared: items with `id`, `image_A`, `image_B`.

    Raises:
        InputError: an image is scored twice, or no comparison is of two scored images.
    """
    scored = [
        (text_field(item, "image_A"), prediction) for prediction, item in join(predictions, questions, "score")[0]
    ]
    if repeated := [image for image, count in Counter(image for image, _ in scored).items() if count > 1]:
        raise InputError(f"{len(repeated)} images are scored more than once: {some(repeated)}")
    known = {image: (number_field(one, "score"), _optional(one, "score_std")) for image, one in scored}
    gaps, bars, choices = [], [], []
    for prediction, item in join(comparisons, compared)[0]:
        images, choice = (text_field(item, "image_A"), text_field(item, "image_B")), text_field(prediction, "text")
        if choice in CHOICES and all(image in known for image in images):
            (score_a, std_a), (score_b, std_b) = (known[image] for image in images)
            gaps.append(score_a - score_b)
            bars.append(np.hypot(std_a, std_b))
            choices.append(CHOICES[choice])
    if not gaps:
        raise InputError(f"none of the {len(comparisons)} comparisons is of two scored images")
    agrees = np.where(np.sign(gaps) == 0, 0.5, (np.array(gaps) > 0) == np.array(choices, dtype=bool))
    clear = np.abs(gaps) > np.array(bars)  # false for NaN
    return OrderAgreement(
        len(gaps), float(agrees.mean()), int(clear.sum()), float(agrees[clear].mean()) if clear.any() else None
    )


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
