"""Samples of any depth to 8 bits, and the files whose samples Pillow would cut or refuse: most kinds of TIFF, 16-bit PNG.

The scale follows from the format alone, never from the values: unsigned n bits have white at 2^n - 1, floats at 1.
A kind without a defined white (signed, or 32 bits and more) is refused by name.
"""

import logging
import struct
from io import BytesIO
from itertools import islice
from math import prod

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffPage

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports what it repairs, once for each damaged tag

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 64  # of a file that are looked at for the first full-resolution one
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # TIFF's SampleFormat
_KINDS = {_UNSIGNED: "unsigned integer", _SIGNED: "signed integer", _FLOAT: "float"}
_WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation
_MODES = {_WHITE_IS_ZERO: "L", 1: "L", 2: "RGB", 5: "CMYK"}
_PREMULTIPLIED = 1  # TIFF's ExtraSamples
_HIDDEN = 65000  # a private tag number, which no reader knows
_ORIENTATION, _PROFILE = 274, 34675
_NOT_FOR_PILLOW = (274, 330, 700, 34665, 34853, 40965)  # orientation, SubIFDs, XMP, EXIF, GPS, interoperability


def to_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    """Scale samples in 0..white to 0..255, each to the nearest level.

    Args:
        values: [H, ...], integers or floats.
        white: the sample value of white.

    Raises:
        ValueError: a float is not a number, or lies outside 0..white by more than half a level.
    """
    levels = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), 64):  # by strips: the floats of a whole picture would take eight times its bytes
        strip = values[row : row + 64].astype(np.float64) * (255 / white)
        low, high = strip.min() / 255, strip.max() / 255
        if not (low >= -0.5 / 255 and high <= 255.5 / 255):  # in this form, so that a NaN is caught
            raise ValueError(
                f"float samples between {low:g} and {high:g}; expected 0 (black) to 1 (white): rescale them"
            )
        levels[row : row + 64] = np.rint(strip.clip(0, 255))
    return levels


def png_16(data: bytes) -> Image.Image:
    """A PNG of 16 bits and several channels, which Pillow would cut to the high bytes; alpha is dropped."""
    from imagecodecs import png_decode

    values = png_decode(data)  # uint16 [H, W, 2 | 3 | 4]
    values = values[..., :3] if values.shape[-1] >= 3 else values[..., 0]
    return Image.fromarray(to_8_bits(values, 65535))


