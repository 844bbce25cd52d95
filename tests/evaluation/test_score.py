import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from depictqa.errors import InputError
from depictqa.evaluation.score import evaluate_scores, order_agreement, weighted

SCORES = [1.2, 2.0, 2.9, 3.1, 4.0, 4.6]
OPINIONS = [10.0, 30.0, 60.0, 50.0, 75.0, 90.0]


def predictions(scores=SCORES, stds=None):
    stds = stds or [0.5] * len(scores)
    return [{"id": n, "score": score, "score_std": std} for n, (score, std) in enumerate(zip(scores, stds))]


def opinions(means=OPINIONS):
    return [{"id": n, "mos": mean, "std": 5.0, "image_A": f"{n}.png"} for n, mean in enumerate(means)]


def test_figures_by_hand():
    """One exchange of neighbours among six: rho = 1 - 6 * 2 / (6 * 35), tau = (14 - 1) / 15."""
    result = evaluate_scores(predictions(), opinions())
    assert result.figures["srcc"] == pytest.approx(1 - 12 / 210)
    assert result.figures["krcc"] == pytest.approx(13 / 15)
    assert result.figures["plcc_linear"] == pytest.approx(pearsonr(SCORES, OPINIONS).statistic)
    assert result.figures["plcc"] == pytest.approx(pearsonr(result.mapped, OPINIONS).statistic)
    assert result.figures["rmse"] == pytest.approx(np.sqrt(np.mean((result.mapped - OPINIONS) ** 2)))
    assert result.opinion_stds.tolist() == [5.0] * 6


def test_the_curve_makes_up_for_a_scale():
    """Opinions that are an exact logistic of the scores leave no error."""
    scores = np.linspace(1, 5, 30)
    result = evaluate_scores(predictions(scores.tolist()), opinions((20 + 70 / (1 + np.exp(-(scores - 3)))).tolist()))
    assert result.figures["rmse"] == pytest.approx(0, abs=1e-3)
    assert result.figures["plcc"] == pytest.approx(1)
    assert result.figures["plcc_linear"] < 1 - 1e-4


def test_figures_are_scipys_with_ties():
    generator = np.random.default_rng(0)
    scores, means = generator.integers(1, 6, 80).astype(float), generator.integers(1, 9, 80).astype(float)
    result = evaluate_scores(predictions(scores.tolist()), opinions(means.tolist()))
    assert result.figures["srcc"] == pytest.approx(spearmanr(scores, means).statistic)
    assert result.figures["krcc"] == pytest.approx(kendalltau(scores, means).statistic)


@pytest.mark.slow
def test_intervals_hold_the_figures_and_narrow_with_more_images():
    def interval(images):
        generator = np.random.default_rng(1)
        quality = generator.normal(3, 1, images)
        means = quality + generator.normal(0, 0.5, images)
        result = evaluate_scores(predictions(quality.tolist()), opinions(means.tolist()))
        return result.figures, result.intervals95()

    figures, few = interval(40)
    assert all(low < figures[name] < high for name, (low, high) in few.items())
    _, many = interval(400)
    assert all(high - low > 1.5 * (many[name][1] - many[name][0]) for name, (low, high) in few.items())


def test_opinions_as_the_training_labels_have_them():
    items = [
        {"id": n, "score": {"mean": mean, "std": None, "min": 0, "max": 100}, "dataset": "x"}
        for n, mean in enumerate(OPINIONS)
    ]
    result = evaluate_scores(predictions(), items)
    assert result.opinions.tolist() == OPINIONS and np.isnan(result.opinion_stds).all()


def test_sets_are_weighed_by_their_images():
    small = evaluate_scores(predictions(), opinions())
    large = evaluate_scores(predictions(SCORES[:4]), opinions(OPINIONS[:4]))
    assert weighted([small, large])["srcc"] == pytest.approx((6 * (1 - 12 / 210) + 4 * (1 - 12 / 60)) / 10)
    assert "rmse" not in weighted([small])


def test_error_bars_that_grow_with_the_error():
    generator = np.random.default_rng(2)
    stds = np.linspace(0.1, 1, 200)
    quality = generator.uniform(1, 5, 200)
    result = evaluate_scores(
        predictions((quality + stds * generator.normal(size=200)).tolist(), stds.tolist()), opinions(quality.tolist())
    )
    assert result.error_bars > 0.3
    (low, _, count, small), (_, high, _, large) = result.by_std([0, 0.5, 1])
    assert (low, high) == (0, 1) and count == 89 and small < large
    assert result.by_std([1, 2])[0] == (1, 2, 0, None)
    assert evaluate_scores(predictions(), opinions()).error_bars is None  # all the same


def test_order_agreement_by_hand():
    """Gaps of 2, 1, 0 and -1 with bars of 0.7: three are clear; the second choice is against the scores."""
    scored = predictions([4.0, 2.0, 1.0, 1.0], [0.5] * 4)
    pairs = [("0.png", "1.png"), ("1.png", "2.png"), ("2.png", "3.png"), ("2.png", "1.png"), ("9.png", "1.png")]
    compared = [{"id": n, "image_A": a, "image_B": b} for n, (a, b) in enumerate(pairs)]
    texts = ["Image A", "Image B", "Image A", "Image B\n", "Image A"]
    answers = [{"id": n, "text": text} for n, text in enumerate(texts)]
    result = order_agreement(scored, opinions([1, 2, 3, 4]), answers, compared)
    assert (result.pairs, result.share) == (4, pytest.approx((1 + 0 + 0.5 + 1) / 4))
    assert (result.clear_pairs, result.clear_share) == (3, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, o: p[0].update(score="good"), "item 0: the field 'score' must be a number, found 'good'"),
        (lambda p, o: p[0].pop("score"), "item 0: the field 'score' must be a number, found None"),
        (lambda p, o: p[1].update(score_std=True), "item 1: the field 'score_std' must be a number, found True"),
        (lambda p, o: o[0].pop("mos"), "item 0: expected an opinion, 'mos': number or 'score'"),
        (lambda p, o: o[0].update(score={"std": 1}), "item 0: the field 'mean' must be a number, found None"),
        (lambda p, o: [one.update(id=f"x{one['id']}") for one in o], "none of the 6 predictions has an id of the 6"),
        (lambda p, o: [one.update(score=3) for one in p], "the scores of the 6 images are all equal"),
    ],
)
def test_bad_input_names_the_field(change, message):
    scores, means = predictions(), opinions()
    change(scores, means)
    with pytest.raises(InputError, match=message):
        evaluate_scores(scores, means).figures


def test_an_unreadable_picture_is_a_missing_score():
    result = evaluate_scores([*predictions()[:5], {"id": 5, "score": None, "error": "x"}], opinions())
    assert result.problems.missing == (5,) and len(result.ids) == 5


@pytest.mark.parametrize(
    ("borders", "message"),
    [([1, 0], "--intervals: expected at least two ascending"), ([0, 1], "1 predictions lack the field 'score_std': 0")],
)
def test_bad_intervals(borders, message):
    scores = predictions()
    scores[0]["score_std"] = None
    with pytest.raises(InputError, match=message):
        evaluate_scores(scores, opinions()).by_std(borders)


def test_comparisons_need_scores():
    with pytest.raises(InputError, match="none of the 0 comparisons is of two scored images"):
        order_agreement(predictions(), opinions(), [], [])
    twice = [one | {"image_A": "same.png"} for one in opinions()]
    with pytest.raises(InputError, match="1 images are scored more than once: same.png"):
        order_agreement(predictions(), twice, [], [])
