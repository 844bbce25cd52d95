"""Opinion scores -> comparisons -> questions."""

import json

import pytest

from build_datasets.dq495k import rating
from build_datasets.dq495k.rating import Score, compare, make_item
from depictqa.errors import InputError
from depictqa.evaluation.correlation import srcc_plcc
from depictqa.prompts import SINGLE_WORD_REQUEST

SCORES = [
    Score(f"{reference}{number}.png", f"{reference}.png", float(number // 2))
    for reference in "rst"
    for number in range(8)
]


def test_pairs_are_within_a_reference_and_never_ties():
    pairs = compare(SCORES, 10, 2.0, 0)
    assert len(pairs) == 30 == len({frozenset((a.image, b.image)) for a, b in pairs})
    assert all(a.reference == b.reference and abs(a.mos - b.mos) >= 2 for a, b in pairs)
    assert 3 < sum(a.mos > b.mos for a, b in pairs) < 27
    assert compare(SCORES, 10, 2.0, 0) == pairs != compare(SCORES, 10, 2.0, 1)
    assert len(compare(SCORES, 1000, 0, 0)) == 3 * (28 - 4)


def test_many_pictures_without_references():
    scores = [Score(f"{number}.jpg", None, float(number)) for number in range(5000)]
    pairs = compare(scores, 300, 10, 0)
    assert len(pairs) == 300 == len({frozenset((a.image, b.image)) for a, b in pairs})
    assert all(abs(a.mos - b.mos) >= 10 for a, b in pairs)


COMPARISON = {"id": 7, "image_ref": "r.png", "image_A": "a.png", "image_B": "b.png", "A_better_B": True}


@pytest.mark.parametrize(
    ("share", "better"), [(True, "Image A"), (False, "Image B"), (0.9, "Image A"), (0.2, "Image B"), (1, "Image A")]
)
def test_questions_of_a_test_ask_for_a_word(share, better):
    item = make_item(COMPARISON | {"A_better_B": share}, "here", 131, False)
    assert item["query"].endswith(SINGLE_WORD_REQUEST) and item["answer"] == better
    assert item["task_type"] == "quality_compare" and item["id"] == 7


def test_training_asks_for_a_word_half_of_the_time():
    answers = [make_item(COMPARISON | {"id": i}, "here", 131, True)["conversations"][1]["value"] for i in range(1000)]
    assert 430 < answers.count("Image A") < 570 and all("Image A" in answer for answer in answers)


def test_ties_are_no_question_and_mistakes_are_said():
    assert make_item(COMPARISON | {"A_better_B": 0.5}, "here", 131, True) is None
    with pytest.raises(
        InputError, match="here: the field 'A_better_B': expected true, false or a share of 0 to 1, found 'yes'"
    ):
        make_item(COMPARISON | {"A_better_B": "yes"}, "here", 131, True)
    with pytest.raises(InputError, match="here: the field 'image_B' is missing"):
        make_item(COMPARISON | {"image_B": None}, "here", 131, True)
    item = make_item(COMPARISON | {"image_ref": None}, "here", 131, True)
    assert item["task_type"] == "quality_compare_noref" and "reference" not in item["conversations"][0]["value"]


def test_voting_is_what_the_evaluation_reads(tmp_path, monkeypatch, capsys):
    rows = "".join(f"d{number}.png,r.png,{number}\n" for number in range(5))
    (tmp_path / "mos.csv").write_text("image,reference,mos\n" + rows)
    monkeypatch.chdir(tmp_path)
    arguments = ["--mos_path", "mos.csv", "--save_path", "test.json", "--form", "voting", "--image_prefix", "X/images/"]
    monkeypatch.setattr("sys.argv", ["x", *arguments])
    with pytest.raises(SystemExit):
        rating.pairs_command()
    assert "--scores_path: expected with --form voting" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["x", *arguments, "--scores_path", "gt.json"])
    rating.pairs_command()
    asked, opinions = json.loads((tmp_path / "test.json").read_text()), json.loads((tmp_path / "gt.json").read_text())
    assert len(asked) == 10 and asked[0]["image_A"] == "X/images/d0.png" and asked[0]["image_ref"] == "X/images/r.png"
    answers = [
        {"id": one["id"], "confidence": 0.9, "text": "Image A" if one["image_A"] > one["image_B"] else "Image B"}
        for one in asked
    ]
    result = srcc_plcc(answers, asked, opinions)
    assert result.srcc == pytest.approx(1)


def test_a_table_without_references(tmp_path, monkeypatch):
    (tmp_path / "mos.csv").write_text("image,mos\na.png,1\nb.png,2\nc.png,3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x", "--mos_path", "mos.csv", "--save_path", "out.json"])
    rating.pairs_command()
    items = json.loads((tmp_path / "out.json").read_text())
    assert len(items) == 3 and all(item["image_ref"] is None for item in items)
    assert all((item["image_A"] > item["image_B"]) == item["A_better_B"] for item in items)
