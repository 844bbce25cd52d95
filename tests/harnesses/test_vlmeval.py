"""Nano, asked by the real VLMEvalKit (skipped where it is not installed)."""

import base64
import csv
from pathlib import Path

import pytest

pytest.importorskip("vlmeval", exc_type=(ImportError, RuntimeError))

import depictqa
from depictqa.harnesses import vlmeval as adapter
from harnesses.questions import QUESTIONS


@pytest.mark.slow
def test_nano_answers_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    from vlmeval.config import supported_VLM
    from vlmeval.dataset import build_dataset
    from vlmeval.inference import infer_data_job
    from vlmeval.smp import load

    with open(tmp_path / "tiny_qbench.tsv", "w", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["index", "image", "question", "A", "B", "answer"])
        for one in QUESTIONS:
            image = base64.b64encode(Path(one["image_path"]).read_bytes()).decode()
            table.writerow([one["id"], image, one["question"], one["option0"], one["option1"], "A"])
    adapter.register("nano", device="cpu")
    dataset = build_dataset("tiny_qbench")
    prompts = [
        "\n".join(part["value"] for part in dataset.build_prompt(row) if part["type"] == "text")
        for row in range(len(QUESTIONS))
    ]
    model = infer_data_job(supported_VLM["depictqa"](), str(tmp_path), "depictqa", dataset)
    (result,) = tmp_path.glob("depictqa_tiny_qbench.*")
    table = load(str(result))["prediction"].fillna("None")  # VLMEvalKit reads its table back by pandas' rules
    asked = [depictqa.api.Question(prompt.strip(), a=one["image_path"]) for prompt, one in zip(prompts, QUESTIONS)]
    assert list(table) == [answer.text for answer in model.dq.ask_many(asked)]
