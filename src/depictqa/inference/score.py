"""A score with an error bar, from the probabilities of the five levels at one position (Wu et al., "Q-Align", ICML 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from depictqa.inference.calibration import Calibration
from depictqa.prompts import LEVELS

WEIGHTS = np.array(list(LEVELS.values()), dtype=float)  # [5]


@dataclass(frozen=True)
class Score:
    """What the five levels' probabilities say about an image.

    Attributes:
        levels: each word of LEVELS -> its probability, calibrated; they sum to 1.
        levels_raw: before the calibration.
        mean: from 1 (bad) to 5 (excellent).
        std: standard deviation of the levels: how much the model itself doubts.
        mass: what the model gave all five words before they were normalised, in [0, 1]. Far below 1, the model was about to say
            something else, and the score means little.
    """

    levels: Mapping[str, float]
    levels_raw: Mapping[str, float]
    mass: float

    @property
    def mean(self) -> float:
        return float(WEIGHTS @ np.array(list(self.levels.values())))

    @property
    def std(self) -> float:
        probabilities = np.array(list(self.levels.values()))
        return float(np.sqrt(probabilities @ (WEIGHTS - self.mean) ** 2))

    @property
    def fields(self) -> dict:
        """As answer files, Python and the HTTP API name them."""
        return {"score": self.mean, "score_std": self.std, "levels": self.levels}

    @property
    def level(self) -> str:
        """The likeliest word."""
        return max(self.levels, key=self.levels.__getitem__)


def score_of(probabilities: Sequence[float], calibration: Calibration) -> Score:
    """The score of an answer whose first token has these probabilities of beginning each word of LEVELS."""
    given = np.array(probabilities, dtype=float)  # [5]
    mass = float(given.sum())
    shares = given / mass if mass > 0 else np.full(len(given), 1 / len(given))
    calibrated = calibration.distribution("score", shares)
    raw, levels = (dict(zip(LEVELS, values.tolist(), strict=True)) for values in (shares, calibrated))
    return Score(levels, raw, mass)
