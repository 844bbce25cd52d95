"""Meta files of inference: questions about pictures, checked whole before any model loads."""

from dataclasses import dataclass
from pathlib import Path

from depictqa.answers import index_by_id, read_items
from depictqa.errors import InputError
from depictqa.prompts import TASKS, Task

ALL_FIELDS = ("image_ref", "image_A", "image_B")
MOST_SHOWN = 10


@dataclass(frozen=True)
class Item:
    """A question of a meta file; `image_paths` are in the order of the task's slots."""

    id: str | int
    image_paths: tuple[Path, ...]
    query: str


def read_questions(path: Path, task: Task, root_dir: Path) -> list[Item]:
    """Read and check a meta file.

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
    problems, items = [], []
    for entry in raw:
        problem = _wrong_with(entry, task, root_dir)
        if problem is not None:
            problems.append(f"item {entry['id']}: {problem}")
        elif not problems:
            paths = tuple(root_dir / entry[field] for field in task.fields)
            items.append(Item(entry["id"], paths, entry["query"]))
    if problems:
        shown = "; ".join(problems[:MOST_SHOWN])
        raise InputError(f"{path}: {len(problems)} of {len(raw)} items cannot be asked: {shown}")
    return items


def _wrong_with(entry: dict, task: Task, root_dir: Path) -> str | None:
    if not isinstance(entry.get("query"), str) or not entry["query"].strip():
        return "the field 'query' is missing or empty; expected a question"
    given = tuple(field for field in ALL_FIELDS if entry.get(field) is not None)
    if given != task.fields:
        fitting = [other.name for other in TASKS.values() if other.inference and other.fields == given]
        advice = f"; these fit {' or '.join(fitting)}" if fitting else ""
        return f"task {task.name} takes {', '.join(task.fields)}, found {', '.join(given) or 'no image'}{advice}"
    for field in task.fields:
        if not isinstance(entry[field], str):
            return f"{field}: expected a path, found {type(entry[field]).__name__}"
        if not (root_dir / entry[field]).is_file():
            return f"{field}: {root_dir / entry[field]} does not exist"
    return None
