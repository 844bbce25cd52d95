import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, pearsonr, spearmanr

from depictqa.errors import InputError
from depictqa.evaluation.correlation import (
    Agreement,
    fit_logistic4,
    fit_logistic5,
    logistic4,
    logistic5,
    srcc_plcc,
    vote,
)
from depictqa.evaluation.ranking import fit

COMPARISONS = [
    {"id": 0, "image_ref": "r", "image_A": "x", "image_B": "y"},
    {"id": 1, "image_ref": "r", "image_A": "y", "image_B": "z"},
    {"id": 2, "image_ref": "r", "image_A": "z", "image_B": "x"},
]
OPINIONS = {"r": {"dist_paths": ["x", "y", "z"], "mos_list": [3, 2, 1]}}
ANSWERS = [
    {"id": 0, "text": "Image A", "confidence": 0.9},
    {"id": 1, "text": "Image A\n ", "confidence": 0.6},
    {"id": 2, "text": "Image B", "confidence": 0.7},
]


def test_votes_by_hand():
    (reference,), problems = vote(ANSWERS, COMPARISONS, OPINIONS)
    assert reference.scores.tolist() == [1, 0.5, 0]
    assert reference.opinions.tolist() == [3, 2, 1]
    assert problems.missing == ()
    (weighted,), _ = vote(ANSWERS, COMPARISONS, OPINIONS, confidence=True)
    assert weighted.scores == pytest.approx([(0.9 + 0.7) / 2, (0.1 + 0.6) / 2, (0.4 + 0.3) / 2])


def test_bradley_terry_scores_are_those_of_each_reference():
    comparisons = [*COMPARISONS, {"id": 3, "image_ref": "s", "image_A": "x", "image_B": "y"}]
    answers = [*ANSWERS, {"id": 3, "text": "Image B", "confidence": 0.8}]
    opinions = OPINIONS | {"s": {"dist_paths": ["y", "x"], "mos_list": [2, 1]}}
    references, _ = vote(answers, comparisons, opinions, confidence=True, scores="bradley-terry")
    expected = fit(3, np.array([[0, 1], [1, 2], [2, 0]]), np.array([0.9, 0.6, 0.3]))
    assert references[0].scores == pytest.approx(expected.scores)
    assert references[1].scores == pytest.approx(fit(2, np.array([[0, 1]]), np.array([0.8])).scores)


def test_bradley_terry_knows_who_was_beaten():
    """Half of the pairs; x lost only against the best, w won only against the worst."""
    asked = [("y", "x", 0.6), ("w", "z", 0.6), ("x", "w", 0.95), ("y", "z", 0.99)]
    comparisons = [{"id": n, "image_ref": "r", "image_A": a, "image_B": b} for n, (a, b, _) in enumerate(asked)]
    answers = [{"id": n, "text": "Image A", "confidence": sure} for n, (*_, sure) in enumerate(asked)]
    opinions = {"r": {"dist_paths": ["y", "x", "w", "z"], "mos_list": [4, 3, 2, 1]}}
    assert srcc_plcc(answers, comparisons, opinions, confidence=True, scores="bradley-terry").srcc == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, c, o: p[0].update(text="x"), "item 0: the field 'text' must be 'Image A' or 'Image B', found 'x'"),
        (lambda p, c, o: p[1].update(confidence=None), "item 1: the field 'confidence' must lie between 0 and 1"),
        (lambda p, c, o: c[0].pop("image_A"), "item 0: the field 'image_A' must be text"),
        (lambda p, c, o: c[0].update(image_ref="q"), "item 0: its reference q is not among the opinions"),
        (lambda p, c, o: o["r"]["mos_list"].pop(), "'dist_paths' and 'mos_list' of one length"),
        (lambda p, c, o: o["r"].update(mos_list=[1, 2, None]), "'mos_list' must hold finite numbers"),
        (lambda p, c, o: o["r"].update(mos_list=[1, 1, 1]), "reference r: the opinions of the 3 images are all equal"),
        (lambda p, c, o: o["r"].update(dist_paths=["x", "y", "w"]), "1 images are in no answered comparison: w"),
        (lambda p, c, o: o.clear(), "opinions: expected an object"),
    ],
)
def test_bad_input_names_the_field(change, message):
    predictions, comparisons = [dict(item) for item in ANSWERS], [dict(item) for item in COMPARISONS]
    opinions = {name: {key: list(values) for key, values in table.items()} for name, table in OPINIONS.items()}
    change(predictions, comparisons, opinions)
    with pytest.raises(InputError, match=message):
        srcc_plcc(predictions, comparisons, opinions, confidence=True)


