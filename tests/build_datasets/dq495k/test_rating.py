"""Opinion scores -> comparisons -> questions."""

import json
from dataclasses import replace

import pytest

from build_datasets.dq495k import rating
from build_datasets.dq495k.rating import LAYOUTS, Score, compare, layout_of, make_item, read_scores
from depictqa.errors import InputError
from depictqa.evaluation.correlation import srcc_plcc
from depictqa.prompts import SINGLE_WORD_REQUEST

TABLES = {  # layout -> (text of its table, scores)
    "csv": ("image,reference,mos\na.png,r.png,3.5\n", Score("a.png", "r.png", 3.5)),
    "kadid10k": (
        "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.49\n",
        Score("I01_01_01.png", "I01.png", 4.57, 0.7),
    ),
    "tid2013": ("5.51429 I01_01_1.bmp\n", Score("I01_01_1.bmp", "I01.BMP", 5.51429)),
    "csiq": (
        "image,dst_type,dst_lev,dmos_std,dmos\n1600,jpeg 2000,3,0.05,0.25\n",
        Score("jpeg2000/1600.jpeg2000.3.png", "1600.png", -0.25, 0.05),
    ),
    "pipal": ("A0001_00_00.bmp,1396.16\n", Score("A0001_00_00.bmp", "A0001.bmp", 1396.16)),
    "koniq": ("image_name,c1,MOS,SD\n826373.jpg,0,3.4,0.8\n", Score("826373.jpg", None, 3.4, 0.8)),
    "spaq": ("Image name,MOS,Brightness\n00001.jpg,38.55,40\n", Score("00001.jpg", None, 38.55)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    text, expected = TABLES[name]
    (tmp_path / "table.csv").write_text(text)
    (score,) = read_scores(tmp_path / "table.csv", LAYOUTS[name])
    assert score == replace(expected, std=score.std) and score.std == pytest.approx(expected.std)


def test_single_votes_give_mean_and_deviation(tmp_path):
    """1, 2 and 3 deviate from 2 by a sample variance of 1; nothing is known of the spread from one vote."""
    (tmp_path / "t.csv").write_text("image,votes\na.png,1 2 3\nb.png,4\n")
    assert read_scores(tmp_path / "t.csv", layout_of("csv", tmp_path / "t.csv")) == [
        Score("a.png", None, 2.0, 1.0),
        Score("b.png", None, 4.0, None),
    ]


@pytest.mark.parametrize("kind", ["AWGN", "BLUR", "contrast", "fnoise", "JPEG", "jpeg 2000"])
def test_csiq_spells_its_files_in_its_own_way(kind, tmp_path):
    (tmp_path / "t.csv").write_text(f"image,dst_type,dst_lev,dmos\nsnow,{kind},1,0\n")
    (score,) = read_scores(tmp_path / "t.csv", LAYOUTS["csiq"])
    folder, file = score.image.split("/")
    assert folder == folder.lower() and file.startswith("snow.") and file.endswith(".1.png") and " " not in score.image


def test_a_folder_of_tables_is_one_table(tmp_path):
    for name in ("A0001", "A0002"):
        (tmp_path / f"{name}.txt").write_text(f"{name}_00_00.bmp,1500\n{name}_00_01.bmp,1400.5\n")
    assert {score.reference for score in read_scores(tmp_path, LAYOUTS["pipal"])} == {"A0001.bmp", "A0002.bmp"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,reference,mos\na.png,r.png,good\n", "row 2: column 'mos': expected a number, found 'good'"),
        ("image,reference,mos\na.png,r.png,nan\n", "row 2: column 'mos': expected a number"),
        ("image,reference,mos,std\na.png,r.png,3,-1\n", "row 2: column 'std': expected a number >= 0, found -1"),
        ("image,reference,votes\na.png,r.png,3 x\n", "row 2: column 'votes': expected a number, found 'x'"),
        ("image,reference,votes\na.png,r.png,\n", "row 2: column 'votes': expected a number, found ''"),
        ("picture,reference,mos\na.png,r.png,1\n", "row 2: no column 'image'; found picture, reference, mos"),
        ("image,reference,mos\na.png,r.png\n", "row 2: no column 'mos'"),
        (
            "image,reference,mos\na.png,r.png,1\nb.png,r.png,2\na.png,r.png,5\n",
            "t.csv: 1 pictures are listed more than once: a.png; keep one row of each",
        ),
    ],
)
def test_tables_with_mistakes(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path / "t.csv", LAYOUTS["csv"])


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
