"""Answers to a batch of prompts."""

from collections.abc import Callable, Sequence

from depictqa.inference.sampling import Completion, Sampling
from depictqa.inference.session import PrefixCache, Session
from depictqa.model.depictqa import DepictQA
from depictqa.model.fusion import Fused


def generate(
    model: DepictQA,
    prompts: Sequence[Fused],
    sampling: Sampling | Sequence[Sampling],
    prefix_cache: PrefixCache | None = None,
    follow_up: Callable[[int, Completion], Fused | None] | None = None,
) -> list[Completion]:
    """Answers to B fused questions, in their order.

    Args:
        sampling: one for all rows, or one each.
        prefix_cache: as of `Session`.
        follow_up: what row n is to be asked after its answer, if anything; that answer is its answer's `second`.
    """
    samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
    session = Session(model, prefix_cache)
    session.join(dict(enumerate(zip(prompts, samplings, strict=True))))
    answers: dict[int, Completion] = {}
    while rows := session.step():
        for row in rows:
            answers[row.key] = row.answer
            if follow_up is not None and row.has_ended and row.answer.second is None:
                prompt = follow_up(row.key, row.answer)
                if prompt is not None:
                    session.follow_up(row.key, prompt)
    return [answers[number] for number in range(len(prompts))]
