"""Writing that may fail: a full disk is one line that names the file, not a traceback."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from depictqa.errors import InputError

TORCH_SAVE_FAILED = ("PytorchStreamWriter", "unexpected pos")  # what torch.save says when the disk under it is full


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path`, or below it.

    Raises:
        InputError: the disk is full, or does not take it for another reason.
    """
    try:
        yield
    except OSError as error:
        raise InputError(_message(path, error.strerror or str(error))) from None
    except RuntimeError as error:
        if not any(sign in str(error) for sign in TORCH_SAVE_FAILED):
            raise
        cause = error.__context__  # the OSError that torch.save met, where it wrote through a Python file
        raise InputError(_message(path, getattr(cause, "strerror", None) or "the disk may be full")) from None


def _message(path: Path, reason: str) -> str:
    return (
        f"{path}: cannot be written ({reason}); earlier checkpoints are as they were. Make room there, then continue with "
        "--resume auto"
    )
