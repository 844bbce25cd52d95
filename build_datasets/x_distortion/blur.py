"""Blur: Gaussian, motion, glass, lens, zoom, jitter; Gaussian towards the corners."""

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import gaussian

from x_distortion.common import lens_mask, to_float, to_uint8


def blur_gaussian(img: np.ndarray, sigma: float, rng) -> np.ndarray:
    return to_uint8(gaussian(to_float(img), sigma=sigma, channel_axis=-1))


def blur_gaussian_lensmask(img: np.ndarray, parameters: tuple[float, float], rng) -> np.ndarray:
    """Sharp in the centre, blurred in the corners."""
    gamma, sigma = parameters
    x = to_float(img)
    mask = lens_mask(*img.shape[:2], gamma)
    return to_uint8(mask * x + (1 - mask) * gaussian(x, sigma=sigma, channel_axis=-1))


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
    """Out of focus: a disk."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    return to_uint8(cv2.filter2D(to_float(img), -1, disk / disk.sum()))


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

    The published data was made so: an exchange of two array views copies instead of exchanging. A pixel whose source
    lies after it takes what that source has become, so sources form chains; halving every chain at once until none is
    left to follow (pointer jumping) gives what the loop over pixels gives.
    """
    height, width = x.shape[:2]
    inner = np.arange(height * width).reshape(height, width)[shift : height - shift, shift : width - shift]
    pixels = x.reshape(height * width, -1)
    for _ in range(passes):
        dy, dx = np.floor(rng.uniform(-shift, shift, (2, *inner.shape))).astype(int)
        source = np.arange(height * width)
        source[inner] = inner + dy * width + dx
        # an earlier pixel, or itself, is read before it changes: a chain ends there
        link = np.maximum(source, np.arange(height * width))
        while not np.array_equal(link, further := link[link]):
            link = further
        pixels = pixels[source[link]]
    return pixels.reshape(x.shape)
