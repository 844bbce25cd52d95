"""Loading: a tree of plain values becomes a checked `Config` or `ServeConfig`, or one line with all mistakes."""

import difflib
import functools
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from depictqa.config.schema import Config, Expected, File, Section, ServeConfig
from depictqa.config.tree import apply_overrides, describe, read_tree
from depictqa.errors import InputError

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "keys and values"}
LIMITS = (
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "<="),
    (annotated_types.Lt, "lt", "<"),
)
AnyFile = TypeVar("AnyFile", bound=File)


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Load and check an experiment's config.yaml.

    Args:
        overrides: dotted key -> value (or its YAML text), as from `--set train.epochs=2`.

    Returns:
        every key, read-only; paths are absolute.

    Raises:
        InputError: a file is absent or not YAML, or one line with every unknown key, wrong value and missing key.
    """
    return _load(path, Config, overrides or {})


def load_serve_config(path: str | Path) -> ServeConfig:
    """Load and check a serve.yaml, as `load_config` does. Addresses that are empty become those of this machine."""
    return _load(path, ServeConfig, {}).with_addresses()


def value_at(config: File, key: str) -> Any:
    """The value of a dotted key that exists, such as `train.epochs`."""
    return functools.reduce(getattr, key.split("."), config)


def require_file(config: File, key: str) -> Path:
    """The existing file or folder that a key names. Raises InputError with file, key and where to get it."""
    value = value_at(config, key)
    if value is None:
        raise InputError(f"{config.config_path}: {key} is empty; expected a path")
    try:
        Path(value).stat()
    except (FileNotFoundError, NotADirectoryError):
        hint = " (README.md, section 'Models', says how to get it)" if key.startswith("model.") else ""
        raise InputError(f"{config.config_path}: {key}: {value} does not exist{hint}") from None
    except OSError as error:
        raise InputError(f"{config.config_path}: {key}: {value} cannot be read ({error.strerror})") from None
    return Path(value)


def _load(path: str | Path, schema: type[AnyFile], overrides: Mapping[str, Any]) -> AnyFile:
    path = Path(path).resolve()
    tree = read_tree(path, schema)
    errors = apply_overrides(tree, overrides)
    config = None
    try:
        config = schema.model_validate(tree, context={"folder": path.parent})
    except ValidationError as invalid:
        errors += _explain(invalid, schema)
    if config is None or errors:
        raise InputError(f"{path}: {'; '.join(errors)}")
    config._config_path = str(path)
    return config


def keys_of(schema: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every dotted key of a file with its field, sections before what they hold."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}", field
        for kind in (field.annotation, *get_args(field.annotation)):  # a section, or one that may be null
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from keys_of(kind, f"{prefix}{name}.")


def expected(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """What a field takes, in words: "a whole number >= 1 or null"."""
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        return expected(annotation, (*inner, *limits))
    for limit in limits:
        if isinstance(limit, Expected):
            return str(limit)
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(
            expected(part, limits if part is not types.NoneType else ()) for part in get_args(annotation)
        )
    if annotation is types.NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    if get_origin(annotation) is list:
        return f"a list of {expected(*get_args(annotation)).removeprefix('a ')}" + (", not empty" if limits else "")
    words = KINDS.get(get_origin(annotation) or annotation, KINDS[dict])
    given = [inner for limit in limits for inner in (limit.metadata if isinstance(limit, FieldInfo) else (limit,))]
    bounds = [
        f"{sign} {getattr(limit, name)}" for kind, name, sign in LIMITS for limit in given if isinstance(limit, kind)
    ]
    return " ".join([words, " and ".join(bounds)]).strip()


def _explain(invalid: ValidationError, schema: type[Section]) -> list[str]:
    """A line for each mistake: dotted key, what was expected, its meaning, what was found."""
    fields = dict(keys_of(schema))
    lines = []
    unknown_first = sorted(invalid.errors(), key=lambda error: error["type"] != "extra_forbidden")  # explains the rest
    for error in unknown_first:
        names = [str(part) for part in error["loc"] if isinstance(part, str)]
        key, place = ".".join(names), "".join(f"[{part}]" for part in error["loc"] if isinstance(part, int))
        field = fields.get(key)
        if error["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            lines.append(f"unknown key '{key}'" + (f"; did you mean '{nearest[0]}'?" if nearest else ""))
        elif field is None:  # inside `deepspeed`, where only JSON's own kinds are checked
            lines.append(f"{key}{place}: {error['msg']}, found {describe(error['input'])}")
        elif error["type"] == "missing":
            lines.append(f"{key} is missing ({field.description})")
        elif error["type"] == "value_error" and isinstance(error["input"], dict):  # a check across a section's keys
            lines.append(f"{key}: {error['msg'].removeprefix('Value error, ')}")
        else:
            words = expected(*get_args(field.annotation)) if place else expected(field.annotation, field.metadata)
            meaning = f" ({field.description})" if field.description else ""
            lines.append(f"{key}{place}: expected {words}{meaning}, found {describe(error['input'])}")
    return lines
