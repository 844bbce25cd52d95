"""YAML files as one tree: bases merged in, `--set` values put over it. What keys mean is `config`'s business.

Dictionaries merge, lists replace. Every mistake is one InputError that names the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from depictqa.errors import InputError


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for which 2e-4 is a number, and a key that is given twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else None)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def read_tree(path: Path) -> EasyDict:
    """Read a YAML file over the files that `base:` names, relative to the file that names them.

    Raises:
        InputError: a file is absent, not UTF-8, not YAML or no mapping, or a base leads back to itself.
    """
    return EasyDict(_read(path.resolve(), ()))


def _read(path: Path, above: tuple[Path, ...]) -> dict:
    if path in above:
        raise InputError(f"{path}: base: this file is its own base ({' -> '.join(file.name for file in (*above, path))})")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})" + _named_by(above)) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML (not UTF-8: {error.reason})") from None
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected keys and values, found {_kind(tree)}" + _named_by(above))
    _check_keys(tree, path)
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise InputError(f"{path}: base: expected the path of a YAML file, found {base!r}")
    return _merge(_read((path.parent / base).resolve(), (*above, path)), tree)


def _named_by(above: tuple[Path, ...]) -> str:
    return f"; it is the base of {above[-1]}" if above else ""


def parse_yaml(text: str, where: str) -> Any:
    """A YAML text's value. Raises InputError, naming `where`, for a text that is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise InputError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from None


def _check_keys(tree: dict, path: Path, prefix: str = "") -> None:
    for key, value in tree.items():
        if not isinstance(key, str):
            raise InputError(f"{path}: {prefix}{key}: expected a name as key, found {_kind(key)}")
        if isinstance(value, dict):
            _check_keys(value, path, f"{prefix}{key}.")


def _merge(base: dict, over: dict) -> dict:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def put(tree: dict, dotted: str, value: Any) -> None:
    """Set `a.b.c` in a tree. Raises InputError where `a` or `a.b` has a value of its own."""
    *parents, last = dotted.split(".")
    for depth, parent in enumerate(parents, 1):
        if tree.get(parent) is None:
            tree[parent] = {}
        if not isinstance(tree[parent], dict):
            raise InputError(f"--set {dotted}: '{'.'.join(parents[:depth])}' is a value ({tree[parent]!r}), not a section")
        tree = tree[parent]
    tree[last] = value


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """`["train.epochs=2", ...]` -> {"train.epochs": 2}.

    Raises:
        InputError: one has no `=` or no key, or its value is not YAML.
    """
    overrides = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not all(key.split(".")):
            raise InputError(f"--set: expected KEY=VALUE, found '{assignment}'")
        overrides[key] = parse_yaml(value, f"--set {key}")
    return overrides


def plain(value: Any) -> Any:
    """EasyDicts and tuples as the dicts and lists that YAML can write."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