class Tiff:
    """The page of a TIFF that is the picture: the first that is neither a reduced copy nor a mask.

    Reading it decodes no pixel.

    Args:
        data: the bytes of the file.

    Attributes:
        size: (width, height) as stored, pixels.
        orientation: the value of its tag, 1 to 8.
        profile: its ICC profile, or None.
        for_pillow: whether Pillow decodes samples of this kind as they are meant; `image` decodes the others.
    """

    def __init__(self, data: bytes):
        with TiffFile(BytesIO(data)) as file:
            self._page = page = _main_page(file)
            tags = [{tag.code: tag.value for tag in found.tags.values()} for found in (page, file.pages.first)]
            self._order, self._big = file.byteorder, file.is_bigtiff
        self._data = data
        self._bits, self._format, self._samples = page.bitspersample, page.sampleformat, page.samplesperpixel
        if not isinstance(self._bits, int) or not isinstance(self._format, int):
            raise ValueError(f"TIFF with samples of unequal kinds, {self._bits} bits: this kind is not read")
        self.size = page.imagewidth, page.imagelength
        turns = (found.get(_ORIENTATION) for found in tags)  # a page below the first may leave it to the first
        self.orientation = next((turn for turn in turns if isinstance(turn, int) and 1 <= turn <= 8), 1)
        profile = tags[0].get(_PROFILE)
        self.profile = profile if isinstance(profile, bytes) else None
        self.for_pillow = self._format == _UNSIGNED and (
            self._bits == 8 or (self._bits in (1, 2, 4) and self._samples == 1)
        )

    @property
    def _kind(self) -> str:
        return f"TIFF with {self._bits}-bit {_KINDS.get(self._format, 'undefined')} samples"

    @property
    def _white(self) -> float | None:
        if self._format == _FLOAT:
            return 1.0
        return 2.0**self._bits - 1 if self._format == _UNSIGNED and self._bits in range(1, 17) else None

    @property
    def bytes_per_pixel(self) -> float:
        """Memory that decoding takes: samples and levels, measured; beside the file itself."""
        return 8 if self.for_pillow else 11 + self._samples * max(self._bits, 8) / 8

    def alone(self) -> BytesIO:
        """The file with this page as its only one, without the tags that Pillow would follow or act upon."""
        file, page = BytesIO(self._data), self._page
        pointer, first, count, entry = ("Q", 8, "Q", 20) if self._big else ("I", 4, "H", 12)
        pointer, count, code = self._order + pointer, self._order + count, self._order + "H"
        with file.getbuffer() as data:
            struct.pack_into(pointer, data, first, page.offset)
            (tags,) = struct.unpack_from(count, data, page.offset)
            start = page.offset + struct.calcsize(count)
            for tag in range(start, start + entry * tags, entry):
                if struct.unpack_from(code, data, tag)[0] in _NOT_FOR_PILLOW:
                    struct.pack_into(code, data, tag, _HIDDEN)
            if start + entry * tags + struct.calcsize(pointer) <= len(data):
                struct.pack_into(pointer, data, start + entry * tags, 0)  # no next page
        return file

    def image(self) -> Image.Image:
        """Decode samples that Pillow would cut, misread or refuse.

        Returns:
            8 bits: L, RGB or CMYK; alpha is dropped, and where it was premultiplied, undone.

        Raises:
            ValueError: the kind of samples or of colours has no row in the tables, or a float is outside 0..1.
        """
        mode = _MODES.get(self._page.photometric)
        if not mode or not self._white or self._samples - len(mode) not in (0, 1):
            colours = getattr(self._page.photometric, "name", "undefined")
            raise ValueError(
                f"{self._kind}, {self._samples} a pixel, {colours}: this kind is not read; "
                "save it as 8 or 16 bits, gray or RGB"
            )
        if self._page.tilewidth * self._page.tilelength > 4 * self.size[0] * self.size[1] + 2**20:
            raise ValueError("a tile that is far larger than the picture")
        places = list(zip(self._page.dataoffsets, self._page.databytecounts))  # of each strip or tile
        if len(places) < prod(self._page.chunked) or any(
            not size or at + size > len(self._data) for at, size in places
        ):
            raise ValueError("parts of the pixels are missing")  # tifffile would leave them black
        with TiffFile(self.alone()) as file:
            values = file.pages[0].asarray(squeeze=False, maxworkers=1)[
                :, 0
            ]  # [S, H, W, 1] if planar, else [1, H, W, S]
        values = np.moveaxis(values, 0, -1).reshape(*self.size[::-1], self._samples)
        levels = to_8_bits(values, self._white)  # [H, W, S]
        if self._page.photometric == _WHITE_IS_ZERO:
            levels[..., 0] = 255 - levels[..., 0]
        premultiplied = self._samples > len(mode) and _PREMULTIPLIED in self._page.extrasamples and mode != "CMYK"
        if premultiplied:
            mode += "a"
        channels = np.ascontiguousarray(levels[..., : len(mode)])
        return Image.frombuffer(mode, self.size, channels.tobytes(), "raw", mode, 0, 1)


def _main_page(file: TiffFile) -> TiffPage:
    looked_at = []
    for number in range(MOST_PAGES):
        try:
            page = file.pages[number]
        except IndexError:
            break
        looked_at.append(page)
        for candidate in (page, *islice(page.pages or (), MOST_PAGES)):
            if isinstance(candidate, TiffPage) and not _is_reduced_or_mask(candidate):
                return candidate
    return looked_at[0]


def _is_reduced_or_mask(page: TiffPage) -> bool:
    tags = {tag.code: tag.value for tag in page.tags.values()}
    new, old = tags.get(254), tags.get(255)
    return bool(new & 0b101) if isinstance(new, int) else old == 2
