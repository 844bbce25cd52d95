"""Saturation, stronger and weaker: of S in HSV, or of the chroma in YCrCb."""

import cv2
import numpy as np

from build_datasets.x_distortion.common import map_hsv, map_levels

_BYTES = np.arange(256, dtype=np.float32)


def scale_saturation(img: np.ndarray, factor: float, rng) -> np.ndarray:
    """S x factor, in 8-bit HSV as the published data."""
    return map_hsv(img, 1, np.clip(_BYTES * np.float32(factor), 0, 255).astype(np.uint8))


def scale_chroma(img: np.ndarray, factor: float, rng) -> np.ndarray:
    """Cr and Cb, away from their neutral 128 or towards it."""
    chroma = np.clip(128 + (_BYTES - 128) * np.float32(factor), 0, 255).astype(np.uint8)
    ycrcb = cv2.cvtColor(img, cv2.COLOR_RGB2YCrCb)
    return cv2.cvtColor(
        map_levels(ycrcb, np.stack([_BYTES.astype(np.uint8), chroma, chroma], axis=-1)), cv2.COLOR_YCrCb2RGB
    )
