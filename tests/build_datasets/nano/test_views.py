"""Views of photos: what is true of them, and what leaves a picture clean."""

import numpy as np
import pytest

from build_datasets.nano.style import draw_style
from build_datasets.nano.synthetic import dead_leaves
from build_datasets.nano.views import CLASS_NAMES, Truth, crop, draw_other, draw_truth, order
from build_datasets.x_distortion import PAIRS

SIZE = (160, 192)
NOISE, BLUR = ("noise", "noise_gaussian_RGB", 2), ("blur", "blur_gaussian", 4)


@pytest.fixture(scope="module")
def photo():
    rows, columns = np.mgrid[:300, :420]
    return np.uint8(np.stack([rows * 7 % 256, columns * 3 % 256, (rows + columns) % 256], axis=-1))


def test_truths_cover_everything_and_keep_the_rules():
    rng = np.random.default_rng(0)
    truths = [draw_truth(rng) for _ in range(2000)]
    assert {label for truth in truths for label, *_ in truth.distortions} == set(CLASS_NAMES[1:])
    for truth in truths:
        assert truth.class_target().sum() == pytest.approx(1) and truth.severity_target().sum() == pytest.approx(1)
        if len(truth.distortions) == 2:
            (first, *_), (second, *_) = truth.distortions
            assert second in PAIRS[first] and all(severity <= 3 for *_, severity in truth.distortions)


def test_half_of_the_second_pictures_differ_in_severity_alone():
    rng, first = np.random.default_rng(0), Truth((NOISE,))
    others = [draw_other(first, rng) for _ in range(400)]
    same = [other for other in others if [name for _, name, _ in other.distortions] == ["noise_gaussian_RGB"]]
    assert 0.4 < len(same) / len(others) < 0.6
    assert sum(other == first for other in same) < 10  # another draw may happen to be the same


def test_targets_say_what_can_be_seen():
    assert Truth().class_target()[0] == 1 and Truth().severity_target()[0] == 1
    faint = Truth((("darken", "brightness_darken_gamma_RGB", 1),)).class_target()
    assert faint[0] == 0.5 and faint[CLASS_NAMES.index("darken")] == 0.5
    assert Truth((NOISE,)).class_target()[CLASS_NAMES.index("noise")] == 1
    assert Truth((NOISE, BLUR)).class_target().max() == 0.5
    assert Truth((NOISE,)).severity_target().argmax() == 2 and Truth((NOISE, BLUR)).severity == 5


def test_order_is_said_only_where_it_is_known():
    worse = ("noise", "noise_gaussian_RGB", 3)
    assert order(Truth((NOISE,)), Truth((worse,))) == 1 and order(Truth((worse,)), Truth((NOISE,))) == -1
    assert order(Truth(), Truth((NOISE,))) == 1
    assert order(Truth((worse,)), Truth((BLUR,))) == 0  # one level apart, different functions
    assert order(Truth((NOISE,)), Truth((BLUR,))) == 1


def test_crops_never_enlarge(photo):
    rng = np.random.default_rng(0)
    assert {crop(photo, SIZE, rng).shape for _ in range(20)} == {(*SIZE, 3)}
    small = np.unique(photo[:160, :192])
    assert set(np.unique(crop(photo[:160, :192], SIZE, rng))) == set(small)


def test_style_is_mild_and_leaves_the_callers_picture(photo):
    before, rng = photo.copy(), np.random.default_rng(0)
    moved = [np.abs(draw_style(photo, rng).astype(float) - photo).mean() for _ in range(60)]
    assert np.array_equal(photo, before)
    assert np.mean([one == 0 for one in moved]) > 0.15 and np.median(moved) < 20


def test_dead_leaves_have_edges_and_the_colours_of_a_photo(photo):
    picture = dead_leaves(photo, 128, np.random.default_rng(0))
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
    assert np.abs(np.diff(picture.astype(int), axis=0)).mean() > 2
