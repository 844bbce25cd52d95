"""The orientation alone is read of EXIF; whatever else is wrong with it, the picture is read and turned as it says."""

import io
import itertools
import random
import struct

import numpy as np
import pytest
from PIL import Image
from tifffile import imwrite

from conftest import turned
from depictqa.data.images import open_image
from depictqa.data.orientation import from_exif
from depictqa.errors import InputError

QUARTERS = np.zeros((32, 48, 3), np.uint8)  # in every orientation another picture, also after lossy compression
QUARTERS[:16, :24], QUARTERS[:16, 24:], QUARTERS[16:, :24] = (220, 30, 30), (30, 200, 30), (30, 30, 220)
TURNED = turned(QUARTERS)  # orientation -> what is shown
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5


def exif(*entries: tuple[int, int, int, bytes], order: str = "<", count: int | None = None) -> bytes:
    """A block of EXIF: entries of (tag, type, values, the four bytes that hold the value or its place)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return head + struct.pack(order + "H", len(entries) if count is None else count) + body + bytes(4)


def short(value: int, order: str = "<") -> bytes:
    return struct.pack(order + "HH", value, 0)


TURN = (0x0112, SHORT, 1, short(6))
EXIF = {  # kind -> (block, orientation)
    "little endian": (exif(TURN), 6),
    "big endian": (exif((0x0112, SHORT, 1, short(8, ">")), order=">"), 8),
    "as LONG": (exif((0x0112, LONG, 1, struct.pack("<I", 3))), 3),
    "a text with the type of a rational": (exif((0x010E, RATIONAL, 1, struct.pack("<I", 4)), TURN), 6),
    "a unit that is a text": (exif(TURN, (0x0128, ASCII, 2, b"2\0\0\0")), 6),
    "a type that does not exist": (exif((0x010F, 77, 1, bytes(4)), TURN), 6),
    "a tag of four billion values": (exif((0x010F, ASCII, 0xFFFFFFFF, b"\xff" * 4), TURN), 6),
    "a count of entries beyond the end": (exif(TURN, count=60_000), 6),
    "a directory that contains itself": (exif(TURN, (0x8769, LONG, 1, struct.pack("<I", 8))), 6),
    "a directory beyond the end": (exif(TURN, (0x8769, LONG, 1, b"\xff\xff\xff\x7f")), 6),
    "cut in the middle of the tag": (exif(TURN)[:18], 1),
    "cut after the tag": (exif(TURN, (0x010F, ASCII, 20, struct.pack("<I", 90)))[:24], 6),
    "orientation 0": (exif((0x0112, SHORT, 1, short(0))), 1),
    "orientation 9": (exif((0x0112, SHORT, 1, short(9))), 1),
    "orientation as text": (exif((0x0112, ASCII, 2, b"6\0\0\0")), 1),
    "two orientations in one tag": (exif((0x0112, SHORT, 2, b"\x06\0\x06\0")), 1),
    "no orientation": (exif((0x0128, SHORT, 1, short(2))), 1),
    "garbage": (random.Random(0).randbytes(64), 1),
    "the order of bytes alone": (b"II*\0", 1),
    "nothing": (b"", 1),
}


def jpeg(block: bytes) -> bytes:
    """A JPEG with this block as it is; an encoder might mend it."""
    file = io.BytesIO()
    Image.fromarray(QUARTERS).save(file, "JPEG", quality=95)
    data, body = file.getvalue(), b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def encode(format: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(QUARTERS).save(file, format, **options)
    return file.getvalue()


def assert_shows(data: bytes, orientation: int) -> None:
    shown, right = np.asarray(open_image(data)).astype(int), TURNED[orientation]
    assert shown.shape == right.shape
    assert np.abs(shown - right).mean() < 6  # lossy; another orientation differs by 60 and more


@pytest.mark.parametrize("kind", EXIF)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_other_tags_do_not_matter(kind, format):
    block, orientation = EXIF[kind]
    assert (from_exif(block) or 1) == (from_exif(b"Exif\0\0" + block) or 1) == orientation
    if format == "JPEG":
        assert_shows(jpeg(block), orientation)
    else:
        assert_shows(encode(format, exif=block or b"Exif\0\0"), orientation)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_turned_once(format, orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    assert_shows(encode(format, exif=block), orientation)


@pytest.mark.parametrize("kind", EXIF)
def test_heic_and_avif_with_properties_are_turned_by_these_alone(kind):
    """Phones write the turn twice, as a property and in EXIF; the standard gives precedence to the property."""
    block, _ = EXIF[kind]
    for format, orientation in itertools.product(("AVIF", "HEIF"), (3, 6)):
        data = encode(
            format, exif=exif((0x0112, SHORT, 1, short(orientation)), (0x010F, ASCII, 80, bytes(4))) + bytes(80)
        )
        assert b"irot" in data
        at = data.find(b"Exif\0\0II*") + 6
        if at > 5 and block:  # the encoder kept EXIF beside the property
            data = data[:at] + block[:100] + data[at + len(block[:100]) :]
        assert_shows(data, orientation)


@pytest.mark.parametrize("kind", EXIF)
def test_exif_turns_a_heic_without_properties(kind):
    block, orientation = EXIF[kind]
    blank = exif((0x0128, SHORT, 1, short(2)), (0x010F, ASCII, 80, bytes(4))) + bytes(80)
    data = encode("HEIF", exif=blank)
    assert b"irot" not in data
    at = data.index(b"II*\0")
    assert_shows(data[:at] + block.ljust(len(blank), b"\0") + data[at + len(blank) :], orientation)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("depth", [8, 16])
def test_tiffs_own_tag(orientation, depth):
    file, pixels = io.BytesIO(), QUARTERS if depth == 8 else QUARTERS.astype(np.uint16) * 257
    damaged = (34665, LONG, 1, 2**31 - 1, True)  # EXIF's directory, beyond the end
    imwrite(file, pixels, photometric="rgb", metadata=None, extratags=[(274, SHORT, 1, orientation, True), damaged])
    np.testing.assert_array_equal(np.asarray(open_image(file.getvalue())), TURNED[orientation])


def test_xmp_counts_where_exif_is_silent():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert_shows(encode("JPEG", quality=95, xmp=xmp), 6)
    block = Image.Exif()
    block[0x0112] = 3
    assert_shows(encode("JPEG", quality=95, xmp=xmp, exif=block), 3)


def test_any_bytes_of_exif():
    draw, whole = random.Random(0), exif((0x010F, ASCII, 8, struct.pack("<I", 40)), TURN) + b"a camera"
    for _ in range(500):
        block = bytearray(whole)
        for _ in range(draw.choice((1, 4, 16))):
            block[draw.randrange(len(block))] = draw.randrange(256)
        assert from_exif(bytes(block[: draw.randrange(len(block) + 1)])) in (None, *TURNED)
        image = open_image(jpeg(bytes(block)))
        assert sorted(image.size) == [32, 48]


@pytest.mark.parametrize("format", FORMATS)
def test_no_damage_is_a_traceback(format):
    block = Image.Exif()
    block[0x0112], block[0x010F] = 6, "a camera"
    draw, data = random.Random(1), encode(format, exif=block)
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 5, 20))):
            damaged[int(len(data) * draw.random() ** 2)] = draw.randrange(256)
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
        except InputError as error:
            assert "\n" not in str(error)
