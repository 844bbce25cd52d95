"""Meta files of inference: questions about pictures, checked whole before any model loads."""

import hashlib
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from depictqa.answers import index_by_id, read_items
from depictqa.errors import InputError
from depictqa.prompts import TASKS, Task

ALL_FIELDS = ("image_ref", "image_A", "image_B")
MOST_SHOWN = 10


@dataclass(frozen=True)
class Item:
    """A question of a meta file.

    Attributes:
        image_paths: in the order of the task's slots.
        fingerprint: changes with the question and with its pictures, by size and time of their files.
    """

    id: str | int
    image_paths: tuple[Path, ...]
    query: str
    fingerprint: str = field(default="", compare=False)


class _Picture(NamedTuple):
    path: Path
    stamp: str | None  # changes with the file; None: there is no such file


def read_questions(path: Path, task: Task, root_dir: Path) -> list[Item]:
    """Read and check a meta file. However many questions are about a picture, its file is looked at once.

    Args:
        root_dir: folder that the file's picture paths are relative to.

    Raises:
        InputError: lists the first items that lack an id or a query, have images that do not fit the task, or
            name pictures that do not exist.
    """
    raw = read_items(path)
    index_by_id(raw, path)
    if not raw:
        raise InputError(f"{path}: no items")
    known: dict[str, _Picture] = {}

    def look(name: str) -> _Picture:
        if name not in known:
            known[name] = _look(root_dir / name)
        return known[name]

    problems, items = [], []
    for entry in raw:
        problem = _wrong_with(entry, task, look)
        if problem is not None:
            problems.append(f"item {entry['id']}: {problem}")
        elif not problems:
            pictures = [look(entry[field]) for field in task.fields]
            told = "\0".join([repr(entry["id"]), entry["query"], *(f"{path}\0{stamp}" for path, stamp in pictures)])
            fingerprint = hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()[:16]
            items.append(Item(entry["id"], tuple(path for path, _ in pictures), entry["query"], fingerprint))
    if problems:
        shown = "; ".join(problems[:MOST_SHOWN])
        raise InputError(f"{path}: {len(problems)} of {len(raw)} items cannot be asked: {shown}")
    return items


def _look(path: Path) -> _Picture:
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return _Picture(path, None)
    return _Picture(path, f"{found.st_size} {found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else None)


def _wrong_with(entry: dict, task: Task, look: Callable[[str], _Picture]) -> str | None:
    if not isinstance(entry.get("query"), str) or not entry["query"].strip():
        return "the field 'query' is missing or empty; expected a question"
    given = tuple(field for field in ALL_FIELDS if entry.get(field) is not None)
    if given != task.fields:
        fitting = [other.name for other in TASKS.values() if other.inference and other.fields == given]
        advice = f"; these fit {' or '.join(fitting)}" if fitting else ""
        return f"task {task.name} takes {', '.join(task.fields)}, found {', '.join(given) or 'no image'}{advice}"
    for name in task.fields:
        if not isinstance(entry[name], str):
            return f"{name}: expected a path, found {type(entry[name]).__name__}"
        picture = look(entry[name])
        if picture.stamp is None:
            return f"{name}: {picture.path} does not exist"
    return None
