"""Json lists on disk: metas that are asked about, answers that come back (standard library only).

An answers file is written twice: `{task}_{dataset}.jsonl` grows a line per answer while the job runs, so
that a killed job loses nothing; the `.json` list is written at its end. Both are read by `read_items`.
"""

import contextlib
import json
import os
from pathlib import Path

from depictqa.errors import InputError


def read_items(path: str | Path) -> list[dict]:
    """Read a json list, or a jsonl file with one object a line.

    Raises:
        InputError: the file is absent, is not json, or is not a list of objects.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        lines = _read(path).split("\n")  # not splitlines(): json may hold other line separators unescaped
        items = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    else:
        items = read_json(path)
    if not isinstance(items, list):
        raise InputError(f"{path}: expected a json list of items, found {type(items).__name__}")
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError(f"{path}: item {number}: expected an object, found {type(item).__name__}")
    return items


def read_json(path: str | Path):
    """Read one json value. Raises InputError: the file is absent, is not named .json, or is not json."""
    path = Path(path)
    if path.suffix != ".json":
        raise InputError(f"{path}: expected a file named .json (a list of items may also be .jsonl)")
    return _parse(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _parse(text: str, where: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid json ({error})") from None


def index_by_id(items: list[dict], path: str | Path) -> dict:
    """Map id -> item, in order. Raises InputError for an item without `id` and for ids that occur twice."""
    indexed: dict = {}
    repeated = []
    for number, item in enumerate(items):
        if item.get("id") is None:
            raise InputError(f"{path}: item {number}: the field 'id' is missing")
        if not isinstance(item["id"], str | int | float):
            found = type(item["id"]).__name__
            raise InputError(f"{path}: item {number}: the field 'id': expected a text or a number, found {found}")
        if item["id"] in indexed:
            repeated.append(item["id"])
        indexed[item["id"]] = item
    if repeated:
        raise InputError(f"{path}: {len(repeated)} duplicate ids: {', '.join(map(str, repeated[:5]))}")
    return indexed


def write_json(path: str | Path, value) -> None:
    """Write `value` as indented json: whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file: whole or not at all (temporary file, fsync, rename).

    Raises:
        InputError: the place cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a parent that is a file
            temporary.unlink()
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
