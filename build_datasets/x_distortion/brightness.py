"""Brightness: shift and gamma of V or of RGB, brighter and darker; vignetting."""

import numpy as np

from x_distortion.common import LEVELS, lens_mask, map_hsv, map_levels, to_float, to_uint8


def shift_value(img: np.ndarray, amount: float, rng) -> np.ndarray:
    """Add to V of HSV; hue and saturation stay, so every channel scales as V does."""
    x = to_float(img)
    value = x.max(axis=-1, keepdims=True)  # [H, W, 1]
    return to_uint8(np.where(value > 0, x * ((value + amount) / np.maximum(value, 1e-12)), value + amount))


def shift_rgb(img: np.ndarray, amount: float, rng) -> np.ndarray:
    return map_levels(img, to_uint8(LEVELS + amount))


def gamma_value(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    """V ** gamma, in 8-bit HSV as the published data."""
    return map_hsv(img, 2, to_uint8(LEVELS**gamma))


def gamma_rgb(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    return map_levels(img, to_uint8(LEVELS**gamma))


def vignette(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    """Darker towards the corners."""
    return to_uint8(to_float(img) * lens_mask(*img.shape[:2], gamma))
