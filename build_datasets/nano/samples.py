"""Random views of photos, random distortions, and what to call them: shared by pre-training and data building."""

from dataclasses import dataclass
from types import EllipsisType

import cv2
import numpy as np

from build_datasets.dq495k import labels
from build_datasets.x_distortion import ANSWERS, CLASSES, SEEN_WITHOUT_REFERENCE_FROM, SEVERITY_NAMES, add_distortion
from depictqa.prompts import NO_DISTORTION

SHORT_SIDE = 224  # of every picture, pixels
LONGEST = 1.5  # largest aspect ratio
LABELS = (None, *CLASSES)  # None: not distorted


@dataclass(frozen=True)
class Distortion:
    """`label`: a class of x_distortion, or None; `name`: its function; `severity`: 1..5, 0 for none."""

    label: str | None
    name: str | None
    severity: int

    @property
    def answer(self) -> str:
        return NO_DISTORTION if self.label is None else ANSWERS[self.label]

    @property
    def severity_name(self) -> str:
        return SEVERITY_NAMES[self.severity - 1]

    @property
    def state(self) -> labels.State:
        """As dq495k has it."""
        if self.label is None or self.name is None:
            return ()
        return (labels.Distortion(self.label, self.name, self.severity),)

    @property
    def is_seen_without_reference(self) -> bool:
        return self.label is None or self.severity >= SEEN_WITHOUT_REFERENCE_FROM[self.label]

    def apply(self, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return img if self.name is None else add_distortion(img, self.severity, self.name, rng)


CLEAN = Distortion(None, None, 0)


def draw_distortion(
    rng: np.random.Generator, needs_reference: bool = True, label: str | None | EllipsisType = ...
) -> Distortion:
    """Class uniform over LABELS (unless given), function uniform within it, severity uniform.

    Args:
        needs_reference: False draws again what cannot be seen without a reference.
    """
    if label is ...:
        label = LABELS[rng.integers(len(LABELS))]
    if label is None:
        return CLEAN
    while True:
        name = CLASSES[label][rng.integers(len(CLASSES[label]))]
        distortion = Distortion(label, name, int(rng.integers(1, 6)))
        if needs_reference or distortion.is_seen_without_reference:
            return distortion


def draw_size(rng: np.random.Generator) -> tuple[int, int]:
    """(height, width): short side 224, aspect ratio up to LONGEST, upright or wide, a multiple of the patch size."""
    long = int(round(SHORT_SIDE * rng.uniform(1, LONGEST) / 14)) * 14
    return (SHORT_SIDE, long) if rng.random() < 0.7 else (long, SHORT_SIDE)


def draw_view(photo: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random crop at a random scale, at least at the photo's own resolution, scaled to `size`; perhaps mirrored."""
    height, width = size
    largest = min(photo.shape[0] / height, photo.shape[1] / width)  # how many photo pixels a pixel may stand for
    scale = np.exp(rng.uniform(0, np.log(max(largest, 1))))
    rows, columns = min(int(height * scale), photo.shape[0]), min(int(width * scale), photo.shape[1])
    top, left = rng.integers(photo.shape[0] - rows + 1), rng.integers(photo.shape[1] - columns + 1)
    view = cv2.resize(photo[top : top + rows, left : left + columns], (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(view[:, ::-1]) if rng.random() < 0.5 else view
