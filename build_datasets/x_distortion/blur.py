"""Blur: Gaussian, motion, glass, lens, zoom, jitter."""

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import gaussian

from x_distortion.common import to_float, to_uint8


def blur_gaussian(img: np.ndarray, sigma: float, rng) -> np.ndarray:
    return to_uint8(gaussian(to_float(img), sigma=sigma, channel_axis=-1))


def blur_motion(img: np.ndarray, parameters: tuple[int, float], rng) -> np.ndarray:
    """One-sided Gaussian weights along a line at a random angle; edges are replicated."""
    radius, sigma = parameters
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    angle = np.deg2rad(rng.uniform(-90, 90))
    offsets = [-np.ceil(np.arange(width) * direction - 0.5).astype(int) for direction in (np.sin(angle), np.cos(angle))]
    x = to_float(img)
    height, length = x.shape[:2]
    padded = np.pad(x, ((width, width), (width, width), (0, 0)), mode="edge")
    blurred = np.zeros_like(x)
    for weight, dy, dx in zip(weights, *offsets, strict=True):
        blurred += weight * padded[width - dy : width - dy + height, width - dx : width - dx + length]
    return to_uint8(blurred)


def blur_glass(img: np.ndarray, parameters: tuple[float, int, int], rng) -> np.ndarray:
    sigma, shift, passes = parameters
    x = gaussian(to_float(img), sigma=sigma, channel_axis=-1)
    return to_uint8(gaussian(_jitter(x, shift, passes, rng), sigma=sigma, channel_axis=-1))


def blur_lens(img: np.ndarray, radius: int, rng) -> np.ndarray:
    """A disk, its rim smoothed a little against aliasing."""
    y, x = np.mgrid[-8:9, -8:9]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (3, 3), 0.1)
    return to_uint8(cv2.filter2D(to_float(img), -1, kernel))


def blur_zoom(img: np.ndarray, largest: float, rng) -> np.ndarray:
    x = to_float(img)
    zooms = np.arange(1, largest, 0.02)
    return to_uint8((x + sum(_zoom(x, zoom) for zoom in zooms)) / (len(zooms) + 1))


def _zoom(x: np.ndarray, zoom: float) -> np.ndarray:
    """The centre of the picture, enlarged to the picture's size."""
    height, width = x.shape[:2]
    rows, columns = int(np.ceil(height / zoom)), int(np.ceil(width / zoom))
    top, left = (height - rows) // 2, (width - columns) // 2
    larger = ndimage.zoom(x[top : top + rows, left : left + columns], (zoom, zoom, 1), order=1)
    top, left = (larger.shape[0] - height) // 2, (larger.shape[1] - width) // 2
    return larger[top : top + height, left : left + width]


def blur_jitter(img: np.ndarray, shift: int, rng) -> np.ndarray:
    return _jitter(img, shift, 1, rng)


def _jitter(x: np.ndarray, shift: int, passes: int, rng) -> np.ndarray:
    """Each pixel, from the last to the first, takes the present value of a near one.

    The published data was made so: an exchange of two array views copies instead of exchanging. A list of indices
    keeps that order, at the cost of a list walk instead of a loop over pixels.
    """
    height, width = x.shape[:2]
    rows, columns = np.arange(height - shift - 1, shift - 1, -1), np.arange(width - shift - 1, shift - 1, -1)
    targets = (rows[:, None] * width + columns).ravel()
    indices = list(range(height * width))
    for _ in range(passes):
        dy, dx = np.floor(rng.uniform(-shift, shift, (2, len(targets)))).astype(int)
        for target, source in zip(targets.tolist(), (targets + dy * width + dx).tolist(), strict=True):
            indices[target] = indices[source]
    return x.reshape(height * width, -1)[indices].reshape(x.shape)
