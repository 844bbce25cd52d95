"""Picture files to upright 8-bit sRGB pictures: every kind comes out right, or is refused by an error that names it.

What happens with alpha, profiles, depths and the like: docs/pictures.md. The parts: `orientation`, `samples`, `color`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from pillow_heif import register_heif_opener

from depictqa.data import color, samples
from depictqa.data.orientation import from_exif, orientation_of, turn, without_exif
from depictqa.errors import InputError

if TYPE_CHECKING:
    import torch

    Source = str | Path | bytes | Image.Image | np.ndarray | torch.Tensor

register_heif_opener(thumbnails=False)

# decoders that need no helper program
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 100_000_000
FRUGAL = 8  # bytes a pixel while a picture is decoded, measured
# the same for those that take more
BYTES_PER_PIXEL = {"AVIF": 16, "HEIF": 16, "WEBP": 18, "JPEG2000": 19.5, "PNG 16": 18, "progressive": 12, "F": 9}


def open_image(
    source: Source, name: str | None = None, max_memory: int | None = None, color_profiles: bool = True
) -> Image.Image:
    """Decode a picture: the first frame, upright, 8 bits, sRGB; an alpha channel is dropped.

    Args:
        source: a path, the bytes of a file, a PIL image, a numpy array [H, W, 3] of uint8, or a torch tensor [3, H, W] with
            values in [0, 1].
        name: what to call the picture in errors; the path by default.
        max_memory: bytes that decoding may take, by what the file's head says; None: MAX_PIXELS of any format.
        color_profiles: convert by an embedded colour profile to sRGB; False: the numbers as stored.

    Returns:
        mode RGB. Untagged and sRGB pictures of 8 bits keep every bit.

    Raises:
        InputError: the file is absent, empty, cut short, no picture, of a kind that is not read, or too large.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "image")
    if isinstance(source, Image.Image):
        return _from_pil(source, name, color_profiles)
    if not isinstance(source, str | Path | bytes):
        return Image.fromarray(_from_array(source, name))
    try:
        with BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what decoders repair; our own limit of pixels is below
            return _upright(file, name, max_memory, color_profiles)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a readable image (none of {', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{name}: far too many pixels; at most {_most_pixels(FRUGAL, max_memory):,} are read"
        ) from None
    except Exception as error:  # on damaged bytes a decoder may raise anything
        told = isinstance(
            error, OSError | ValueError | RuntimeError | SyntaxError | EOFError
        )  # in words meant for people
        reason = " ".join(str(error).split()) if told and "0x" not in str(error) else ""
        reason = reason or "its data is damaged"
        raise InputError(f"{name}: not a readable image ({reason})") from None


def _from_pil(image: Image.Image, name: str, color_profiles: bool) -> Image.Image:
    """An image of the caller's, as `open_image` would have read it from its file."""
    try:
        image.load()
    except OSError as error:
        raise InputError(f"{name}: not a readable image ({error})") from None
    profile = image.info.get("icc_profile") if color_profiles else None
    return turn(color.to_rgb(_to_8_bits(image), profile, name), orientation_of(image.info))


def _from_array(source: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """uint8 [H, W, 3]. Raises InputError for another shape, dtype or range."""
    if not isinstance(source, np.ndarray) and hasattr(source, "detach"):  # a torch tensor, without importing torch
        values = source.detach().cpu().float().numpy()
        if values.ndim != 3 or values.shape[0] != 3 or not (values.min() >= 0 and values.max() <= 1):
            found = (
                f"shape {list(values.shape)}, values {values.min():.3g} to {values.max():.3g}"
                if values.size
                else "nothing"
            )
            raise InputError(f"{name}: expected a tensor [3, H, W] with values in [0, 1], found {found}")
        return (values * 255).round().astype(np.uint8).transpose(1, 2, 0)
    if not isinstance(source, np.ndarray) or source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        found = f"{source.dtype} {list(source.shape)}" if isinstance(source, np.ndarray) else type(source).__name__
        raise InputError(f"{name}: expected a path, bytes, a PIL image or a uint8 array [H, W, 3], found {found}")
    return np.ascontiguousarray(source)


def _upright(file: BinaryIO, name: str, max_memory: int | None, color_profiles: bool) -> Image.Image:
    head = file.read(12)
    file.seek(0)
    if head[:4] in samples.TIFF_HEADS:
        image, orientation = _tiff(file.read(), name, max_memory, color_profiles)
    elif head[4:8] == b"ftyp":
        image, orientation = _heif(file.read(), name, max_memory, color_profiles)
    else:
        image, orientation = _other(file, name, max_memory, color_profiles)
    return turn(image, orientation)


def _tiff(data: bytes, name: str, max_memory: int | None, color_profiles: bool) -> tuple[Image.Image, int]:
    tiff = samples.Tiff(data)
    _check_size(tiff.size, "TIFF", tiff.bytes_per_pixel, name, max_memory)
    profile = tiff.profile if color_profiles else None
    if not tiff.for_pillow:
        return color.to_rgb(tiff.image(), profile, name), tiff.orientation
    with Image.open(tiff.alone(), formats=["TIFF"]) as image:
        image.load()
        return color.to_rgb(image, profile, name), tiff.orientation


def _heif(data: bytes, name: str, max_memory: int | None, color_profiles: bool) -> tuple[Image.Image, int]:
    """HEIC and AVIF: properties of their own turn them; EXIF counts only where there are none, lest they be turned twice."""
    data, exif = without_exif(data)
    with Image.open(BytesIO(data), formats=["AVIF", "HEIF"]) as image:
        _check_size(image.size, image.format, _dearest([image.format]), name, max_memory)
        image.load()
        # HEIF: the decoder has turned it by the property; AVIF: Pillow hands the property on, as EXIF
        orientation = from_exif(image.info.get("exif") or exif) or 1
        profile, points = image.info.get("icc_profile"), color.code_points(data)
        rgb = color.to_rgb(image, profile if color_profiles else None, name)
    if points and not profile and color_profiles:
        rgb = color.code_points_to_srgb(rgb, points)
    return rgb, orientation


def _other(file: BinaryIO, name: str, max_memory: int | None, color_profiles: bool) -> tuple[Image.Image, int]:
    with Image.open(file, formats=FORMATS) as image:
        cut = image.format == "PNG" and len(image.getbands()) > 1 and "16" in str(image.tile[0].args)
        kinds = [image.format, image.mode, *image.info, "PNG 16" if cut else ""]  # a JPEG's info may have "progressive"
        _check_size(image.size, image.format, _dearest(kinds), name, max_memory)
        image.load()
        orientation, profile = orientation_of(image.info), image.info.get("icc_profile") if color_profiles else None
        if cut:
            file.seek(0)
            levels = samples.png_16(file.read())
        else:
            levels = _to_8_bits(image)
        return color.to_rgb(levels, profile, name), orientation


def _to_8_bits(image: Image.Image) -> Image.Image:
    white = {"I": 65535, "F": 1}.get(
        image.mode[:1]
    )  # of PGM, PFM, and the 16 bits of PNG and JPEG 2000, as Pillow scales
    return Image.fromarray(samples.to_8_bits(np.asarray(image), white)) if white else image


def _check_size(
    size: tuple[int, int], format: str | None, bytes_per_pixel: float, name: str, max_memory: int | None
) -> None:
    width, height = size
    if width * height > (most := _most_pixels(bytes_per_pixel, max_memory)):
        kind = f" of this kind ({format})" if most < _most_pixels(FRUGAL, max_memory) else ""
        raise InputError(f"{name}: {width} x {height} pixels; at most {most:,}{kind} are read")


def _dearest(kinds: Sequence[str | None]) -> float:
    return max([FRUGAL, *(BYTES_PER_PIXEL[kind] for kind in kinds if kind in BYTES_PER_PIXEL)])


def _most_pixels(bytes_per_pixel: float, max_memory: int | None) -> int:
    """How many pixels are decoded of a picture whose head has been read; whole millions."""
    return MAX_PIXELS if max_memory is None else int(max_memory / bytes_per_pixel) // 1_000_000 * 1_000_000
