"""Samples of every depth come out as the right pixels, or are refused by a line that names the kind."""

import io

import numpy as np
import pytest
from imagecodecs import png_encode
from PIL import Image
from tifffile import TiffFile, TiffWriter, imwrite

from depictqa.data.images import open_image
from depictqa.errors import InputError

GRAY = np.random.default_rng(1).integers(0, 256, (6, 8), dtype=np.uint8)
RGB = np.random.default_rng(2).integers(0, 256, (6, 8, 3), dtype=np.uint8)
CMYK = np.asarray(Image.fromarray(RGB).convert("CMYK"))
SMALL = RGB[::2, ::2]


def tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    imwrite(file, values, **options)
    return file.getvalue()


def scaled(levels: np.ndarray, bits: int) -> np.ndarray:
    """Samples of a depth whose nearest 8-bit levels are given."""
    return np.rint(levels * ((2**bits - 1) / 255)).astype(np.uint16)


def netpbm(levels: np.ndarray, white: int) -> bytes:
    head = f"P{6 if levels.ndim == 3 else 5} {levels.shape[1]} {levels.shape[0]} {white}\n".encode()
    return head + np.rint(levels * (white / 255)).astype(">u2").tobytes()


def packed(bits: int, levels=GRAY) -> bytes:
    return tiff(scaled(levels, bits), bitspersample=bits, photometric="rgb" if levels.ndim == 3 else "minisblack")


