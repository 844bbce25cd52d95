"""Are these the weights of the time before? Answers for a file, or a folder of shards, in two ways.

`stamp` is quick: names, sizes and times. A copy with new times counts as changed, which costs work, never a wrong answer.
`digest` reads everything (about 10 s for a 7B model): the same for every copy, wherever it lies.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path


def stamp(path: str | Path) -> str:
    """Changes when any file of `path` is written, added, renamed or removed."""
    stats = [(name, file.stat()) for name, file in _files(Path(path))]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def digest(path: str | Path) -> str:
    """SHA-256 of the names and the contents of all files of `path`, in hexadecimal."""
    whole = hashlib.sha256()
    for name, file in _files(Path(path)):
        with open(file, "rb") as opened:
            whole.update(repr((name, hashlib.file_digest(opened, "sha256").hexdigest())).encode())
    return whole.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Names relative to `path`, and files, sorted; hidden ones (a downloader's notes) are passed over."""
    if path.is_file():
        yield "", path  # a file may be renamed
        return
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix(), file
