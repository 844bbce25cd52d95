"""Temperatures that make a probability mean what it says: the file beside a delta, and how it is applied (numpy only).

`depictqa calibrate` fits them (`depictqa.evaluation.calibration`). A checkpoint without the file keeps its numbers.

    calibration = read_calibration(delta_path.with_name(FILE_NAME))
    row["confidence"] = calibration.confidence("compare", row["confidence_raw"])
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

import numpy as np

from depictqa.answers import read_json, write_json
from depictqa.errors import InputError

VERSION = 1
FILE_NAME = "calibration.json"  # in the folder of the delta that it belongs to
KINDS = {  # what has a temperature of its own
    "single": "confidence of a brief answer about one image",
    "compare": "confidence of a brief answer about two images",
    "score": "probabilities of the five levels",
}
LEAST = 1e-6  # what a probability of 0 counts as, so that its logarithm is finite


@dataclass(frozen=True)
class Fit:
    """A temperature and what it was fitted on.

    Attributes:
        n: number of answers.
        nll_before, nll_after: mean negative log-likelihood of these answers, in nats, with the temperatures 1 and this.
    """

    temperature: float
    n: int
    nll_before: float
    nll_after: float


def temper(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """p^(1 / temperature), normalized: the softmax of logits / temperature (Guo et al., "On calibration of modern
    neural networks", ICML 2017).

    Arguments:
        probabilities: [..., K]; they need not sum to 1.
        temperature: one, or of the shape [..., 1]; above 1 takes confidence away, below 1 adds to it; the order stays.
    """
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def right_or_wrong(confidences: np.ndarray) -> np.ndarray:
    """Confidences [...] as probabilities of right and wrong, [..., 2]: tempered, their logit is divided."""
    confidences = np.clip(confidences, 0, 1)
    return np.stack([confidences, 1 - confidences], axis=-1)


@dataclass(frozen=True)
class Calibration:
    """The temperatures of a checkpoint, by the names of KINDS; of a kind without one, numbers stay as they are.

    Attributes:
        delta_sha256: of the delta whose answers were fitted; None where it was not named.
    """

    fits: Mapping[str, Fit] = field(default_factory=dict)
    delta_sha256: str | None = None

    def confidence(self, kind: str, value: float | None) -> float | None:
        """The calibrated confidence; None stays None."""
        if value is None or kind not in self.fits:
            return value
        return float(temper(right_or_wrong(np.array(value)), self.fits[kind].temperature)[0])

    def distribution(self, kind: str, probabilities: np.ndarray) -> np.ndarray:
        """The calibrated probabilities of a closed set of answers, [..., K]."""
        return temper(probabilities, self.fits[kind].temperature) if kind in self.fits else probabilities


def read_calibration(path: str | Path, delta: str | Path | None = None) -> Calibration:
    """Read a calibration file; one that does not exist calibrates nothing.

    Arguments:
        delta: the delta in use, to be compared with the one that was fitted; None: not compared.

    Raises:
        InputError: the file is damaged, of another version, or belongs to another delta.
    """
    path = Path(path)
    if not path.exists():
        return Calibration()
    content = read_json(path)
    if not isinstance(content, dict) or content.get("version") != VERSION or not isinstance(content.get("fits"), dict):
        raise InputError(f"{path}: expected a calibration of version {VERSION}, as depictqa calibrate writes it")
    digest = content.get("delta_sha256")
    if digest is not None and delta is not None and digest != sha256(delta):
        raise InputError(
            f"{path}: fitted to another delta than {delta}; run depictqa calibrate again or remove the file"
        )
    return Calibration({kind: _fit(path, kind, values) for kind, values in content["fits"].items()}, digest)


def _fit(path: Path, kind: str, values) -> Fit:
    if kind not in KINDS:
        raise InputError(f"{path}: fits: no kind {kind!r}; expected {', '.join(KINDS)}")
    temperature = values.get("temperature") if isinstance(values, dict) else None
    if not isinstance(temperature, int | float) or not isfinite(temperature) or temperature <= 0:
        raise InputError(f"{path}: fits.{kind}.temperature: expected a number above 0, found {temperature!r}")
    try:
        return Fit(**values)
    except TypeError:
        raise InputError(f"{path}: fits.{kind}: expected {', '.join(Fit.__dataclass_fields__)}") from None


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write the file: whole or not at all."""
    fits = {kind: asdict(fit) for kind, fit in calibration.fits.items()}
    write_json(path, {"version": VERSION, "delta_sha256": calibration.delta_sha256, "fits": fits})


def sha256(path: str | Path) -> str:
    """Digest of a file. Raises InputError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
