"""Folders of photos and metas, splits, and the items of a json file.

Everything is written whole or not at all: to a temporary name that follows from the file's own, then renamed. What a
killed run leaves behind is therefore overwritten by the next one.
"""

import contextlib
import io
import json
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from depictqa.answers import read_json
from depictqa.errors import InputError

PHOTO_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".jp2", ".gif"}
SHOWN = 10  # names in a message


@dataclass(frozen=True)
class Meta:
    """One file of a folder of metas. `id` is its name without suffix, `photo` the name of the reference's file."""

    id: str
    path: Path
    fields: dict

    @property
    def photo(self) -> str:
        return Path(self.text("img_ref")).name

    def text(self, key: str) -> str:
        """A field that is a text. Raises InputError where it is not."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise InputError(f"{self.path}: the field '{key}': expected a text, found {value!r}")
        return value


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a killed run leaves no more than `.NAME.tmp`. Raises InputError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # on a full disk, room for others
            temporary.unlink()
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def write_png(picture: np.ndarray, path: Path) -> None:
    """Write a picture (uint8, [H, W, 3]); fast rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    write_bytes(path, buffer.getvalue())


def shrink(image: Image.Image, short_side: int) -> Image.Image:
    """Scale down to a short side, bicubic; never up."""
    factor = short_side / min(image.size)
    if factor >= 1:
        return image
    width, height = (round(side * factor) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def write_meta(path: Path, fields: dict) -> None:
    """Write a meta in the published form."""
    write_bytes(path, json.dumps(fields, indent=4).encode())


def list_photos(folder: Path) -> list[str]:
    """Names of the photos of a folder, sorted. Raises InputError: there are none."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None
    if not names:
        raise InputError(f"{folder}: no photos in it (expected files named {', '.join(sorted(PHOTO_SUFFIXES))})")
    return names


def read_split(path: Path, training: bool) -> list[str]:
    """The photos' names of one part of a split. Raises InputError: it is no {"train": [...], "test": [...]}."""
    part = "train" if training else "test"
    split = read_json(path)
    names = split.get(part) if isinstance(split, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{path}: expected {{"train": [names], "test": [names]}}, found no list of names as "{part}"')
    return names


def read_names(path: Path) -> list[str]:
    """A json list of names. Raises InputError."""
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: expected a json list of names")
    return names


def read_metas(folder: Path) -> list[Meta]:
    """Every meta of a folder, by id. Raises InputError: there are none, or one cannot be read."""
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if not paths:
        raise InputError(f"{folder}: no metas (.json) in it")
    metas = [Meta(path.stem, path, read_json(path)) for path in paths]
    for meta in metas:
        if not isinstance(meta.fields, dict):
            raise InputError(f"{meta.path}: expected an object, found {type(meta.fields).__name__}")
    return metas


def of_photos(metas: Iterable[Meta], names: Iterable[str]) -> list[Meta]:
    """The metas whose reference is one of these photos."""
    wanted = {Path(name).name for name in names}
    return [meta for meta in metas if meta.photo in wanted]


def draw_names(names: list[str], most: int, seed: int) -> list[str]:
    """At most so many names, drawn evenly; all of them, in order, where there are no more."""
    return names if len(names) <= most else sorted(random.Random(seed).sample(names, most))


def relative_to(path: str | None, root: Path | None) -> str | None:
    """A picture's path as training and inference want it: relative to data.root_dir, where that is given."""
    if path is None or root is None:
        return path
    try:
        return Path(path).resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise InputError(f"{path}: not below --root {root}") from None
