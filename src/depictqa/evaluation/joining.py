"""Predictions and true answers, joined by id in one pass; what does not fit is counted, not dropped in silence."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TypeGuard

from depictqa.errors import InputError

SHOWN = 5  # ids that a message lists


def some(values: Iterable) -> str:
    """The first five values, for a message."""
    values = list(values)
    return ", ".join(map(str, values[:SHOWN])) + (", ..." if len(values) > SHOWN else "")


@dataclass(frozen=True)
class Problems:
    """Ids that do not pair up. All but `unknown` and `invalid` make a figure unfit to report."""

    missing: tuple = ()  # true answers without a prediction (or whose prediction has no text)
    repeated_predictions: tuple = ()
    repeated_answers: tuple = ()
    unknown: tuple = ()  # predictions that no true answer asks for: ignored
    invalid: tuple = ()  # predictions whose text is no answer to the question: left out

    def faults(self, allow_missing: bool) -> list[str]:
        """One phrase for each kind of fault, with the number and the first five ids."""
        found = [
            (self.repeated_predictions, "ids occur more than once in the predictions"),
            (self.repeated_answers, "ids occur more than once in the answers"),
            (() if allow_missing else self.missing, "answers have no prediction (see --allow_missing)"),
        ]
        return [f"{len(ids)} {what}: {some(ids)}" for ids, what in found if ids]

    def notes(self) -> list[str]:
        found = [
            (self.unknown, "predictions have no answer, ignored"),
            (self.invalid, "predictions are neither 'Image A' nor 'Image B', left out"),
        ]
        return [f"{len(ids)} {what}: {some(ids)}" for ids, what in found if ids]


def join(
    predictions: list[dict], answers: list[dict], field: str = "text"
) -> tuple[list[tuple[dict, dict]], list[dict], Problems]:
    """Pair each prediction with the first answer of its id, in the order of the predictions.

    Arguments:
        predictions: items with `id` and `field`; one whose field is null (its picture could not be read) is missing.
        answers: items with `id`.
        field: what the predictions are read for.

    Returns:
        the pairs (prediction, answer); the answers without a prediction; what did not fit.

    Raises:
        InputError: an item has no id.
    """
    known = _ids(answers, "answers")
    wanted: dict = {}
    for key, item in zip(known, answers):
        wanted.setdefault(key, item)
    asked = _ids(predictions, "predictions")
    found = zip(predictions, map(wanted.get, asked))
    pairs = [(item, answer) for item, answer in found if answer is not None and item.get(field, "") is not None]
    met = {item["id"] for item, _ in pairs}
    missing = [item for key, item in wanted.items() if key not in met] if len(met) < len(wanted) else []
    problems = Problems(
        missing=tuple(item["id"] for item in missing),
        repeated_predictions=_repeated(asked),
        repeated_answers=_repeated(known),
        unknown=tuple(key for key in asked if key not in wanted),
    )
    return pairs, missing, problems


def _ids(items: list[dict], where: str) -> list[str | int]:
    keys: list = [item.get("id") for item in items]
    wrong = {kind for kind in set(map(type, keys)) if not issubclass(kind, str | int)}
    if wrong:
        key = next(key for key in keys if type(key) in wrong)
        raise InputError(f"{where}: the field 'id' of an item must be a string or an integer, found {key!r}")
    return keys


def _repeated(keys: list) -> tuple:
    return tuple(key for key, count in Counter(keys).items() if count > 1) if len(set(keys)) < len(keys) else ()


def text_field(item: dict, field: str) -> str:
    """The item's text without surrounding white space. Raises InputError where it is no text."""
    value = item.get(field)
    if not isinstance(value, str):
        raise InputError(f"item {item['id']}: the field '{field}' must be text, found {value!r}")
    return value.strip()


def text_column(items: list[dict], field: str) -> list[str]:
    """`text_field` of each item."""
    values: list = [item.get(field) for item in items]
    if set(map(type, values)) <= {str}:  # one test of the column: a call for each of 700,000 values takes .3 s
        return list(map(str.strip, values))
    return [text_field(item, field) for item in items]


def number_field(item: dict, field: str) -> float:
    """The item's number. Raises InputError where it is no finite number."""
    value = item.get(field)
    if not is_number(value):
        raise InputError(f"item {item['id']}: the field '{field}' must be a number, found {value!r}")
    return float(value)


def is_number(value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
