"""Blur: Gaussian, motion, glass, lens, zoom, jitter; Gaussian towards the corners.

Filters run on float32 grey levels 0..255, [H, W, 3].
"""

import cv2
import numpy as np

from build_datasets.x_distortion.common import lens_mask


def blur_gaussian(img: np.ndarray, sigma: float, rng) -> np.ndarray:
    return _cut(_gaussian(img.astype(np.float32), sigma))


def blur_gaussian_lensmask(img: np.ndarray, parameters: tuple[float, float], rng) -> np.ndarray:
    """Sharp in the centre, blurred in the corners."""
    gamma, sigma = parameters
    x = img.astype(np.float32)
    blurred = _gaussian(x, sigma)
    return _cut(blurred + lens_mask(img.shape, gamma).astype(np.float32) * (x - blurred))


def blur_motion(img: np.ndarray, parameters: tuple[int, float], rng) -> np.ndarray:
    """One-sided Gaussian weights along a line at a random angle; edges are replicated."""
    radius, sigma = parameters
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    angle = np.deg2rad(rng.uniform(-90, 90))
    steps = np.arange(width)[:, None] * (np.sin(angle), np.cos(angle))  # down, to the right
    rows, columns = (width + np.ceil(steps - 0.5).astype(int)).T
    height, length = img.shape[:2]
    padded = cv2.copyMakeBorder(img.astype(np.float32), width, width, width, width, cv2.BORDER_REPLICATE)
    blurred = np.zeros(img.shape, np.float32)
    for weight, row, column in zip(weights, rows, columns, strict=True):
        cv2.scaleAdd(padded[row : row + height, column : column + length], weight, blurred, blurred)
    return _cut(blurred)


def blur_glass(img: np.ndarray, parameters: tuple[float, int, int], rng) -> np.ndarray:
    """As through frosted glass."""
    sigma, shift, passes = parameters
    return _cut(_gaussian(_jitter(_gaussian(img.astype(np.float32), sigma), shift, passes, rng), sigma))


def blur_lens(img: np.ndarray, radius: int, rng) -> np.ndarray:
    """Out of focus: a disk."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    return _cut(cv2.filter2D(img.astype(np.float32), -1, disk / disk.sum()))


def blur_zoom(img: np.ndarray, largest: float, rng) -> np.ndarray:
    """Moving along the optical axis: the mean of the picture and its centre at several zooms from 1 to `largest`."""
    x = img.astype(np.float32)
    zooms = np.arange(1, largest, 0.02)
    total = x.copy()
    for zoom in zooms:
        rows, columns = (_zoomed_from(size, zoom) for size in img.shape[:2])
        total += cv2.remap(x, *np.meshgrid(columns, rows), cv2.INTER_LINEAR)
    return _cut(total / (len(zooms) + 1))


def _zoomed_from(size: int, zoom: float) -> np.ndarray:
    """Where along an axis each pixel of the zoomed centre comes from, float32 [size]: corners map to corners."""
    source = int(np.ceil(size / zoom))
    enlarged = round(source * zoom)
    cropped = (enlarged - size) // 2
    places = (size - source) // 2 + (np.arange(size) + cropped) * ((source - 1) / (enlarged - 1))
    return places.astype(np.float32)


def blur_jitter(img: np.ndarray, shift: int, rng) -> np.ndarray:
    return _jitter(img, shift, 1, rng)


def _jitter(x: np.ndarray, shift: int, passes: int, rng) -> np.ndarray:
    """Each pixel, from the last to the first, takes the present value of one up to `shift` rows and columns away.

    The published data was made so: an exchange of two array views copies instead of exchanging. A pixel whose source
    lies after it takes what that source has become, so sources form chains; halving every chain at once until none is
    left to follow (pointer jumping) gives what the loop over pixels gives.
    """
    height, width = x.shape[:2]
    every = np.arange(height * width)
    steps = np.arange(-shift, shift)
    steps = (steps[:, None] * width + steps).ravel()
    origin = every
    for _ in range(passes):
        source = every.copy()
        inner = source.reshape(height, width)[shift : height - shift, shift : width - shift]
        inner += rng.choice(steps, inner.shape)
        # a source before the pixel, or the pixel itself, is read before it changes: there a chain ends
        link = np.maximum(source, every)
        while not np.array_equal(link, further := link.take(link)):
            link = further
        origin = origin.take(source.take(link))
    return x.reshape(height * width, -1).take(origin, axis=0).reshape(x.shape)


def _gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """Cut off at 4 sigma, edges replicated."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    return cv2.sepFilter2D(x, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)


def _cut(x: np.ndarray) -> np.ndarray:
    """Float grey levels -> uint8, fractions cut off, but 127.99999 (an even 128, blurred in float32) is 128."""
    return np.minimum(x + np.float32(1e-3), 255).astype(np.uint8)
