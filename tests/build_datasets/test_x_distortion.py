"""Distortions equal the published ones: to a grey level where deterministic, in their statistics where random."""

import itertools

import numpy as np
import pytest
from PIL import Image

from build_datasets.x_distortion import (
    ANSWERS,
    BY_NAME_ONLY,
    CLASSES,
    FUNCTIONS,
    PAIRS,
    SEVERITY_NAMES,
    SEVERITY_NAMES_OF_TWO,
    add_distortion,
)
from conftest import DATA, golden, image_path
from depictqa.prompts import DISTORTIONS

GOLDEN = golden("distortions/distortions.json")
ARRAYS = np.load(DATA / "distortions" / "arrays.npz")
IMG = np.array(Image.open(image_path("s16_dist_128x96.png")).convert("RGB"))
STEP = GOLDEN["subsample_step"]
DRAWS = 8
NAMES = [*itertools.chain(*CLASSES.values()), *BY_NAME_ONLY]


def each(cases):
    return [pytest.param(case, id=f"{case['name']}-{case['severity']}") for case in cases]


@pytest.mark.parametrize("case", each(GOLDEN["deterministic"]))
def test_deterministic(case):
    img = add_distortion(IMG, case["severity"], case["name"])
    difference = abs(img[::STEP, ::STEP].astype(int) - ARRAYS[case["key"]])
    if case["name"].startswith("compression"):
        assert difference.mean() <= 0.5  # depends on the codec's version
    else:
        assert difference.max() <= 1


@pytest.mark.parametrize("case", each(GOLDEN["random"]))
def test_random(case):
    name, severity = case["name"], case["severity"]
    if case["reproducible_with_np_random_seed"]:  # the very picture, from the original's generator
        img = add_distortion(IMG, severity, name, np.random.RandomState(case["seeds"][0]))
        expected = ARRAYS[case["exact_for_first_seed"]["key"]]
        assert abs(img[:: 2 * STEP, :: 2 * STEP].astype(int) - expected).max() <= 1
        return
    pictures = [add_distortion(IMG, severity, name, np.random.default_rng(seed)).astype(float) for seed in range(DRAWS)]
    assert np.mean([(p - IMG).std() for p in pictures]) == pytest.approx(np.mean(case["std_diff"]), rel=0.05)
    assert np.mean([abs(p - IMG).mean() for p in pictures]) == pytest.approx(np.mean(case["mean_abs_diff"]), rel=0.05)
    assert np.mean([p.std() for p in pictures]) == pytest.approx(np.mean(case["std_of_output"]), rel=0.05)


def test_the_goldens_cover_every_function_at_every_severity():
    cases = {(case["name"], case["severity"]) for case in GOLDEN["deterministic"] + GOLDEN["random"]}
    assert cases == set(itertools.product(NAMES, range(1, 6)))


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_picture_is_not_changed_and_the_generator_decides(name):
    img = IMG.copy()
    img.flags.writeable = False
    first = add_distortion(img, 3, name, np.random.default_rng(7))
    assert first.shape == IMG.shape and first.dtype == np.uint8 and not np.shares_memory(first, img)
    np.random.seed(0)  # numpy's global generator has no say, nor is it drawn from
    state = np.random.get_state()[1].copy()
    assert np.array_equal(first, add_distortion(IMG, 3, name, np.random.default_rng(7)))
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures(name, severity, level):
    """No crash, no warning; what moves or mixes pixels leaves them as they are."""
    flat = np.full((33, 50, 3), level, np.uint8)
    with np.errstate(all="raise", under="ignore"):
        out = add_distortion(flat, severity, name, np.random.default_rng(0))
    assert out.shape == flat.shape
    if name.startswith(("blur", "oversharpen", "pixelate", "quantization_otsu", "quantization_median")):
        assert np.array_equal(out, flat)


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name):
    """The smallest, an odd one, a view into another array, grey as [H, W] and [H, W, 1]."""
    rng = np.random.default_rng(0)
    for img in (IMG[:32, :32], IMG[:37, 1:76], IMG[::-2, ::3]):
        assert add_distortion(img, 2, name, rng).shape == img.shape
    from_2d, from_3d = (add_distortion(grey, 2, name, np.random.default_rng(0)) for grey in (IMG[..., 0], IMG[..., :1]))
    assert from_2d.shape == IMG.shape and np.array_equal(from_2d, from_3d)


def test_tables():
    """Names, their order and answers are the data's."""
    assert {name: list(functions) for name, functions in CLASSES.items()} == GOLDEN["distortions_dict"]
    assert list(BY_NAME_ONLY) == GOLDEN["extra_names_reachable_by_name"]
    assert sum(map(len, CLASSES.values())) == 35
    assert list(FUNCTIONS) == NAMES
    assert list(ANSWERS) == list(DISTORTIONS)
    assert all(len(parameters) == len(SEVERITY_NAMES) == 5 for _, parameters in FUNCTIONS.values())
    assert len(SEVERITY_NAMES_OF_TWO) == 3


PAIR_RULES = """
    blur: brighten compression contrast_± darken noise quantization saturate_±
    brighten: blur compression noise pixelate quantization
    compression: blur brighten contrast_± darken noise saturate_±
    contrast_±: blur compression noise pixelate quantization
    darken: blur compression noise pixelate quantization
    noise: blur brighten compression contrast_± darken oversharpen pixelate saturate_±
    oversharpen: brighten
    pixelate: brighten contrast_± darken noise oversharpen quantization saturate_±
    quantization: brighten contrast_± darken noise oversharpen pixelate saturate_±
    saturate_±: blur compression noise oversharpen pixelate quantization
"""


def both(word):
    return [word.replace("±", way) for way in ("strengthen", "weaken")] if "±" in word else [word]


def test_pairs():
    """The rules as they were published; ± stands for strengthen and weaken."""
    rules = [line.split(":") for line in PAIR_RULES.strip().splitlines()]
    expected = {
        (first, second)
        for firsts, seconds in rules
        for first in both(firsts.strip())
        for word in seconds.split()
        for second in both(word)
    }
    assert {(first, second) for first, following in PAIRS.items() for second in following} == expected
    assert list(PAIRS) == list(CLASSES)


@pytest.mark.parametrize(
    ("img", "severity", "name", "error", "message"),
    [
        ([1], 1, "pixelate", TypeError, "img: expected a numpy array of uint8, found list"),
        (IMG / 255, 1, "pixelate", TypeError, "found ndarray of float64"),
        (IMG[:20], 1, "pixelate", ValueError, "sides of at least 32 pixels, found 128 x 20"),
        (np.zeros((40, 40, 4), np.uint8), 1, "pixelate", ValueError, r"found shape \[40, 40, 4\]"),
        (np.zeros((1, 40, 40, 3), np.uint8), 1, "pixelate", ValueError, r"found shape \[1, 40, 40, 3\]"),
        (IMG, 0, "pixelate", ValueError, "severity: expected 1, 2, 3, 4 or 5, found 0"),
        (IMG, 6, "pixelate", ValueError, "found 6"),
        (IMG, 1.5, "pixelate", ValueError, "found 1.5"),
        (IMG, "3", "pixelate", ValueError, "found '3'"),
        (IMG, 1, "nope", ValueError, "distortion_name: expected one of blur_gaussian, .*; found 'nope'"),
        (IMG, 1, None, ValueError, "found None"),
        (IMG, 1, "blur", ValueError, "found 'blur'"),
    ],
)
def test_wrong_arguments(img, severity, name, error, message):
    with pytest.raises(error, match=message):
        add_distortion(img, severity, name)
