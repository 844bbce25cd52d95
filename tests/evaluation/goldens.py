"""The golden runs of the original evaluation, and how to run one of ours."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
EVAL = DATA / "eval"
CASES = json.loads((EVAL / "expected.json").read_text())
RUNS = {case["name"]: case for case in CASES if "script" in case}
PAIRS = [case for case in CASES if case["name"] == "multi_pair"]


def run_script(script: str, *args, cwd: Path = EVAL, **options) -> subprocess.CompletedProcess:
    """Run an entry point of src/eval as a user would."""
    command = [sys.executable, str(ROOT / "src" / "eval" / script), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, **options)
