"""What prompts have in common, so that it is read once, and what is worth a pass of its own."""

import itertools
import os
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

from depictqa.model.fusion import Fused

Beginning = tuple[tuple[int, ...] | int, ...]  # of a prompt: token ids of a text, or which image
LEAST_SAVED = 512  # tokens that make a pass of its own worth while
MOST_TOKENS = 4096  # of a pass: enough to keep any processor busy; of larger tensors CPUs ask the system for new memory


def beginnings(fused: Fused) -> list[Beginning]:
    """What stands before each image of a prompt: its segments, texts by their ids, images by which tensor they are."""
    parts = [tuple(segment) if isinstance(segment, list) else id(segment) for segment in fused.segments]
    return [tuple(parts[:place]) for place, part in enumerate(parts) if isinstance(part, int)] or [()]


def worth_reading_first(prompts: Sequence[Fused]) -> set[Beginning]:
    """Beginnings with images that so many prompts have that a pass of their own saves enough."""
    counts = Counter(beginning for fused in prompts for beginning in beginnings(fused))
    worth = set()
    for fused in prompts:
        for shorter, beginning in itertools.pairwise(beginnings(fused)):
            length = sum(map(len, fused.segments[len(shorter) : len(beginning)]))
            if counts[beginning] > 1 and (counts[beginning] - 1) * length >= LEAST_SAVED:
                worth.add(beginning)
    return worth


def passes(lengths: Mapping[Hashable, int]) -> Iterator[list[Hashable]]:
    """Rows that are read at a time: at most MOST_TOKENS, padding counted, but at least one row."""
    some: list[Hashable] = []
    for key in sorted(lengths, key=lengths.__getitem__):  # like lengths together; the last is the longest
        if some and (len(some) + 1) * lengths[key] > MOST_TOKENS:
            yield some
            some = []
        some.append(key)
    yield some


def length_of(fused: Fused, beginning: Beginning) -> int:
    """Tokens of a beginning of a prompt."""
    return sum(map(len, fused.segments[: len(beginning)]))


def shared_tokens(one: Fused, other: Fused) -> int:
    """How many tokens two prompts have in common before the first that differs."""
    shared = 0
    for first, second in zip(one.segments, other.segments, strict=False):
        texts = isinstance(first, list) and isinstance(second, list)
        same = first == second if texts else first is second
        shared += len(os.path.commonprefix([first, second])) if texts else same * len(first)
        if not same:
            break
    return shared


def cut(fused: Fused, begin: int, end: int | None = None) -> Fused:
    """Some tokens of a prompt, one after another."""
    segments, place = [], 0
    for segment in fused.segments:
        part = segment[max(0, begin - place) : None if end is None else max(0, end - place)]
        segments += [part] if len(part) else []
        place += len(segment)
    return Fused(segments, fused.labels[begin:end], fused.visible[begin:end])
