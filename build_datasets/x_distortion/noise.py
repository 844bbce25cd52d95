"""Noise: Gaussian in RGB and in YCrCb, speckle, spatially correlated, Poisson, impulse."""

import cv2
import numpy as np

from build_datasets.x_distortion.common import to_float, to_uint8


def noise_gaussian_RGB(img: np.ndarray, sigma: float, rng) -> np.ndarray:
    return to_uint8(to_float(img) + rng.normal(0, sigma, img.shape))


def noise_gaussian_YCrCb(img: np.ndarray, sigmas: tuple[float, float], rng) -> np.ndarray:
    """`sigmas`: of luma, of chroma."""
    ycrcb = cv2.cvtColor(to_float(img).astype(np.float32), cv2.COLOR_RGB2YCrCb)
    luma, chroma = sigmas
    noise = [rng.normal(0, sigma, img.shape[:2]) for sigma in (luma, chroma, chroma)]
    return to_uint8(cv2.cvtColor(ycrcb + np.stack(noise, axis=-1).astype(np.float32), cv2.COLOR_YCrCb2RGB))


def noise_speckle(img: np.ndarray, sigma: float, rng) -> np.ndarray:
    x = to_float(img)
    return to_uint8(x + x * rng.normal(0, sigma, img.shape))


def noise_spatially_correlated(img: np.ndarray, sigma: float, rng) -> np.ndarray:
    return to_uint8(cv2.blur(to_float(img) + rng.normal(0, sigma, img.shape), (3, 3)))


def noise_poisson(img: np.ndarray, photons: float, rng) -> np.ndarray:
    """`photons`: expected count at full brightness."""
    return to_uint8(rng.poisson(to_float(img) * photons) / photons)


def noise_impulse(img: np.ndarray, share: float, rng) -> np.ndarray:
    """Salt and pepper, half each, channel by channel."""
    draw = rng.uniform(size=img.shape)
    return np.where(draw < share / 2, 0, np.where(draw > 1 - share / 2, 255, img)).astype(np.uint8)
