"""What the entry points give beyond the original's lines: json, pictures, comparison, choices."""

import json
import random

import pytest

from tests.evaluation.goldens import run_script

pytestmark = pytest.mark.slow
NAMES = ["Noise", "Blur", "Compression", "None"]


@pytest.fixture
def folder(tmp_path):
    generator = random.Random(0)
    answers, good, bad = [], [], []
    for number in range(200):
        true = generator.choice(NAMES)
        answers.append({"id": number, "answer": true, "severity": number % 6, "distortion_name": f"{true}_x"})
        for predictions, share in ((good, 0.8), (bad, 0.4)):
            text = true if generator.random() < share else generator.choice(NAMES)
            predictions.append({"id": number, "text": text, "confidence": generator.uniform(0.3, 1)})
    for name, items in (("gt", answers), ("good", good), ("bad", bad)):
        (tmp_path / f"{name}.json").write_text(json.dumps(items))
    return tmp_path


def test_json_plot_and_comparison(folder):
    done = run_script(
        "cal_acc_single_distortion.py",
        *("--pred_path", "good.json", "--gt_path", "gt.json", "--compare", "bad.json"),
        *("--json", "out.json", "--plot", "out.png"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    first, average, compared = done.stdout.splitlines()
    figures = json.loads((folder / "out.json").read_text())
    assert average == f"Average Accuracy: {round(figures['accuracy'], 4)}"
    low, high = figures["interval95"]
    assert 0.7 < low < figures["accuracy"] < high < 1
    assert [group["value"] for group in figures["by"]["groups"]] == [0, 1, 2, 3, 4, 5]
    assert {one["label"] for one in figures["classes"] if one["support"]} == set(NAMES)
    assert 0 < figures["calibration"]["ece"] < 1
    assert compared.startswith("Compared with bad.json: Accuracy 0.") and figures["compared"]["p_value"] < 1e-6
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_group_by_another_field(folder):
    arguments = ("--pred_path", "good.json", "--gt_path", "gt.json", "--by", "distortion_name", "--json", "out.json")
    assert run_script("cal_acc_single_distortion.py", *arguments, cwd=folder).returncode == 0
    groups = json.loads((folder / "out.json").read_text())["by"]["groups"]
    assert [group["value"] for group in groups] == sorted(f"{name}_x" for name in NAMES)


@pytest.mark.parametrize("plot", ["out.gif", "out"])
def test_a_picture_of_another_kind_is_refused_at_once(folder, plot):
    done = run_script(
        "cal_acc_rating.py", "--pred_path", "good.json", "--gt_path", "gt.json", "--plot", plot, cwd=folder
    )
    assert done.returncode == 2 and "expected a name that ends in .png or .svg or .pdf" in done.stderr
    assert done.stdout == ""


def test_voting_json_and_plot(tmp_path):
    arguments = ("--test_paths", "vote_test.json", "--pred_paths", "vote_pred.json", "--gt_paths", "vote_gt.json")
    done = run_script(
        "cal_srcc_plcc_voting.py", *arguments, "--json", tmp_path / "v.json", "--plot", tmp_path / "v.svg"
    )
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads((tmp_path / "v.json").read_text())
    assert figures["mean"]["srcc"] == pytest.approx(0.9461862831620046)
    assert set(figures["pooled"]) == {"images", "srcc", "krcc", "plcc", "plcc_logistic4", "plcc_logistic5"}
    assert len(figures["per_reference"]) == 3 and figures["images"] == 21
    assert "<svg" in (tmp_path / "v.svg").read_text()


def test_voting_lets_a_missing_comparison_cast_no_vote():
    arguments = (
        "--test_paths",
        "vote_test.json",
        "--pred_paths",
        "vote_pred_missing.json",
        "--gt_paths",
        "vote_gt.json",
    )
    done = run_script("cal_srcc_plcc_voting.py", *arguments, "--allow_missing")
    assert done.returncode == 0 and done.stdout.count("SRCC:  0.9") == 1


def test_voting_wants_as_many_files_of_each_kind():
    arguments = (
        "--test_paths",
        "vote_test.json",
        "--pred_paths",
        "vote_pred.json",
        "vote_pred.json",
        "--gt_paths",
        "vote_gt.json",
    )
    done = run_script("cal_srcc_plcc_voting.py", *arguments)
    assert done.returncode == 2 and "expected the same number of files" in done.stderr


def test_from_a_benchmark_to_its_accuracy(tmp_path):
    benchmark = [
        {"id": 1, "image": "a.png", "question": "Is it sharp?", "options": ["Yes", "No"], "answer": "No"},
        {"id": 2, "image": "b.png", "question": "Which?", "options": ["Noise", "Blur", "Neither"], "answer": "B"},
    ]
    (tmp_path / "benchmark.json").write_text(json.dumps(benchmark))
    done = run_script("choice_questions.py", "--gt_path", "benchmark.json", "--save_path", "meta.json", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "2 questions: meta.json\n"
    questions = json.loads((tmp_path / "meta.json").read_text())
    predictions = [{"id": question["id"], "text": "B\n ", "confidence": None} for question in questions]
    (tmp_path / "pred.json").write_text(json.dumps(predictions))
    done = run_script("cal_acc_choice.py", "--pred_path", "pred.json", "--gt_path", "benchmark.json", cwd=tmp_path)
    assert done.stdout == "Confidence Interval [0,1], 2 Samples, Accuracy: 1.0\nAverage Accuracy: 1.0\n"


def test_a_benchmark_with_a_bad_item_writes_nothing(tmp_path):
    (tmp_path / "benchmark.json").write_text('[{"id": 1, "question": "?", "options": ["Yes", "No"]}]')
    done = run_script("choice_questions.py", "--gt_path", "benchmark.json", "--save_path", "meta.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: benchmark.json: item 1: the field 'image' must be text, found None" in done.stderr
    assert not (tmp_path / "meta.json").exists()
