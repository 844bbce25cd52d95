"""Json lists and jsonl files: what is read back is what was written; every mistake is a line that names the file."""

import os

import pytest

from depictqa.answers import index_by_id, read_items, read_json, write_json, write_text
from depictqa.errors import InputError

ITEMS = [{"id": "a", "text": "Bruit \u2028 fort"}, {"id": 2, "text": None}]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "new" / "items.json", ITEMS)
    assert read_items(tmp_path / "new" / "items.json") == read_json(tmp_path / "new" / "items.json") == ITEMS


def test_a_line_an_object(tmp_path):
    lines = '{"id": "a", "text": "Bruit \u2028 fort"}\n\n{"id": 2, "text": null}\n'
    assert read_items(write(tmp_path / "items.jsonl", lines)) == ITEMS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"id": 1}', "a.json: expected a json list of items, found dict"),
        ("a.json", "[1]", "a.json: item 0: expected an object, found int"),
        ("a.json", '[{"id": 1},', r"a.json: not valid json \(.*line 1 column 12"),
        ("a.jsonl", '{"id": 1}\n{"id"', "a.jsonl:2: not valid json"),
        ("a.jsonl", '{"id": 1}\n[]', "a.jsonl: item 1: expected an object, found list"),
        ("a.txt", "[]", r"a.txt: expected a file named .json \(a list of items may also be .jsonl\)"),
    ],
)
def test_files_that_are_no_items(name, text, message, tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}/{message}"):
        read_items(write(tmp_path / name, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="absent.json: no such file"):
        read_items(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.json: cannot be read \("):
        read_items(tmp_path / "latin.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder.json: cannot be read \("):
        read_items(tmp_path / "folder.json")


def test_ids_keep_their_order_and_type():
    items = [{"id": "10"}, {"id": 10}, {"id": 0}]
    assert list(index_by_id(items, "a.json")) == ["10", 10, 0]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"id": 1}, {"query": "?"}], "a.json: item 1: the field 'id' is missing"),
        ([{"id": None}], "a.json: item 0: the field 'id' is missing"),
        ([{"id": ["x"]}], "a.json: item 0: the field 'id': expected a text or a number, found list"),
        ([{"id": n} for n in (1, 2, 1, 2, 3)], "a.json: 2 duplicate ids: 1, 2"),
    ],
)
def test_ids_that_name_no_item(items, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        index_by_id(items, "a.json")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt", "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match=r"a.txt: cannot be written \(No space left on device\)"):
        write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_place_that_cannot_be_written(tmp_path):
    write(tmp_path / "file", "")
    with pytest.raises(InputError, match=r"file/a.json: cannot be written"):
        write_json(tmp_path / "file" / "a.json", [])
