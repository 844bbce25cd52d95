"""Every command of docs/evaluation.md, run as it stands there."""

import json
import os
import re
import subprocess
import sys

import pytest

from processes import GIVE_UP_SECONDS
from tests.chat_server import ChatServer
from tests.evaluation.goldens import EVAL, ROOT

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.DOTALL)
BLOCKS = [block for block in BLOCKS if not block.startswith("cd experiments")]  # tests/experiments runs those


@pytest.fixture
def folder(tmp_path):
    """A place with the files that the page names."""

    def save(name, items):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(items))

    texts = {"single": ["Noise", "Blur"], "multi": ["Noise and blur", "Blur"], "rating": ["Image A", "Image B"]}
    texts["detail"] = ["The photo is noisy.", "The photo is blurred."]
    for name, (first, second) in texts.items():
        save(
            f"metas/{name}.json",
            [{"id": f"{name}{n}", "answer": (first, second)[n % 2], "severity": 1} for n in range(9)],
        )
        predictions = [{"id": f"{name}{n}", "text": first, "confidence": 0.75} for n in range(9)]
        save(f"answers/{name}.json", predictions)
        save(f"others/{name}.json", predictions)
    example = re.search(r"```json\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.DOTALL)
    save("metas/benchmark.json", [json.loads(example[1])])
    save("answers/benchmark.json", [{"id": 1, "text": "B", "confidence": None}])
    for name, place in (("vote_pred", "answers"), ("vote_test", "metas"), ("vote_gt", "metas")):
        save(f"{place}/{name}.json", json.loads((EVAL / f"{name}.json").read_text()))
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder):
    with ChatServer(answer=_review) as server:
        environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OPENAI_BASE_URL": server.url}
        outputs = [_run(block, folder, environment) for block in BLOCKS]
    assert len(BLOCKS) == 6
    assert "Average Accuracy: 0.5556" in outputs[0]
    assert "McNemar p = 1" in outputs[1]
    assert "SRCC:  0.94" in outputs[2]
    assert "1 questions: out/questions.json" in outputs[3] and "Average Accuracy: 1.0" in outputs[3]
    assert "v1 score: 75.0000" in outputs[4] and "v2 score: 6.0000" in outputs[4]
    assert "judge v2 6.0000" in outputs[5] and (folder / "out" / "report.html").exists()


def _review(body: dict) -> str:
    """Two numbers where two are asked for."""
    return "8 6" if "two numbers" in body["messages"][0]["content"].lower() else "6"


def _run(block: str, folder, environment) -> str:
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": GIVE_UP_SECONDS}
    done = subprocess.run(["sh", "-e", "-c", block], **options)
    assert done.returncode == 0, block + done.stdout + done.stderr
    return done.stdout
