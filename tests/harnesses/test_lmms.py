"""Nano, asked by the real lmms-eval (skipped where it is not installed)."""

import json
import textwrap

import pytest

pytest.importorskip("lmms_eval")

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.models import get_model, list_available_models
from lmms_eval.tasks import TaskManager

import depictqa
from harnesses.questions import QUESTIONS

TASK = """
    task: tiny_qbench
    dataset_path: json
    dataset_kwargs: {{data_files: {{dev: {file}}}}}
    test_split: dev
    output_type: generate_until
    doc_to_visual: !function utils.visual
    doc_to_text: !function utils.text
    doc_to_target: correct_choice
    generation_kwargs: {{max_new_tokens: 32, until: ["\\n"]}}
    process_results: !function utils.results
    metric_list:
      - {{metric: answered, aggregation: !function utils.mean, higher_is_better: true}}
    metadata: [{{version: 0}}]
"""
UTILS = """
    from PIL import Image

    def visual(doc):
        return [Image.open(doc["image_path"]).convert("RGB")]

    def text(doc, lmms_eval_specific_kwargs=None):
        return doc["question"]

    def results(doc, results):
        return {"answered": results[0]}

    def mean(texts):
        return sum(bool(text) for text in texts) / len(texts)
"""


def test_it_is_found_by_its_entry_point():
    assert "depictqa" in list_available_models()
    assert get_model("depictqa").__module__ == "depictqa.harnesses.lmms"


@pytest.mark.slow
def test_nano_answers_a_task(tmp_path):
    (tmp_path / "questions.json").write_text(json.dumps(QUESTIONS))
    (tmp_path / "tiny_qbench.yaml").write_text(textwrap.dedent(TASK.format(file=tmp_path / "questions.json")))
    (tmp_path / "utils.py").write_text(textwrap.dedent(UTILS))
    found = simple_evaluate(
        model="depictqa",
        model_args="pretrained=nano,device=cpu",
        tasks=["tiny_qbench"],
        batch_size=2,
        task_manager=TaskManager(include_path=str(tmp_path), model_name="depictqa"),
        bootstrap_iters=0,
    )
    answers = [sample["filtered_resps"][0] for sample in found["samples"]["tiny_qbench"]]
    dq = depictqa.load("nano", device="cpu")
    assert answers == [dq.ask(one["question"], a=one["image_path"]).text.split("\n")[0] for one in QUESTIONS]
    assert next(value for key, value in found["results"]["tiny_qbench"].items() if key.startswith("answered")) == 1
