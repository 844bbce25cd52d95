"""The ledger of paid calls: a jsonl file that says what was sent, what came back and what it cost.

A call is written down before it is sent and again when it ended, each line flushed to the disk. After a
`kill -9` the next run therefore knows every answer it has (and does not pay for it again) and every call that
may have been charged (and counts it as spent). One run at a time may hold a ledger.
"""

import fcntl
import json
from pathlib import Path

from depictqa.errors import InputError
from depictqa.files import append_bytes, writing

SENT, ANSWERED, LOST = "sent", "answered", "lost"


class Ledger:
    """Answers by digest of their request, and the money spent.

    Attributes:
        answers: digest -> the line of its answer.
        spent: in dollars; calls without a known end count in full.

    Raises:
        InputError: the file is no ledger, or another run holds it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b", buffering=0)
        except OSError as error:
            raise InputError(f"{self.path}: the ledger cannot be opened ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{self.path}: another run is using this ledger") from None
        self.answers: dict[str, dict] = {}
        self.spent = 0.0
        self._open: dict[str, float] = {}  # digest -> dollars reserved
        try:
            self._load()
        except InputError:
            self._file.close()
            raise

    def send(self, digest: str, key: str | int, reserved: float) -> None:
        """Write down that a call is about to be sent and may cost up to `reserved` dollars."""
        self._append({"event": SENT, "digest": digest, "key": key, "reserved": reserved})

    def answer(self, digest: str, key: str | int, cost: float, **fields) -> None:
        """Write down an answer: final, never asked for again."""
        self._append({"event": ANSWERED, "digest": digest, "key": key, "cost": cost, **fields})

    def lose(self, digest: str, key: str | int, cost: float, error: str) -> None:
        """Write down that a call ended without an answer, and what it may have cost."""
        self._append({"event": LOST, "digest": digest, "key": key, "cost": cost, "error": error})

    @property
    def committed(self) -> float:
        """Dollars spent plus those that the calls under way may cost."""
        return self.spent + sum(self._open.values())

    @property
    def under_way(self) -> int:
        return len(self._open)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _load(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):  # the last line was cut short by a kill
            self._file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{self.path}:{number}: this line is not an entry of a ledger of paid calls") from None
        self.spent += sum(self._open.values())  # sent by a run that died: charged, for all we know
        self._open.clear()

    def _append(self, line: dict) -> None:
        with writing(self.path):
            append_bytes(self._file.fileno(), json.dumps(line).encode() + b"\n")
        self._apply(line)

    def _apply(self, line: dict) -> None:
        digest = line["digest"]
        if line["event"] == SENT:
            self.spent += self._open.pop(digest, 0.0)  # an earlier call of which no end is known
            self._open[digest] = line["reserved"]
            return
        self._open.pop(digest, None)
        self.spent += line["cost"]
        if line["event"] == ANSWERED:
            self.answers[digest] = line