PLANES = np.moveaxis(RGB, -1, 0)
RIGHT = {  # kind -> (file, right pixels)
    **{f"gray, {bits} bits packed": (packed(bits), GRAY) for bits in (10, 12, 14)},
    **{f"RGB, {bits} bits packed": (packed(bits, RGB), RGB) for bits in (10, 12, 14)},
    **{f"float{bits} gray": (tiff((GRAY / 255).astype(f"f{bits // 8}")), GRAY) for bits in (16, 32, 64)},
    **{
        f"float{bits} RGB": (tiff((RGB / 255).astype(f"f{bits // 8}"), photometric="rgb"), RGB) for bits in (16, 32, 64)
    },
    "float32 RGB, planar": (tiff((PLANES / 255).astype(np.float32), photometric="rgb", planarconfig="separate"), RGB),
    "float32, predictor": (tiff((GRAY / 255).astype(np.float32), compression="zlib", predictor=3), GRAY),
    "16 bits, white is zero": (tiff(65535 - scaled(GRAY, 16), photometric="miniswhite"), GRAY),
    "8 bits, white is zero": (tiff(255 - GRAY, photometric="miniswhite"), GRAY),
    "1 bit": (tiff(GRAY > 127, photometric="minisblack"), (GRAY > 127) * 255),
    "1 bit, white is zero": (tiff(GRAY <= 127, photometric="miniswhite"), (GRAY > 127) * 255),
    "16 bits": (tiff(scaled(GRAY, 16)), GRAY),
    "16 bits, big endian": (tiff(scaled(GRAY, 16), byteorder=">"), GRAY),
    "16 bits, BigTIFF": (tiff(scaled(GRAY, 16), bigtiff=True), GRAY),
    "8 bits, BigTIFF": (tiff(RGB, bigtiff=True, photometric="rgb"), RGB),
    "16-bit RGB": (tiff(scaled(RGB, 16), photometric="rgb"), RGB),
    "16-bit RGB, planar": (tiff(scaled(PLANES, 16), photometric="rgb", planarconfig="separate"), RGB),
    "16-bit RGB, one row": (tiff(scaled(RGB[:1], 16), photometric="rgb"), RGB[:1]),
    "16-bit RGB, tiles": (tiff(scaled(RGB, 16), photometric="rgb", tile=(16, 16), compression="lzw"), RGB),
    "8-bit RGB, planar": (tiff(PLANES, photometric="rgb", planarconfig="separate"), RGB),
    "16-bit RGBA": (tiff(scaled(np.dstack([RGB, GRAY]), 16), photometric="rgb", extrasamples=["unassalpha"]), RGB),
    "16-bit CMYK": (tiff(scaled(CMYK, 16), photometric="separated"), RGB),
    "8-bit CMYK": (tiff(CMYK, photometric="separated"), RGB),
    "gray PNG, 16 bits": (png_encode(scaled(GRAY, 16)), GRAY),
    "gray PNG, 16 bits, alpha": (png_encode(np.dstack([scaled(GRAY, 16)] * 2)), GRAY),
    "RGB PNG, 16 bits": (png_encode(scaled(RGB, 16)), RGB),
    "RGBA PNG, 16 bits": (png_encode(scaled(np.dstack([RGB, GRAY]), 16)), RGB),
    **{f"PGM, white {white}": (netpbm(GRAY, white), GRAY) for white in (1023, 4095, 65535)},
    "PFM": (b"Pf 8 6 -1\n" + (GRAY[::-1] / 255).astype("<f4").tobytes(), GRAY),
    **{f"PPM, white {white}": (netpbm(RGB, white), RGB) for white in (1023, 4095, 65535)},
}
NAMED = {  # kind -> (file, what the error says)
    "int8": (tiff(GRAY.astype(np.int8)), "8-bit signed integer"),
    "int16": (tiff(GRAY.astype(np.int16)), "16-bit signed integer"),
    "int32": (tiff(GRAY.astype(np.int32)), "32-bit signed integer"),
    "uint32": (tiff(GRAY.astype(np.uint32)), "32-bit unsigned integer"),
    "uint64": (tiff(GRAY.astype(np.uint64)), "64-bit unsigned integer"),
    "complex": (tiff(GRAY.astype(np.complex64)), "64-bit undefined"),
    "float, 0 to 255": (tiff(GRAY.astype(np.float32)), r"float samples between \S+ and 2\d\d; expected 0"),
    "float, negative": (tiff((GRAY / 255 - 0.5).astype(np.float32)), r"float samples between -0\.\d+ and"),
    "float, not a number": (tiff(np.full((4, 4), np.nan, np.float32)), "float samples between nan and nan"),
    "float, infinite": (tiff(np.full((4, 4), np.inf, np.float32)), "float samples between inf and inf"),
    "16-bit CIELab": (
        tiff(scaled(RGB, 16), photometric="cielab"),
        "16-bit unsigned integer samples, 3 a pixel, CIELAB",
    ),
    "16-bit, ten bands": (
        tiff(np.zeros((4, 4, 10), np.uint16), photometric="minisblack", planarconfig="contig"),
        "10 a pixel",
    ),
}


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(open_image(data))


@pytest.mark.parametrize("kind", RIGHT)
def test_right_pixels(kind):
    data, right = RIGHT[kind]
    right = right if right.ndim == 3 else np.dstack([right] * 3)
    np.testing.assert_array_equal(pixels_of(data), right)


@pytest.mark.parametrize("kind", NAMED)
def test_a_kind_without_a_defined_white_is_refused_by_name(kind):
    data, reason = NAMED[kind]
    with pytest.raises(InputError, match=f"^image: .*{reason}") as raised:
        open_image(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "encode", [tiff, png_encode, lambda values: netpbm(values / 257, 65535)], ids=["TIFF", "PNG", "PGM"]
)
def test_16_bits_come_to_the_nearest_level(encode):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    nearest = np.rint(values / 257)
    np.testing.assert_array_equal(pixels_of(encode(values))[..., 0], nearest)
    if encode is png_encode:
        np.testing.assert_array_equal(pixels_of(encode(np.dstack([values] * 3)))[..., 2], nearest)


