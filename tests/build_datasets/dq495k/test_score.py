"""Opinion scores -> items that a score is trained on, and items that test it."""

import json
from pathlib import Path

import pytest

from build_datasets.dq495k import score
from build_datasets.dq495k.rating import Score
from build_datasets.dq495k.score import draw_test, make_item
from depictqa.data.training import read_mixture
from depictqa.errors import InputError
from depictqa.prompts import QUESTIONS


def test_an_item_holds_the_score_as_it_is_and_a_test_the_same_from_1_to_5():
    trained, tested = make_item(Score("a.png", None, 70.0, 10.0), (0, 100), "koniq", (None, "k/a.png"))
    both = {"id": "k/a.png", "image_ref": None, "image_A": "k/a.png", "image_B": None, "dataset": "koniq"}
    turns = [{"from": "human", "value": QUESTIONS["score"]}, {"from": "gpt", "value": "good"}]
    rated = {"mean": 70.0, "std": 10.0, "min": 0, "max": 100}
    assert trained == both | {"task_type": "quality_score_A_noref", "score": rated, "conversations": turns}
    mos = {"mos": pytest.approx(3.8), "std": pytest.approx(0.4)}
    assert tested == both | mos | {"query": QUESTIONS["score"], "answer": "good"}


@pytest.mark.parametrize("mos, answer", [(1, "bad"), (2.2, "poor"), (3.4, "fair"), (4.4, "good"), (4.8, "excellent")])
@pytest.mark.parametrize("std", [None, 0.6])
def test_the_answer_is_the_most_probable_level(mos, std, answer):
    trained, tested = make_item(Score("a.png", "r.png", mos, std), (1, 5), "x", ("r.png", "a.png"))
    assert trained["task_type"] == "quality_score_A"
    assert tested["answer"] == trained["conversations"][1]["value"] == answer
    assert tested["std"] == (std if std is None else pytest.approx(std))


def test_pictures_of_a_reference_are_all_trained_on_or_all_tested():
    scores = [
        Score(f"{reference}{number}.png", f"{reference}.png", 1.0) for reference in "rstuv" for number in range(3)
    ]
    test = draw_test(scores, 0.4, seed=1)
    assert len(test) == 2 and test == draw_test(scores, 2, seed=1) and test < {f"{letter}.png" for letter in "rstuv"}
    assert len(draw_test([Score(f"{n}.png", None, 1.0) for n in range(10)], 0.3, seed=1)) == 3
    with pytest.raises(InputError, match="--test: expected a share or a number of 0 to 5 names, found 6"):
        draw_test(scores, 6, seed=1)


def run(folder: Path, monkeypatch, table: str, *arguments: str) -> tuple[list, list]:
    """The training items and the test items that the program makes of a table."""
    (folder / "mos.csv").write_text(table)
    monkeypatch.chdir(folder)
    paths = ["--mos_path", "mos.csv", "--save_path", "train.json", "--test_path", "test.json"]
    monkeypatch.setattr("sys.argv", ["x", *paths, "--dataset", "toy", *arguments])
    score.command()
    return tuple(json.loads((folder / name).read_text()) for name in ("train.json", "test.json"))


def test_the_program_splits_and_training_reads_what_it_writes(tmp_path, monkeypatch):
    rows = "".join(f"{r}{n}.png,{r}.png,{n},0.5\n" for r in "rstu" for n in range(5))
    table = "image,reference,mos,std\n" + rows
    train, test = run(tmp_path, monkeypatch, table, "--image_prefix", "X/", "--test", "0.25")
    assert (len(train), len(test)) == (15, 5) and len({item["image_ref"] for item in test}) == 1
    items = read_mixture([["train.json", 2]], tmp_path, "here", check_images=False)
    assert len(items) == 30 and {item.task.name for item in items} == {"quality_score_A"}
    assert items[4].opinion.mean == 5.0 and items[4].opinion.std == 0.5 and items[4].opinion.dataset == "toy"
    bare, _ = run(tmp_path, monkeypatch, table, "--no_reference", "--test", "0.25")
    assert [item["image_ref"] for item in bare] == [None] * 15
    assert {item["task_type"] for item in bare} == {"quality_score_A_noref"}


def test_a_split_says_which_are_trained_on(tmp_path, monkeypatch):
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a.png"], "test": ["c.png"]}))
    table = "image,mos\na.png,1\nb.png,3\nc.png,5\n"
    train, test = run(tmp_path, monkeypatch, table, "--split_json", "split.json")
    assert [item["id"] for item in train] == ["a.png"] and [item["id"] for item in test] == ["c.png"]


def test_a_difference_score_is_turned_round_with_its_scale(tmp_path, monkeypatch):
    """DMOS .25 of 0 (best) to 1 is 3/4 of the way from the worst: 4 of 1 to 5."""
    table = "image,dst_type,dst_lev,dmos_std,dmos\nsnow,blur,1,0.1,0.25\nsnow,blur,2,0.1,0.5\n"
    train, test = run(tmp_path, monkeypatch, table, "--layout", "csiq", "--test", "0", "--scale", "1", "0")
    assert train[0]["score"] == {"mean": -0.25, "std": 0.1, "min": -1.0, "max": 0.0} and not test
    assert train[0]["conversations"][1]["value"] == "good"
