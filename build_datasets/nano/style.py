"""What a photographer, a camera or a web site does to a picture without harming it.

Style is not distortion: a dark mood, faded colours, a warm white balance, mild denoising and sharpening, a resampling
and a light JPEG leave a picture clean. Training draws them on the reference, before any distortion, so that "None"
covers them.
"""

import io

import cv2
import numpy as np
from PIL import Image

SHARE_PLAIN = 0.3  # of pictures that are left as they are
LUMA = np.array((0.299, 0.587, 0.114), np.float32)


def draw_style(
    picture: np.ndarray, rng: np.random.Generator, strength: float = 1.0, share_plain: float = SHARE_PLAIN
) -> np.ndarray:
    """A random style; the caller's array is not changed.

    Args:
        picture: uint8 [H, W, 3].
        strength: scales how far light and colour may move; 0 leaves only what a camera does to detail.
        share_plain: how often the picture is left as it is.

    Returns:
        uint8 [H, W, 3].
    """
    if rng.random() < share_plain:
        return picture
    if rng.random() < 0.85:
        picture = _light_and_colour(picture, rng, strength)
    if rng.random() < 0.35:
        picture = _detail(picture, rng)
    if rng.random() < 0.4:
        picture = jpeg(picture, int(rng.integers(85, 99)))
    return picture


def _light_and_colour(picture: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A tone curve, contrast, brightness, white balance and saturation, each as likely as not."""
    x: np.ndarray = picture.astype(np.float32) / 255
    if rng.random() < 0.5:
        x = np.interp(x, np.linspace(0, 1, 5), _tone_curve(rng, strength)).astype(np.float32)
    if rng.random() < 0.5:  # about the mean, as contrast is felt
        x = x.mean() + (x - x.mean()) * np.exp(rng.normal(0, 0.1 * strength))
    if rng.random() < 0.5:
        x = np.clip(x, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.14 * strength)))
    if rng.random() < 0.5:
        x = x * np.exp(rng.normal(0, 0.05 * strength, 3)).astype(np.float32)
    if rng.random() < 0.5:
        grey = (x @ LUMA)[..., None]
        x = grey + (x - grey) * np.exp(np.clip(rng.normal(0, 0.22 * strength), -0.4, 0.45)).astype(np.float32)
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


def _tone_curve(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Rising grey levels at 0, 1/4, ... 1; blacks may be lifted and whites held back a little."""
    moved = np.linspace(0, 1, 5) + rng.normal(0, 0.04 * strength, 5)
    moved[0], moved[4] = abs(moved[0]) * 0.7, 1 - abs(moved[4] - 1) * 0.7
    return np.maximum.accumulate(np.clip(moved, 0, 1))


def _detail(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mild sharpening, mild smoothing, a camera's own noise, or a resampling."""
    kind = rng.integers(4)
    if kind == 0:
        soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 1.2))
        return cv2.addWeighted(picture, 1 + (amount := rng.uniform(0.1, 0.7)), soft, -amount, 0)
    if kind == 1:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.25, 0.45))
    if kind == 2:
        noise = rng.normal(0, rng.uniform(0.5, 2.5), picture.shape[:2])[..., None]
        noisy = picture + noise + rng.normal(0, 0.7, picture.shape)
        return (np.clip(noisy, 0, 255) + 0.5).astype(np.uint8)
    height, width = picture.shape[:2]
    factor = rng.uniform(1.15, 2)
    method = (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_LINEAR)[rng.integers(3)]
    larger = cv2.resize(picture, (int(width * factor), int(height * factor)), interpolation=method)
    return cv2.resize(larger, (width, height), interpolation=cv2.INTER_AREA)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """As a JPEG of this quality shows it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
