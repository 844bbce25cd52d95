"""Synthetic distortions of DQ-495K: 12 classes, severity 1..5, every random draw from the caller's generator.

    from build_datasets.x_distortion import add_distortion
    noisy = add_distortion(img, 3, "noise_poisson", np.random.default_rng(0))

Names (with their spelling `shfit`) and parameters are those of the published data. A distortion is one row: the
function and its parameter at each severity.
"""

from numbers import Integral

import numpy as np

from build_datasets.x_distortion import blur, brightness, compression, contrast, detail, noise, quantization, saturation

_CHROMA_NOISE = zip((0.05, 0.06, 0.07, 0.08, 0.09), (1, 1.45, 1.9, 2.35, 2.8), strict=True)  # luma, chroma / luma

DISTORTIONS = {
    "blur": {
        "blur_gaussian": (blur.blur_gaussian, (1, 2, 3, 4, 5)),
        "blur_motion": (blur.blur_motion, ((5, 3), (10, 5), (15, 7), (15, 9), (20, 12))),
        "blur_glass": (blur.blur_glass, ((0.7, 1, 1), (0.9, 2, 1), (1.2, 2, 2), (1.4, 3, 2), (1.6, 4, 2))),
        "blur_lens": (blur.blur_lens, (2, 3, 4, 6, 8)),
        "blur_zoom": (blur.blur_zoom, (1.03, 1.06, 1.10, 1.15, 1.21)),
        "blur_jitter": (blur.blur_jitter, (1, 2, 3, 4, 5)),
    },
    "noise": {
        "noise_gaussian_RGB": (noise.noise_gaussian_RGB, (0.05, 0.10, 0.15, 0.20, 0.25)),
        "noise_gaussian_YCrCb": (noise.noise_gaussian_YCrCb, tuple((y, y * k) for y, k in _CHROMA_NOISE)),
        "noise_speckle": (noise.noise_speckle, (0.14, 0.21, 0.28, 0.35, 0.42)),
        "noise_spatially_correlated": (noise.noise_spatially_correlated, (0.08, 0.11, 0.14, 0.18, 0.22)),
        "noise_poisson": (noise.noise_poisson, (80, 60, 40, 25, 15)),
        "noise_impulse": (noise.noise_impulse, (0.01, 0.03, 0.05, 0.07, 0.10)),
    },
    "compression": {
        "compression_jpeg": (compression.compression_jpeg, (25, 18, 12, 8, 5)),
        "compression_jpeg_2000": (compression.compression_jpeg_2000, (29, 27.5, 26, 24.5, 23)),
    },
    "brighten": {
        "brightness_brighten_shfit_HSV": (brightness.shift_value, (0.1, 0.2, 0.3, 0.4, 0.5)),
        "brightness_brighten_shfit_RGB": (brightness.shift_rgb, (0.1, 0.15, 0.2, 0.27, 0.35)),
        "brightness_brighten_gamma_HSV": (brightness.gamma_value, (0.7, 0.58, 0.47, 0.36, 0.25)),
        "brightness_brighten_gamma_RGB": (brightness.gamma_rgb, (0.8, 0.7, 0.6, 0.45, 0.3)),
    },
    "darken": {
        "brightness_darken_shfit_HSV": (brightness.shift_value, (-0.1, -0.2, -0.3, -0.4, -0.5)),
        "brightness_darken_shfit_RGB": (brightness.shift_rgb, (-0.1, -0.15, -0.2, -0.27, -0.35)),
        "brightness_darken_gamma_HSV": (brightness.gamma_value, (1.5, 1.8, 2.2, 2.7, 3.5)),
        "brightness_darken_gamma_RGB": (brightness.gamma_rgb, (1.4, 1.7, 2.1, 2.6, 3.2)),
    },
    "contrast_strengthen": {
        "contrast_strengthen_scale": (contrast.scale_contrast, (1.4, 1.7, 2.1, 2.6, 4.0)),
        "contrast_strengthen_stretch": (contrast.stretch_contrast, (2, 4, 6, 8, 10)),
    },
    "contrast_weaken": {
        "contrast_weaken_scale": (contrast.scale_contrast, (0.75, 0.6, 0.45, 0.3, 0.2)),
        "contrast_weaken_stretch": (contrast.stretch_contrast, (1.0, 0.9, 0.8, 0.6, 0.4)),
    },
    "saturate_strengthen": {
        "saturate_strengthen_HSV": (saturation.scale_saturation, (3, 6, 12, 20, 64)),
        "saturate_strengthen_YCrCb": (saturation.scale_chroma, (2, 3, 5, 8, 16)),
    },
    "saturate_weaken": {
        "saturate_weaken_HSV": (saturation.scale_saturation, (0.7, 0.55, 0.4, 0.2, 0)),
        "saturate_weaken_YCrCb": (saturation.scale_chroma, (0.6, 0.4, 0.2, 0.1, 0)),
    },
    "oversharpen": {"oversharpen": (detail.oversharpen, (2, 2.8, 4, 6, 8))},
    "pixelate": {"pixelate": (detail.pixelate, (0.5, 0.4, 0.3, 0.25, 0.2))},
    "quantization": {
        "quantization_otsu": (quantization.quantization_otsu, (15, 11, 8, 5, 3)),
        "quantization_median": (quantization.quantization_median, (20, 15, 10, 6, 3)),
        "quantization_hist": (quantization.quantization_hist, (24, 16, 8, 6, 4)),
    },
}
BY_NAME_ONLY = {  # never drawn
    "blur_gaussian_lensmask": (blur.blur_gaussian_lensmask, ((2, 2), (2.4, 4), (3, 6), (3.8, 8), (5, 10))),
    "brightness_vignette": (brightness.vignette, (0.5, 0.875, 1.25, 1.625, 2)),
}

