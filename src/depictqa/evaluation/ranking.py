"""Scores from comparisons of pairs: which pairs to ask about, and what the answers say about each item.

`rank` asks a judge round by round and fits the Bradley-Terry model to the probabilities it gives, by maximum a
posteriori; an answer of 0.6 counts for less than one of 0.99. The judge is a function, so that a loaded model, a file of
answers and a simulation are ranked alike; what the items are is not known here.

    ranking = rank(20, judge, schedule="swiss", budget=100)
    ranking.order, ranking.scores, ranking.std
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from depictqa.errors import InputError

PRIOR_STD = 3.0  # of a score, in log-odds: items two of these apart are told apart 997 times in 1,000
TOLERANCE = 1e-8  # of the largest step, in log-odds
MAX_STEPS = 100  # Newton's method; some ten are the rule
GRID = 2001  # qualities tried in `place`

Judge = Callable[[np.ndarray], np.ndarray]
"""Pairs of items, int [P, 2] -> the probability that the first of each is the better one, [P]."""


@dataclass(frozen=True)
class Ranking:
    """Scores of n items.

    Attributes:
        scores: [n], in log-odds, with mean 0: the first of two items is better with probability
            1 / (1 + exp(second - first)).
        covariance: [n, n], of the scores (Laplace's approximation).
        comparisons: how many were made.
    """

    scores: np.ndarray
    covariance: np.ndarray
    comparisons: int

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each score, [n]. Each answer counts as one vote, so a sure judge is surer than this."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def order(self) -> np.ndarray:
        """The items from best to worst, [n]."""
        return np.argsort(-self.scores, kind="stable")


def fit(count: int, pairs: np.ndarray, shares: np.ndarray, prior_std: float = PRIOR_STD) -> Ranking:
    """Bradley-Terry scores by maximum a posteriori (Bradley and Terry, 1952; soft votes as in Compare2Score, 2024).

    Maximizes sum p log s(x_a - x_b) + (1 - p) log s(x_b - x_a) - sum x^2 / (2 prior_std^2), with s the logistic
    function, by Newton's method. The prior keeps items apart that were never compared, and undefeated ones finite.

    Arguments:
        count: number of items, n.
        pairs: int [P, 2]; a pair may come several times, in either order.
        shares: [P], the probability or the share of votes by which the first of each pair is better.
        prior_std: standard deviation of the scores before any comparison, in log-odds.
    """
    first, second = pairs[:, 0], pairs[:, 1]
    scores = np.zeros(count)
    for _ in range(MAX_STEPS):
        gap = scores[first] - scores[second]
        residual = shares - _sigmoid(gap)  # [P]
        gradient = _sums(first, residual, count) - _sums(second, residual, count) - scores / prior_std**2
        precision = _precision(count, pairs, gap, prior_std)
        step = np.linalg.solve(precision, gradient)
        while _objective(scores + step, pairs, shares, prior_std) < _objective(scores, pairs, shares, prior_std):
            step = step / 2 if np.abs(step).max() > TOLERANCE else np.zeros(count)
        scores = scores + step
        if np.abs(step).max() <= TOLERANCE:
            break
    covariance = np.linalg.inv(_precision(count, pairs, scores[first] - scores[second], prior_std))
    covariance -= covariance.mean(axis=0)  # of the scores less their mean: comparisons say nothing about the mean
    covariance -= covariance.mean(axis=1, keepdims=True)
    return Ranking(scores, covariance, len(pairs))


def rank(count: int, judge: Judge, schedule: str = "swiss", budget: int | None = None, seed: int = 0) -> Ranking:
    """Rank items by asking about pairs of them.

    No pair is asked twice; which of a pair comes first is drawn, so that a judge's preference for the first evens out.

    Arguments:
        count: number of items, n >= 2.
        judge: asked round by round with the pairs of a round, at most n/2 of them (`all`: with all of them at once).
        schedule: a name in `SCHEDULES`.
        budget: most comparisons to make; by default all pairs for `all`, n log2 n for the others.
        seed: of the draws.

    Raises:
        InputError: fewer than two items, no such schedule, a budget below 1, or a judge's answer outside 0 to 1.
    """
    if count < 2:
        raise InputError(f"ranking: expected at least two items, found {count}")
    if schedule not in SCHEDULES:
        raise InputError(f"ranking: no schedule {schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if budget is not None and budget < 1:
        raise InputError(f"ranking: expected a budget of at least 1 comparison, found {budget}")
    every = count * (count - 1) // 2
    budget = min(every, budget or (every if schedule == "all" else ceil(count * log2(count))))
    generator = np.random.default_rng(seed)
    pairs, shares = np.empty((0, 2), dtype=int), np.empty(0)
    ranking = fit(count, pairs, shares)
    while len(pairs) < budget:
        unasked = np.triu(np.ones((count, count), dtype=bool), 1)
        unasked[pairs.min(axis=1), pairs.max(axis=1)] = False
        chosen = SCHEDULES[schedule](ranking, unasked, generator)[: budget - len(pairs)]
        chosen = generator.permuted(chosen, axis=1)
        answers = np.asarray(judge(chosen), dtype=float)
        if answers.shape != (len(chosen),) or not ((answers >= 0) & (answers <= 1)).all():
            raise InputError(f"ranking: the judge must give {len(chosen)} probabilities between 0 and 1, one per pair")
        pairs, shares = np.concatenate([pairs, chosen]), np.concatenate([shares, answers])
        ranking = fit(count, pairs, shares)
    return ranking


def place(shares: np.ndarray, qualities: np.ndarray, slope: float) -> tuple[float, float]:
    """The quality of one item that was compared with anchors of known quality, and its standard deviation.

    The anchors (five will do) span the scale, such as a picture at each of the five levels. The item is as likely
    better than an anchor as `slope` times their difference in log-odds; mean and deviation are the posterior's, under a
    normal prior over the anchors' range.

    Arguments:
        shares: [anchors], the probability that the item is better than each anchor.
        qualities: [anchors], in any unit; the result has the same.
        slope: log-odds for a unit of quality; see `slope_of`.
    """
    spread = np.ptp(qualities)
    grid = np.linspace(qualities.min() - 2 * spread, qualities.max() + 2 * spread, GRID)
    gap = slope * (grid[:, None] - qualities)  # [grid, anchors]
    log_posterior = _log_likelihood(gap, shares).sum(axis=1) - ((grid - qualities.mean()) / spread) ** 2 / 2
    weights = np.exp(log_posterior - log_posterior.max())
    mean = float(np.average(grid, weights=weights))
    return mean, float(np.sqrt(np.average((grid - mean) ** 2, weights=weights)))


def slope_of(qualities: np.ndarray, pairs: np.ndarray, shares: np.ndarray) -> float:
    """How a judge tells qualities apart: log-odds for a unit of quality, by maximum likelihood over pairs of anchors.

    Arguments:
        qualities: [anchors], known.
        pairs, shares: as in `fit`.

    Raises:
        InputError: the judge prefers the worse of the anchors as often as the better: they say nothing about others.
    """
    from scipy.optimize import minimize_scalar

    gap = qualities[pairs[:, 0]] - qualities[pairs[:, 1]]
    unit = np.ptp(qualities)
    found = minimize_scalar(lambda slope: -_log_likelihood(slope * gap / unit, shares).sum(), bounds=(0, 100))
    slope = float(found.x) / unit
    if slope * unit < 0.1:
        raise InputError("anchors: the judge does not tell them apart; expected answers that favour the better ones")
    return slope


def _everything(ranking: Ranking, unasked: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """All pairs, in random order."""
    return generator.permutation(np.argwhere(unasked))


def _swiss(ranking: Ranking, unasked: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Neighbours in the present ranking, as in a Swiss tournament: each item once, from the top."""
    tie_break = generator.permutation(len(unasked))
    waiting = np.lexsort((tie_break, -ranking.scores)).tolist()
    open_pair = unasked | unasked.T
    pairs = []
    while waiting:
        item = waiting.pop(0)
        rival = next((other for other in waiting if open_pair[item, other]), None)
        if rival is not None:
            waiting.remove(rival)
            pairs.append((item, rival))
    return np.array(pairs)


def _active(ranking: Ranking, unasked: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The pairs whose answers tell most, each item once.

    An answer lowers the entropy of the scores by about log(1 + p (1 - p) v) / 2, where p is the expected answer and v
    the variance of the two scores' difference (as in Mikhailiuk et al., "Active sampling for pairwise comparisons via
    approximate message passing and information gain maximization", 2020, with Laplace's approximation).
    """
    pairs = generator.permutation(np.argwhere(unasked))  # a random one of equals
    a, b = pairs.T
    variance = np.diag(ranking.covariance)
    difference = variance[a] + variance[b] - 2 * ranking.covariance[a, b]
    expected = _sigmoid(ranking.scores[a] - ranking.scores[b])
    gain = expected * (1 - expected) * difference
    free = np.ones(len(unasked), dtype=bool)
    chosen = []
    for place in np.argsort(-gain, kind="stable"):
        if free[a[place]] and free[b[place]]:
            free[pairs[place]] = False
            chosen.append(pairs[place])
    return np.array(chosen)


SCHEDULES: dict[str, Callable[[Ranking, np.ndarray, np.random.Generator], np.ndarray]] = {
    "all": _everything,
    "swiss": _swiss,
    "active": _active,
}
"""The pairs to ask next, int [P, 2], the most useful first, given the ranking so far and the pairs not yet asked about
(bool [n, n], upper triangle)."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def _sums(places: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum of the values at each place, [count]."""
    return np.bincount(places, values, minlength=count)


def _log_likelihood(gap: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """p log s(gap) + (1 - p) log s(-gap), elementwise."""
    return shares * gap - np.logaddexp(0, gap)


def _objective(scores: np.ndarray, pairs: np.ndarray, shares: np.ndarray, prior_std: float) -> float:
    gap = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    return float(_log_likelihood(gap, shares).sum() - (scores**2).sum() / (2 * prior_std**2))


def _precision(count: int, pairs: np.ndarray, gap: np.ndarray, prior_std: float) -> np.ndarray:
    """The negated Hessian of the objective, [n, n]."""
    information = _sigmoid(gap) * _sigmoid(-gap)  # [P]
    first, second = pairs[:, 0], pairs[:, 1]
    matrix = np.zeros((count, count))
    np.add.at(matrix, (first, second), -information)
    matrix += matrix.T
    matrix[np.diag_indices(count)] = _sums(first, information, count) + _sums(second, information, count)
    return matrix + np.eye(count) / prior_std**2
