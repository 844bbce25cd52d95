"""Which way up a picture is: the one EXIF tag that says it, read without trusting the rest of EXIF.

The tag is looked up in the first directory only and nothing is written back, so other tags may be damaged, of wrong
types, or point in circles. A value that is damaged itself means: as stored.
"""

import re
import struct
from collections.abc import Mapping

from PIL import Image

ORIENTATION = 0x0112
TURNS = {  # EXIF's value -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # types that writers use for the tag; SHORT is the standard's
_PREFIX = b"Exif\0\0"


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The upright picture; any value other than 2 to 8 leaves it as it is."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def orientation_of(info: Mapping) -> int:
    """The orientation that the metadata of a decoded picture (Pillow's `info`) states, 1 to 8.

    EXIF comes first; XMP's `tiff:Orientation` counts where EXIF states none.
    """
    return from_exif(_exif_bytes(info)) or _from_xmp(info) or 1


def from_exif(exif: bytes) -> int | None:
    """The orientation in a block of EXIF; None where it states none that can be read."""
    while exif.startswith(_PREFIX):
        exif = exif[len(_PREFIX) :]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(order + "H", exif, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", exif, entry)
        if tag == ORIENTATION:
            if kind not in _INTEGERS or values != 1:
                return None
            (value,) = struct.unpack_from(order + _INTEGERS[kind], exif, entry + 8)
            return value if 1 <= value <= 8 else None
    return None


def without_exif(data: bytes) -> tuple[bytes, bytes]:
    """A HEIC or AVIF file whose EXIF no decoder finds (and trips over), and the EXIF that states its orientation.

    The latter is empty where the file has properties that turn it (`irot`, `imir`): those alone count then.
    """
    hidden, found = re.subn(rb"(infe\x02.{7})Exif", rb"\1none", data, flags=re.DOTALL)  # another type for the item
    if not found or b"\0\0\0\x09irot" in data or b"\0\0\0\x09imir" in data:
        return hidden, b""
    block = re.search(rb"(?:Exif\0\0|\0\0\0\0)((?:II\*\0|MM\0\*).*)", data, re.DOTALL)
    return hidden, block[1] if block else b""


def _exif_bytes(info: Mapping) -> bytes:
    if isinstance(exif := info.get("exif"), bytes):
        return exif
    text = info.get("Raw profile type exif")  # ImageMagick's older PNGs: three lines, then hexadecimal digits
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else b""
    except ValueError:
        return b""


def _from_xmp(info: Mapping) -> int | None:
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    text = xmp.decode("utf-8", "ignore") if isinstance(xmp, bytes) else str(xmp)
    found = re.search(r"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])\s*["'<]""", text)
    return int(found[1]) if found else None
