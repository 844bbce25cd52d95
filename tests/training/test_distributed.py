"""How the processes of a run end."""

import subprocess
import sys

import pytest

from processes import GIVE_UP_SECONDS
from training.runs import SRC, make_run

COUNT_AND_RUN = """
import atexit, pathlib, runpy, sys
tasks = pathlib.Path("/proc/self/task")
threads = lambda: [task.read_text().strip() for task in tasks.glob("*/comm")]
atexit.register(lambda: print("threads at the end:", *threads()))  # called last, as it is registered first
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_thread_of_gloo_outlives_a_run(tmp_path):
    """One that lets go of a tensor while Python shuts down aborts the process, now and then on a busy machine."""
    command = [sys.executable, "-c", COUNT_AND_RUN, str(SRC / "train.py"), "--cfg", str(make_run(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_SECONDS)
    assert done.returncode == 0, done.stderr
    threads = done.stdout.splitlines()[-1].removeprefix("threads at the end:").split()
    assert threads and not [name for name in threads if "gloo" in name]
