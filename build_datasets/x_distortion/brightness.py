"""Brightness: shift and gamma of V or of RGB, brighter and darker; vignetting."""

import cv2
import numpy as np

from build_datasets.x_distortion.common import LEVELS, lens_mask, map_hsv, map_levels, to_float, to_uint8


def shift_value(img: np.ndarray, amount: float, rng) -> np.ndarray:
    """Add to V of HSV, unbounded until back in RGB."""
    hsv = cv2.cvtColor(to_float(img).astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 2] += amount
    return to_uint8(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def shift_rgb(img: np.ndarray, amount: float, rng) -> np.ndarray:
    return map_levels(img, to_uint8(LEVELS.astype(np.float32) + np.float32(amount)))


def gamma_value(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    """V ** gamma, in 8-bit HSV as the published data."""
    return map_hsv(img, 2, to_uint8(LEVELS**gamma))


def gamma_rgb(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    return map_levels(img, to_uint8(LEVELS**gamma))


def vignette(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    """Darker towards the corners."""
    return to_uint8(to_float(img) * lens_mask(img.shape, gamma))
