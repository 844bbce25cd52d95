"""Distortions equal the published ones: to a grey level where deterministic, in their statistics where random."""

import itertools

import numpy as np
import pytest
from PIL import Image

from conftest import DATA, golden, image_path
from x_distortion import ANSWERS, CLASSES, FUNCTIONS, add_distortion
from x_distortion.quantization import multi_otsu

GOLDEN = golden("distortions/distortions.json")
ARRAYS = np.load(DATA / "distortions" / "arrays.npz")
IMG = np.array(Image.open(image_path("s16_dist_128x96.png")).convert("RGB"))
STEP = GOLDEN["subsample_step"]
DRAWS = 8


def each(cases):
    return [pytest.param(case, id=f"{case['name']}-{case['severity']}") for case in cases]


@pytest.mark.parametrize("case", each(GOLDEN["deterministic"]))
def test_deterministic(case):
    difference = np.abs(add_distortion(IMG, case["severity"], case["name"])[::STEP, ::STEP].astype(int) - ARRAYS[case["key"]])
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
        assert np.abs(img[:: 2 * STEP, :: 2 * STEP].astype(int) - expected).max() <= 1
        return
    pictures = [add_distortion(IMG, severity, name, np.random.default_rng(seed)).astype(float) for seed in range(DRAWS)]
    assert np.mean([(p - IMG).std() for p in pictures]) == pytest.approx(np.mean(case["std_diff"]), rel=0.05)
    assert np.mean([p.std() for p in pictures]) == pytest.approx(np.mean(case["std_of_output"]), rel=0.05)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_callers_picture_is_not_changed_and_seeds_decide(name):
    img = IMG.copy()
    first = add_distortion(img, 3, name, np.random.default_rng(7))
    assert np.array_equal(img, IMG)
    assert first.shape == IMG.shape and first.dtype == np.uint8
    assert np.array_equal(first, add_distortion(IMG, 3, name, np.random.default_rng(7)))


def test_otsu_is_exact():
    """Against every combination of cuts, on random histograms."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        counts, classes = rng.integers(1, 50, 10), int(rng.integers(2, 5))

        def score(cuts, counts=counts):
            parts = np.split(np.arange(10), np.array(cuts) + 1)
            return sum((counts[p] * np.maximum(p, 1)).sum() ** 2 / counts[p].sum() for p in parts)

        best = max(score(cuts) for cuts in itertools.combinations(range(9), classes - 1))
        assert score(multi_otsu(counts, classes)) == pytest.approx(best, rel=1e-12)


def test_every_class_has_a_word():
    assert list(CLASSES) == list(ANSWERS) == list(GOLDEN["distortions_dict"])


def test_grey_pictures_are_replicated():
    for grey in (IMG[..., 0], IMG[..., :1]):
        assert add_distortion(grey, 1, "pixelate").shape == IMG.shape


@pytest.mark.parametrize(
    ("img", "severity", "name", "error", "message"),
    [
        ([1], 1, "pixelate", TypeError, "expected a numpy array of uint8, found list"),
        (IMG / 255, 1, "pixelate", TypeError, "found ndarray of float64"),
        (IMG[:20], 1, "pixelate", ValueError, "sides of at least 32 pixels, found 128 x 20"),
        (np.zeros((40, 40, 4), np.uint8), 1, "pixelate", ValueError, r"found shape \[40, 40, 4\]"),
        (IMG, 0, "pixelate", ValueError, "severity: expected 1, 2, 3, 4 or 5, found 0"),
        (IMG, 1, "nope", ValueError, "distortion_name: expected one of blur_gaussian, .*; found 'nope'"),
    ],
)
def test_wrong_arguments(img, severity, name, error, message):
    with pytest.raises(error, match=message):
        add_distortion(img, severity, name)
