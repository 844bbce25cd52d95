"""What both exports share: a folder that is there whole or not at all, and the comparison of what was written."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError

from depictqa.errors import InputError

LEAST_AGREEMENT = 0.98  # share of positions with the same likeliest token; rounding to fp16 may turn a near tie


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """The path of a folder beside `out` that takes its place once the block ends without an error.

    Raises:
        InputError: `out` exists.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; expected a new folder")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def writing_weights(out: Path) -> Iterator[None]:
    """Turn an error of the disk into an InputError that names `out`."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in its own error
        raise InputError(f"{out}: cannot be written ({error}); nothing is kept") from None


def compare(out: Path, written: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Compare the logits [tokens, V] of what was written with the trained model's.

    Returns:
        the largest difference of a logit, and the share of positions whose likeliest token is the same.

    Raises:
        InputError: that share is below LEAST_AGREEMENT.
    """
    difference = (written - expected).abs().max().item()
    agreement = (written.argmax(-1) == expected.argmax(-1)).double().mean().item()
    if not agreement >= LEAST_AGREEMENT:
        raise InputError(
            f"{out}: the exported model gives other answers: {agreement:.1%} of the likeliest tokens agree, logits differ "
            f"by up to {difference:.3g}; nothing is kept. Try --dtype fp32"
        )
    return difference, agreement
