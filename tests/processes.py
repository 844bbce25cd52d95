"""What the tests of real processes share: ports nobody else has, and waiting for progress."""

import socket
import time

PORTS = range(20_000, 32_000)  # below those that Linux gives to outgoing connections, so that no client sits on one
GIVE_UP_SECONDS = 300  # ends a test that hangs; no test is about this figure
_claims: list[socket.socket] = []  # held until this process ends


def free_port() -> int:
    """A port where nobody listens, and which no other test process on this machine is given while this one runs.

    Whoever listens there may stop and start again. Raises OSError when all of `PORTS` are taken.
    """
    for port in PORTS:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0depictqa-tests-{port}")  # an abstract name: one owner on this machine, gone with its process
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
