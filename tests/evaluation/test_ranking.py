import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit
from scipy.stats import spearmanr

from depictqa.errors import InputError
from depictqa.evaluation.ranking import SCHEDULES, fit, place, rank, slope_of


def exact_judge(quality):
    """Answers by the Bradley-Terry model itself; remembers what it was asked."""

    def judge(pairs):
        judge.asked += [tuple(pair) for pair in pairs.tolist()]
        return expit(quality[pairs[:, 0]] - quality[pairs[:, 1]])

    judge.asked = []
    return judge


def test_two_items_by_hand():
    """x_0 = -x_1 = d / 2 with share - s(d) = d / (2 prior^2)."""
    ranking = fit(2, np.array([[0, 1]]), np.array([0.8]), prior_std=2.0)
    gap = brentq(lambda d: 0.8 - expit(d) - d / 8, 0, 10)
    assert ranking.scores == pytest.approx([gap / 2, -gap / 2])
    information = expit(gap) * expit(-gap)
    # the precision [[i + 1/4, -i], [-i, i + 1/4]] has the eigenvalue 2 i + 1/4 along (1, -1), half of it an item's
    assert ranking.std**2 == pytest.approx([1 / (2 * information + 1 / 4) / 2] * 2)
    assert ranking.order.tolist() == [0, 1] and ranking.comparisons == 1


def test_without_comparisons_the_prior_remains():
    ranking = fit(4, np.empty((0, 2), dtype=int), np.empty(0), prior_std=2.0)
    assert ranking.scores.tolist() == [0, 0, 0, 0]
    assert ranking.std == pytest.approx(2 * np.sqrt(3 / 4))  # of x - mean(x), for 4 draws of deviation 2


votes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(votes)
def test_scores_are_the_maximum_that_scipy_finds(votes):
    pairs, shares = np.array([vote[:2] for vote in votes]), np.array([vote[2] for vote in votes])

    def cost(scores):
        gap = scores[pairs[:, 0]] - scores[pairs[:, 1]]
        return (scores**2).sum() / 18 - (shares * log_expit(gap) + (1 - shares) * log_expit(-gap)).sum()

    assert fit(5, pairs, shares).scores == pytest.approx(minimize(cost, np.zeros(5), tol=1e-10).x, abs=1e-4)


def test_a_winner_without_defeat_has_a_finite_score():
    ranking = fit(3, np.array([[0, 1], [0, 2]] * 500), np.ones(1000))
    assert np.isfinite(ranking.scores).all() and ranking.order[0] == 0


def test_soft_votes_order_what_win_counts_cannot():
    """0 beats 1 and 1 beats 2 in both files; only the probabilities say that 2 is nearly as good as 1."""
    pairs = np.array([[0, 1], [1, 2]])
    soft = fit(3, pairs, np.array([0.95, 0.65])).scores
    hard = fit(3, pairs, np.array([1.0, 1.0])).scores
    assert hard[0] - hard[1] == pytest.approx(hard[1] - hard[2])
    assert soft[0] - soft[1] > 3 * (soft[1] - soft[2]) > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_pair_is_asked_twice_and_the_budget_holds(schedule):
    judge = exact_judge(np.random.default_rng(1).normal(size=9))
    ranking = rank(9, judge, schedule, budget=20)
    assert ranking.comparisons == len(judge.asked) == 20
    assert len({frozenset(pair) for pair in judge.asked}) == 20
    assert all(a != b for a, b in judge.asked)
    everything = exact_judge(np.zeros(9))
    assert rank(9, everything, schedule, budget=10**6).comparisons == 36  # 9 * 8 / 2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_judge_without_noise_is_followed(schedule):
    quality = 2 * np.random.default_rng(2).normal(size=32)
    ranking = rank(32, exact_judge(quality), schedule)
    assert spearmanr(ranking.scores, quality).statistic > 0.97
    assert ranking.comparisons == {"all": 496, "swiss": 160, "active": 160}[schedule]  # 32 log2 32


