"""Helpers of every family: pictures as floats in 0..1 and back, grey-level tables, 8-bit HSV, the lens mask."""

import cv2
import numpy as np

LEVELS = np.arange(256) / 255.0  # the grey levels of a picture, as floats


def to_float(img: np.ndarray) -> np.ndarray:
    """uint8 -> float64 in 0..1."""
    return img / 255.0


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Floats, clipped to 0..1, -> uint8; fractions of a grey level are cut off, as in the published data."""
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def map_levels(img: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Send every grey level v to `levels[v]`: a function of one pixel is evaluated 256 times, not once a pixel.

    Args:
        img: uint8 [H, W, C].
        levels: uint8 [256], or [256, C] where channels differ.
    """
    return cv2.LUT(img, levels.reshape(1, 256, -1)).reshape(img.shape)


def map_hsv(img: np.ndarray, channel: int, levels: np.ndarray) -> np.ndarray:
    """`map_levels` of one channel (0 H, 1 S, 2 V) of 8-bit HSV."""
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
    hsv[..., channel] = cv2.LUT(hsv[..., channel], levels)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def lens_mask(shape: tuple[int, ...], gamma: float) -> np.ndarray:
    """(1 - r / r_corner) ** gamma, r from the centre: 1 there, 0 in the corner. [H, W, ...] -> float64 [H, W, 1]."""
    height, width = shape[:2]
    y, x = np.ogrid[:height, :width]
    r = np.hypot(y - height / 2, x - width / 2) / np.hypot(height / 2, width / 2)
    return ((1 - r) ** gamma)[..., None]
