"""Any 8-bit picture to RGB, by its colour profile to sRGB.

The intent is relative colorimetric with black point compensation, as photo editors and browsers show pictures. A profile
that comes to sRGB within two levels leaves every pixel as it is, so that untagged and sRGB pictures give the same bits.
"""

import functools
import logging
import re

import numpy as np
from PIL import Image, ImageCms

log = logging.getLogger("depictqa.images")

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # a profile's colour space -> the mode of its pictures
_SAME = 2  # levels: variants of sRGB (curves as tables, rounded primaries) differ from each other by as much
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))

# Coding-independent code points (ITU-T H.273), which HEIC and AVIF carry instead of a profile
_PRIMARIES = {  # code -> linear RGB to XYZ (D65)
    1: ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)),  # BT.709, sRGB
    9: ((0.6370, 0.1446, 0.1689), (0.2627, 0.6780, 0.0593), (0.0000, 0.0281, 1.0610)),  # BT.2020
    12: ((0.4866, 0.2657, 0.1982), (0.2290, 0.6917, 0.0793), (0.0000, 0.0451, 1.0439)),  # Display P3
}
_HDR = {16: "PQ", 18: "HLG"}  # transfer curves whose white is no level of an 8-bit picture


def to_rgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """The picture in RGB; alpha is dropped, and where it was premultiplied, undone.

    Args:
        image: 8 bits or fewer, of any mode.
        profile: ICC; None: the numbers are sRGB's. One that cannot be used is ignored, with a line in the log.
        name: what to call the picture there.
    """
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode == "LAB":
        return _lab_transform().apply(image)
    if profile:
        try:
            space, transform = _transform(profile)
            if image.mode.rstrip("AX") != "CMYK" and _MODES.get(space) == "RGB":
                image = image.convert("RGB")  # gray and palette pictures may carry the profile of a screen
            elif image.mode in ("1", "LA") and space == "GRAY":
                image = image.convert("L")
            if image.mode != _MODES.get(space):
                raise ValueError(f"a profile of {space} colours, pixels of {image.mode}")
            return transform.apply(image) if transform else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            _note(f"{name}: the colour profile cannot be used and is ignored ({' '.join(str(error).split())})")
    return image.convert("RGB")


def code_points(data: bytes) -> tuple[int, int] | None:
    """(primaries, transfer) that the head of a HEIC or AVIF file states; None: it states none."""
    found = re.search(rb"colrnclx(.{4})", data, re.DOTALL)
    return (int.from_bytes(found[1][:2], "big"), int.from_bytes(found[1][2:], "big")) if found else None


def code_points_to_srgb(image: Image.Image, points: tuple[int, int]) -> Image.Image:
    """Convert RGB by its code points; primaries that are sRGB's or not in the table leave it as it is.

    Raises:
        ValueError: the picture is HDR.
    """
    primaries, transfer = points
    if transfer in _HDR:
        raise ValueError(f"HDR ({_HDR[transfer]}); save it as an SDR picture")
    if primaries == 1 or primaries not in _PRIMARIES:
        return image
    matrix = np.linalg.solve(np.array(_PRIMARIES[1]), np.array(_PRIMARIES[primaries])).astype(np.float32)
    linear = _linear(np.arange(256, dtype=np.float32) / 255)
    pixels = np.array(image)
    for row in range(0, len(pixels), 64):  # by strips, as the floats take more memory than the picture
        strip = linear[pixels[row : row + 64]] @ matrix.T  # [64, W, 3]
        pixels[row : row + 64] = np.rint(255 * _encoded(strip.clip(0, 1)))
    return Image.fromarray(pixels)


def _linear(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1


def _encoded(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Its colour space, and the transform to sRGB; None: it is sRGB."""
    opened = ImageCms.core.profile_frombytes(profile)
    space = opened.xcolor_space.strip()
    if space not in _MODES:
        raise ValueError(f"a profile of {space} colours")
    transform = _build(ImageCms.ImageCmsProfile(opened), _MODES[space])
    grid = _grid(_MODES[space])
    if grid is None:
        return space, transform
    change = np.asarray(transform.apply(grid), np.int16) - np.asarray(grid.convert("RGB"), np.int16)
    return space, transform if np.abs(change).max() > _SAME else None


@functools.cache
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return _build(_LAB, "LAB")


def _build(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        _SRGB,
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _grid(mode: str) -> Image.Image | None:
    """Colours over the whole range, on which a transform shows whether it changes anything."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "RGB":
        return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3))
    return Image.fromarray(np.arange(256, dtype=np.uint8)[None]) if mode == "L" else None


@functools.lru_cache(maxsize=4096)
def _note(message: str) -> None:
    log.warning(message)  # once for each file, however often it is read
