"""report.py as a program, over a folder with answers of every kind."""

import json
import random
import re

import pytest

from depictqa.evaluation.report import kind_of
from tests.evaluation.goldens import EVAL, run_script


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["Noise", "None"], "single_distortion"),
        (["Noise and blur", "Blur"], "multi_distortion"),
        (["Image A", "Image B"], "rating"),
        (["The photo is blurry.", "Noise"], "detail"),
    ],
)
def test_what_the_answers_look_like_says_what_applies(answers, kind):
    assert kind_of([{"id": index, "answer": answer} for index, answer in enumerate(answers)]) == kind


def test_options_make_a_choice_and_no_answers_a_vote():
    assert kind_of([{"id": 0, "answer": "Noise", "options": ["Noise", "Blur"]}]) == "choice"
    assert kind_of([{"id": 0, "image_A": "a", "image_B": "b"}]) == "voting"


@pytest.fixture
def folder(tmp_path):
    generator = random.Random(0)

    def save(name, items):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(items))

    def answers(name, texts, **fields):
        truth = [{"id": f"{name}{n}", "answer": generator.choice(texts), "severity": n % 3} | fields for n in range(50)]
        save(f"metas/test_{name}.json", truth)
        for place in ("answers", "others"):
            predictions = [
                {"id": item["id"], "text": item["answer"] if generator.random() < 0.7 else texts[0], "confidence": 0.7}
                for item in truth
            ]
            save(f"{place}/task_{name}.json", predictions)

    answers("sd", ["Noise", "Blur", "None"])
    answers("md", ["Noise and blur", "Blur"])
    answers("rating", ["Image A", "Image B"])
    answers("choice", ["Yes", "No"], options=["Yes", "No"])
    answers("detail", ["The photo shows noise.", "All is well <here>."])
    verdicts = [{"id": n, "status": "ok", "scores": [8.0, 6.0], "review": "8 6", "reason": None} for n in range(5)]
    save("answers/verdicts_v1.json", verdicts)
    save("answers/stray.json", [{"id": "stray", "text": "x", "confidence": None}])
    for name, place in (("vote_pred", "answers"), ("vote_test", "metas"), ("vote_gt", "metas")):
        save(f"{place}/{name}.json", json.loads((EVAL / f"{name}.json").read_text()))
    (tmp_path / "answers" / "task_sd.jsonl").write_text("torn")  # the .json beside it is the whole one
    (tmp_path / "answers" / "v.ledger.jsonl").write_text("torn")
    return tmp_path


@pytest.mark.slow
def test_one_page_over_all(folder):
    arguments = ("--answers", "answers", "--gt_paths", "metas", "--save_path", "out/report.html", "--compare", "others")
    done = run_script("report.py", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert set(printed) == {
        *(f"task_{name}.json" for name in ("sd", "md", "rating", "choice", "detail")),
        *("verdicts_v1.json", "stray.json", "vote_pred.json", "page"),
    }
    assert printed["vote_pred.json"] == "srcc 0.9405, 21 answers"  # soft votes: that of the original with --confidence
    assert printed["verdicts_v1.json"] == "judge v1 75.0000, 5 answers"
    assert printed["stray.json"] == "no figure, 0 answers"
    page = (folder / "out" / "report.html").read_text()
    assert len(re.findall("<section>", page)) == 8
    assert page.count('src="data:image/png;base64,') == 5
    assert page.count("Compared with others/task_") == 4
    assert "none of the given files holds its ids" in page and "have them judged" in page
    assert "http" not in re.sub(r"base64,[^\"]*", "", page) and "<script" not in page


@pytest.mark.slow
def test_names_are_escaped(folder):
    (folder / "answers" / "<b>.json").write_text("[]")
    arguments = ("--answers", "answers", "--gt_paths", "metas", "--save_path", "report.html", "--title", "<i>")
    assert run_script("report.py", *arguments, cwd=folder).returncode == 0
    page = (folder / "report.html").read_text()
    assert "&lt;b&gt;.json" in page and "<b>" not in page and "<i>" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--answers": "metas/none"}, "metas/none: expected a folder with answers"),
        ({"--gt_paths": "absent.json"}, "absent.json: no such file"),
        ({"--gt_paths": "out"}, "out: "),
        ({"--save_path": "report.txt"}, "--save_path: expected a name that ends in .html"),
    ],
)
def test_bad_arguments_are_one_line(folder, change, message):
    arguments = {"--answers": "answers", "--gt_paths": "metas", "--save_path": "r.html"} | change
    done = run_script("report.py", *(word for pair in arguments.items() for word in pair), cwd=folder)
    assert done.returncode == 2 and f"error: {message}" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "r.html").exists()
