"""SRCC against the number of comparisons, on a judge whose exact answer is known: `python benchmarks/ranking.py` (a minute).

Items have qualities drawn from a normal distribution of deviation `--spread`, in log-odds. Asked about a pair, the judge
gives 1 / (1 + exp(-(q_A - q_B + bias + e))), where e is normal noise of deviation `--noise`, drawn once for each pair in
each order, and bias its preference for Image A. SRCC is that of the fitted scores with the qualities, the mean over
`--sets` sets of items; `votes` are 0 or 1 instead of probabilities, `both orders` asks
about half as many pairs, each in both orders. Prints the rows of the table in docs/score.md.
"""

import argparse
from collections.abc import Callable

import numpy as np

from depictqa.evaluation.correlation import pearson, ranks
from depictqa.evaluation.ranking import SCHEDULES, Judge, rank


def simulated(quality: np.ndarray, noise: float, bias: float, seed: int) -> Judge:
    """A judge that errs; the same pair in the same order gets the same answer."""
    errors = np.random.default_rng(seed).normal(bias, noise, (len(quality), len(quality)))

    def judge(pairs: np.ndarray) -> np.ndarray:
        first, second = pairs.T
        return 1 / (1 + np.exp(-(quality[first] - quality[second] + errors[first, second])))

    return judge


def in_both_orders(judge: Judge) -> Judge:
    """The mean of both orders' probabilities."""
    return lambda pairs: (judge(pairs) + 1 - judge(pairs[:, ::-1])) / 2


WAYS: dict[str, tuple[str, int, Callable[[Judge], Judge]]] = {  # row -> schedule, questions a pair, judge
    **{f"{schedule}, probabilities": (schedule, 1, lambda judge: judge) for schedule in SCHEDULES},
    "swiss, votes": ("swiss", 1, lambda judge: lambda pairs: np.round(judge(pairs))),
    "swiss, both orders": ("swiss", 2, in_both_orders),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--spread", type=float, default=2.0)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--bias", type=float, default=0.5)
    parser.add_argument("--budgets", type=int, nargs="+", default=[64, 128, 192, 384, 768, 2016])
    args = parser.parse_args()

    print(
        f"| questions asked, of {args.items * (args.items - 1) // 2} pairs | "
        + " | ".join(map(str, args.budgets))
        + " |"
    )
    print("|---" * (len(args.budgets) + 1) + "|")
    for row, (schedule, questions, change) in WAYS.items():
        figures = []
        for budget in args.budgets:
            found = []
            for seed in range(args.sets):
                quality = args.spread * np.random.default_rng(seed).normal(size=args.items)
                judge = change(simulated(quality, args.noise, args.bias, seed))
                ranking = rank(args.items, judge, schedule, budget // questions, seed)
                found.append(pearson(ranks(ranking.scores), ranks(quality)))
            figures.append(f"{np.mean(found):.3f}")
        print(f"| {row} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
