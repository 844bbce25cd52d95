"""Oversharpening and pixelation."""

import cv2
import numpy as np
from PIL import Image


def oversharpen(img: np.ndarray, amount: float, rng) -> np.ndarray:
    """Unsharp mask."""
    return cv2.addWeighted(img, 1 + amount, cv2.GaussianBlur(img, (5, 5), 0), -amount, 0)


def pixelate(img: np.ndarray, scale: float, rng) -> np.ndarray:
    picture = Image.fromarray(img)
    small = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BOX)
    return np.array(small.resize(picture.size, Image.Resampling.NEAREST))
