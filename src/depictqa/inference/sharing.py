"""What prompts have in common, so that it is read once; and which prompts are read together."""

import itertools
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from depictqa.model.fusion import Fused

Key = TypeVar("Key", bound=Hashable)
Prefix = tuple[tuple[int, ...] | int, ...]  # segments of a prompt: a text's token ids, an image's `id`
LEAST_SAVED = 512  # tokens that a forward pass of its own has to save
MOST_TOKENS = 4096  # of a pass: enough to keep any processor busy; of larger tensors CPUs ask the system for new memory


def prefixes(prompt: Fused) -> list[Prefix]:
    """What stands before each image of a prompt, the shortest first."""
    parts = [tuple(segment) if isinstance(segment, list) else id(segment) for segment in prompt.segments]
    return [tuple(parts[:place]) for place, part in enumerate(parts) if isinstance(part, int)]


def shared_prefixes(prompts: Sequence[Fused]) -> list[list[Prefix]]:
    """Of each prompt, the prefixes that are read once for all prompts that have them, the shortest first.

    These are the text before the first image, which all questions of a task have, and those with images that so many
    prompts have that a pass of their own saves LEAST_SAVED tokens.
    """
    found = [prefixes(prompt) for prompt in prompts]
    counts = Counter(prefix for some in found for prefix in some)

    def is_worth_a_pass(prompt: Fused, shorter: Prefix, prefix: Prefix) -> bool:
        new = prefix_length(prompt, prefix) - prefix_length(prompt, shorter)
        return counts[prefix] > 1 and (counts[prefix] - 1) * new >= LEAST_SAVED

    return [
        some[:1] + [longer for shorter, longer in itertools.pairwise(some) if is_worth_a_pass(prompt, shorter, longer)]
        for prompt, some in zip(prompts, found, strict=True)
    ]


def prefix_length(prompt: Fused, prefix: Prefix) -> int:
    """Tokens of a prefix of a prompt."""
    return sum(map(len, prompt.segments[: len(prefix)]))


def passes(lengths: Mapping[Key, int]) -> list[list[Key]]:
    """Which sequences go through the model together: those of like lengths, at most MOST_TOKENS with their padding.

    Where another sequence would pad the others by more than LEAST_SAVED tokens, it begins a pass of its own.
    """
    groups: list[list[Key]] = []
    for key in sorted(lengths, key=lengths.__getitem__):
        length, group = lengths[key], groups[-1] if groups else []
        padding = len(group) * length - sum(lengths[other] for other in group)
        if group and padding <= LEAST_SAVED and (len(group) + 1) * length <= MOST_TOKENS:
            group.append(key)
        else:
            groups.append([key])
    return groups


def shared_tokens(one: Fused, other: Fused) -> int:
    """How many tokens two prompts have in common before the first that differs."""
    shared = 0
    for first, second in zip(one.segments, other.segments, strict=False):
        if isinstance(first, list) and isinstance(second, list):
            shared += sum(
                1 for _ in itertools.takewhile(lambda ids: ids[0] == ids[1], zip(first, second, strict=False))
            )
            if first == second:
                continue
        elif first is second:
            shared += len(first)
            continue
        break
    return shared


def cut(prompt: Fused, start: int, stop: int | None = None) -> Fused:
    """Consecutive tokens of a prompt."""
    segments, place = [], 0
    for segment in prompt.segments:
        part = segment[max(0, start - place) : None if stop is None else max(0, stop - place)]
        segments += [part] if len(part) else []
        place += len(segment)
    return Fused(segments, prompt.labels[start:stop], prompt.visible[start:stop])
