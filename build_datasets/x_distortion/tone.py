"""Brightness, contrast and saturation."""

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from x_distortion.common import to_float, to_uint8


def shift_value(img: np.ndarray, amount: float, rng) -> np.ndarray:
    """Add to V of HSV; hue and saturation stay, so every channel scales as V does."""
    x = to_float(img)
    value = x.max(axis=-1, keepdims=True)
    return to_uint8(np.where(value > 0, x * ((value + amount) / np.maximum(value, 1e-12)), value + amount))


def shift_rgb(img: np.ndarray, amount: float, rng) -> np.ndarray:
    return to_uint8(to_float(img) + amount)


def gamma_value(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    """V ** gamma, in 8-bit HSV as the published data."""
    return _in_hsv(img, 2, lambda value: 255 * (value / 255.0) ** gamma)


def gamma_rgb(img: np.ndarray, gamma: float, rng) -> np.ndarray:
    return to_uint8(to_float(img) ** gamma)


def scale_contrast(img: np.ndarray, factor: float, rng) -> np.ndarray:
    return np.array(ImageEnhance.Contrast(Image.fromarray(img)).enhance(factor))


def stretch_contrast(img: np.ndarray, power: float, rng) -> np.ndarray:
    """A sigmoid around each channel's mean."""
    x = to_float(img)
    return to_uint8(1 / (1 + (x.mean(axis=(0, 1)) / (x + 1e-12)) ** power))


def scale_saturation(img: np.ndarray, factor: float, rng) -> np.ndarray:
    """S x factor, in 8-bit HSV as the published data."""
    return _in_hsv(img, 1, lambda saturation: np.clip(saturation * float(factor), 0, 255))


def scale_chroma(img: np.ndarray, factor: float, rng) -> np.ndarray:
    ycrcb = cv2.cvtColor(img, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    ycrcb[..., 1:] = np.clip(128 + (ycrcb[..., 1:] - 128) * factor, 0, 255)
    return cv2.cvtColor(ycrcb.astype(np.uint8), cv2.COLOR_YCrCb2RGB)


def _in_hsv(img: np.ndarray, channel: int, function) -> np.ndarray:
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
    hsv[..., channel] = function(hsv[..., channel]).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
