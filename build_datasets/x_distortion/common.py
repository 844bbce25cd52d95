"""Helpers of every family: pictures as floats in 0..1 and back."""

import numpy as np


def to_float(img: np.ndarray) -> np.ndarray:
    """uint8 -> float64 in 0..1."""
    return img / 255.0


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Floats, clipped to 0..1, -> uint8; fractions of a grey level are cut off, as in the published data."""
    return np.uint8(np.clip(x, 0, 1) * 255)
