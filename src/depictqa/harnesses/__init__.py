"""Adapters to other people's evaluation programs, one a file; each is imported only by its program (docs/harnesses.md)."""

from collections.abc import Sequence
from typing import Any

from depictqa.api import Question
from depictqa.errors import InputError

BY_COUNT = {1: ("a",), 2: ("a", "b"), 3: ("reference", "a", "b")}  # images of a benchmark's question, in their order


def as_question(images: Sequence[Any], text: str) -> Question:
    """A benchmark's question as one of ours: one image is assessed, two are compared, the first of three is the reference.

    Raises:
        InputError: no image, or more than three.
    """
    if len(images) not in BY_COUNT:
        raise InputError(f"images: expected 1 to 3, found {len(images)}")
    return Question(text.strip(), **dict(zip(BY_COUNT[len(images)], images, strict=True)))
