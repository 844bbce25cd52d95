"""Opinion scores become soft labels by DeQA-Score's formulas; what is no opinion is named."""

import numpy as np
import pytest
from scipy.stats import norm

from depictqa.data.opinions import read_opinion, soft_label
from depictqa.errors import InputError

WEIGHTS = np.array([5, 4, 3, 2, 1])  # of excellent, good, fair, poor, bad


def test_a_score_is_put_on_the_scale_of_the_levels():
    """40 of 0 to 100 is 4 x 0.4 + 1."""
    opinion = read_opinion({"mean": 40, "std": 15.0, "min": 0, "max": 100}, "koniq")
    assert (opinion.mean, opinion.std, opinion.dataset) == (pytest.approx(2.6), pytest.approx(0.6), "koniq")
    shifted = read_opinion({"mean": -1.0, "std": None, "min": -2.0, "max": 2.0}, "x")
    assert (shifted.mean, shifted.std) == (2.0, 0.0)


@pytest.mark.parametrize("mean", [1.4, 2.0, 2.6, 3.3, 4.55])
@pytest.mark.parametrize("std", [0.25, 0.5, 0.9])
def test_the_label_is_a_normal_density_that_keeps_sum_and_mean(mean, std):
    density = norm.pdf(WEIGHTS, mean, std)
    system = [[density.sum(), 5], [(density * WEIGHTS).sum(), 15]]  # alpha p + beta sums to 1, and has the mean
    alpha, beta = np.linalg.solve(system, [1, mean])
    expected = np.maximum(alpha * density + beta, 0)
    label = soft_label(mean, std)
    if abs((expected * WEIGHTS).sum() - mean) <= 0.1:
        assert label == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert 1 - 1e-9 <= sum(label) < 1.07, "what was cut at 0 had been subtracted elsewhere"
    assert (label * WEIGHTS).sum() == pytest.approx(mean, abs=0.1)


def test_the_middle_is_the_limit_of_its_neighbours():
    label = soft_label(3.0, 0.7)
    assert label == pytest.approx(soft_label(3.0 + 1e-6, 0.7), abs=1e-6) == soft_label(3.0 - 1e-6, 0.7)[::-1]
    assert label == label[::-1] and sum(label) == pytest.approx(1)


@pytest.mark.parametrize(
    "mean, std, label",
    [
        (3.3, 0.0, [0, 0.3, 0.7, 0, 0]),  # no deviation
        (4.75, 0.19, [0.75, 0.25, 0, 0, 0]),  # less than 0.2
        (1.0, 0.0, [0, 0, 0, 0, 1]),
        (5.0, 0.1, [1, 0, 0, 0, 0]),
    ],
)
def test_a_narrow_distribution_lies_on_the_two_neighbouring_levels(mean, std, label):
    assert soft_label(mean, std) == pytest.approx(label)


def test_a_label_that_loses_its_mean_lies_on_the_two_neighbouring_levels():
    """At the end of the scale, half of a wide distribution lies outside; what is cut at 0 moves the mean."""
    density = norm.pdf(WEIGHTS, 4.98, 1.5)
    alpha, beta = np.linalg.solve([[density.sum(), 5], [(density * WEIGHTS).sum(), 15]], [1, 4.98])
    cut = np.maximum(alpha * density + beta, 0)
    assert abs((cut * WEIGHTS).sum() - 4.98) > 0.1
    assert soft_label(4.98, 1.5) == pytest.approx([0.98, 0.02, 0, 0, 0])


SCORE = {"mean": 3.0, "std": 0.5, "min": 1, "max": 5}


@pytest.mark.parametrize(
    "score, dataset, message",
    [
        (SCORE, None, "dataset: expected the name of the data set that the score is from, found None"),
        (3.0, "x", "score: expected {mean, std, min, max}, found 3.0"),
        ({"mean": 3.0}, "x", "score: expected {mean, std, min, max}, found {'mean': 3.0}"),
        (SCORE | {"mean": "3"}, "x", "score.mean: expected a number, found '3'"),
        (SCORE | {"std": float("nan")}, "x", "score.std: expected a number, found nan"),
        (SCORE | {"mean": 5.1}, "x", "score: expected min <= mean <= max, min < max and std >= 0, found {'mean': 5.1"),
        (SCORE | {"std": -1}, "x", "score: expected min <= mean <= max, min < max and std >= 0"),
        (SCORE | {"mean": 1, "max": 1}, "x", "score: expected min <= mean <= max, min < max and std >= 0"),
    ],
)
def test_what_is_no_opinion_is_named(score, dataset, message):
    with pytest.raises(InputError) as error:
        read_opinion(score, dataset)
    assert str(error.value).startswith(message)