def test_jpeg_2000_of_16_bits():
    file = io.BytesIO()
    Image.fromarray(scaled(GRAY, 16)).save(file, "JPEG2000")
    np.testing.assert_allclose(pixels_of(file.getvalue())[..., 1], GRAY, atol=1)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_premultiplied_alpha_is_undone(dtype, white):
    colours, alpha = RGB.astype(float), white // 2
    values = np.dstack([np.rint(colours / 255 * alpha), np.full(GRAY.shape, alpha)]).astype(dtype)
    found = pixels_of(tiff(values, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_allclose(found, RGB, atol=2)


@pytest.mark.parametrize(("lab", "right"), [((137, 0, 0), (128, 128, 128)), ((116, 63, 13), (200, 40, 90))])
def test_cielab_of_8_bits(lab, right):
    found = pixels_of(tiff(np.full((4, 4, 3), lab, np.uint8), photometric="cielab"))
    np.testing.assert_allclose(found, np.full((4, 4, 3), right), atol=2)


def test_ycbcr_of_a_jpeg_in_a_tiff():
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    found = pixels_of(tiff(np.asarray(flat.convert("YCbCr")), photometric="ycbcr", compression="jpeg"))
    np.testing.assert_allclose(found, np.asarray(flat), atol=4)


def pages(*frames, **options) -> bytes:
    """A TIFF of several pages: (pixels, NewSubfileType), the rest of a tuple as options of its page."""
    file = io.BytesIO()
    with TiffWriter(file, **options) as writer:
        for pixels, kind, *more in frames:
            photometric = "rgb" if pixels.ndim == 3 else "minisblack"
            writer.write(pixels, subfiletype=kind, photometric=photometric, metadata=None, **(more[0] if more else {}))
    return file.getvalue()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    "options", [{}, {"byteorder": ">"}, {"bigtiff": True}], ids=["little", "big endian", "BigTIFF"]
)
def test_the_first_full_page_of_a_tiff(depth, options):
    def at(levels):
        return levels if depth == 8 else scaled(levels, 16)

    other = 255 - RGB
    full, small, mask = (at(RGB), 0), (at(SMALL), 1), (GRAY > 127, 4)
    for frames in (
        [small, full],
        [small, small, full, (at(other), 0)],
        [mask, full],
        [full, small],
        [(at(RGB), 2), (at(other), 2)],  # pages of a document
        [(*full, {"subifds": 2}), small, small],  # a pyramid
        [(*small, {"subifds": 1}), full],  # a preview, with the picture below it
    ):
        np.testing.assert_array_equal(pixels_of(pages(*frames, **options)), RGB)
    np.testing.assert_array_equal(pixels_of(pages(small)), SMALL)  # nothing else is there


def test_the_old_tag_of_reduced_copies():
    file = io.BytesIO()
    with TiffWriter(file) as writer:
        for pixels, kind in ((SMALL, 2), (RGB, 1)):
            writer.write(pixels, photometric="rgb", metadata=None, extratags=[(255, 3, 1, kind, True)])
    np.testing.assert_array_equal(pixels_of(file.getvalue()), RGB)


def test_a_tiff_whose_pages_are_a_circle():
    data = bytearray(pages((SMALL, 1), (SMALL, 1)))
    first = int.from_bytes(data[4:8], "little")
    start = first
    for _ in range(2):  # the second page's next is the first
        end = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
        start = int.from_bytes(data[end : end + 4], "little")
    data[end : end + 4] = first.to_bytes(4, "little")
    np.testing.assert_array_equal(pixels_of(bytes(data)), SMALL)


def test_missing_pixels_are_not_black():
    data = tiff(scaled(RGB, 16), photometric="rgb")
    with pytest.raises(InputError, match="^image: not a readable image "):
        open_image(data[:-20])
    whole = bytearray(data)
    with TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].tags["ImageLength"].valueoffset
    whole[place : place + 2] = (6000).to_bytes(2, "little")
    with pytest.raises(InputError, match="^image: not a readable image "):
        open_image(bytes(whole))
