"""Reading and writing files so that a full disk or a foreign encoding is one clear line (standard library only).

Whatever is written here is on the disk whole, or what was there before still is.
"""

import codecs
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from depictqa.errors import InputError

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


class Unwritable(InputError):
    """A file or folder cannot be written, as on a full disk."""


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, without the byte-order mark that some editors put in front.

    Raises:
        InputError: the file is absent, cannot be read, or is in another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return decode(data)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def decode(data: bytes) -> str:
    """UTF-8 with or without a byte-order mark. Raises ValueError: the bytes are in another encoding."""
    if data.startswith(_WIDE) or b"\0" in data[:2]:
        raise ValueError("the file is UTF-16 or UTF-32; save it as UTF-8")
    text = data.decode("utf-8-sig")
    return text.replace("\r\n", "\n") if b"\r" in data else text  # the search for one byte is 20 times as fast


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an error of the disk into an `Unwritable` that names `path`."""
    try:
        yield
    except OSError as error:
        raise Unwritable(f"{path}: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` once the block ends without an error.

    Raises:
        Unwritable: the place cannot be written to; `path` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or its folder is a file
            temporary.unlink()


def append(path: str | Path, text: str) -> None:
    """Add `text` to the end of a file and flush it to the disk, all of it or nothing.

    Raises:
        Unwritable: the file cannot be written to; it is as long as it was.
    """
    with writing(path), open(path, "ab", buffering=0) as file:
        append_bytes(file.fileno(), text.encode())


def append_bytes(descriptor: int, data: bytes) -> None:
    """`append` for a file that is open for appending, unbuffered. Raises OSError."""
    length = os.fstat(descriptor).st_size
    left = memoryview(data)
    try:
        while left:  # a disk that fills up takes a part first
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, length)
        raise
