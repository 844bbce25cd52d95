"""A meta file is checked whole before a model loads; what is wrong is said with file, item and field."""

import json
import os
from pathlib import Path

import pytest

from depictqa.data.meta import Item, read_questions
from depictqa.errors import InputError
from depictqa.prompts import TASKS

ALONE, COMPARE = TASKS["quality_single_A_noref"], TASKS["quality_compare"]


@pytest.fixture
def ask(tmp_path):
    """`ask(items, task)` reads them as a meta file beside the pictures a.png, b.png and r.png."""

    def read(items, task=ALONE):
        for name in ("a.png", "b.png", "r.png"):
            (tmp_path / name).touch()
            os.utime(tmp_path / name, ns=(0, 0))
        (tmp_path / "meta.json").write_text(json.dumps(items))
        return read_questions(tmp_path / "meta.json", task, tmp_path)

    return read


def item(**fields) -> dict:
    return {"id": 1, "image_ref": None, "image_A": "a.png", "image_B": None, "query": "Noisy?"} | fields


def test_pictures_are_in_the_order_of_the_tasks_slots(ask, tmp_path):
    (read,) = ask([item(image_B="b.png", image_ref="r.png", extra="ignored")], COMPARE)
    assert read == Item(1, (tmp_path / "r.png", tmp_path / "a.png", tmp_path / "b.png"), "Noisy?")


def test_absent_fields_and_null_are_the_same(ask, tmp_path):
    assert ask([{"id": "x", "image_A": "a.png", "query": "?"}]) == [Item("x", (tmp_path / "a.png",), "?")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"query": None}, "item 1: the field 'query' is missing or empty"),
        ({"query": " "}, "item 1: the field 'query' is missing or empty"),
        ({"query": ["?"]}, "item 1: the field 'query' is missing or empty"),
        ({"image_A": None}, "item 1: task quality_single_A_noref takes image_A, found no image"),
        (
            {"image_B": "b.png"},
            "item 1: task quality_single_A_noref takes image_A, found image_A, image_B; these fit quality_compare_noref",
        ),
        ({"image_A": 5}, "item 1: image_A: expected a path, found int"),
        ({"image_A": "absent.png"}, "item 1: image_A: .*absent.png does not exist"),
        ({"image_A": "."}, "item 1: image_A: .* does not exist"),  # a folder is no picture
    ],
)
def test_items_that_cannot_be_asked(wrong, message, ask, tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}/meta.json: 1 of 2 items cannot be asked: {message}"):
        ask([item(**wrong), item(id=2)])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no items"),
        ({"a": item()}, "expected a json list of items, found dict"),
        ([{"query": "?", "image_A": "a.png"}], "item 0: the field 'id' is missing"),
        ([item(), item()], "1 duplicate ids: 1"),
    ],
)
def test_lists_that_cannot_be_asked(items, message, ask, tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}/meta.json: {message}$"):
        ask(items)


def test_the_first_ten_problems_are_listed(ask):
    with pytest.raises(InputError) as raised:
        ask([item(id=number, query="") for number in range(12)])
    assert "12 of 12 items" in str(raised.value)
    assert "item 9: " in str(raised.value) and "item 10: " not in str(raised.value)


def test_a_picture_is_looked_at_once_however_many_questions_are_about_it(ask, monkeypatch):
    looked, stat = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **options: looked.append(path.name) or stat(path, **options))
    ask([item(id=n, image_ref="r.png", image_A="a.png", image_B="b.png") for n in range(100)], COMPARE)
    assert sorted(name for name in looked if name.endswith(".png")) == ["a.png", "b.png", "r.png"]


def test_a_fingerprint_changes_with_question_and_pictures_and_nothing_else(ask, tmp_path):
    def fingerprint(**fields) -> str:
        return ask([item(**fields)])[0].fingerprint

    before = fingerprint()
    assert fingerprint(answer="not asked") == before
    assert len({before, fingerprint(id="1"), fingerprint(query="Sharp?"), fingerprint(image_A="b.png")}) == 4
    (tmp_path / "a.png").write_bytes(b"longer")
    assert fingerprint() != before
