"""Every command of docs/training.md, run as it stands there."""

import json
import os
import re
import subprocess
import sys

import pytest

from depictqa.prompts import TASKS
from processes import GIVE_UP_SECONDS
from training.runs import SRC, make_items, make_run

PAGE = (SRC.parent / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path):
    make_run(tmp_path / "experiments" / "mine", make_items(8))
    (tmp_path / "src").symlink_to(SRC)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    outputs = [
        subprocess.run(
            ["sh", "-ec", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=GIVE_UP_SECONDS
        )
        for block in blocks
    ]
    assert [output.returncode for output in outputs] == [0] * 4, [output.stderr for output in outputs]
    assert "this run is finished; nothing to do" in outputs[2].stdout
    mine = tmp_path / "experiments" / "mine"
    assert (mine / "ckpt2" / "ckpt_epoch2.pt").exists() and (mine / "log" / "curves.png").exists()
    assert (tmp_path / "out" / "merged" / "delta.pt").exists()


def test_the_example_meta_is_one():
    items = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    for item in items:
        assert set(TASKS[item["task_type"]].fields) <= item.keys()
        assert [turn["from"] for turn in item["conversations"]] == ["human", "gpt"]
