"""Synthetic distortions of DQ-495K: 12 classes, severity 1..5, every random draw from the caller's generator.

    from build_datasets.x_distortion import add_distortion
    noisy = add_distortion(img, 3, "noise_poisson", np.random.default_rng(0))

`classes.py` has a row for each class; the tables here derive from it.
"""

from numbers import Integral

import numpy as np

from build_datasets.x_distortion.classes import ROWS

CLASSES = {row.name: tuple(row.functions) for row in ROWS}  # what is drawn
BY_NAME_ONLY = {name: function for row in ROWS for name, function in row.by_name_only.items()}
FUNCTIONS = {name: function for row in ROWS for name, function in row.functions.items()} | BY_NAME_ONLY
CLASS_OF = {name: row.name for row in ROWS for name in (*row.functions, *row.by_name_only)}
PAIRS = {row.name: row.may_be_followed_by for row in ROWS}
ANSWERS = {row.name: row.answer for row in ROWS}
SEEN_WITHOUT_REFERENCE_FROM = {row.name: row.seen_without_reference_from for row in ROWS}  # severity

SEVERITY_NAMES = ("slight", "moderate", "obvious", "serious", "catastrophic")  # of a single distortion, 1..5
SEVERITY_NAMES_OF_TWO = ("slight", "obvious", "serious")  # of each of two distortions, 1..3


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
