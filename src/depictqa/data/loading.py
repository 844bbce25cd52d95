"""Processes that load images may be killed, as the kernel does where memory is short: that is one line, not a traceback."""

import contextlib
from collections.abc import Iterator

from depictqa.errors import InputError


@contextlib.contextmanager
def loaders_that_live(then: str) -> Iterator[None]:
    """Read the batches of a DataLoader inside.

    Args:
        then: how the job continues, for the message.

    Raises:
        InputError: a loading process was killed. PyTorch reports it by a signal, so it may be raised anywhere inside, not
            only where a batch is waited for.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise InputError(
            f"a process that loads images ended ({' '.join(str(error).split())}); often memory or /dev/shm is too small: "
            f"lower data.num_workers, then {then}"
        ) from None
