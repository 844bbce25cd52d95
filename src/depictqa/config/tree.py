"""From YAML files and overrides to one tree of plain values, whatever their meaning; `schema` gives them one.

Reading refuses what YAML allows and a config never means: a key given twice, a key that is no text, a number that is
not finite, aliases that multiply. Every fault is one line with the file and, inside the YAML, the line and column.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from depictqa.config.schema import Section, resolve_path
from depictqa.errors import InputError

MAX_VALUES = 100_000  # of a file, with every alias written out
STR, FLOAT, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "float", "merge"))


class _Fault(yaml.MarkedYAMLError):
    """Valid YAML that no config means."""

    def __init__(self, problem: str, node: yaml.Node):
        super().__init__(problem=problem, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for which 2e-4 is a number rather than text, and which takes config trees only."""

    def get_single_node(self):
        root = super().get_single_node()
        if root is not None:
            _check_nodes(root)
        return root

    def construct_finite(self, node: yaml.ScalarNode) -> float:
        value = self.construct_yaml_float(node)
        if not math.isfinite(value):
            raise _Fault(f"expected a finite number, found {node.value}", node)
        return value


_Loader.add_implicit_resolver(FLOAT, re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_Loader.add_constructor(FLOAT, _Loader.construct_finite)


def _check_nodes(root: yaml.Node) -> None:
    """Before anything is constructed: merging and copying walk shared nodes once for each alias."""
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise _Fault(f"expected at most {MAX_VALUES} values; aliases that refer to aliases multiply", root)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node)
            waiting += [value for _, value in node.value]


def _check_keys(mapping: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        if key.tag == MERGE:
            continue
        if key.tag != STR:
            found = key.value if isinstance(key, yaml.ScalarNode) else "a collection"
            raise _Fault(f"expected a name as a key, found {found}", key)
        if key.value in lines:
            raise _Fault(f"key '{key.value}' is given twice, first in line {lines[key.value]}", key)
        lines[key.value] = key.start_mark.line + 1


def read_tree(path: Path, schema: type[Section], chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a YAML file merged over that of its `base:`. Mappings merge, all else is replaced.

    Args:
        schema: its sections are known, so that one left empty (`train:`) says nothing instead of null.
        chain: the files that named this one as their base.

    Raises:
        InputError: a file is absent, is not UTF-8 or YAML, is no mapping, or is its own base.
    """
    if path in chain:
        circle = " -> ".join(map(str, (*chain[chain.index(path) :], path)))
        raise InputError(f"{chain[-1]}: base: expected a file that does not lead back here, found {circle}")
    where = f"{chain[-1]}: base: {path}" if chain else str(path)
    try:
        tree = parse_yaml(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise InputError(f"{where}: expected UTF-8 text, found {byte}") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{where}: expected keys and values, found {describe(tree)}")
    base = tree.pop("base", None)
    tree = _without_empty_sections(tree, schema)
    if base is None:
        return tree
    if not isinstance(base, str) or not base:
        raise InputError(f"{path}: base: expected a path, found {describe(base)}")
    try:
        base_path = Path(resolve_path(base, path.parent))
    except ValueError as error:
        raise InputError(f"{path}: base: expected a path, found {base!r} ({error})") from None
    return _merge(read_tree(base_path, schema, (*chain, path)), tree)


def parse_yaml(text: str) -> Any:
    """Plain values of YAML text. Raises ValueError with one line: what is wrong, and where in the text."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("not valid YAML: it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        kind = "" if isinstance(error, _Fault) else "not valid YAML: "
        reason = ", ".join(filter(None, (error.context, error.problem)))
        hint = "; indent with spaces, not tabs" if r"'\t'" in reason else ""
        raise ValueError(f"{kind}{reason}{hint}{place}") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:  # PyYAML raises any of them
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from None


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key. Raises ValueError where a part on the way holds a value instead of keys."""
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents, 1):
        if tree.get(parent) is None:
            tree[parent] = {}
        if not isinstance(tree[parent], dict):
            raise ValueError(f"{'.'.join(parents[:depth])} is {describe(tree[parent])} and holds no keys")
        tree = tree[parent]
    tree[last] = value


def parse_overrides(assignments: list[str]) -> dict[str, str]:
    """`["train.epochs=2", ...]` -> {"train.epochs": "2"}. Raises InputError for one without `=`."""
    overrides = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise InputError(f"--set: expected KEY=VALUE, found '{assignment}'")
        overrides[key] = value
    return overrides


def apply_overrides(tree: dict[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """Set dotted keys in `tree`; text is read as YAML. Returns a line for each one that cannot be set."""
    errors = []
    for key, value in overrides.items():
        try:
            put(tree, key, parse_yaml(value) if isinstance(value, str) else value)
        except ValueError as error:
            errors.append(f"--set {key}={value}: {error}")
    return errors


def describe(value: Any) -> str:
    """A value as a message shows it, cut where it is long."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _without_empty_sections(tree: dict[str, Any], schema: type[Section]) -> dict[str, Any]:
    sections = schema.subsections()
    return {
        key: _without_empty_sections(value, sections[key]) if key in sections and isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None or key not in sections
    }


def _merge(base: dict, over: dict) -> dict:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged
