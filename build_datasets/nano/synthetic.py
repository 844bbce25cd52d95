"""Dead-leaves pictures: shapes that hide each other, in sizes, colours and textures as nature has them.

Sizes follow a power law, so that edges come at every scale as in photographs (Lee, Mumford and Huang, 2001). They cost
nothing, show nothing, and are clean by construction.
"""

import cv2
import numpy as np

POWER = 2.8  # of the law of sizes
SMALLEST, LARGEST = 4, 160  # radius, pixels
SHAPES = 1500  # at most; what is hidden costs little


def dead_leaves(palette: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """One picture.

    Args:
        palette: a photo whose colours are taken, uint8 [H, W, 3].
        side: of the picture, pixels.

    Returns:
        uint8 [side, side, 3].
    """
    fine = 2 * side  # drawn at twice the size: edges come out as a lens shows them
    colours = palette.reshape(-1, 3)
    picture = np.full((fine, fine, 3), colours[rng.integers(len(colours))], np.uint8)
    low, high = SMALLEST ** (1 - POWER), LARGEST ** (1 - POWER)
    radii = np.sort((low + rng.random(SHAPES) * (high - low)) ** (1 / (1 - POWER)))[::-1]
    radii[: SHAPES // 2] = rng.permutation(radii[: SHAPES // 2])  # large ones come early, though not in order
    for radius in radii * 2:
        _leaf(picture, float(radius), colours[rng.integers(len(colours))], rng)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def _leaf(picture: np.ndarray, radius: float, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Draw one shape in place: an ellipse or a polygon, plain, shaded or textured, softly where it is out of focus."""
    reach = int(radius) + 2
    x, y = (int(at) for at in rng.integers(0, picture.shape[0], 2))
    top, left = max(0, y - reach), max(0, x - reach)
    part = picture[top : y + reach, left : x + reach]
    if part.shape[0] < 3 or part.shape[1] < 3:
        return
    mask = np.zeros(part.shape[:2], np.uint8)
    centre = np.array((x - left, y - top))
    if rng.random() < 0.6:
        axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
        cv2.ellipse(mask, tuple(int(at) for at in centre), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    if rng.random() < 0.1:
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 6))
    leaf = np.full(part.shape, colour, np.float32) + _texture(part.shape[:2], rng)
    weight = mask[..., None] / np.float32(255)
    part[:] = np.clip(part + (leaf - part) * weight, 0, 255)


def _texture(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Around 0, float32 [H, W, 1]: light from a side, and a grain of its own coarseness."""
    rows, columns = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    shade = rng.uniform(0, 30) * (np.cos(angle) * columns + np.sin(angle) * rows)
    grain = rng.normal(0, 1, tuple(max(2, side // int(rng.integers(2, 9))) for side in shape)).astype(np.float32)
    grain = cv2.resize(grain, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (shade + rng.exponential(8) * grain).astype(np.float32)[..., None]
