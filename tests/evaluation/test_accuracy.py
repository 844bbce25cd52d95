import random
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depictqa.errors import InputError
from depictqa.evaluation import accuracy
from depictqa.evaluation.accuracy import rating, single_distortion, split_letters, split_words


def files(rows):
    """(id, text, confidence, answer) rows -> predictions, answers."""
    predictions = [{"id": key, "text": text, "confidence": confidence} for key, text, confidence, _ in rows]
    return predictions, [{"id": row[0], "answer": row[3]} for row in rows]


def test_intervals_are_open_below_and_closed_above():
    predictions, answers = files(
        [(0, "a", 0.5, "a"), (1, "a", 0.5000001, "b"), (2, "a", 0.500002, "a"), (3, "x", 1, "x")]
    )
    first, second, third = single_distortion(predictions, answers).intervals((0, 0.5, 0.9, 1))
    assert (first.count, first.accuracy) == (2, 0.5)  # 0.5000001 rounds to 0.5
    assert (second.count, second.accuracy) == (1, 1.0)
    assert (third.count, third.accuracy) == (1, 1.0)


def test_answers_that_nearly_name_a_class_are_counted_and_stay_wrong():
    rows = [(0, "blur.", 1, "Blur"), (1, "NOISE", 1, "Blur"), (2, "Blur", 1, "Blur"), (3, "Lens  noise", 1, "Noise")]
    result = single_distortion(*files([*rows, (4, "Noise", 1, "Noise"), (5, "lens blur", 1, "Lens Blur")]))
    assert result.near_misses == (0, 1, 5)  # whatever the true class; "Lens noise" is none
    assert result.accuracy == 2 / 6


def test_several_names_are_compared_one_by_one():
    result = accuracy.multi_distortion(*files([(0, "noise and blur.", 1, "Noise and Blur"), (1, "BLUR", 1, "Blur")]))
    assert result.near_misses == (0,)  # case counts for nothing in this task


@pytest.mark.parametrize("borders", [(0,), (0, 0), (1, 0), (0, 1, 0.5)])
def test_borders_must_ascend(borders):
    with pytest.raises(InputError, match="ascending"):
        single_distortion(*files([(0, "a", 1, "a")])).intervals(borders)


def test_a_missing_answer_is_left_out_or_wrong():
    predictions, answers = files([(0, "a", 1, "a"), (1, None, None, "a")])
    told = single_distortion(predictions, answers)
    assert told.accuracy == 1 and told.problems.missing == (1,)
    assert single_distortion(predictions, answers, allow_missing=True).accuracy == 0.5


def test_ids_keep_their_type():
    with pytest.raises(InputError, match="none of the 1 predictions has an id of the 1 answers"):
        single_distortion([{"id": "1", "text": "a"}], [{"id": 1, "answer": "a"}])


@pytest.mark.parametrize(
    ("prediction", "answer", "message"),
    [
        ({"text": "a"}, {"id": 1, "answer": "a"}, "predictions: the field 'id' of an item must be"),
        ({"id": 1, "text": 3}, {"id": 1, "answer": "a"}, "item 1: the field 'text' must be text, found 3"),
        ({"id": 1, "text": "a"}, {"id": 1}, "item 1: the field 'answer' must be text, found None"),
        ({"id": 1, "text": "a", "confidence": "x"}, {"id": 1, "answer": "a"}, "'confidence' must be a number or null"),
        ({"id": 1, "text": "a", "confidence": float("nan")}, {"id": 1, "answer": "a"}, "'confidence' must be a number"),
    ],
)
def test_bad_items_name_the_field(prediction, answer, message):
    with pytest.raises(InputError, match=message):
        rating([prediction], [answer])


def test_where_the_words_and_the_letters_and_part():
    assert split_words("Sandstone AND noise") == ["sandstone", "noise"]
    assert split_letters("Sandstone AND noise") == ["s", "stone and noise"]


def test_groups_take_the_heavier_of_two_severities():
    answers = [
        {"id": 0, "answer": "a", "severity": 2},
        {"id": 1, "answer": "a", "severities": [1, 3]},
        {"id": 2, "answer": "a"},
    ]
    result = single_distortion([{"id": key, "text": "ab"[key % 2]} for key in range(3)], answers)
    assert {value: group.accuracy for value, group in result.by("severity").items()} == {2: 1.0, 3: 0.0}


def test_groups_by_a_path_into_the_item():
    answers = [{"id": key, "answer": "a", "distortion_A": ["blur", "blur_lens", key]} for key in range(2)]
    result = single_distortion([{"id": key, "text": "a"} for key in range(2)], answers)
    assert list(result.by("distortion_A.2")) == [0, 1] and list(result.by("distortion_A.0")) == ["blur"]
    assert result.by("distortion_A.3") == result.by("absent.x") == {}
    with pytest.raises(InputError, match="item 0: the field 'distortion_A' must be a number or text to group by"):
        result.by("distortion_A")


names = st.sampled_from(["Noise", "Blur", "Compression", "None"])
rows_strategy = st.lists(st.tuples(names, st.floats(0.01, 1), names), min_size=1, max_size=30)


@given(rows_strategy, st.randoms(use_true_random=False))
def test_order_does_not_matter(rows, shuffler):
    predictions, answers = files([(index, *row) for index, row in enumerate(rows)])
    before = single_distortion(predictions, answers)
    shuffler.shuffle(predictions)
    shuffler.shuffle(answers)
    after = single_distortion(predictions, answers)
    assert (after.accuracy, after.intervals()) == (before.accuracy, before.intervals())


@given(rows_strategy)
def test_intervals_add_up_to_the_whole(rows):
    result = single_distortion(*files([(index, *row) for index, row in enumerate(rows)]))
    parts = result.intervals()
    assert sum(part.count for part in parts) == len(rows)
    assert sum(part.count * (part.accuracy or 0) for part in parts) / len(rows) == pytest.approx(result.accuracy)


@given(st.lists(names, min_size=1, max_size=4), st.lists(names, min_size=1, max_size=4))
def test_overlap_ignores_capitals_and_order(named, true):
    score = accuracy.overlap(" and ".join(named), " and ".join(true))
    assert 0 <= score <= 1
    assert score == accuracy.overlap(" AND ".join(reversed(named)).upper(), " and ".join(reversed(true)).lower())


@pytest.mark.slow
def test_179k_answers():
    generator = random.Random(0)
    ids = ["".join(generator.choices(string.ascii_letters, k=12)) + str(number) for number in range(179_000)]
    predictions = [{"id": key, "text": "Image A", "confidence": 0.9} for key in ids]
    answers = [{"id": key, "answer": "Image A"} for key in reversed(ids)]
    result = rating(predictions, answers)
    result.intervals()
    assert np.isclose(result.accuracy, 1)
