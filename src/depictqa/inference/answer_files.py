"""The files of a job's answers, which survive being killed at any moment, in any of several processes.

`{name}.jsonl` grows while the job runs, by whole batches; beside it, each further process writes `.{name}.part{rank}`.
At the end all rows are in `.jsonl` and in the `.json` list, in the order of the meta file. `.{name}.run` vouches for the
rows: it names the settings and the items that they answer. `.{name}.lock` is held by the run that writes.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from depictqa.answers import write_json, write_text
from depictqa.data.meta import Item
from depictqa.errors import InputError
from depictqa.files import append

CONTINUES = " "  # at the end of a line, where JSON ignores it: more rows of the same batch follow


class AnswerFiles:
    """The files of one job, for one of its processes.

    Args:
        name: `{task}_{dataset}`.
        rank: of the process; the first, 0, also locks, begins and finishes.
    """

    def __init__(self, folder: Path, name: str, rank: int = 0):
        self.folder, self.name, self.rank = folder, name, rank
        self.json_path, self.jsonl_path = folder / f"{name}.json", folder / f"{name}.jsonl"
        self._run_path, self._lock_path = folder / f".{name}.run", folder / f".{name}.lock"
        self._own_path = folder / f".{name}.part{rank}" if rank else self.jsonl_path
        self._lock: TextIO | None = None

    def lock(self) -> str:
        """Keep other runs away until `close`, or until this process ends, in whatever way.

        Returns:
            what is written in the lock's file, for the other processes to `join`.

        Raises:
            InputError: a process of another run is still there, or the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.jsonl_path.touch()
            self._lock = open(self._lock_path, "a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"infer.answer_dir: {self.folder} cannot be written to ({error.strerror})") from None
        self._hold(0, 0)  # all bytes: one is each process's own
        fcntl.lockf(self._lock, fcntl.LOCK_UN, 0, 1)  # all but the first
        token = f"process {os.getpid()} on {socket.gethostname()} {secrets.token_hex(8)}"
        self._lock.truncate(0)
        self._lock.write(token)
        self._lock.flush()  # and no second open() of it here: closing that would give up the lock
        return token

    def join(self, token: str) -> None:
        """Take part in the run of the process that has the lock.

        Raises:
            InputError: this process sees another folder than that one.
        """
        if not self._lock_path.is_file() or self._lock_path.read_text(encoding="utf-8") != token:
            raise InputError(
                f"infer.answer_dir: {self.folder} on {socket.gethostname()} is not the folder that the first process "
                "writes to; name a folder on a disk that all machines share"
            )
        self._lock = open(self._lock_path, "a", encoding="utf-8")
        self._hold(self.rank, 1)

    def _hold(self, start: int, length: int) -> None:
        """Lock bytes of the lock's file: not by flock, whose locks live on in the loading processes of a killed run."""
        assert self._lock is not None
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise InputError(f"infer.answer_dir: {self.folder} cannot be locked ({error.strerror})") from None
            holder, _, _ = self._lock_path.read_text(encoding="utf-8").rpartition(" ")
            raise InputError(
                f"{self.jsonl_path}: another run is writing it ({holder or 'it has just begun'}); wait for its end, or "
                "name another infer.answer_dir"
            ) from None

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def begin(self, settings: str, items: Sequence[Item]) -> list[int]:
        """Keep what earlier runs answered, if settings, question and pictures are as they were then.

        Args:
            settings: fingerprint of all that answers depend on, but for the items.

        Returns:
            the places of the items that are to be asked: new ones, changed ones, and those whose pictures were broken.
        """
        run = "\n".join([settings, *(item.fingerprint for item in items)])
        before = self._run_path.read_text(encoding="utf-8") if self._run_path.exists() else ""
        known = set(before.split("\n")[1:]) if before.partition("\n")[0] == settings else set()
        rows = self._rows() if known else {}
        kept = {
            item.id: rows[item.id]
            for item in items
            if item.fingerprint in known and item.id in rows and "error" not in rows[item.id]
        }
        todo = [place for place, item in enumerate(items) if item.id not in kept]
        if todo:
            self.json_path.unlink(missing_ok=True)
            self._write_rows(kept.values())
        write_text(self._run_path, run)  # last: it vouches for the lines
        return todo

    def append(self, rows: Sequence[dict]) -> None:
        """Add the rows of a batch, all or none."""
        append(self._own_path, f"{CONTINUES}\n".join(map(_dumps, rows)) + "\n")

    def finish(self, items: Sequence[Item]) -> list[dict]:
        """Bring the rows of all processes together in the two files; returns them."""
        found = self._rows()
        rows = [found[item.id] for item in items]
        self._write_rows(rows)
        write_json(self.json_path, rows)
        return rows

    def _rows(self) -> dict:
        """id -> row, of whole batches; of an item that was asked again, the last."""
        return {row["id"]: row for path in (self.jsonl_path, *self._parts()) for row in _whole_batches(path)}

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob(f".{self.name}.part*"))

    def _write_rows(self, rows: Iterable[dict]) -> None:
        write_text(self.jsonl_path, "".join(f"{_dumps(row)}\n" for row in rows))
        for path in self._parts():
            path.unlink()


def _dumps(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False)


def _whole_batches(path: Path) -> Iterator[dict]:
    """The rows of a file of lines, up to the first line that is torn, without a batch that is not whole."""
    batch = []
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")  # answers may hold other separators
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return
        if not isinstance(row, dict) or "id" not in row:
            return
        batch.append(row)
        if not line.endswith(CONTINUES):
            yield from batch
            batch = []
