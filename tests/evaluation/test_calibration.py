import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss, log_loss

from depictqa.errors import InputError
from depictqa.evaluation.calibration import (
    Evidence,
    before_and_after,
    figures,
    fit_temperature,
    negative_log_likelihood,
    read_evidence,
)
from depictqa.inference.calibration import right_or_wrong

LEVELS = ("excellent", "good", "fair", "poor", "bad")


def evidence(confidences, scores, kind="compare"):
    confidences, scores = np.array(confidences, dtype=float), np.array(scores, dtype=float)
    return Evidence(kind, right_or_wrong(confidences), right_or_wrong(scores))


def test_the_temperature_by_hand():
    """All say 0.9, three of four are right: 9^(1/T) must be the odds of 3, so T = 2."""
    fit = fit_temperature(evidence([0.9] * 4, [1, 1, 1, 0]))
    assert fit.temperature == pytest.approx(2, abs=1e-4)
    assert fit.n == 4
    assert fit.nll_before == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4)
    assert fit.nll_after == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)


def test_the_temperature_of_simulated_answers_is_found():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 20_000)
    scores = generator.random(20_000) < expit(logits)
    overconfident = evidence(expit(2.5 * logits), scores)
    fit = fit_temperature(overconfident)
    assert fit.temperature == pytest.approx(2.5, rel=0.05)
    before, after = figures(overconfident), figures(overconfident, fit.temperature)
    assert before.ece > 0.05 and after.ece < 0.015
    assert after.nll < before.nll and after.brier < before.brier
    assert after.aurc == pytest.approx(before.aurc, abs=1e-3)  # a temperature keeps the order


def test_the_temperature_of_a_closed_set_is_found():
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 1.5, (20_000, 5))
    truth = np.array([generator.choice(5, p=softmax(row)) for row in logits])
    fit = fit_temperature(Evidence("score", softmax(3 * logits, axis=1), np.eye(5)[truth]))
    assert fit.temperature == pytest.approx(3, rel=0.05)


pairs = st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=3, max_size=40)


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_no_temperature_is_better(pairs):
    some = evidence(*zip(*pairs))
    grid = [negative_log_likelihood(some, temperature) for temperature in np.geomspace(0.05, 20, 200)]
    assert fit_temperature(some).nll_after <= min(grid) + 1e-6


@given(pairs)
def test_figures_are_scikit_learns(pairs):
    confidences, scores = (np.array(column, dtype=float) for column in zip(*pairs))
    found = figures(evidence(confidences, scores))
    assert found.nll == pytest.approx(log_loss(scores, confidences, labels=[0, 1]))
    assert found.brier == pytest.approx(brier_score_loss(scores, confidences))
    assert found.accuracy == pytest.approx(scores.mean())


def test_risk_and_coverage_by_hand():
    """The surest is wrong, the other four right: shares of wrong answers 1, 1/2, 1/3, 1/4, 1/5 as coverage grows."""
    found = figures(evidence([0.95, 0.9, 0.8, 0.7, 0.6], [0, 1, 1, 1, 1]))
    assert found.aurc == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5)
    assert found.accuracy_at_80 == 0.75  # four of five kept
    assert found.ece == pytest.approx((0.95 + 0.1 + 0.2 + 0.3 + 0.4) / 5)  # a bin for each: (0.9, 1], (0.8, 0.9], ...


def test_after_is_judged_by_others_than_were_fitted():
    fitted, other = evidence([0.9] * 4, [1, 1, 1, 0]), evidence([0.9] * 2, [1, 0])
    before, after = before_and_after(fitted, other)
    assert before.n == after.n == 2
    assert after.brier == pytest.approx((0.25**2 + 0.75**2) / 2, abs=1e-4)  # by T = 2, though T = inf is best here


def test_without_a_second_set_each_fifth_is_judged_by_the_rest():
    """Of five answers one is wrong: it is judged by the four right ones, which ask for more confidence, not less."""
    some = evidence([0.9] * 5, [0, 1, 1, 1, 1])
    _, after = before_and_after(some)
    by_rest = [fit_temperature(some[np.arange(5) != fold]).temperature for fold in range(5)]
    losses = [negative_log_likelihood(some[[fold]], by_rest[fold]) for fold in range(5)]
    assert by_rest[0] < 1 < by_rest[1]
    assert after.nll == pytest.approx(np.mean(losses))


def brief(texts, confidences, **fields):
    return [
        {"id": n, "text": text, "confidence": sure} | fields for n, (text, sure) in enumerate(zip(texts, confidences))
    ]


def test_brief_answers_of_both_kinds():
    found = read_evidence(brief(["Image A", "Image B"], [0.8, 0.6]), [{"id": n, "answer": "Image A"} for n in range(2)])
    assert found.kind == "compare"
    assert found.probabilities == pytest.approx(np.array([[0.8, 0.2], [0.6, 0.4]]))
    assert found.targets.tolist() == [[1, 0], [0, 1]]
    named = read_evidence(brief(["Noise"], [0.7]), [{"id": 0, "answer": "Noise and blur"}])
    assert named.kind == "single" and named.targets.tolist() == [[0.5, 0.5]]


def test_the_raw_confidence_is_the_one_to_fit():
    answers = brief(["Noise"], [0.6], confidence_raw=0.9)
    assert read_evidence(answers, [{"id": 0, "answer": "Noise"}]).probabilities[0] == pytest.approx([0.9, 0.1])


def test_levels_with_an_opinion_or_a_word_as_truth():
    levels = dict(zip(LEVELS, [0.4, 0.3, 0.2, 0.1, 0.0]))
    answers = [{"id": 0, "score": {"mean": 80, "std": 5, "min": 0, "max": 100}}, {"id": 1, "answer": "poor"}]
    found = read_evidence([{"id": n, "levels": levels} for n in range(2)], answers)
    assert found.kind == "score"
    assert found.probabilities.tolist() == [[0.4, 0.3, 0.2, 0.1, 0.0]] * 2
    assert found.targets == pytest.approx(np.array([[0.2, 0.8, 0, 0, 0], [0, 0, 0, 1, 0]]))  # 1 + 4 * 0.8 = 4.2
    assert figures(found).accuracy == pytest.approx(0.1)  # "excellent" is .2 right, then wrong


@pytest.mark.parametrize(
    ("predictions", "answers", "message"),
    [
        (brief(["Long."], [0.5]), [{"id": 0, "answer": "The photo is blurry."}], "found true answers for detail"),
        (brief(["Noise"], [None]), [{"id": 0, "answer": "Noise"}], "1 predictions have no confidence .*: 0"),
        (
            [{"id": 0, "levels": {"good": 1}}],
            [{"id": 0, "answer": "good"}],
            "item 0: the field 'levels' must give each",
        ),
        ([{"id": 0, "levels": dict.fromkeys(LEVELS, 0.2)}], [{"id": 0}], "item 0: expected a level as 'answer' or an"),
        ([{"id": 0, "levels": dict.fromkeys(LEVELS, 0.2)}], [{"id": 1}], "none of the 1 predictions has an id"),
    ],
)
def test_nothing_to_fit_is_one_line(predictions, answers, message):
    with pytest.raises(InputError, match=message):
        read_evidence(predictions, answers)
