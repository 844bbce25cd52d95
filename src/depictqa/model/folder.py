"""Hugging Face model folders that may be broken: whatever is wrong becomes one line that names the file.

transformers raises almost anything for a broken file, ignores some broken files, and fills in weights that a folder
lacks with random numbers. Files are read by transformers; this only checks them, before or after.
"""

import json
from pathlib import Path
from typing import Any

from depictqa.errors import InputError
from depictqa.model.weights import load_torch_file

MODEL_FILES = ("config.json", "generation_config.json", "*.index.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises InputError where it holds none."""
    value = _parse(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {json.dumps(value)[:40]}; download this file again")
    return value


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); download this file again") from None


def check_json(folder: Path, patterns: tuple[str, ...]) -> None:
    """Raises InputError for the first file of these names that is there and holds no JSON object."""
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            value = read_json(path)
            if path.name.endswith(".index.json") and not isinstance(value.get("weight_map"), dict):
                raise InputError(
                    f"{path}: expected a weight_map, which names each weight's file; download this file again"
                )


def check_complete(folder: Path, missing: set[str]) -> None:
    """Raises InputError where the files of a folder lack weights of the model that its config.json describes."""
    if missing:
        some = ", ".join(sorted(missing)[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(f"{folder}: {len(missing)} weights of its config.json are in none of its files: {some}")


def check_files(folder: Path) -> None:
    """Raises InputError for the first JSON or weight file below a folder that cannot be read."""
    for path in sorted(folder.rglob("*.json")):
        _parse(path)
    for pattern in WEIGHT_FILES:
        for path in sorted(folder.glob(pattern)):
            load_torch_file(path)


def explain(folder: Path, what: str, error: Exception) -> InputError:
    """What to say of a folder that a library cannot read: which file in it is broken, else the library's own reason."""
    try:
        check_files(folder)
    except InputError as broken:
        return broken
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return InputError(f"{folder}: {what} ({reason})")
