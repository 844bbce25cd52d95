"""Several processes do the work of one: each does its share, every one knows what the first found out."""

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from depictqa.errors import EXIT_CODE, InputError
from depictqa.inference.shards import Group
from processes import free_port


def in_processes(size: int, work: Callable[[Group], object], folder: Path) -> list:
    """Run `work` in processes as `torchrun` starts them; what it returned in each, or its exit code."""
    folder.mkdir(exist_ok=True)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    children = []
    for rank in range(size):
        if (child := os.fork()) == 0:
            code = 1
            try:
                os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank))
                (folder / str(rank)).write_bytes(pickle.dumps(work(Group())))
                code = 0
            except SystemExit as exit_:
                code = exit_.code
            except InputError as error:
                (folder / str(rank)).write_bytes(pickle.dumps(f"error: {error}"))
                code = EXIT_CODE
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [
        pickle.loads((folder / str(rank)).read_bytes()) if (folder / str(rank)).exists() else code
        for rank, code in enumerate(codes)
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_the_first_finds_out_is_everyones(size, tmp_path):
    def work(group):
        found = [group.share(lambda: ("found by", group.rank)), group.share(lambda: None), group.is_first]
        group.leave()
        return found

    assert in_processes(size, work, tmp_path / "out") == [[("found by", 0), None, rank == 0] for rank in range(size)]


def test_what_the_first_cannot_do_is_said_once(tmp_path):
    def work(group):
        def fail():
            raise InputError("no such meta")

        group.share(fail)

    assert in_processes(3, work, tmp_path / "out") == ["error: no such meta", EXIT_CODE, EXIT_CODE]


def test_a_number_counts_for_all(tmp_path):
    def work(group):
        group.count("answers", group.rank + 1)
        group.leave()  # the first waits for the others
        return group.count("answers") if group.is_first else None

    assert in_processes(3, work, tmp_path / "out")[0] == 1 + 2 + 3


@pytest.mark.parametrize(
    ("weights", "size", "expected"),
    [
        ([1, 1, 1, 1], 2, [[0, 1], [2, 3]]),
        ([1, 1, 1], 1, [[0, 1, 2]]),
        ([6, 1, 1, 2, 2], 2, [[0], [1, 2, 3, 4]]),
        ([1, 1], 4, [[], [0], [], [1]]),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 2, [[0, 1], [2, 3, 4]]),
    ],
)
def test_shares_are_neighbours_of_about_equal_work(weights, size, expected, monkeypatch):
    values = list(range(len(weights)))
    group, parts = Group(), []
    for rank in range(size):
        monkeypatch.setattr(group, "rank", rank)
        monkeypatch.setattr(group, "size", size)
        parts.append(group.part(values, weights))
    assert parts == expected
