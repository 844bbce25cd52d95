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
    _save_scores_and_pairs(save)
    for name, place in (("vote_pred", "answers"), ("vote_test", "metas"), ("vote_gt", "metas")):
        save(f"{place}/{name}.json", json.loads((EVAL / f"{name}.json").read_text()))
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "bin").mkdir()
    for program, target in (("python", sys.executable), ("depictqa", f"{sys.executable} -m depictqa.cli")):
        (tmp_path / "bin" / program).write_text(f'#!/bin/sh\nexec {target} "$@"\n')
        (tmp_path / "bin" / program).chmod(0o755)
    return tmp_path


def _save_scores_and_pairs(save):
    """Six scored images, the pairs of the ratings among them, and the same pairs in both orders."""
    scores = [1.0, 2.2, 2.9, 3.5, 4.1, 4.8]
    images = [
        {"id": n, "image_A": f"{n}.png", "score": {"mean": 20 * n, "std": 9, "min": 0, "max": 100}} for n in range(6)
    ]
    save("metas/score.json", images)
    answers = [{"id": n, "score": score, "score_std": 0.2 + n / 10} for n, score in enumerate(scores)]
    save("answers/score.json", answers)
    pairs = [{"image_ref": None, "image_A": f"{n % 5}.png", "image_B": f"{n % 5 + 1}.png"} for n in range(9)]
    answer = ("Image A", "Image B")
    save("metas/rating.json", [one | {"id": f"rating{n}", "answer": answer[n % 2]} for n, one in enumerate(pairs)])
    orders = [("x", "y"), ("y", "x"), ("x", "z"), ("z", "x")]
    save("metas/order.json", [{"id": n, "image_A": a, "image_B": b} for n, (a, b) in enumerate(orders)])
    texts = ("Image A", "Image B", "Image A", "Image A")
    save("answers/order.json", [{"id": n, "text": text, "confidence": 0.9} for n, text in enumerate(texts)])


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder):
    with ChatServer(answer=_review) as server:
        environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OPENAI_BASE_URL": server.url}
        outputs = [_run(block, folder, environment) for block in BLOCKS]
    assert len(BLOCKS) == 9
    assert "Average Accuracy: 0.5556" in outputs[0]
    assert "McNemar p = 1" in outputs[1]
    assert "SRCC:  0.94" in outputs[2]
    assert "SRCC:  1.0000" in outputs[3] and "agrees with 9 comparisons:  0.0000" in outputs[3]
    assert "Both orders agree:  0.5000 of 2 pairs" in outputs[4]
    assert "compare:  temperature" in outputs[5]
    assert "1 questions: out/questions.json" in outputs[6] and "Average Accuracy: 1.0" in outputs[6]
    assert "v1 score: 75.0000" in outputs[7] and "v2 score: 6.0000" in outputs[7]
    assert "judge v2 6.0000" in outputs[8] and (folder / "out" / "report.html").exists()


def _review(body: dict) -> str:
    """Two numbers where two are asked for."""
    return "8 6" if "two numbers" in body["messages"][0]["content"].lower() else "6"


def _run(block: str, folder, environment) -> str:
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": GIVE_UP_SECONDS}
    done = subprocess.run(["sh", "-e", "-c", block], **options)
    assert done.returncode == 0, block + done.stdout + done.stderr
    return done.stdout
