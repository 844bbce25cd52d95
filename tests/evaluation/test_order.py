import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from depictqa.errors import InputError
from depictqa.evaluation.order import order_bias, read_choices


def answered(rows, **fields):
    """Rows (image A, image B, text, confidence) -> choices."""
    questions = [{"id": n, "image_ref": None, "image_A": a, "image_B": b} | fields for n, (a, b, *_) in enumerate(rows)]
    predictions = [{"id": n, "text": text, "confidence": sure} for n, (*_, text, sure) in enumerate(rows)]
    return read_choices(predictions, questions)[0]


def test_by_hand():
    """Three pairs: the same image twice, Image A twice, Image A with Image B once in one order only."""
    result = order_bias(
        answered(
            [
                ("x", "y", "Image A", 0.9),
                ("y", "x", "Image B\n ", 0.7),
                ("x", "z", "Image A", 0.8),
                ("z", "x", "Image A", 0.6),
                ("y", "z", "Image B", 0.5),
            ]
        )
    )
    assert (result.answers, result.first_share) == (5, 0.6)
    assert (result.pairs, result.consistent_share) == (2, 0.5)
    assert result.kappa == 0  # the first order always prefers x, the second once: agreement 1/2, by chance 1/2
    assert result.mean_gap == pytest.approx((abs(0.9 - 0.7) + abs(0.8 - 0.4)) / 2)
    assert result.accuracy_one is None and result.accuracy_both is None


def test_who_always_picks_the_first_is_never_consistent():
    result = order_bias(answered([("x", "y", "Image A", 1.0), ("y", "x", "Image A", 1.0)]))
    assert (result.first_share, result.consistent_share, result.kappa, result.mean_gap) == (1, 0, 0, 1)


def test_agreement_without_variety_has_no_kappa():
    result = order_bias(answered([("x", "y", "Image A", 1.0), ("y", "x", "Image B", 1.0)]))
    assert result.consistent_share == 1 and result.kappa is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_kappa_is_scikit_learns(pairs):
    rows = []
    for n, (first, second) in enumerate(pairs):
        rows += [(f"x{n}", f"y{n}", f"Image {'BA'[first]}", 1.0), (f"y{n}", f"x{n}", f"Image {'AB'[second]}", 1.0)]
    result = order_bias(answered(rows))
    first, second = np.array(pairs).T
    assert result.consistent_share == pytest.approx((first == second).mean())
    if result.kappa is not None:
        assert result.kappa == pytest.approx(cohen_kappa_score(first, second))


def test_the_mean_of_both_orders_rights_a_biased_answer():
    """x is better; asked second, it loses by a little, so one order in two is right and their mean is."""
    questions = [
        {"id": 0, "image_ref": "r", "image_A": "x", "image_B": "y", "answer": "Image A"},
        {"id": 1, "image_ref": "r", "image_A": "y", "image_B": "x", "answer": "Image B"},
    ]
    predictions = [
        {"id": 0, "text": "Image A", "confidence": 0.9},
        {"id": 1, "text": "Image A", "confidence": 0.6},
    ]
    result = order_bias(read_choices(predictions, questions)[0])
    assert (result.accuracy_one, result.accuracy_both) == (0.5, 1)
    even = [one | {"confidence": None} for one in predictions]
    assert order_bias(read_choices(even, questions)[0]).accuracy_both == 0.5


def test_a_pair_under_another_reference_is_another_pair():
    with pytest.raises(InputError, match="none of the 2 pairs is asked in both orders"):
        order_bias(
            answered([("x", "y", "Image A", 1.0)], image_ref="r")
            + answered([("y", "x", "Image A", 1.0)], image_ref="s")
        )


def test_other_texts_are_left_out_and_counted():
    questions = [{"id": n, "image_ref": None, "image_A": "x", "image_B": "y"} for n in range(2)]
    predictions = [{"id": 0, "text": "Image A"}, {"id": 1, "text": "Both are blurred."}]
    choices, problems = read_choices(predictions, questions)
    assert len(choices) == 1 and problems.invalid == (1,) and problems.missing == ()


def test_the_same_order_twice_is_refused():
    with pytest.raises(InputError, match="1 pairs are asked more than once in the same order: 1"):
        order_bias(answered([("x", "y", "Image A", 1.0), ("x", "y", "Image B", 1.0)]))
