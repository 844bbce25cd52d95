"""Order bias of comparisons: does the answer depend on which image is called Image A?

Measured from answers to the same pairs in both orders, in one file or in two.
"""

from dataclasses import dataclass

import numpy as np

from depictqa.errors import InputError
from depictqa.evaluation.correlation import CHOICES
from depictqa.evaluation.joining import Problems, is_number, join, some, text_field


@dataclass(frozen=True)
class Choice:
    """An answer to a comparison: `a_better` is the probability it gives to Image A, 1 or 0 without a confidence."""

    id: str | int
    reference: str | None
    image_a: str
    image_b: str
    prefers_a: bool
    a_better: float
    true: str | None  # "Image A" or "Image B", where it is known

    @property
    def pair(self) -> tuple:
        return self.reference, frozenset((self.image_a, self.image_b))


@dataclass(frozen=True)
class OrderBias:
    """Figures over the answers, and over the pairs that were asked in both orders.

    Attributes:
        answers: number of answers.
        first_share: share that prefers Image A; 1/2 is expected where which image comes first was drawn.
        pairs: number of pairs with an answer in each order.
        consistent_share: share of the pairs where both orders prefer the same image.
        kappa: Cohen's kappa of the two orders (Cohen, 1960): 1 where they always agree, near 0 where they agree as often
            as by chance, or where Image A always wins; None where every answer prefers the same place in the pair.
        mean_gap: mean absolute difference of the probabilities that the orders give to an image.
        accuracy_one: share of right answers, a single order each; None where the true answers are not known.
        accuracy_both: share of right answers by the mean of both orders' probabilities; 1/2 for a tie.
    """

    answers: int
    first_share: float
    pairs: int
    consistent_share: float
    kappa: float | None
    mean_gap: float
    accuracy_one: float | None
    accuracy_both: float | None


def read_choices(predictions: list[dict], questions: list[dict]) -> tuple[list[Choice], Problems]:
    """Answers with what was asked.

    Arguments:
        predictions: items with `id`, `text` and, where known, `confidence`; a text other than "Image A" or "Image B" is
            left out and counted in the problems.
        questions: items with `id`, `image_ref` (or null), `image_A`, `image_B` and, where known, `answer`.
    """
    pairs, _, problems = join(predictions, questions)
    texts = [text_field(prediction, "text") for prediction, _ in pairs]
    invalid = tuple(prediction["id"] for (prediction, _), text in zip(pairs, texts) if text not in CHOICES)
    choices = [_choice(prediction, item, text) for (prediction, item), text in zip(pairs, texts) if text in CHOICES]
    return choices, Problems(**vars(problems) | {"invalid": invalid})


def _choice(prediction: dict, item: dict, text: str) -> Choice:
    confidence = prediction.get("confidence")
    sure = confidence if is_number(confidence) else 1.0
    true = item.get("answer")
    return Choice(
        id=prediction["id"],
        reference=item.get("image_ref"),
        image_a=text_field(item, "image_A"),
        image_b=text_field(item, "image_B"),
        prefers_a=text == "Image A",
        a_better=sure if text == "Image A" else 1 - sure,
        true=true.strip() if isinstance(true, str) and true.strip() in CHOICES else None,
    )


def order_bias(choices: list[Choice]) -> OrderBias:
    """The figures over answers to pairs in both orders.

    Raises:
        InputError: no pair was asked in both orders, or one was asked twice in the same.
    """
    asked: dict[tuple, list[Choice]] = {}
    for choice in choices:
        asked.setdefault(choice.pair, []).append(choice)
    twice = [group[-1].id for group in asked.values() if len({choice.image_a for choice in group}) < len(group)]
    if twice:
        raise InputError(f"{len(twice)} pairs are asked more than once in the same order: {some(twice)}")
    both = [group for group in asked.values() if len(group) == 2]
    if not both:
        raise InputError(f"none of the {len(asked)} pairs is asked in both orders (as A, B and as B, A)")
    preferred = np.array([[one.prefers_a, not other.prefers_a] for one, other in both])  # [pairs, 2]: the first's A
    shares = np.array([[one.a_better, 1 - other.a_better] for one, other in both])
    right = [choice.prefers_a == (choice.true == "Image A") for choice in choices if choice.true]
    known = [place for place, (one, _) in enumerate(both) if one.true]
    better = np.array([both[place][0].true == "Image A" for place in known])
    mean = shares.mean(axis=1)[known]
    return OrderBias(
        answers=len(choices),
        first_share=float(np.mean([choice.prefers_a for choice in choices])),
        pairs=len(both),
        consistent_share=float((preferred[:, 0] == preferred[:, 1]).mean()),
        kappa=_kappa(preferred),
        mean_gap=float(np.abs(shares[:, 0] - shares[:, 1]).mean()),
        accuracy_one=float(np.mean(right)) if right else None,
        accuracy_both=float(np.where(mean == 0.5, 0.5, (mean > 0.5) == better).mean()) if known else None,
    )


def _kappa(ratings: np.ndarray) -> float | None:
    """Cohen's kappa of two raters with yes-no ratings, bool [items, 2]."""
    first, second = ratings.mean(axis=0)
    by_chance = first * second + (1 - first) * (1 - second)
    if by_chance == 1:
        return None
    return float(((ratings[:, 0] == ratings[:, 1]).mean() - by_chance) / (1 - by_chance))
