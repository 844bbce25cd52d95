"""Views of photos that Nano is trained on, how they are distorted, and what is true of them.

A view is a crop at any scale between a photo's own pixels and the whole photo. Pictures of it are clean or distorted once
or twice.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from build_datasets.nano.samples import LABELS
from build_datasets.nano.style import jpeg
from build_datasets.x_distortion import CLASSES, PAIRS, SEEN_WITHOUT_REFERENCE_FROM, add_distortion

CLASS_NAMES = (None, *CLASSES)  # the order of the outputs; None: not distorted
SEVERITIES = 6  # 0 (none) .. 5
SHARE_CLEAN, SHARE_OF_TWO = 0.22, 0.15  # of pictures; the rest has one distortion
SHARE_SAVED = 0.1  # of pictures that go through a light JPEG in the end
LEAST_DETAIL = 4  # mean magnitude of the Laplacian, grey levels
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX, Image.Resampling.HAMMING)
assert CLASS_NAMES == LABELS


@dataclass(frozen=True)
class Truth:
    """What was done to a picture: (class, function, severity) each, in order."""

    distortions: tuple[tuple[str, str, int], ...] = ()

    @property
    def severity(self) -> int:
        """The heaviest, 0..5; of two distortions a level more, since they add up."""
        return min(5, max((severity for *_, severity in self.distortions), default=0) + (len(self.distortions) == 2))

    def class_target(self) -> np.ndarray:
        """Probabilities [13]. What nobody can see without a reference is half None; two distortions share."""
        target = np.zeros(len(CLASS_NAMES), np.float32)
        for label, *_ in self.distortions:
            target[CLASS_NAMES.index(label)] += 1 / len(self.distortions)
        if not self.distortions:
            target[0] = 1
        if len(self.distortions) == 1:
            ((label, _, severity),) = self.distortions
            if severity < SEEN_WITHOUT_REFERENCE_FROM[label]:
                target *= 0.5
                target[0] += 0.5
        return target

    def severity_target(self) -> np.ndarray:
        """Probabilities [6]: an opinion around the level, since neighbours look alike."""
        weights = np.exp(-0.5 * ((np.arange(SEVERITIES) - self.severity) / 0.6) ** 2)
        if self.severity:
            weights[0] *= self.severity == 1
        else:
            weights[1:] = 0
        return (weights / weights.sum()).astype(np.float32)


def crop_detail(photo: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """`crop`, drawn again where it shows next to nothing sharp, on which noise is all that could be told."""
    for _ in range(3):
        part = crop(photo, size, rng)
        if np.abs(cv2.Laplacian(part[..., 1], cv2.CV_16S)).mean() > LEAST_DETAIL:
            break
    return part


def crop(photo: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part of a photo at a random scale, scaled to `size` by one of several filters; perhaps mirrored."""
    height, width = size
    largest = min(photo.shape[0] / height, photo.shape[1] / width)  # how many photo pixels a pixel may stand for
    scale = np.exp(rng.uniform(0, np.log(max(largest, 1)))) if rng.random() < 0.8 else 1
    rows, columns = min(int(height * scale), photo.shape[0]), min(int(width * scale), photo.shape[1])
    top, left = rng.integers(photo.shape[0] - rows + 1), rng.integers(photo.shape[1] - columns + 1)
    part = photo[top : top + rows, left : left + columns]
    if (rows, columns) != size:
        if rng.random() < 0.3:
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        else:
            method = FILTERS[rng.integers(len(FILTERS))]
            part = np.asarray(Image.fromarray(part).resize((width, height), method, reducing_gap=3))
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def draw_truth(rng: np.random.Generator) -> Truth:
    """Classes, functions within them and severities uniform."""
    kind = rng.random()
    if kind < SHARE_CLEAN:
        return Truth()
    first = _draw_class(rng)
    if kind < SHARE_CLEAN + SHARE_OF_TWO:
        second = PAIRS[first][rng.integers(len(PAIRS[first]))]
        return Truth(tuple(_draw_function(label, 3, rng) for label in (first, second)))
    return Truth((_draw_function(first, 5, rng),))


def draw_other(first: Truth, rng: np.random.Generator) -> Truth:
    """A second picture of the view: half of the time the same function at another severity, where there is one."""
    if len(first.distortions) == 1 and rng.random() < 0.5:
        label, name, severity = first.distortions[0]
        other = int(rng.choice([level for level in range(1, 6) if level != severity]))
        return Truth(((label, name, other),))
    return draw_truth(rng)


def order(first: Truth, second: Truth) -> int:
    """1 where the first is surely better, -1 where the second is, 0 where nobody knows.

    One level decides where the function is the same, or where one picture is clean; two levels decide otherwise.
    """
    names = [tuple(name for _, name, _ in truth.distortions) for truth in (first, second)]
    gap = second.severity - first.severity
    needed = 1 if names[0] == names[1] or not all(names) else 2
    return int(np.sign(gap)) if abs(gap) >= needed else 0


def distort_plainly(view: np.ndarray, truth: Truth, rng: np.random.Generator) -> np.ndarray:
    """The whole view with its distortions, uint8 [H, W, 3]."""
    for _, name, severity in truth.distortions:
        view = add_distortion(view, severity, name, rng)
    return view


def distort(view: np.ndarray, truth: Truth, rng: np.random.Generator) -> np.ndarray:
    """The view with all that is true of it, some of it saved as a light JPEG, uint8 [H, W, 3]."""
    picture = distort_plainly(view, truth, rng)
    return jpeg(picture, int(rng.integers(90, 99))) if rng.random() < SHARE_SAVED else picture


def _draw_class(rng: np.random.Generator) -> str:
    return tuple(CLASSES)[rng.integers(len(CLASSES))]


def _draw_function(label: str, worst: int, rng: np.random.Generator) -> tuple[str, str, int]:
    return label, CLASSES[label][rng.integers(len(CLASSES[label]))], int(rng.integers(1, worst + 1))
