import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import precision_recall_fscore_support

from depictqa.errors import InputError
from depictqa.evaluation import statistics
from depictqa.evaluation.accuracy import multi_distortion, single_distortion
from depictqa.evaluation.statistics import bootstrap_interval, calibration, mcnemar, rejection_curve


def result_of(texts, answers, task=single_distortion):
    predictions = [{"id": index, "text": text, "confidence": 0.5} for index, text in enumerate(texts)]
    return task(predictions, [{"id": index, "answer": answer} for index, answer in enumerate(answers)])


def test_bootstrap_agrees_with_the_normal_interval():
    scores = np.array([1.0] * 700 + [0.0] * 300)
    low, high = bootstrap_interval(scores)
    half = norm.ppf(0.975) * np.sqrt(0.7 * 0.3 / 1000)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=2e-3)


def test_bootstrap_agrees_with_resampling_one_by_one():
    generator = np.random.default_rng(1)
    values = generator.random(40)
    means = generator.choice(values, size=(20_000, 40)).mean(axis=1)
    assert bootstrap_interval(values) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=6e-3)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_bootstrap_ignores_order_and_holds_the_mean_of_equal_values(values):
    values = np.array(values)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values[::-1])
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9


def test_ece_by_hand():
    result = calibration(np.array([0.95, 0.95, 0.55, 0.55]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert result.ece == pytest.approx(0.5 * 0.45 + 0.5 * 0.45)
    assert [one.count for one in result.bins] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0])).ece == 0


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1))
def test_ece_is_a_mean_gap_and_ignores_order(pairs):
    confidences, scores = (np.array(column, dtype=float) for column in zip(*pairs))
    confidences /= 1000
    result = calibration(confidences, scores)
    assert 0 <= result.ece <= 1
    assert sum(one.count for one in result.bins) == len(pairs)
    assert result.ece >= abs(confidences.mean() - scores.mean()) - 1e-9
    assert calibration(confidences[::-1], scores[::-1]).ece == pytest.approx(result.ece)


def test_rejection_curve_by_hand():
    kept, accuracy = rejection_curve(np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert kept.tolist() == [0.25, 0.75, 1.0]
    assert accuracy == pytest.approx([1, 2 / 3, 0.5])


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1))
def test_rejection_curve_depends_on_the_ranking_only(pairs):
    confidences, scores = (np.array(column, dtype=float) for column in zip(*pairs))
    kept, accuracy = rejection_curve(confidences, scores)
    assert accuracy[-1] == pytest.approx(scores.mean())
    again = rejection_curve(confidences[::-1] ** 3, scores[::-1])
    assert np.allclose(again[0], kept) and np.allclose(again[1], accuracy)


classes = st.sampled_from(["Noise", "Blur", "Compression"])


@given(st.lists(st.tuples(classes, classes), min_size=1, max_size=40))
def test_classes_agree_with_scikit_learn(pairs):
    texts, answers = zip(*pairs)
    result = result_of(texts, answers)
    figures = {one.label: one for one in statistics.per_class(result)}
    labels = list(figures)
    assert labels == list(statistics.VOCABULARY)
    precision, recall, f1, support = precision_recall_fscore_support(
        answers, texts, labels=labels, zero_division=np.nan
    )
    for index, label in enumerate(labels):
        one = figures[label]
        ours = [np.nan if value is None else value for value in (one.precision, one.recall, one.f1)]
        assert np.allclose(ours, [precision[index], recall[index], f1[index]], equal_nan=True)
        assert one.support == support[index]
    assert np.array_equal(
        statistics.confusion_matrix(result)[1][:, :-1], sklearn_confusion(answers, texts, labels=labels)
    )


def test_a_text_that_is_no_class_lands_in_the_last_column():
    labels, counts = statistics.confusion_matrix(result_of(["noise", "Noise"], ["Noise", "Noise"]))
    row = counts[labels.index("Noise")]
    assert row[-1] == 1 and row[labels.index("Noise")] == 1


def test_classes_of_answers_that_name_two():
    result = result_of(["Noise and blur", "Blur"], ["noise and compression", "Blur and noise"], multi_distortion)
    figures = {one.label: one for one in statistics.per_class(result)}
    assert (figures["noise"].precision, figures["noise"].recall, figures["noise"].support) == (1, 0.5, 2)
    assert (figures["blur"].precision, figures["blur"].recall) == (0.5, 1)
    assert figures["compression"].precision is None and figures["compression"].recall == 0


def test_mcnemar_by_hand():
    answers = ["a"] * 12
    first = result_of(["a"] * 10 + ["b"] * 2, answers)
    second = result_of(["b"] * 8 + ["a"] * 4, answers)
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (8, 2)
    assert test.p_value == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar(second, first).p_value == test.p_value
    assert mcnemar(first, first).p_value == 1


def test_mcnemar_needs_a_common_question():
    other = single_distortion([{"id": "x", "text": "a"}], [{"id": "x", "answer": "a"}])
    with pytest.raises(InputError, match="no question in common"):
        mcnemar(result_of(["a"], ["a"]), other)
