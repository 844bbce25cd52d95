"""What is asked about a scene: the answers are true, opinions come as often as they should, every kind has its task."""

from collections import Counter

import numpy as np
import pytest

from build_datasets.dq495k.measure import measure
from build_datasets.nano.asking import KINDS, SEVERITY_WORDS, Kind, ask, level_opinion
from build_datasets.nano.views import Truth
from depictqa.prompts import LEVELS

CLEAN, NOISE = Truth(), Truth((("noise", "noise_gaussian_RGB", 4),))
TWO = Truth((("blur", "blur_gaussian", 2), ("noise", "noise_gaussian_RGB", 1)))
FAINT = Truth((("darken", "brightness_darken_gamma_RGB", 1),))  # not seen without a reference


@pytest.fixture(scope="module")
def measured():
    return [measure(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))] * 3


def answers(kind, truths, measured, number=200):
    return [ask(kind, truths, measured, np.random.default_rng(seed)) for seed in range(number)]


def test_shares_make_a_whole_and_tasks_follow_from_the_images():
    assert sum(kind.share for kind in KINDS) == pytest.approx(1)
    assert {kind.task.name for kind in KINDS} == {
        "quality_single_A",
        "quality_single_A_noref",
        "quality_compare",
        "quality_compare_noref",
    }


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_question_shows_as_many_pictures_as_its_task_has_slots(kind, measured):
    for asked in answers(kind, (NOISE, CLEAN), measured, 10):
        assert len(asked.pictures) == len(asked.task.fields)
        assert (asked.pictures[0] == 0) == kind.has_reference or kind.is_pair  # a clean reference may be compared, too


def test_one_and_two_distortions_are_named(measured):
    found = {asked.answer for asked in answers(Kind("name", True, 1), (NOISE, TWO), measured)}
    assert found == {"Noise", "Blur and noise"}


def test_what_nobody_can_see_is_named_half_of_the_time_unless_there_is_a_reference(measured):
    named = Counter(asked.answer for asked in answers(Kind("name", False, 1), (FAINT, FAINT), measured))
    assert set(named) == {"None", "Insufficient brightness"} and 80 <= named["None"] <= 120
    named = Counter(asked.answer for asked in answers(Kind("name", True, 1), (FAINT, FAINT), measured))
    assert set(named) == {"Insufficient brightness"}


def test_the_better_picture_is_the_one_with_less_harm_in_either_order(measured):
    for asked in answers(Kind("better", False, 1), (NOISE, CLEAN), measured, 20):
        assert asked.answer == ("Image A" if asked.pictures == (2, 1) else "Image B")
    assert {asked.pictures for asked in answers(Kind("better", False, 1), (NOISE, CLEAN), measured)} == {(1, 2), (2, 1)}


def test_pictures_that_nobody_can_order_are_compared_with_the_reference_or_not_at_all(measured):
    for asked in answers(Kind("better", False, 1), (NOISE, NOISE), measured, 20):
        assert 0 in asked.pictures
    assert ask(Kind("better", False, 1), (CLEAN, CLEAN), measured, np.random.default_rng(0)) is None


def test_scores_are_opinions_around_the_level():
    assert list(LEVELS) == ["excellent", "good", "fair", "poor", "bad"]
    assert level_opinion(0).argmax() == 0 and level_opinion(5).argmax() == 4
    for severity in range(6):
        mean = level_opinion(severity) @ np.array(list(LEVELS.values()))
        assert mean == pytest.approx(5 - 0.8 * severity, abs=0.35)  # the ends of the scale pull inwards


def test_severities_are_opinions_around_the_level(measured):
    said = Counter(asked.answer for asked in answers(Kind("severity", True, 1), (NOISE, NOISE), measured))
    assert said.most_common(1)[0][0] == SEVERITY_WORDS[4] == "serious"
    assert set(said) <= {"obvious", "serious", "catastrophic", "moderate"}


def test_descriptions_name_what_is_wrong(measured):
    for asked in answers(Kind("describe", True, 1), (NOISE, NOISE), measured, 10):
        assert "noise" in asked.answer.lower() and "seriously" in asked.answer or "serious" in asked.answer
    for asked in answers(Kind("compare", True, 1), (NOISE, CLEAN), measured, 10):
        better = "Image A" if asked.pictures[1:] == (2, 1) else "Image B"
        assert better in asked.answer.split(". ")[-1]
