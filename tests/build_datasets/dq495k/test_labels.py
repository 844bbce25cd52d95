"""States: drawn by the rules of DQ-495K, spelled as metas spell them."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from build_datasets.dq495k import labels
from build_datasets.dq495k.labels import (
    ALLOWED_PAIRS,
    CLASS_OF,
    Distortion,
    from_fields,
    generator,
    graded,
    named,
    to_fields,
)
from build_datasets.x_distortion import CLASSES, FUNCTIONS, PAIRS
from depictqa.errors import InputError

NOISE, BLUR = Distortion("noise", "noise_poisson", 3), Distortion("blur", "blur_lens", 2)


def is_uniform(values, over) -> bool:
    counts = Counter(values)
    assert set(counts) <= set(over)
    return len(over) == 1 or chisquare([counts[value] for value in over]).pvalue > 1e-3


def test_one_distortion_is_drawn_class_first():
    rng = np.random.default_rng(0)
    drawn = [labels.draw_one(rng)[0] for _ in range(12000)]
    assert is_uniform([one.label for one in drawn], CLASSES)
    assert is_uniform([one.severity for one in drawn], range(1, 6))
    for label, names in CLASSES.items():
        assert is_uniform([one.name for one in drawn if one.label == label], names)


def test_two_distortions_are_pairs_of_the_table_at_three_severities():
    rng = np.random.default_rng(0)
    drawn = [labels.draw_two(rng) for _ in range(12000)]
    assert is_uniform([tuple(one.label for one in state) for state in drawn], ALLOWED_PAIRS)
    assert is_uniform([one.severity for state in drawn for one in state], range(1, 4))


def test_the_pairs_are_those_of_the_published_data():
    assert len(ALLOWED_PAIRS) == sum(map(len, PAIRS.values())) == len(set(ALLOWED_PAIRS)) == 78
    assert ("blur", "noise") in ALLOWED_PAIRS and ("blur", "oversharpen") not in ALLOWED_PAIRS
    assert [second for first, second in ALLOWED_PAIRS if first == "oversharpen"] == ["brighten"]


def test_one_or_two_is_even():
    rng = np.random.default_rng(0)
    assert is_uniform([len(labels.draw_one_or_two(rng)) for _ in range(4000)], (1, 2))


def test_named_draws():
    rng = np.random.default_rng(0)
    one, two = labels.draw_one, labels.draw_two
    assert {labels.draw_named("darken", one)(rng)[0].name for _ in range(100)} == set(CLASSES["darken"])
    assert {labels.draw_named("pixelate", one)(rng)[0].label for _ in range(9)} == {"pixelate"}
    assert labels.draw_named("brightness_vignette", one)(rng)[0] in [
        Distortion("darken", "brightness_vignette", severity) for severity in range(1, 6)
    ]
    pairs = [labels.draw_named("noise_poisson", two)(rng) for _ in range(100)]
    assert all([one.name for one in state if one.label == "noise"] == ["noise_poisson"] for state in pairs)
    assert {tuple(one.label for one in state) for state in pairs} <= set(ALLOWED_PAIRS)
    with pytest.raises(
        InputError, match="--distortion_name: expected a class or a function, one of blur, .*; found 'foo'"
    ):
        labels.draw_named("foo", one)


def test_every_function_has_a_class():
    assert set(CLASS_OF) == set(FUNCTIONS)


def test_generators_follow_from_seed_and_names_alone():
    first = generator(1, "a", 2).random(4).tolist()
    assert first == generator(1, "a", 2).random(4).tolist()
    others = [generator(2, "a", 2), generator(1, "b", 2), generator(1, "a", 3), generator(1, "a", 2, "")]
    assert all(first != other.random(4).tolist() for other in others)


@pytest.mark.parametrize(
    ("state", "single", "multi"),
    [
        ((), [None, None, 0], [None, None, 0]),
        ((NOISE,), ["noise", "noise_poisson", 3], [["noise"], ["noise_poisson"], [3]]),
        ((NOISE, BLUR), None, [["noise", "blur"], ["noise_poisson", "blur_lens"], [3, 2]]),
    ],
)
def test_spelling_of_states(state, single, multi):
    for spelled, is_multi in (single, False), (multi, True):
        if spelled:
            fields = to_fields(state, is_multi)
            assert list(fields.values()) == spelled
            assert from_fields(fields, "here") == state


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected the fields distortion_class, distortion_name, severity or"),
        (
            {"distortion_class": "blur", "distortion_name": "noise_poisson", "severity": 1},
            "function of the class blur, found 'noise_poisson'",
        ),
        (
            {"distortion_class": "noise", "distortion_name": "noise_poisson", "severity": 6},
            "severity: expected 1..5, found 6",
        ),
        ({"distortion_classes": "noise", "distortion_names": "noise_poisson", "severities": 1}, "expected lists"),
        (to_fields((NOISE, BLUR, NOISE), True), "expected one or two of each"),
        (to_fields((NOISE, Distortion("blur", "blur_lens", 4)), True), "severities: expected 1..3, found 4"),
    ],
)
def test_states_that_are_none(fields, message):
    with pytest.raises(InputError, match=f"meta.json: .*{message}"):
        from_fields(fields, "meta.json")


def test_words():
    assert named(()) == ["none"] and named((NOISE, BLUR)) == ["noise", "blur"]
    assert graded((NOISE,)) == [("obvious", "noise")]
    assert graded((NOISE, BLUR)) == [("serious", "noise"), ("obvious", "blur")]
    assert labels.is_seen_without_reference((NOISE, Distortion("blur", "blur_lens", 1)))
    assert not labels.is_seen_without_reference((NOISE, Distortion("darken", "brightness_darken_shfit_RGB", 1)))
