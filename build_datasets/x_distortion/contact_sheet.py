"""One picture of every distortion at every severity, for docs/distortions.md."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from build_datasets.x_distortion import BY_NAME_ONLY, CLASSES, add_distortion

SIDE = 144  # of a tile, pixels
CAPTION = 24  # height of the line above a row of tiles, pixels
GAP = 12  # between the two halves of the sheet, pixels
SEVERITIES = range(1, 6)


def draw_contact_sheet(photo: np.ndarray) -> Image.Image:
    """A row for each function, severity 1..5 from left to right, in two columns; the first row is the photo itself.

    Args:
        photo: uint8 [H, W, 3], sides at least 32; the largest square in its middle is drawn, scaled to a tile and
            distorted at that size.
    """
    tile = _middle_square(photo)
    rows = [("the photo", [tile])]
    for label, names in {**CLASSES, "by name only": tuple(BY_NAME_ONLY)}.items():
        for name in names:
            distorted = [add_distortion(tile, severity, name, np.random.default_rng(0)) for severity in SEVERITIES]
            rows.append((f"{label}: {name}", distorted))
    half = -(-len(rows) // 2)
    width, height = SIDE * len(SEVERITIES), SIDE + CAPTION
    sheet = Image.new("RGB", (2 * width + GAP, half * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for i, (caption, tiles) in enumerate(rows):
        left, top = (i // half) * (width + GAP), (i % half) * height
        draw.text((left + 2, top + 3), caption, "black", font)
        for column, distorted in enumerate(tiles):
            sheet.paste(Image.fromarray(distorted), (left + column * SIDE, top + CAPTION))
    return sheet


def _middle_square(photo: np.ndarray) -> np.ndarray:
    height, width = photo.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(photo[top : top + side, left : left + side])
    return np.array(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
