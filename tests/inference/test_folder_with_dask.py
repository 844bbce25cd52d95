"""The example of docs/inference.md for folders of millions of images, on a cluster of two local processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DATA
from inference.programs import make_config, read
from processes import GIVE_UP_SECONDS

EXAMPLE = Path(__file__).parents[2] / "docs" / "folder_with_dask.py"
PICTURES = ("s01_70x70.png", "s06_33x47.png", "s10_84x84.png", "s11_84x84.png", "s12_84x84.png")


@pytest.mark.slow
def test_a_folder_is_answered_in_parts(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "photos" / "below").mkdir(parents=True)
    for number, name in enumerate(PICTURES):
        shutil.copy(DATA / "images" / name, tmp_path / "photos" / ("below" if number % 2 else "") / name)
    (tmp_path / "photos" / "notes.txt").touch()
    command = [sys.executable, EXAMPLE, tmp_path / "photos", tmp_path / "out", "--part", "2", "--workers", "2"]
    command += ["--cfg", make_config(tmp_path, tmp_path), "--set", "infer.max_new_tokens=2"]
    answers = []
    for _ in range(2):  # the second time nothing is left to ask
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIVE_UP_SECONDS, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "5 images answered"
        files = sorted((tmp_path / "out" / "answers").glob("*_part*.json"))
        answers.append([row for path in files for row in read(path)])
    assert [path.name for path in files] == [f"quality_single_A_noref_part00000{n}.json" for n in range(3)]
    assert sorted(Path(row["id"]).name for row in answers[0]) == sorted(PICTURES)
    assert all(row["text"] for row in answers[0]) and answers[0] == answers[1]
