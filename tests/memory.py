"""The most memory that a piece of Python code takes on the host, in bytes, measured in a process of its own (Linux)."""

import subprocess
import sys
from pathlib import Path

import pytest

from processes import GIVE_UP_SECONDS

needs_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak from Linux's /proc")
MEASURE = """
import sys
from pathlib import Path
import torch
{imports}

def resident(field):
    status = Path("/proc/self/status").read_text()
    return int(status.split(field)[1].split()[0]) * 1024

torch.ones(512, 512) @ torch.ones(512, 512)  # what threads take is not counted
before = resident("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
{code}
print(resident("VmHWM:") - before)
"""


def peak(imports: str, code: str, *arguments) -> int:
    """Bytes, files that are mapped included, that `code` takes beyond what `imports` do; `arguments` are its sys.argv."""
    program = MEASURE.format(imports=imports, code=code)
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=GIVE_UP_SECONDS
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout.split()[-1])