def test_answers_that_are_neither_choice_are_left_out_on_request():
    answers = [*ANSWERS, {"id": 3, "text": "Both are blurred."}]
    comparisons = [*COMPARISONS, {"id": 3, "image_ref": "r", "image_A": "x", "image_B": "z"}]
    (reference,), problems = vote(answers, comparisons, OPINIONS, skip_invalid=True)
    assert reference.scores.tolist() == [1, 0.5, 0]
    assert problems.invalid == (3,) and problems.missing == ()
    assert problems.notes() == ["1 predictions are neither 'Image A' nor 'Image B', left out: 3"]
    with pytest.raises(InputError, match=r"item 3: .* found 'Both are blurred.' \(1 of 4 .*--skip_invalid"):
        vote(answers, comparisons, OPINIONS)


def test_an_image_with_two_opinions_is_refused():
    twice = {"r": {"dist_paths": ["x", "y", "z", "x"], "mos_list": [3, 2, 1, 5]}}
    with pytest.raises(InputError, match="reference r: the field 'dist_paths' lists 1 images more than once: x"):
        vote(ANSWERS, COMPARISONS, twice)


def test_curves_are_recovered():
    x = np.linspace(0, 1, 60)
    y = logistic4(x, 5, 1, 0.4, 0.1)
    assert np.allclose(fit_logistic4(x, y), y, atol=1e-4)
    y = logistic5(x, 3, 8, 0.4, 0.5, 2)
    assert np.allclose(fit_logistic5(x, y), y, atol=1e-4)


def test_too_few_images_for_a_curve_leave_none():
    figures = Agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    assert figures.plcc_logistic4 is None and figures.plcc_logistic5 is None
    assert figures.srcc == pytest.approx(1)


numbers = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=6, max_size=30)


def two_columns(pairs):
    scores, opinions = (np.array(column, dtype=float) for column in zip(*pairs))
    return (scores, opinions) if np.ptp(scores) and np.ptp(opinions) else (np.arange(6.0), np.arange(6.0) ** 2)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(numbers)
def test_figures_are_scipys_and_monotone_transforms_leave_ranks_alone(pairs):
    scores, opinions = two_columns(pairs)
    figures = Agreement(scores, opinions)
    assert figures.srcc == pytest.approx(spearmanr(scores, opinions).statistic, nan_ok=True)
    assert figures.krcc == pytest.approx(kendalltau(scores, opinions).statistic, nan_ok=True)
    assert figures.plcc == pytest.approx(pearsonr(scores, opinions).statistic, nan_ok=True)
    bent = Agreement(np.exp(scores / 5), opinions)
    assert (bent.srcc, bent.krcc) == pytest.approx((figures.srcc, figures.krcc))
    turned = Agreement(-scores, opinions)
    assert (turned.srcc, turned.krcc) == pytest.approx((-figures.srcc, -figures.krcc))


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(3)))
def test_order_of_items_does_not_matter(order):
    (straight,), _ = vote(ANSWERS, COMPARISONS, OPINIONS, confidence=True)
    (shuffled,), _ = vote([ANSWERS[i] for i in order], COMPARISONS[::-1], OPINIONS, confidence=True)
    assert shuffled.scores == pytest.approx(straight.scores)


@pytest.mark.slow
def test_179k_pairs():
    generator = np.random.default_rng(0)
    comparisons, predictions, opinions = [], [], {}
    for reference in range(25):
        quality = generator.random(120)
        names = [f"{reference}/{image}" for image in range(120)]
        opinions[str(reference)] = {"dist_paths": names, "mos_list": (quality + generator.normal(0, 0.1, 120)).tolist()}
        for a in range(120):
            for b in range(120):
                if a != b and len(comparisons) < 179_000 * (reference + 1) / 25:
                    key = f"{reference}-{a}-{b}"
                    comparisons.append(
                        {"id": key, "image_ref": str(reference), "image_A": names[a], "image_B": names[b]}
                    )
                    predictions.append({"id": key, "text": "Image A" if quality[a] > quality[b] else "Image B"})
    result = srcc_plcc(predictions, comparisons, opinions)
    assert result.srcc > 0.9