CLASSES = {name: tuple(functions) for name, functions in DISTORTIONS.items()}
FUNCTIONS = {name: row for functions in (*DISTORTIONS.values(), BY_NAME_ONLY) for name, row in functions.items()}

_CONTRAST = ("contrast_strengthen", "contrast_weaken")
_SATURATION = ("saturate_strengthen", "saturate_weaken")
_AFTER_BRIGHTNESS = ("blur", "compression", "noise", "pixelate", "quantization")
_AFTER_SATURATION = ("blur", "compression", "noise", "oversharpen", "pixelate", "quantization")
_AFTER_RESAMPLING = ("brighten", *_CONTRAST, "darken", "noise", "oversharpen")

PAIRS = {  # class that comes first -> classes that may follow, where a picture has two distortions
    "blur": ("brighten", "compression", *_CONTRAST, "darken", "noise", "quantization", *_SATURATION),
    "noise": ("blur", "brighten", "compression", *_CONTRAST, "darken", "oversharpen", "pixelate", *_SATURATION),
    "compression": ("blur", "brighten", *_CONTRAST, "darken", "noise", *_SATURATION),
    "brighten": _AFTER_BRIGHTNESS,
    "darken": _AFTER_BRIGHTNESS,
    "contrast_strengthen": _AFTER_BRIGHTNESS,
    "contrast_weaken": _AFTER_BRIGHTNESS,
    "saturate_strengthen": _AFTER_SATURATION,
    "saturate_weaken": _AFTER_SATURATION,
    "oversharpen": ("brighten",),
    "pixelate": (*_AFTER_RESAMPLING, "quantization", *_SATURATION),
    "quantization": (*_AFTER_RESAMPLING, "pixelate", *_SATURATION),
}

ANSWERS = {  # what an answer calls each class
    "blur": "blur",
    "noise": "noise",
    "compression": "compression",
    "brighten": "overly high brightness",
    "darken": "insufficient brightness",
    "contrast_strengthen": "overly high contrast",
    "contrast_weaken": "insufficient contrast",
    "saturate_strengthen": "overly high saturation",
    "saturate_weaken": "insufficient saturation",
    "oversharpen": "oversharpening",
    "pixelate": "pixelation",
    "quantization": "color quantization",
}

SEVERITY_NAMES = ("slight", "moderate", "obvious", "serious", "catastrophic")  # of a single distortion, 1..5
SEVERITY_NAMES_OF_TWO = ("slight", "obvious", "serious")  # of each of two distortions, 1..3
UNSEEN_WITHOUT_REFERENCE = frozenset(  # at severity 1
    ("brighten", "darken", *_CONTRAST, *_SATURATION, "quantization", "oversharpen")
)


def add_distortion(img: np.ndarray, severity: int, distortion_name: str, rng=None) -> np.ndarray:
    """Distort a picture; the caller's array is not changed.

    Args:
        img: uint8 [H, W, 3], [H, W, 1] or [H, W] (grey is replicated), each side at least 32 pixels.
        severity: 1..5.
        distortion_name: a key of FUNCTIONS.
        rng: numpy `Generator` or `RandomState`; None draws afresh.

    Returns:
        uint8 [H, W, 3].

    Raises:
        TypeError, ValueError: anything else, with what was expected.
    """
    if not isinstance(img, np.ndarray) or img.dtype != np.uint8:
        found = f"{type(img).__name__} of {img.dtype}" if isinstance(img, np.ndarray) else type(img).__name__
        raise TypeError(f"img: expected a numpy array of uint8, found {found}")
    if img.ndim not in (2, 3) or (img.ndim == 3 and img.shape[2] not in (1, 3)):
        raise ValueError(f"img: expected [H, W], [H, W, 1] or [H, W, 3], found shape {list(img.shape)}")
    if min(img.shape[:2]) < 32:
        raise ValueError(f"img: expected sides of at least 32 pixels, found {img.shape[1]} x {img.shape[0]}")
    if not isinstance(severity, Integral) or not 1 <= severity <= 5:
        raise ValueError(f"severity: expected 1, 2, 3, 4 or 5, found {severity!r}")
    if distortion_name not in FUNCTIONS:
        raise ValueError(f"distortion_name: expected one of {', '.join(FUNCTIONS)}; found {distortion_name!r}")
    if img.ndim == 2 or img.shape[2] == 1:
        img = np.repeat(img.reshape(*img.shape[:2], 1), 3, axis=2)
    function, parameters = FUNCTIONS[distortion_name]
    return function(img, parameters[severity - 1], np.random.default_rng() if rng is None else rng)
