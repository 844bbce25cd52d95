"""Every valid kind of picture comes out right; a broken one is one clear line that names it."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from conftest import turned
from depictqa.data.images import FORMATS, open_image
from depictqa.data.preprocess import ImagePreprocessor
from depictqa.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
TURNED = turned(PIXELS)  # EXIF orientation -> what is shown


def encode(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels_of(source) -> np.ndarray:
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def bomb(width: int, height: int) -> bytes:
    """A small PNG of many black pixels, one bit each."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 1)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_plain_pictures():
    for format in ("BMP", "PNG", "PPM", "TIFF"):
        np.testing.assert_array_equal(pixels_of(encode(PICTURE, format)), PIXELS)
    np.testing.assert_array_equal(pixels_of(encode(PICTURE, "WEBP", lossless=True)), PIXELS)


def test_the_contents_decide_not_the_extension(tmp_path):
    (tmp_path / "png.jpg").write_bytes(encode(PICTURE, "PNG"))
    np.testing.assert_array_equal(pixels_of(tmp_path / "png.jpg"), PIXELS)


def test_cmyk():
    np.testing.assert_array_equal(pixels_of(encode(PICTURE.convert("CMYK"), "TIFF")), PIXELS)
    flat = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    np.testing.assert_allclose(pixels_of(encode(flat, "JPEG", quality=95)), np.full((16, 16, 3), (200, 40, 90)), atol=3)


def test_16_bits_keep_their_range():
    gray = PIXELS[..., 0]
    for format in ("PNG", "TIFF"):
        found = pixels_of(encode(Image.fromarray(gray.astype(np.uint16) * 257), format))
        np.testing.assert_array_equal(found, np.stack([gray] * 3, axis=-1))


def test_gray_and_one_bit():
    gray = PIXELS[..., 0]
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(gray), "PNG"))[..., 2], gray)
    bits = gray > 127
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(bits), "PNG"))[..., 1], bits * 255)


def test_palette():
    palette = PICTURE.quantize(256)  # 35 pixels: no colour is lost
    for format in ("PNG", "GIF"):
        np.testing.assert_array_equal(pixels_of(encode(palette, format)), PIXELS)
    np.testing.assert_array_equal(pixels_of(encode(palette, "PNG", transparency=3)), PIXELS)


def test_alpha_is_dropped():
    veiled = PICTURE.copy()
    veiled.putalpha(Image.fromarray(PIXELS[..., 1]))
    np.testing.assert_array_equal(pixels_of(encode(veiled, "PNG")), PIXELS)


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_of_an_animation(format):
    frames = [Image.new("RGB", (7, 5), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = encode(
        frames[0], format, save_all=True, append_images=frames[1:], **({"lossless": True} if format == "WEBP" else {})
    )
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(pixels_of(data), frames[0])


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_rotation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels_of(encode(PICTURE, "PNG", exif=exif)), TURNED[orientation])


@pytest.mark.parametrize("size", [(1, 1), (1, 100_000), (100_000, 1)])
def test_extreme_shapes_reach_the_model(size):
    image = open_image(encode(Image.new("RGB", size, "white"), "PNG"))
    assert image.size == size
    prepared = ImagePreprocessor(patch_size=14, resize=224, max_size=672, crop_ratio=(0.7, 1))(image)
    height, width = prepared.shape[1:]
    assert (width, height) == tuple(70 if side == 1 else 672 for side in size)
    assert prepared.max() > 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a readable image"),
        (b"this is text", "not a readable image"),
        (encode(PICTURE, "PNG")[:60], "not a readable image"),
        (encode(PICTURE.resize((64, 64)), "JPEG")[:700], "not a readable image"),
        (bomb(20_000, 20_000), "far too many pixels; at most 100,000,000 are read"),
        (bomb(13_000, 13_000), "13000 x 13000 pixels; at most 100,000,000 are read"),
        (encode(PICTURE, "PDF"), "not a readable image"),
        (encode(PICTURE, "EPS"), "not a readable image"),  # Pillow would start Ghostscript
    ],
    ids=["0 bytes", "text", "cut png", "cut jpeg", "bomb", "small bomb", "pdf", "eps"],
)
def test_broken_pictures(data, reason, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"^{path}: {reason}") as raised:
        open_image(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=f"^upload 3: {reason}") as raised:
        open_image(data, "upload 3")
    assert "0x" not in str(raised.value)  # nothing of this process's memory


def test_absent_pictures(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}/absent.png: no such image"):
        open_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match=f"^{tmp_path}: not a readable image"):
        open_image(tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_bytes_give_a_picture_or_an_error_never_another_exception(format):
    draw, data = random.Random(0), encode(PICTURE, format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what it repairs
        for _ in range(200):
            damaged = bytearray(data)
            for _ in range(draw.choice((1, 5, 20))):
                damaged[int(len(data) * draw.random() ** 2)] = draw.randrange(256)
            try:
                assert open_image(bytes(damaged)).mode == "RGB"
            except InputError as error:
                assert "\n" not in str(error)
