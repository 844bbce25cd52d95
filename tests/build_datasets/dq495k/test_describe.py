"""Long answers from labels and measurements: varied, and never against their labels."""

import re

import numpy as np
import pytest
from skimage import data

from build_datasets.dq495k.describe import describe_one, describe_two, evidence, harm, prefers_a
from build_datasets.dq495k.labels import Distortion, apply, draw_one_or_two, generator, graded, named
from build_datasets.dq495k.measure import measure
from build_datasets.x_distortion import ANSWERS, CLASSES, SEVERITY_NAMES
from build_datasets.x_distortion.classes import ROWS

PHOTO = data.astronaut()[20:244, 120:420]
REFERENCE = measure(PHOTO)


def distorted(*state: Distortion) -> np.ndarray:
    return apply(state, PHOTO, np.random.default_rng(0))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_strong_distortion_moves_the_measure_that_speaks_of_it(row):
    label, row = row.name, row.evidence
    strongest = measure(distorted(Distortion(label, CLASSES[label][0], 5)))
    change = getattr(strongest, row.measure) - getattr(REFERENCE, row.measure)
    assert change * row.sign > 0
    assert evidence(label, "slight", REFERENCE, REFERENCE) is None


def test_measures_of_known_pictures():
    grey = measure(np.full((64, 64, 3), 100, np.uint8))
    assert (grey.sharpness, grey.noise, grey.contrast, grey.colorfulness, grey.flatness) == (0, 0, 0, 0, 1)
    assert grey.exposure == pytest.approx(100) and grey.blockiness == pytest.approx(1)
    noisy = np.clip(128 + np.random.default_rng(0).normal(0, 10, (256, 256, 1)).repeat(3, 2), 0, 255).astype(np.uint8)
    assert measure(noisy).noise == pytest.approx(10, rel=0.05)
    blocks = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    assert measure(np.repeat(blocks[:, :, None], 3, 2)).blockiness > 50


def test_answers_name_what_is_there_and_nothing_else():
    every = set(ANSWERS.values())
    texts = set()
    for number in range(400):
        rng = generator(0, number)
        state = draw_one_or_two(rng)
        text = describe_one(state, measure(distorted(*state)) if number % 8 == 0 else REFERENCE, REFERENCE, rng)
        assert {name for name in every if re.search(rf"\b{name}\b", text)} == set(named(state))
        said = {word for word in SEVERITY_NAMES if re.search(rf"\b{word}(al)?(ly)?\b", text)}
        assert {severity for severity, _ in graded(state)} <= said
        texts.add(text)
        assert len(text.split()) < 100 and "reference" not in text and "  " not in text
    assert len(texts) > 350


def test_weak_distortions_are_not_called_strong_and_the_other_way_round():
    for row in ROWS:
        label, weak, strong = row.name, row.weak_effects, row.strong_effects
        assert not set(weak) & set(strong)
        moved = measure(distorted(Distortion(label, CLASSES[label][-1], 5)))
        assert evidence(label, "slight", moved, REFERENCE) in (None, row.evidence.weak)
        assert evidence(label, "catastrophic", moved, REFERENCE) in (None, row.evidence.strong)
        for severity, allowed in (1, weak), (2, weak), (4, strong), (5, strong):
            text = describe_one(
                (Distortion(label, CLASSES[label][0], severity),), REFERENCE, REFERENCE, generator(1, label)
            )
            assert any(effect in text.lower() for effect in (one.lower() for one in allowed))


def test_the_better_picture_is_the_less_harmed_one():
    noise = [Distortion("noise", "noise_poisson", severity) for severity in range(1, 6)]
    blur = [Distortion("blur", "blur_gaussian", severity) for severity in range(1, 6)]
    assert harm(()) == 0 and [harm((one,)) for one in noise] == [1, 2, 3, 4, 5]
    assert harm((noise[0],)) < harm((noise[0], blur[0])) < harm((noise[1], blur[1])) < harm((noise[2], blur[2])) == 5
    same = (noise[2],), (blur[2],)
    pictures = tuple(distorted(*state) for state in same)
    errors = [np.square(picture.astype(float) - PHOTO).mean() for picture in pictures]
    assert prefers_a(same, pictures, PHOTO) == (errors[0] < errors[1])
    assert prefers_a(((), (noise[0],)), pictures, PHOTO) and not prefers_a(((noise[1],), ()), pictures, PHOTO)


@pytest.mark.parametrize("a_is_better", [True, False])
def test_comparisons_end_in_the_verdict(a_is_better):
    states = (Distortion("blur", "blur_lens", 2),), ()
    for number in range(40):
        text = describe_two(states, (REFERENCE, REFERENCE), REFERENCE, a_is_better, generator(2, number))
        assert re.findall(r"Image [AB]", text.split(". ")[-1])[0] == ("Image A" if a_is_better else "Image B")
        assert "blur" in text.split("Image B")[0] and len(text.split()) < 170
