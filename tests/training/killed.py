"""A training run that is killed (-9) at a step of its own, not by the clock."""

import signal
import subprocess
import sys
from pathlib import Path

from training.runs import SRC

KILL = """
import os, runpy, signal, sys
from depictqa.training.metrics import RunLog
last, sys.argv[0] = int(sys.argv.pop(1)), sys.argv.pop(1)
write = RunLog.write

def write_and_die(log, metrics, samples):
    write(log, metrics, samples)
    if metrics["step"] == last:
        os.kill(os.getpid(), signal.SIGKILL)

RunLog.write = write_and_die
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def kill_after(config: Path, step: int) -> None:
    """Run train.py up to the moment at which it has logged `step`, before anything is saved there."""
    command = [sys.executable, "-c", KILL, str(step), str(SRC / "train.py"), "--cfg", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr
