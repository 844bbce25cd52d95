"""Pixels equal the original's, bit for bit before normalisation."""

import hashlib
import random

import numpy as np
import pytest
from PIL import Image

from conftest import ARTIFACTS, DATA, golden, image_path
from depictqa.data.images import open_image
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.model.clip import load_clip

GOLDEN = golden("preprocess/preprocess.json")
FULL = np.load(DATA / "preprocess" / "preprocess_full.npz")

ENCODER = load_clip(ARTIFACTS / "clip_tiny" / "ViT-tiny-14.pt", "local")


def name(case) -> str:
    return f"{case['config']}-{case['image']}-{case.get('python_random_seed', 'infer')}"


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=name)
def test_golden_picture(case):
    preprocess = ImagePreprocessor(**GOLDEN["configs"][case["config"]])
    rng = random.Random(case["python_random_seed"]) if case["mode"] == "train" else None
    pixels = preprocess(open_image(image_path(case["image"])), rng)
    assert list(pixels.shape) == case["shape"]
    assert (
        hashlib.sha256(pixels.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest() == case["uint8_hwc_sha256"]
    )
    if rng is not None:
        assert rng.random() == case["next_random_random"]
    values = ENCODER.normalize(pixels)
    np.testing.assert_allclose(values.flatten()[case["sample_flat_index"]], case["sample_value"], atol=1e-5)
    if "full_array" in case:
        np.testing.assert_allclose(values, FULL[case["full_array"]], atol=1e-5)


def test_padding_is_black_and_centred():
    preprocess = ImagePreprocessor(14, resize=224, max_size=672, crop_ratio=(0.7, 1.0))
    pixels = preprocess(Image.new("RGB", (72, 70), "white"))
    assert pixels.shape == (3, 70, 84)
    assert (pixels[:, :, :6] == 0).all() and (pixels[:, :, 6:78] == 255).all() and (pixels[:, :, 78:] == 0).all()
