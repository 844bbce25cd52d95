"""What is wrong with a picture: its distortions, how they are drawn, how metas and answers name them.

The state of a picture is a tuple of no, one or two distortions in the order in which they were applied. A meta spells
it in one of two ways: `single` (distortion_class, distortion_name, severity) or `multi` (lists of the three).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from build_datasets.x_distortion import (
    ANSWERS,
    CLASS_OF,
    CLASSES,
    FUNCTIONS,
    PAIRS,
    SEEN_WITHOUT_REFERENCE_FROM,
    SEVERITY_NAMES,
    SEVERITY_NAMES_OF_TWO,
)
from build_datasets.x_distortion import add_distortion as distort
from depictqa.errors import InputError
from depictqa.prompts import NO_DISTORTION

ALLOWED_PAIRS = tuple((first, second) for first, seconds in PAIRS.items() for second in seconds)
SINGLE_KEYS = ("distortion_class", "distortion_name", "severity")
MULTI_KEYS = ("distortion_classes", "distortion_names", "severities")


@dataclass(frozen=True)
class Distortion:
    """A row of x_distortion: class, function, severity 1..5 (1..3 for one of two)."""

    label: str
    name: str
    severity: int

    @property
    def is_seen_without_reference(self) -> bool:
        return self.severity >= SEEN_WITHOUT_REFERENCE_FROM[self.label]


State = tuple[Distortion, ...]
Draw = Callable[[np.random.Generator], State]


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers that follow from a seed and an item's names alone."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def draw_of_class(label: str, rng: np.random.Generator, severities: int = 5) -> Distortion:
    """Function uniform within the class, severity uniform over 1..severities."""
    name = CLASSES[label][rng.integers(len(CLASSES[label]))]
    return Distortion(label, name, int(rng.integers(1, severities + 1)))


def draw_one(rng: np.random.Generator) -> State:
    """One distortion, its class uniform."""
    labels = tuple(CLASSES)
    return (draw_of_class(labels[rng.integers(len(labels))], rng),)


def draw_two(rng: np.random.Generator) -> State:
    """Two distortions: uniform over the pairs that go together, severities 1..3."""
    return tuple(draw_of_class(label, rng, severities=3) for label in ALLOWED_PAIRS[rng.integers(len(ALLOWED_PAIRS))])


def draw_one_or_two(rng: np.random.Generator) -> State:
    return draw_two(rng) if rng.random() < 0.5 else draw_one(rng)


def draw_named(name: str, draw: Draw) -> Draw:
    """Draws by `draw` in which one distortion is of this class, or is this function.

    Raises:
        InputError: the name is neither a class nor a function.
    """
    if name not in CLASSES and name not in FUNCTIONS:
        known = ", ".join([*CLASSES, *FUNCTIONS])
        raise InputError(f"--distortion_name: expected a class or a function, one of {known}; found '{name}'")
    label = name if name in CLASSES else CLASS_OF[name]

    def drawn(rng: np.random.Generator) -> State:
        state = draw(rng)
        while all(one.label != label for one in state):
            state = draw(rng)
        return tuple(replace(one, name=name) if one.label == label and name in FUNCTIONS else one for one in state)

    return drawn


def apply(state: State, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture (uint8, [H, W, 3]) with all distortions of a state, in their order."""
    for distortion in state:
        img = distort(img, distortion.severity, distortion.name, rng)
    return img


def is_seen_without_reference(state: State) -> bool:
    return all(distortion.is_seen_without_reference for distortion in state)


def named(state: State) -> list[str]:
    """The words of the answer vocabulary, in order; ["none"] for an undistorted picture."""
    return [ANSWERS[distortion.label] for distortion in state] or [NO_DISTORTION]


def graded(state: State) -> list[tuple[str, str]]:
    """(severity, distortion) in words: [("serious", "noise")]; two distortions have a scale of their own."""
    names = SEVERITY_NAMES if len(state) == 1 else SEVERITY_NAMES_OF_TWO
    return [(names[distortion.severity - 1], ANSWERS[distortion.label]) for distortion in state]


def to_fields(state: State, multi: bool) -> dict:
    """A state as a meta spells it."""
    if multi:
        labels, names = [one.label for one in state] or None, [one.name for one in state] or None
        return dict(zip(MULTI_KEYS, (labels, names, [one.severity for one in state] or 0)))
    (values,) = [(one.label, one.name, one.severity) for one in state] or [(None, None, 0)]
    return dict(zip(SINGLE_KEYS, values))


def from_fields(fields: dict[str, Any], where: str) -> State:
    """The state that a meta spells, in either way. Raises InputError, naming `where`, for anything else."""
    keys = next((keys for keys in (SINGLE_KEYS, MULTI_KEYS) if all(key in fields for key in keys)), None)
    if not keys:
        raise InputError(f"{where}: expected the fields {', '.join(SINGLE_KEYS)} or {', '.join(MULTI_KEYS)}")
    values = [fields[key] for key in keys]
    if values[:2] == [None, None] and values[2] in (0, None):
        return ()
    labels, names, severities = ([value] for value in values) if keys == SINGLE_KEYS else values
    if not all(isinstance(values, list) for values in (labels, names, severities)):
        raise InputError(f"{where}: {', '.join(keys)}: expected lists, or null, null, 0")
    if not 1 <= len(labels) == len(names) == len(severities) <= 2:
        raise InputError(f"{where}: {', '.join(keys)}: expected one or two of each")
    highest = 5 if len(labels) == 1 else 3
    for label, name, severity in zip(labels, names, severities):
        if CLASS_OF.get(name) != label:
            raise InputError(f"{where}: {keys[1]}: expected a function of the class {label}, found {name!r}")
        if not isinstance(severity, int) or not 1 <= severity <= highest:
            raise InputError(f"{where}: {keys[2]}: expected 1..{highest}, found {severity!r}")
    return tuple(map(Distortion, labels, names, severities))
