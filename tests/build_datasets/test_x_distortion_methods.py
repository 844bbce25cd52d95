"""Shortcuts equal the long way: Otsu's thresholds, median cut, jitter, zoom."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from build_datasets.x_distortion import add_distortion
from build_datasets.x_distortion.blur import blur_jitter
from build_datasets.x_distortion.compression import compression_jpeg
from build_datasets.x_distortion.median_cut import median_cut
from build_datasets.x_distortion.quantization import BINS, multi_otsu, quantization_hist, quantization_otsu
from conftest import image_path

PHOTO = np.array(Image.open(image_path("s13_260x203.png")).convert("RGB"))


def variance(counts, cuts):
    """Between classes, as far as it depends on the cuts; the lowest bin's moment counts as the second's."""
    moments = counts * np.maximum(np.arange(len(counts)), 1)
    spans = itertools.pairwise((0, *(cut + 1 for cut in cuts), len(counts)))
    return sum(moments[a:b].sum() ** 2 / counts[a:b].sum() for a, b in spans if counts[a:b].sum())


def test_otsu_is_exact():
    """Against every combination of cuts: 1,000 random histograms, empty bins among them."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        classes = int(rng.integers(2, 5))
        counts = rng.integers(1, 1000, 10) * (rng.random(10) < 0.9)
        if np.count_nonzero(counts) > classes:
            every = itertools.combinations(range(len(counts) - 1), classes - 1)
            assert multi_otsu(counts, classes) == list(max(every, key=lambda cuts: variance(counts, cuts)))


def test_otsu_is_scikit_images():
    """Which tries every combination, in float32: the same cuts on 1,000 histograms, or as good as float32 can tell."""
    rng = np.random.default_rng(1)
    for _ in range(1000):
        classes = int(rng.integers(2, 5))
        counts = rng.poisson(rng.gamma(1, 300, BINS)) + 1
        ours, theirs = multi_otsu(counts, classes), list(threshold_multiotsu(hist=counts, classes=classes))
        assert ours == theirs or 1 <= variance(counts, ours) / variance(counts, theirs) < 1 + 1e-7


def test_otsu_of_a_channel_with_few_values():
    """As many values as classes: each its own. Fewer: left alone, the other channels cut all the same."""
    img = np.zeros((32, 32, 3), np.uint8)
    img[..., 0] = np.arange(32) % 3 * 100
    img[..., 1] = np.arange(32) % 2 * 50
    img[..., 2] = np.arange(32) * 8
    out = quantization_otsu(img, 3, None)
    assert [len(np.unique(channel)) for channel in np.moveaxis(out, -1, 0)] == [3, 2, 3]
    assert np.array_equal(out[..., 1], img[..., 1])


def random_channels():
    """Photos' channels and what makes boxes tie: equal counts, few levels."""
    yield from (np.ascontiguousarray(PHOTO[y : y + 60, 40:120, c]) for y in (0, 50, 100) for c in range(3))
    rng = np.random.default_rng(2)
    for _ in range(100):
        size = int(rng.integers(2, 40))
        yield rng.integers(0, 256, (size, size), dtype=np.uint8)
        yield np.uint8(rng.normal(rng.uniform(0, 255), rng.uniform(1, 60), (size, size)).clip(0, 255))
        yield np.tile(rng.permutation(256)[: rng.integers(1, 60)].astype(np.uint8), (size, 1))


@pytest.mark.parametrize("colours", [20, 15, 10, 6, 3])
def test_median_cut_is_pillows(colours):
    for channel in random_channels():
        expected = np.array(Image.fromarray(channel).quantize(colours, method=Image.Quantize.MEDIANCUT).convert("L"))
        assert np.array_equal(median_cut(np.bincount(channel.ravel(), minlength=256), colours)[channel], expected)


def test_hist_starts_at_black_where_dark_levels_are_missing():
    bright = np.uint8(PHOTO // 2 + 100)
    out = quantization_hist(bright, 8, None)
    assert out.min() == 0 and len(np.unique(out)) <= 8


class Recorder:
    """A generator that keeps what it gave."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def choice(self, steps, shape):
        self.drawn = self.rng.choice(steps, shape)
        return self.drawn


@pytest.mark.parametrize("shift", [1, 2, 3, 4, 5])
def test_jitter_is_the_loop_over_pixels(shift):
    rng, img = Recorder(), PHOTO[:50, :64]
    jittered = blur_jitter(img, shift, rng)
    looped = img.reshape(-1, 3).copy()
    height, width = img.shape[:2]
    for y in range(height - shift - 1, shift - 1, -1):
        for x in range(width - shift - 1, shift - 1, -1):
            here = y * width + x
            looped[here] = looped[here + rng.drawn[y - shift, x - shift]]
    assert np.array_equal(jittered, looped.reshape(img.shape))


@pytest.mark.parametrize("shift", [1, 4])
def test_jitter_reaches_as_far_as_shift(shift):
    rng = Recorder()
    blur_jitter(PHOTO, shift, rng)
    width = PHOTO.shape[1]
    expected = {dy * width + dx for dy in range(-shift, shift) for dx in range(-shift, shift)}
    assert set(rng.drawn.ravel().tolist()) == expected


@pytest.mark.parametrize("height_width", [(203, 260), (32, 47), (96, 33)])
def test_zoom_is_scipys(height_width):
    """The mean of the picture and of its centre, enlarged by scipy.ndimage.zoom, order 1."""
    height, width = height_width
    x = np.float32(PHOTO[:height, :width] / 255.0)
    zooms = np.arange(1, 1.21, 0.02)
    total = x.copy()
    for zoom in zooms:
        rows, columns = int(np.ceil(height / zoom)), int(np.ceil(width / zoom))
        top, left = (height - rows) // 2, (width - columns) // 2
        larger = ndimage.zoom(x[top : top + rows, left : left + columns], (zoom, zoom, 1), order=1)
        top, left = (larger.shape[0] - height) // 2, (larger.shape[1] - width) // 2
        total += larger[top : top + height, left : left + width]
    expected = np.uint8(np.clip(total / (len(zooms) + 1), 0, 1) * 255).astype(int)
    assert abs(add_distortion(PHOTO[:height, :width], 5, "blur_zoom") - expected).max() <= 1


@pytest.mark.parametrize("quality", [1, 5, 7, 12, 18, 25, 43, 60, 75, 90, 100])
def test_jpeg_is_pillows_to_the_byte(quality):
    for photo in (PHOTO, PHOTO[:33, :47]):  # the second has blocks that are cut off
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, format="JPEG", quality=quality)
        np.testing.assert_array_equal(compression_jpeg(photo, quality, None), np.array(Image.open(buffer)))
