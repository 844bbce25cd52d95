"""Files inside Qt's binary resource files (`.rcc`): what a program's pictures are often packed in."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from depictqa.errors import InputError

HEAD, ENTRY = 20, 14  # bytes: of the head, of an entry of the tree in version 1; later ones add a time of 8 bytes
COMPRESSED, FOLDER, ZSTANDARD = 1, 2, 4  # flags of an entry


def read_rcc(path: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside, contents) of every file. Raises InputError where it is no such file or needs zstandard."""
    packed = path.read_bytes()
    if packed[:4] != b"qres":
        raise InputError(f"{path}: expected a Qt resource file, which begins with 'qres'")
    version, tree, data, names = struct.unpack_from(">4I", packed, 4)
    size = ENTRY if version == 1 else ENTRY + 8

    def name_at(offset: int) -> str:
        (length,) = struct.unpack_from(">H", packed, names + offset)
        start = names + offset + 6  # the length, and a hash
        return packed[start : start + 2 * length].decode("utf-16-be")

    def walk(number: int, folder: str) -> Iterator[tuple[str, bytes]]:
        start = tree + number * size
        name, flags = struct.unpack_from(">IH", packed, start)
        here = folder + name_at(name) if number else ""  # the root has no name
        if flags & FOLDER:
            count, first = struct.unpack_from(">2I", packed, start + 6)
            for child in range(first, first + count):
                yield from walk(child, f"{here}/" if here else "")
            return
        if flags & ZSTANDARD:
            raise InputError(f"{path}: {here} is packed by zstandard; expected zlib or nothing")
        (offset,) = struct.unpack_from(">I", packed, start + 10)  # after the country and the language
        (length,) = struct.unpack_from(">I", packed, data + offset)
        contents = packed[data + offset + 4 : data + offset + 4 + length]
        yield here, zlib.decompress(contents[4:]) if flags & COMPRESSED else contents

    yield from walk(0, "")
