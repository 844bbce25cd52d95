"""Contrast, stronger and weaker: around the picture's mean grey, or by a sigmoid around each channel's mean."""

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from build_datasets.x_distortion.common import LEVELS, map_levels, to_uint8


def scale_contrast(img: np.ndarray, factor: float, rng) -> np.ndarray:
    return np.array(ImageEnhance.Contrast(Image.fromarray(img)).enhance(factor))


def stretch_contrast(img: np.ndarray, power: float, rng) -> np.ndarray:
    """1 / (1 + (mean / x) ** power), the mean per channel."""
    means = np.array(cv2.mean(img)[:3]) / 255
    return map_levels(img, to_uint8(1 / (1 + (means / (LEVELS[:, None] + 1e-12)) ** power)))