def test_few_chosen_comparisons_do_better_than_as_many_random_ones():
    """On a judge that errs, means over 20 sets of 40 items, 80 comparisons each."""
    found = {schedule: [] for schedule in SCHEDULES}
    for seed in range(20):
        generator = np.random.default_rng(seed)
        quality = 2 * generator.normal(size=40)
        for schedule, figures in found.items():
            noise = np.random.default_rng(seed)

            def judge(pairs, noise=noise, quality=quality):
                return expit(quality[pairs[:, 0]] - quality[pairs[:, 1]] + noise.normal(0, 1, len(pairs)))

            figures.append(spearmanr(rank(40, judge, schedule, budget=80, seed=seed).scores, quality).statistic)
    means = {schedule: np.mean(figures) for schedule, figures in found.items()}
    assert means["active"] > means["all"] + 0.01 and means["swiss"] > means["all"] + 0.01


def test_intervals_are_as_wide_as_the_errors():
    """With hard votes the model's own noise is all there is: z scores have a deviation near 1."""
    generator = np.random.default_rng(3)
    quality = generator.normal(size=30)

    def judge(pairs):
        return (generator.random(len(pairs)) < expit(quality[pairs[:, 0]] - quality[pairs[:, 1]])).astype(float)

    ranking = rank(30, judge, "all")
    z = (ranking.scores - (quality - quality.mean())) / ranking.std
    assert 0.6 < z.std() < 1.4 and np.abs(z).max() < 4


def test_the_same_seed_asks_the_same():
    first, second = exact_judge(np.arange(8.0)), exact_judge(np.arange(8.0))
    rank(8, first, "active", seed=5)
    rank(8, second, "active", seed=5)
    assert first.asked == second.asked


def test_which_comes_first_is_drawn():
    judge = exact_judge(np.arange(20.0))
    rank(20, judge, "all")
    assert 0.3 < np.mean([a < b for a, b in judge.asked]) < 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "expected at least two items, found 1"),
        ({"schedule": "knockout"}, "no schedule 'knockout'; expected one of all, swiss, active"),
        ({"budget": 0}, "a budget of at least 1 comparison, found 0"),
        ({"judge": lambda pairs: np.full(len(pairs), 1.5)}, "probabilities between 0 and 1"),
        ({"judge": lambda pairs: np.full(len(pairs), np.nan)}, "probabilities between 0 and 1"),
        ({"judge": lambda pairs: 0.5}, "must give 2 probabilities"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(InputError, match=message):
        rank(**{"count": 4, "judge": lambda pairs: np.full(len(pairs), 0.5)} | options)


def test_an_item_is_placed_among_anchors():
    anchors = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    for quality in (1.5, 3.0, 4.2):
        found, std = place(expit(4 * (quality - anchors)), anchors, slope=4.0)
        assert found == pytest.approx(quality, abs=0.12) and 0.2 < std < 1
    as_bad, _ = place(np.zeros(5), anchors, slope=4.0)
    assert as_bad < 1.5
    surer = place(expit(8 * (3.3 - anchors)), anchors, slope=8.0)[1]
    assert surer < place(expit(2 * (3.3 - anchors)), anchors, slope=2.0)[1]


def test_the_slope_of_a_judge_is_found():
    qualities = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    pairs = np.argwhere(np.triu(np.ones((5, 5)), 1))
    shares = expit(1.7 * (qualities[pairs[:, 0]] - qualities[pairs[:, 1]]))
    assert slope_of(qualities, pairs, shares) == pytest.approx(1.7, rel=1e-3)
    assert slope_of(10 * qualities, pairs, shares) == pytest.approx(0.17, rel=1e-3)
    with pytest.raises(InputError, match="does not tell them apart"):
        slope_of(qualities, pairs, np.full(10, 0.5))
