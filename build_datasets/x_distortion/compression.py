"""Compression: JPEG and JPEG 2000, by Pillow."""

from io import BytesIO

import numpy as np
from PIL import Image


def compression_jpeg(img: np.ndarray, quality: int, rng) -> np.ndarray:
    return _through_codec(img, format="JPEG", quality=quality)


def compression_jpeg_2000(img: np.ndarray, decibels: float, rng) -> np.ndarray:
    return _through_codec(img, format="JPEG2000", quality_mode="dB", quality_layers=[decibels])


def _through_codec(img: np.ndarray, **options) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(img).save(buffer, **options)
    return np.array(Image.open(buffer).convert("RGB"))
