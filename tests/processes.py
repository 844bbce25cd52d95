"""What the tests of real processes share: ports nobody else has, waiting for progress, being killed at a named point."""

import fcntl
import itertools
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

PORTS = range(20_000, 32_000)  # below those that Linux gives to outgoing connections, so that no client sits on one
GIVE_UP_SECONDS = 600  # ends a test that hangs; no test is about this figure
_claims: list[TextIO] = []  # held until this process ends


def free_port() -> int:
    """A port where nobody listens, and which no other test process on this machine is given while this one runs.

    Whoever listens there may stop and start again. Raises OSError when all of `PORTS` are taken.
    """
    claims = Path(tempfile.gettempdir(), f"depictqa-ports-{os.getuid()}")
    claims.mkdir(exist_ok=True)
    for port in PORTS:
        claim = open(claims / str(port), "w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with this process
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
                probe.bind(("", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise OSError(f"no free port in {PORTS}")


def until(condition):
    """Poll `condition` and return its first true value. Fails when it stays false for `GIVE_UP_SECONDS`."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not (value := condition()):
        assert time.monotonic() < give_up, f"still not true after {GIVE_UP_SECONDS} s"
        time.sleep(0.02)
    return value


def kill_before(number: int, folder: Path) -> None:
    """From now on, kill -9 this process before the `number`-th time that it opens, makes, renames or removes a file or
    folder under `folder`."""
    folder, operations = os.path.abspath(folder), itertools.count(1)

    def hook(event, arguments):
        if event not in ("open", "os.mkdir", "os.rename", "os.remove") or not isinstance(
            arguments[0], str | bytes | Path
        ):
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(folder) and next(operations) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed_before(number: int, folder: Path, program: Path) -> list[str]:
    """The beginning of a command that runs a Python program until `kill_before(number, folder)` ends it."""
    code = (
        f"import runpy, sys; sys.path.append({str(Path(__file__).parent)!r}); import processes; "
        f"processes.kill_before({number}, {str(folder)!r}); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return [sys.executable, "-c", code, str(program)]


@contextmanager
def no_room_beyond(size: int):
    """No file of this process may grow beyond `size` bytes; as on a full disk, a write takes what fits, then fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
