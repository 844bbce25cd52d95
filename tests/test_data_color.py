"""An embedded colour profile is converted to sRGB; pictures without one, or with sRGB's, keep every bit."""

import asyncio
import io
import logging
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from imagecodecs import png_encode
from PIL import Image, ImageCms
from tifffile import imwrite

from conftest import tiny_config
from depictqa.config import WorkerSettings, load_config
from depictqa.data.images import open_image
from depictqa.data.training import TrainingItem, TrainingSet
from depictqa.errors import InputError
from depictqa.inference.pipeline import _Loads
from depictqa.inference.program import build_sampling
from depictqa.model.build import build_preprocessor
from depictqa.prompts import TASKS
from depictqa.serve.protocol import Ask
from depictqa.serve.worker import Worker

FIELD = Path(__file__).parent / "data/field"
RAMP = np.stack(np.meshgrid(*[np.arange(15, 256, 40, dtype=np.uint8)] * 3), axis=-1).reshape(7, 49, 3)
GRAY = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(4, axis=0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

D65 = (0.3127, 0.3290)
PRIMARIES = {  # (red, green, blue), chromaticities
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
}
CURVES = {  # what a profile writes of its curve, and the curve
    "sRGB": (
        3,
        (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
        lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4),
    ),
    "gamma 2.2": (0, (2.2,), lambda v: v**2.2),
}


def to_xyz(primaries) -> np.ndarray:
    """Linear RGB of these primaries, white D65, to XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array((D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]))
    return columns * np.linalg.solve(columns, white)


BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))


def to_d50() -> np.ndarray:
    """XYZ under D65 to XYZ under D50, which profiles are written in (Bradford)."""
    d65, d50 = to_xyz(PRIMARIES["sRGB"]).sum(axis=1), np.array((0.9642, 1, 0.8249))
    return np.linalg.solve(BRADFORD, np.diag(BRADFORD @ d50 / (BRADFORD @ d65)) @ BRADFORD)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(primaries: str | None, curve: str) -> bytes:
    """An ICC profile by hand, version 4: of a display with these primaries, or of gray (None)."""
    kind, numbers, _ = CURVES[curve]
    tone = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*numbers)
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}
    if primaries:
        for name, column in zip((b"r", b"g", b"b"), (to_d50() @ to_xyz(PRIMARIES[primaries])).T, strict=True):
            tags |= {name + b"XYZ": b"XYZ " + bytes(4) + fixed(*column), name + b"TRC": tone}
    else:
        tags[b"kTRC"] = tone
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    space = b"RGB " if primaries else b"GRAY"
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x04200000, b"mntr", space, b"XYZ ", b"acsp")
    return (head + bytes(28) + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + table + body


def shown(levels: np.ndarray, primaries: str, curve: str) -> np.ndarray:
    """The sRGB levels of the same colours, by the formulas; colours outside sRGB are clipped."""
    linear = CURVES[curve][2](levels / 255)
    linear = (linear @ np.linalg.solve(to_xyz(PRIMARIES["sRGB"]), to_xyz(PRIMARIES[primaries])).T).clip(0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def encode(pixels: np.ndarray, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def pixels_of(data, **options) -> np.ndarray:
    return np.asarray(open_image(data, **options)).astype(int)


@pytest.mark.parametrize(
    ("primaries", "curve"),
    [("Display P3", "sRGB"), ("Adobe RGB", "gamma 2.2"), ("BT.2020", "gamma 2.2"), ("sRGB", "gamma 2.2")],
)
def test_colours_are_those_of_the_profile(primaries, curve):
    icc, right = profile(primaries, curve), shown(RAMP, primaries, curve)
    assert np.abs(right - RAMP).max() > 4  # ignoring the profile fails
    files = [encode(RAMP, "PNG", icc_profile=icc), encode(RAMP, "TIFF", icc_profile=icc)]
    files.append(encode(RAMP, "WEBP", lossless=True, icc_profile=icc))
    files.append(encode(np.dstack([RAMP, RAMP[..., 0]]), "PNG", icc_profile=icc))
    deep = io.BytesIO()
    imwrite(deep, RAMP.astype(np.uint16) * 257, photometric="rgb", iccprofile=icc)
    for data in (*files, deep.getvalue()):
        np.testing.assert_allclose(pixels_of(data), right, atol=2)
        np.testing.assert_array_equal(pixels_of(data, color_profiles=False), RAMP)


@pytest.mark.parametrize("format", ["JPEG", "AVIF", "HEIF", "WEBP"])
def test_lossy_formats_carry_their_profile(format):
    flat = np.full((64, 64, 3), (200, 80, 60), np.uint8)
    found = pixels_of(encode(flat, format, quality=95, icc_profile=profile("Display P3", "sRGB")))
    np.testing.assert_allclose(found, shown(flat, "Display P3", "sRGB"), atol=4)


def test_the_field_example():
    found, right = (pixels_of(FIELD / name) for name in ("coffee_p3.png", "coffee_srgb.png"))
    assert np.abs(found - right).max() <= 3
    assert np.abs(pixels_of(FIELD / "coffee_p3.png", color_profiles=False) - right).max() > 20


@pytest.mark.parametrize("icc", [None, SRGB, profile("sRGB", "sRGB")], ids=["untagged", "sRGB", "another sRGB"])
def test_untagged_and_srgb_pictures_keep_every_bit(icc):
    for pixels in (RAMP, GRAY):
        levels = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
        np.testing.assert_array_equal(pixels_of(encode(pixels, icc_profile=icc)), levels)


def srgb_of_gamma(value: np.ndarray) -> np.ndarray:
    linear = value**2.2
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_gray_profiles():
    right = np.rint(255 * srgb_of_gamma(GRAY / 255))
    found = pixels_of(encode(GRAY, icc_profile=profile(None, "gamma 2.2")))
    np.testing.assert_allclose(found, np.dstack([right] * 3), atol=2)
    np.testing.assert_array_equal(pixels_of(encode(GRAY, icc_profile=profile(None, "sRGB"))), np.dstack([GRAY] * 3))


def test_palette_and_16_bit_pictures_have_profiles_too():
    icc, right = profile("Display P3", "sRGB"), shown(RAMP[:, :32], "Display P3", "sRGB")
    file = io.BytesIO()
    Image.fromarray(RAMP[:, :32]).quantize(256).save(file, "PNG", icc_profile=icc)
    np.testing.assert_allclose(pixels_of(file.getvalue()), right, atol=2)
    deep = png_encode(RAMP.astype(np.uint16) * 257)
    chunk = b"iCCP" + b"p3\0\0" + zlib.compress(icc)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    np.testing.assert_allclose(pixels_of(deep[:33] + chunk + deep[33:]), shown(RAMP, "Display P3", "sRGB"), atol=2)


@pytest.mark.parametrize(
    "icc",
    [b"no profile", profile("Display P3", "sRGB")[:300], bytes(4000), profile(None, "sRGB")],
    ids=["text", "cut", "zeros", "of gray"],
)
def test_a_broken_profile_is_ignored_with_one_note_a_file(icc, caplog, tmp_path):
    path = tmp_path / "tagged.png"
    path.write_bytes(encode(RAMP, icc_profile=icc))
    with caplog.at_level(logging.WARNING, "depictqa.images"):
        for _ in range(3):
            np.testing.assert_array_equal(pixels_of(path), RAMP)
    (note,) = caplog.messages
    assert note.startswith(f"{path}: the colour profile cannot be used and is ignored (")
    assert "\n" not in note


@pytest.mark.parametrize("damage", [*range(0, 132, 6), *range(132, 392, 24)])
def test_no_byte_of_a_profile_is_a_traceback(damage):
    icc = bytearray(profile("Display P3", "sRGB"))
    icc[damage] ^= 0xFF
    assert open_image(encode(RAMP, icc_profile=bytes(icc))).size == (49, 7)


def coded(pixels: np.ndarray, primaries: int, transfer: int) -> bytes:
    """An AVIF whose colour box names these code points (ITU-T H.273)."""
    data = encode(pixels, "AVIF", quality=100, subsampling="4:4:4")
    assert data.count(b"colrnclx\0\1\0\r") == 1
    return data.replace(b"colrnclx\0\1\0\r", b"colrnclx" + struct.pack(">HH", primaries, transfer))


@pytest.mark.parametrize(("code", "primaries"), [(1, "sRGB"), (9, "BT.2020"), (12, "Display P3"), (2, "sRGB")])
def test_code_points_in_place_of_a_profile(code, primaries):
    flat = np.full((16, 16, 3), (180, 90, 70), np.uint8)
    data = coded(flat, code, 13)
    np.testing.assert_allclose(pixels_of(data), shown(flat, primaries, "sRGB"), atol=3)
    np.testing.assert_allclose(pixels_of(data, color_profiles=False), flat, atol=3)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_name(transfer, name):
    with pytest.raises(InputError, match=rf"^image: not a readable image \(HDR \({name}\)"):
        open_image(coded(RAMP, 9, transfer))


@pytest.mark.parametrize("color_profiles", [True, False])
def test_one_key_of_the_config_reaches_every_reader(color_profiles, tmp_path):
    config = load_config(tiny_config(tmp_path, vision_preprocess={"color_profiles": color_profiles}))
    preprocess, path = build_preprocessor(config), FIELD / "coffee_p3.png"
    right = preprocess(open_image(path, color_profiles=color_profiles))
    assert color_profiles or (right != preprocess(open_image(path))).any()
    inference = _Loads(preprocess)[path,]
    sample = TrainingSet([TrainingItem("1", TASKS["quality_single_A_noref"], (str(path),), ())], preprocess, None)[0, 0]
    worker = Worker(
        SimpleNamespace(check_room=lambda waiting: None), preprocess, build_sampling(config), WorkerSettings()
    )
    question, _ = asyncio.run(worker.prepare(Ask(question="How is it?"), {"a": path.read_bytes()}))
    for (found,) in (inference, sample.conversation.images, question.images):
        assert (found == right).all()
