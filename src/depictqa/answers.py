"""Json lists on disk: metas that are asked about, answers that come back (standard library only).

An answers file is written twice: `{task}_{dataset}.jsonl` grows a line per answer while the job runs, so
that a killed job loses nothing; the `.json` list is written at its end. Both are read by `read_items`.
"""

import json
from pathlib import Path

from depictqa.errors import InputError
from depictqa.files import read_text, replacing


def read_items(path: str | Path) -> list[dict]:
    """Read a json list, or a jsonl file with one object a line.

    Raises:
        InputError: the file is absent, is not json, or is not a list of objects.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        lines = read_text(path).split("\n")  # not splitlines(): json may hold other line separators unescaped
        items = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    else:
        items = read_json(path)
    if not isinstance(items, list):
        raise InputError(f"{path}: expected a json list of items, found {type(items).__name__}")
    if wrong := set(map(type, items)) - {dict}:
        number, item = next((number, item) for number, item in enumerate(items) if type(item) in wrong)
        raise InputError(f"{path}: item {number}: expected an object, found {type(item).__name__}")
    return items


def read_json(path: str | Path):
    """Read one json value. Raises InputError: the file is absent, is not named .json, or is not json."""
    path = Path(path)
    if path.suffix != ".json":
        raise InputError(f"{path}: expected a file named .json (a list of items may also be .jsonl)")
    return _parse(read_text(path), str(path))


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
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
