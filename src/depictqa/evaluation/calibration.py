"""Temperatures by maximum likelihood on answers whose truth is known, and figures of how well confidences are calibrated.

A confidence is read as the probabilities of right and wrong, a score as those of the five levels; for both, one
temperature maximizes the likelihood of the true answers (Guo et al., "On calibration of modern neural networks",
ICML 2017). Dividing a confidence's logit cannot lead across 1/2, so confidences above 1/2 of answers that are mostly
wrong only come near it. How temperatures are stored and applied: `depictqa.inference.calibration`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depictqa.errors import InputError
from depictqa.evaluation.accuracy import NO_CONFIDENCE, complain, evaluate
from depictqa.evaluation.joining import Problems, is_number, join
from depictqa.evaluation.statistics import calibration, kind_of, rejection_curve
from depictqa.inference.calibration import Fit, right_or_wrong, temper
from depictqa.prompts import LEVELS

KIND_OF_TASK = {"single_distortion": "single", "multi_distortion": "single", "choice": "single", "rating": "compare"}
LOWEST, HIGHEST = 0.05, 20.0  # temperatures tried
FOLDS = 5
COVERAGE = 0.8


@dataclass(frozen=True)
class Evidence:
    """Answers of one kind (see `inference.calibration.KINDS`).

    Attributes:
        probabilities: [n, K], of right and wrong, or of the levels.
        targets: [n, K], the truth: how right each is; rows sum to 1.
    """

    kind: str
    probabilities: np.ndarray
    targets: np.ndarray
    problems: Problems = Problems()

    def __getitem__(self, rows) -> "Evidence":
        return Evidence(self.kind, self.probabilities[rows], self.targets[rows])


@dataclass(frozen=True)
class Figures:
    """How well confidences say what is right, over n answers.

    Attributes:
        nll: mean negative log-likelihood of the truth, in nats.
        ece: expected calibration error, ten bins.
        brier: mean squared difference of confidence and rightness (Brier, 1950).
        aurc: mean share of wrong answers over all coverages, the surest first (Geifman and El-Yaniv, 2017).
        accuracy: share of right answers.
        accuracy_at_80: among the surest 80%.
    """

    n: int
    nll: float
    ece: float
    brier: float
    aurc: float
    accuracy: float
    accuracy_at_80: float


def read_evidence(predictions: list[dict], answers: list[dict]) -> Evidence:
    """Answers and their truth, of the kind that the files hold: levels, or brief answers with a confidence.

    Arguments:
        predictions: items with `id` and either `levels` (word -> probability) or `text` and `confidence`; where
            `confidence_raw` is there, that is the one to calibrate, and `levels_raw` likewise.
        answers: items with `id` and either `answer` or, for levels, an opinion `score` {mean, min, max}.

    Raises:
        InputError: there is nothing to calibrate, or a field has another type.
    """
    if any(isinstance(item.get("levels"), dict) for item in predictions):
        return _levels(predictions, answers)
    task = kind_of(answers)
    if task not in KIND_OF_TASK:
        raise InputError(f"expected brief answers or levels to calibrate, found true answers for {task}")
    raw = [item | {"confidence": item["confidence_raw"]} if "confidence_raw" in item else item for item in predictions]
    result = evaluate(task, raw, answers)
    complain(NO_CONFIDENCE, [sample.id for sample in result.samples if sample.confidence is None])
    confidences = np.array([sample.confidence for sample in result.samples])
    return Evidence(KIND_OF_TASK[task], right_or_wrong(confidences), right_or_wrong(result.scores), result.problems)


def _levels(predictions: list[dict], answers: list[dict]) -> Evidence:
    pairs, _, problems = join(predictions, answers, field="levels")
    if not pairs:
        raise InputError(f"none of the {len(predictions)} predictions has an id of the {len(answers)} answers")
    probabilities = np.array([_probabilities(prediction) for prediction, _ in pairs])
    return Evidence("score", probabilities, np.array([_target(item) for _, item in pairs]), problems)


def _probabilities(prediction: dict) -> list[float]:
    levels = prediction.get("levels_raw", prediction["levels"])
    listed = [levels.get(word) for word in LEVELS] if isinstance(levels, dict) else []
    values = [value for value in listed if is_number(value) and 0 <= value <= 1 + 1e-6]
    if len(values) < len(LEVELS):
        raise InputError(
            f"item {prediction['id']}: the field 'levels' must give each of {', '.join(LEVELS)} a probability, "
            f"found {levels!r}"
        )
    return values


def _target(item: dict) -> list[float]:
    """The level of the answer, or the two levels next to the mean opinion, the nearer one heavier."""
    if item.get("answer") in LEVELS:
        return [float(word == item["answer"]) for word in LEVELS]
    score = item.get("score")
    mean, low, high = (score.get(key) if isinstance(score, dict) else None for key in ("mean", "min", "max"))
    if not (is_number(mean) and is_number(low) and is_number(high) and low <= mean <= high and low < high):
        raise InputError(
            f"item {item['id']}: expected a level as 'answer' or an opinion, 'score': {{mean, min, max}}, found {score!r}"
        )
    worst, best = min(LEVELS.values()), max(LEVELS.values())
    place = worst + (best - worst) * (mean - low) / (high - low)
    return [max(0.0, 1 - abs(weight - place)) for weight in LEVELS.values()]


def join_evidence(parts: Sequence[Evidence]) -> dict[str, Evidence]:
    """Kind -> all answers of that kind."""
    kinds = {part.kind: [one for one in parts if one.kind == part.kind] for part in parts}
    return {
        kind: Evidence(
            kind,
            np.concatenate([one.probabilities for one in group]),
            np.concatenate([one.targets for one in group]),
        )
        for kind, group in kinds.items()
    }


def fit_temperature(evidence: Evidence) -> Fit:
    """The temperature under which the true answers are likeliest, between LOWEST and HIGHEST."""
    from scipy.optimize import minimize_scalar

    def cost(log_temperature: float) -> float:
        return negative_log_likelihood(evidence, np.exp(log_temperature))

    found = minimize_scalar(cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    temperature = float(np.exp(found.x))
    return Fit(temperature, len(evidence.targets), negative_log_likelihood(evidence, 1.0), float(found.fun))


def negative_log_likelihood(evidence: Evidence, temperature: float) -> float:
    """Mean over the answers, in nats."""
    return _log_loss(temper(evidence.probabilities, temperature), evidence.targets)


def _log_loss(tempered: np.ndarray, targets: np.ndarray) -> float:
    return float(-(targets * np.log(tempered)).sum(axis=1).mean())


def before_and_after(evidence: Evidence, test: Evidence | None = None) -> tuple[Figures, Figures]:
    """Figures with the temperature 1, and with one that was fitted on other answers than it is judged by.

    Arguments:
        test: the answers to judge by; without it each fifth of `evidence` is judged by the temperature of the rest.
    """
    if test is not None:
        return figures(test), figures(test, fit_temperature(evidence).temperature)
    fold = np.arange(len(evidence.targets)) % FOLDS
    temperatures = np.ones((len(fold), 1))
    for one in np.unique(fold):
        rest = fold != one
        temperatures[fold == one] = fit_temperature(evidence[rest]).temperature if rest.any() else 1.0
    return figures(evidence), figures(evidence, temperatures)


def figures(evidence: Evidence, temperature: float | np.ndarray = 1.0) -> Figures:
    """Figures of the tempered probabilities; the answer is the likeliest one (of right and wrong: right).

    Arguments:
        temperature: one, or [n, 1].
    """
    tempered = temper(evidence.probabilities, temperature)
    rows = np.arange(len(tempered))
    chosen = np.zeros_like(rows) if evidence.kind != "score" else tempered.argmax(axis=1)
    confidences, scores = tempered[rows, chosen], evidence.targets[rows, chosen]
    kept, accuracy = rejection_curve(confidences, scores)
    return Figures(
        n=len(rows),
        nll=_log_loss(tempered, evidence.targets),
        ece=calibration(confidences, scores).ece,
        brier=float(np.mean((confidences - scores) ** 2)),
        aurc=float(((1 - accuracy) * np.diff(kept, prepend=0)).sum()),
        accuracy=float(scores.mean()),
        accuracy_at_80=float(accuracy[np.searchsorted(kept, COVERAGE - 1e-9)]),
    )
