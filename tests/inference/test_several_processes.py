"""`torchrun ... infer.py`: several processes give the bytes of one, and one that is killed costs the rest of its share."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inference.programs import PROGRAM, make_config, make_root, write_meta
from processes import GIVE_UP_SECONDS

TESTS = Path(__file__).parents[1]
NAME = "quality_compare_toy"
PICTURES = ("s10_84x84", "s11_84x84", "s01_70x70", "s06_33x47", "s12_84x84")
MORTAL = """
import os, runpy, sys
sys.path.append({tests!r})
import processes
if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == ({rank!r}, "0"):
    processes.kill_before({number}, {folder!r})
runpy.run_path({program!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """All pairs of five pictures, under each of four references: 80 questions."""
    root = make_root(tmp_path_factory.mktemp("root"))
    names = [f"shared/images/{name}.png" for name in PICTURES]
    items = [
        {"id": f"{ref} {a} {b}", "image_ref": names[ref], "image_A": names[a], "image_B": names[b], "query": "Better?"}
        for ref in range(4)
        for a in range(5)
        for b in range(5)
        if a != b
    ]
    write_meta(root / "toy.json", items)
    return root


def infer(folder: Path, root: Path, launcher: list[str] = (), program: Path = PROGRAM) -> subprocess.CompletedProcess:
    """Run infer.py on the toy questions in `folder`, plain or under a launcher."""
    config = make_config(folder, root, infer={"output_prob_id": True, "max_new_tokens": 6})
    arguments = ["--cfg", config, "--meta_path", "toy.json", "--dataset_name", "toy", "--task_name", "quality_compare"]
    return subprocess.run(
        [sys.executable, *launcher, program, *arguments, "--batch_size", "4"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=GIVE_UP_SECONDS,
    )


def torchrun(*options: str) -> list[str]:
    return ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *options]


def mortal(folder: Path, rank: int, number: int) -> Path:
    """infer.py whose process `rank` kills itself at an operation on its answers, unless the launcher started it anew."""
    path = folder / "mortal.py"
    answers = str(folder / "answers")
    path.write_text(
        MORTAL.format(tests=str(TESTS), rank=str(rank), number=number, folder=answers, program=str(PROGRAM))
    )
    return path


def answers(folder: Path) -> list[bytes]:
    return [(folder / "answers" / f"{NAME}.{suffix}").read_bytes() for suffix in ("json", "jsonl")]


@pytest.fixture(scope="module")
def alone(root, tmp_path_factory):
    """The files that one process writes."""
    folder = tmp_path_factory.mktemp("alone")
    done = infer(folder, root)
    assert done.returncode == 0, done.stderr
    assert f"{NAME}: 80 questions about 5 images, each decoded and encoded once" in done.stderr
    return answers(folder)


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(root, alone, tmp_path):
    done = infer(tmp_path, root, torchrun())
    assert done.returncode == 0, done.stderr
    assert answers(tmp_path) == alone
    assert done.stderr.count(f"{NAME}: 40 questions about") == 1  # the first process's half
    assert "80/80" in done.stderr
    assert {path.name for path in (tmp_path / "answers").iterdir()} == {
        f"{NAME}.json",
        f"{NAME}.jsonl",
        f".{NAME}.run",
        f".{NAME}.lock",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "operation"), [(0, 20), (1, 8)])
def test_a_killed_process_costs_the_rest_of_its_share(rank, operation, root, alone, tmp_path):
    tmp_path.joinpath("answers").mkdir()
    stopped = infer(tmp_path, root, torchrun(), mortal(tmp_path, rank, operation))
    assert stopped.returncode != 0 and "Signal 9 (SIGKILL)" in stopped.stderr
    kept = [path for path in (tmp_path / "answers").glob(f"*{NAME}*") if path.suffix in (".jsonl", ".part1")]
    rows = sum(len(path.read_text().splitlines()) for path in kept)
    assert 0 < rows < 80
    done = infer(tmp_path, root)
    assert done.returncode == 0, done.stderr
    assert re.search(f"{NAME}: {80 - rows} questions about", done.stderr)
    assert answers(tmp_path) == alone


@pytest.mark.slow
def test_an_elastic_launcher_goes_on_by_itself(root, alone, tmp_path):
    done = infer(tmp_path, root, torchrun("--max-restarts=1"), mortal(tmp_path, 1, 8))
    assert done.returncode == 0, done.stderr
    assert "Signal 9" in done.stderr or "exitcode: -9" in done.stderr
    assert answers(tmp_path) == alone


@pytest.mark.slow
def test_a_mistake_is_said_once(root, tmp_path):
    write_meta(tmp_path / "toy.json", [])
    done = infer(tmp_path, tmp_path, torchrun())
    assert done.returncode == 1  # the launcher's
    assert done.stderr.count(f"error: {tmp_path}/toy.json: no items\n") == 1
    assert json.loads((tmp_path / "toy.json").read_text()) == []
