"""cal_gpt4_score_detail_v1.py and _v2.py as programs, against a server of ours."""

import json
import subprocess
import sys

import pytest

from processes import until
from tests.chat_server import ChatServer
from tests.evaluation.goldens import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    ids = [f"i{number}" for number in range(60)]
    answers = [{"id": key, "query": "?", "answer": "blurry"} for key in ids]
    predictions = [{"id": key, "text": f"It is {key}", "confidence": None} for key in ids]
    (tmp_path / "gt.json").write_text(json.dumps(answers))
    (tmp_path / "pred.json").write_text(json.dumps(predictions))
    (tmp_path / "prompt.txt").write_text("{reference} / {answer}")
    return tmp_path


def command(version, server, *more):
    script = str(ROOT / "src" / "eval" / f"cal_gpt4_score_detail_{version}.py")
    paths = (
        "--pred_path",
        "pred.json",
        "--gt_path",
        "gt.json",
        "--save_path",
        "out/v.json",
        "--prompt_file",
        "prompt.txt",
    )
    return [sys.executable, script, *paths, "--base_url", server.url, "--model", "m", *map(str, more)]


def run(folder, version, server, *more):
    return subprocess.run(command(version, server, *more), cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("version", "answer", "line"),
    [("v1", "8 6\nFair.", "v1 score: 75.0000 (95% interval 75.0000 to 75.0000)"),
     ("v2", "7\nFair.", "v2 score: 7.0000 (95% interval 7.0000 to 7.0000)")],
)  # fmt: skip
def test_all_items_are_scored_and_saved(folder, version, answer, line):
    with ChatServer(answer=answer) as server:
        done = run(folder, version, server, "--json", "figures.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["60 of 60 items scored", line]
    verdicts = json.loads((folder / "out" / "v.json").read_text())
    assert len(verdicts) == 60 and verdicts[0]["review"] == answer
    assert json.loads((folder / "figures.json").read_text())["statuses"] == {"ok": 60}


def test_the_cap_stops_and_a_second_run_goes_on(folder):
    prices = ("--price_in", 1000, "--price_out", 1000, "--max_tokens", 5)
    with ChatServer(answer="7") as server:
        first = run(folder, "v2", server, *prices, "--max_cost", 0.3)
        assert first.returncode == 2
        assert "items have no verdict (max_cost (0.3 dollars) is reached); run again to go on" in first.stderr
        assert "score:" not in first.stdout
        done = server.completed.total()
        assert 0 < done <= 20
        second = run(folder, "v2", server, *prices, "--max_cost", 3)
    assert second.returncode == 0 and "60 of 60" in second.stdout
    assert server.calls.total() == 60


def test_kill_9_then_again(folder):
    held = {f"i{number}": ["hold"] for number in range(10, 60)}
    with ChatServer(held, answer="7") as server:
        child = subprocess.Popen(command("v2", server, "--concurrency", 2), cwd=folder, stderr=subprocess.DEVNULL)
        until(lambda: server.held == 2)  # ten have their verdict, two are under way
        child.kill()
        child.wait()
        server.script = {}
        assert not (folder / "out" / "v.json").exists()
        done = run(folder, "v2", server)
    assert done.returncode == 0 and "60 of 60 items scored" in done.stdout
    assert server.calls.total() == 62


def test_a_key_that_is_refused_is_said_once(folder):
    with ChatServer(default=("401",)) as server:
        done = run(folder, "v1", server, "--api_key", "wrong")
    assert done.returncode == 2 and done.stderr.count("error:") == 1
    assert "the key is not accepted" in done.stderr and "Traceback" not in done.stderr


def test_missing_answers_are_told_before_anything_is_paid(folder):
    predictions = json.loads((folder / "pred.json").read_text())[:50]
    (folder / "pred.json").write_text(json.dumps(predictions))
    with ChatServer(answer="7") as server:
        told = run(folder, "v2", server)
        assert server.calls.total() == 0
        allowed = run(folder, "v2", server, "--allow_missing")
    assert told.returncode == 2 and "10 answers have no prediction" in told.stderr
    assert allowed.returncode == 0 and "50 of 50 items scored" in allowed.stdout
