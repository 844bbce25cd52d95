"""`infer.py` on tiny models: its folders, and ways to start it."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DATA, tiny_config

PROGRAM = Path(__file__).parents[2] / "src" / "infer.py"


def make_root(folder: Path) -> Path:
    """A `data.root_dir` with the golden pictures under the names that metas give them: shared/images/NAME."""
    shutil.copytree(DATA / "images", folder / "shared" / "images")
    return folder


def write_meta(path: Path, items) -> Path:
    path.write_text(json.dumps(items), encoding="utf-8")
    return path


def make_config(folder: Path, root: Path, name: str = "base", llm: str = "llm_tiny", **sections) -> Path:
    return tiny_config(folder, name, llm, **{**sections, "data": {"num_workers": 0, "root_dir": str(root)}})


def call(config: Path, *arguments: str) -> None:
    """Run infer.py to its end, in this process, which is quicker. Raises SystemExit as the program would exit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(PROGRAM), "--cfg", str(config), *map(str, arguments)])
        runpy.run_path(str(PROGRAM), run_name="__main__")


def start(*arguments) -> subprocess.Popen:
    """Start infer.py in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))
