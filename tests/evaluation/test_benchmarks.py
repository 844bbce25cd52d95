"""Samples in the published forms; questions, options and answers are made up."""

import json

import pytest

from depictqa.errors import InputError
from depictqa.evaluation import commands
from depictqa.evaluation.benchmarks import FORMS, read_benchmark
from depictqa.evaluation.choice import to_question, true_choice

SAMPLES = {
    "ours": {"id": "q7", "image": "7.png", "question": "Sharp?", "options": ["Yes", "No"], "answer": "B"},
    "Q-Bench A1": {"img_path": "7.png", "question": "Sharp?", "candidates": ["Yes", "No"], "correct_ans": "No",
                   "type": 0, "concern": 1},
    "Q-Bench A1, rows": {"id": "q7", "image": "7.png", "question": "Sharp?", "option0": "Yes", "option1": "No",
                         "option2": "N/A", "option3": "N/A", "correct_choice": "B", "question_type": 0},
    "A-Bench": {"img_path": "7.png", "question": "Sharp?", "answers": ["Yes", "No"], "category": "part2 -> technical"},
    "lettered": {"index": 7, "image_path": "7.png", "question": "Sharp?", "A": "Yes", "B": "No", "C": "", "answer": "B",
                 "category": "blur"},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form):
    (item,) = read_benchmark([SAMPLES[form]])
    assert item["id"] == SAMPLES[form].get("id", 0)
    assert to_question(item) | {"id": 0} == {
        "id": 0,
        "image_ref": None,
        "image_A": "7.png",
        "image_B": None,
        "query": "Sharp?\nA. Yes\nB. No\nAnswer with the option's letter.",
    }
    if FORMS[form].answer is not None:
        assert true_choice(item) == "No"
    assert SAMPLES[form].items() <= (item | SAMPLES[form]).items()  # groups such as `category` stay


def test_from_a_published_file_to_accuracy(tmp_path, monkeypatch, capsys):
    sample = SAMPLES["Q-Bench A1"]
    items = [sample, sample | {"question": "Blurry?", "correct_ans": "Yes", "concern": 0}]
    (tmp_path / "llvisionqa_dev.json").write_text(json.dumps(items))
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, commands.choice_questions_command, "--gt_path llvisionqa_dev.json --save_path questions.json")
    asked = json.loads((tmp_path / "questions.json").read_text())
    assert [one["id"] for one in asked] == [0, 1]
    answers = [{"id": one["id"], "text": "B. No", "confidence": None} for one in asked]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    capsys.readouterr()
    run(monkeypatch, lambda: commands.accuracy_command("choice"),
        "--gt_path llvisionqa_dev.json --pred_path answers.json --by concern --json out.json")  # fmt: skip
    assert "Average Accuracy: 0.5" in capsys.readouterr().out
    groups = json.loads((tmp_path / "out.json").read_text())["by"]["groups"]
    assert {group["value"]: group["accuracy"] for group in groups} == {0: 0, 1: 1}


def run(monkeypatch, program, arguments):
    monkeypatch.setattr("sys.argv", ["program", *arguments.split()])
    program()


def test_another_form_is_refused():
    with pytest.raises(
        InputError, match="item 1: no known form; expected one of the fields options, candidates, option0, answers, A"
    ):
        read_benchmark([SAMPLES["ours"], {"question": "Sharp?"}])


def test_a_field_that_lacks_is_named():
    (item,) = read_benchmark([{"question": "Sharp?", "candidates": ["Yes", "No"]}])
    with pytest.raises(InputError, match="item 0: the field 'image' must be text, found None"):
        to_question(item)
