"""Small photos for the tests: crops of scikit-image's."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

SCRIPTS = Path(__file__).parents[3] / "build_datasets" / "scripts"


def write_crops(folder: Path, count: int, side: int = 64, seed: int = 0) -> list[str]:
    """Write `count` random crops; their names, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    sources, rng = [data.astronaut(), data.chelsea(), data.coffee()], np.random.default_rng(seed)
    names = [f"crop_{number:04d}.png" for number in range(count)]
    for number, name in enumerate(names):
        source = sources[number % len(sources)]
        top, left = (int(rng.integers(edge - side)) for edge in source.shape[:2])
        Image.fromarray(source[top : top + side, left : left + side]).save(folder / name, compress_level=1)
    return names
