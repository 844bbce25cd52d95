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


def open_image(source: str | Path | bytes, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture: the first frame, upright (EXIF), 8 bits, RGB; an alpha channel is dropped.

    Args:
        source: a path, or the bytes of a file.
        name: what to call the picture in errors; the path by default.
        max_pixels: the most that is decoded; the file's head says how many there are.

    Raises:
        InputError: the file is absent, empty, cut short, no picture, or has over `max_pixels`.
    """
    name = name or ("image" if isinstance(source, bytes) else str(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise InputError(f"{name}: {image.width} x {image.height} pixels; at most {max_pixels:,} are read")
                image.load()
                ImageOps.exif_transpose(image, in_place=True)  # else three copies are in memory at a time
                return _to_rgb(image)
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a readable image (none of {', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: far too many pixels; at most {max_pixels:,} are read") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a readable image ({reason})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits in 0..65535; convert() would clip at 255
        image = _to_8_bits(image)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.dtype != np.uint16:
        values = values.clip(0, 65535).astype(np.uint16)
    return Image.fromarray((values // 257).astype(np.uint8))
