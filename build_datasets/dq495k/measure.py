"""What can be measured of a picture: sharpness, noise, blockiness, exposure, contrast, colourfulness, flatness."""

from dataclasses import dataclass

import cv2
import numpy as np

_LAPLACIAN_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Measures:
    """Numbers of one picture.

    Attributes:
        sharpness: mean length of the luma's gradient, grey levels per pixel.
        noise: standard deviation of white noise, grey levels (Immerkaer, 1996).
        blockiness: mean step across the edges of 8 x 8 blocks over that inside blocks (Wang et al., 2000); 1 without blocks.
        exposure: mean luma, 0..255.
        contrast: standard deviation of the luma, grey levels.
        colorfulness: of Hasler and Suesstrunk, 2003; 0 is grey, over 80 is gaudy.
        flatness: share of neighbouring pixels that are equal.
    """

    sharpness: float
    noise: float
    blockiness: float
    exposure: float
    contrast: float
    colorfulness: float
    flatness: float


def measure(img: np.ndarray) -> Measures:
    """Measure a picture (uint8, [H, W, 3], sides of at least 16 pixels)."""
    values = img.astype(np.float32)
    luma = values @ _LUMA  # [H, W]
    right, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    inside = cv2.filter2D(luma, -1, _LAPLACIAN_NOISE)[1:-1, 1:-1]
    return Measures(
        sharpness=float((right.mean() + down.mean()) / 2),
        noise=float(np.sqrt(np.pi / 2) * np.abs(inside).mean() / 6),
        blockiness=(_block_ratio(right) + _block_ratio(down.T)) / 2,
        exposure=float(luma.mean()),
        contrast=float(luma.std()),
        colorfulness=_colorfulness(values),
        flatness=float(((right == 0).mean() + (down == 0).mean()) / 2),
    )


def _block_ratio(steps: np.ndarray) -> float:
    """Of the steps between neighbours along rows [H, W - 1]: those across a block's edge over the others."""
    columns = np.arange(steps.shape[1]) % 8 == 7
    return float(
        (steps[:, columns].mean() + 0.5) / (steps[:, ~columns].mean() + 0.5)
    )  # 0.5: flat pictures have no ratio


def _colorfulness(values: np.ndarray) -> float:
    red, green, blue = np.moveaxis(values, 2, 0)
    first, second = red - green, (red + green) / 2 - blue
    return float(np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean()))
