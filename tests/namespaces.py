"""Two machines, as the kernel can play them: network namespaces joined by a cable. The fixture `nodes` is in conftest."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

IN_NAMESPACE = ("ip", "netns", "exec")  # then its name and a command; mounts made in there are seen in there only
needs_iproute = pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def joined() -> Iterator[list[str]]:
    """Names of two namespaces, 10.77.0.1 and 10.77.0.2, that see nothing but each other."""
    names = [f"depictqa{rank}-{os.getpid()}" for rank in range(2)]
    cables = [f"dq{rank}x{os.getpid()}" for rank in range(2)]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for number, (name, cable) in enumerate(zip(names, cables, strict=True), 1):
            _ip("link", "set", cable, "netns", name)
            _ip("-n", name, "link", "set", cable, "name", "cable")
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                _ip("-n", name, "link", "set", device, "up")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to make network namespaces")
    else:
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
