"""Picture files to RGB pictures: every valid kind comes out right, a broken one is an error that names it."""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from depictqa.errors import InputError

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # decoders that need no helper program
MAX_PIXELS = 100_000_000
BYTES_PER_PIXEL = {"WEBP": 18, "JPEG2000": 19.5, "progressive": 12, "F": 9}  # while one is decoded, measured; 8 for others


def open_image(source: str | Path | bytes, name: str | None = None, max_memory: int | None = None) -> Image.Image:
    """Decode a picture: the first frame, upright (EXIF), 8 bits, RGB; an alpha channel is dropped.

    Args:
        source: a path, or the bytes of a file.
        name: what to call the picture in errors; the path by default.
        max_memory: bytes that decoding may take, by what the file's head says; None: MAX_PIXELS of any format.

    Raises:
        InputError: the file is absent, empty, cut short, no picture, or too large.
    """
    name = name or ("image" if isinstance(source, bytes) else str(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                if image.width * image.height > (most := _most_pixels(image, max_memory)):
                    kind = f"of this kind ({image.format}) " if most < _most_pixels(None, max_memory) else ""
                    raise InputError(f"{name}: {image.width} x {image.height} pixels; at most {most:,} {kind}are read")
                image.load()
                ImageOps.exif_transpose(image, in_place=True)  # else three copies are in memory at a time
                return _to_rgb(image)
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a readable image (none of {', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: far too many pixels; at most {_most_pixels(None, max_memory):,} are read") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a readable image ({reason})") from None


def _most_pixels(image: Image.Image | None, max_memory: int | None) -> int:
    """How many pixels are decoded of a picture whose head has been read; None: of the most frugal kind. Whole millions."""
    if max_memory is None:
        return MAX_PIXELS
    kinds = [] if image is None else [image.format, image.mode, *image.info]  # a JPEG's info may have "progressive"
    dearest = max([8, *(BYTES_PER_PIXEL[kind] for kind in kinds if kind in BYTES_PER_PIXEL)])
    return int(max_memory / dearest) // 1_000_000 * 1_000_000


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits in 0..65535; convert() would clip at 255
        image = _to_8_bits(image)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.dtype != np.uint16:
        values = values.clip(0, 65535).astype(np.uint16)
    return Image.fromarray((values // 257).astype(np.uint8))
