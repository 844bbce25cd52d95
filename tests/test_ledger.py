import os

import pytest

from depictqa.errors import InputError
from depictqa.ledger import Ledger


def filled(path):
    with Ledger(path) as ledger:
        ledger.send("a", 1, 0.5)
        ledger.answer("a", 1, 0.2, text="x")
        ledger.send("b", 2, 0.5)
        ledger.lose("b", 2, 0.0, "HTTP 429")
        ledger.send("c", 3, 0.25)
        return ledger.committed


def test_a_call_without_a_known_end_counts_in_full(tmp_path):
    assert filled(tmp_path / "l.jsonl") == pytest.approx(0.45)
    with Ledger(tmp_path / "l.jsonl") as ledger:
        assert ledger.spent == pytest.approx(0.45) and ledger.under_way == 0
        assert list(ledger.answers) == ["a"] and ledger.answers["a"]["text"] == "x"


def test_a_file_cut_anywhere_loads(tmp_path):
    path = tmp_path / "l.jsonl"
    filled(path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Ledger(path) as ledger:
            assert ledger.spent >= 0.2 or not ledger.answers
        kept = path.read_bytes()
        assert whole.startswith(kept) and (not kept or kept.endswith(b"\n"))


def test_a_second_run_is_refused(tmp_path):
    with Ledger(tmp_path / "l.jsonl"):
        with pytest.raises(InputError, match="another run is using this ledger"):
            Ledger(tmp_path / "l.jsonl")
    Ledger(tmp_path / "l.jsonl").close()


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"id": 1}\n')
    with pytest.raises(InputError, match="notes.jsonl:1: this line is not an entry of a ledger"):
        Ledger(path)
    assert path.read_text() == '{"id": 1}\n'


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be opened"):
        Ledger(tmp_path / "l.jsonl")
