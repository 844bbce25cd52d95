"""What is on the disk stays whole when the disk is full; text is read with or without a byte-order mark."""

import codecs
import json

import pytest

from depictqa.answers import read_items, read_json, write_json
from depictqa.errors import InputError
from depictqa.files import append, read_text, replacing
from depictqa.ledger import Ledger
from processes import no_room_beyond

ITEMS = [{"id": 1, "text": "flou, bruité"}]


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, suffix):
    path = tmp_path / f"items.{suffix}"
    text = json.dumps(ITEMS if suffix == "json" else ITEMS[0], ensure_ascii=False)
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    assert read_items(path) == ITEMS


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_wide_encoding_is_named(tmp_path, encoding):
    path = tmp_path / "items.json"
    path.write_text(json.dumps(ITEMS), encoding=encoding)
    with pytest.raises(InputError, match="items.json: the file is UTF-16 or UTF-32; save it as UTF-8"):
        read_json(path)


def test_line_ends_of_other_systems_are_read(tmp_path):
    (tmp_path / "prompt.txt").write_bytes(b"one\r\ntwo\n")
    assert read_text(tmp_path / "prompt.txt") == "one\ntwo\n"


def test_a_file_for_which_there_is_no_room_leaves_the_old_one(tmp_path):
    path = tmp_path / "answers.json"
    write_json(path, ITEMS)
    with no_room_beyond(1000), pytest.raises(InputError, match=r"answers.json: cannot be written \(File too large\)"):
        write_json(path, ITEMS * 100)
    assert read_json(path) == ITEMS and [one.name for one in tmp_path.iterdir()] == ["answers.json"]
    write_json(path, ITEMS * 100)
    assert read_json(path) == ITEMS * 100


def test_lines_are_appended_all_or_none(tmp_path):
    path = tmp_path / "answers.jsonl"
    append(path, "a" * 600 + "\n")
    with no_room_beyond(1000), pytest.raises(InputError, match=r"answers.jsonl: cannot be written \(File too large\)"):
        append(path, "b" * 600 + "\n")
    assert path.read_text() == "a" * 600 + "\n"
    append(path, "b" * 600 + "\n")
    assert path.read_text() == "a" * 600 + "\n" + "b" * 600 + "\n"


def test_the_device_that_is_always_full():
    with pytest.raises(InputError, match="/dev/full: cannot be written .No space left on device."):
        append("/dev/full", "a vote\n")


def test_an_error_of_the_caller_replaces_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "page.html") as temporary:
        temporary.write_text("half a ")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_ran_out_of_room_goes_on(tmp_path):
    path = tmp_path / "judge.ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.send("a", 1, 0.5)
        whole = path.read_bytes()
        with no_room_beyond(len(whole) + 20), pytest.raises(InputError, match="judge.ledger.jsonl: cannot be written"):
            ledger.answer("a", 1, 0.2, text="fine")
        assert path.read_bytes() == whole and ledger.committed == 0.5
    with Ledger(path) as ledger:
        ledger.answer("a", 1, 0.2, text="fine")
        assert ledger.answers["a"]["text"] == "fine"
