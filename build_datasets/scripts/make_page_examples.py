"""The examples that the demo page shows: free photos of scikit-image, distorted by x_distortion.

PYTHONPATH=./ python scripts/make_page_examples.py --out ../src/depictqa/serve/page/examples
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from build_datasets.x_distortion import add_distortion

SIDE, QUALITY, SEED = 320, 92, 7
NAME = "What is the main distortion in this image? Answer the question using a single word or phrase."
RATE = "Which image has the better quality, Image A or Image B? Answer the question using a single word or phrase."
DESCRIBE = "Describe the quality of this image and give your reasons."
COMPARE = "Compare the two images in detail and say which one is better."
PHOTOS = {  # name -> (row, column, side) of a square of it
    "astronaut": (0, 60, 400),
    "chelsea": (0, 90, 300),
    "coffee": (0, 100, 400),
    "hubble_deep_field": (100, 200, 640),
}
EXAMPLES = (  # title, photo, is the reference given, A and B as (distortion, severity), question, what is true
    ("Noise", "chelsea", False, ("noise_gaussian_RGB", 3), None, NAME, "noise"),
    ("Too dark", "coffee", False, ("brightness_darken_gamma_RGB", 4), None, DESCRIBE, "insufficient brightness"),
    ("Against a reference", "astronaut", True, ("pixelate", 3), None, DESCRIBE, "pixelation"),
    (
        "Which is better?",
        "coffee",
        False,
        ("compression_jpeg", 4),
        ("compression_jpeg", 1),
        RATE,
        "both are compressed, A more",
    ),
    ("Two flaws", "astronaut", True, ("noise_gaussian_RGB", 3), ("blur_gaussian", 4), COMPARE, "noise in A, blur in B"),
    (
        "In deep space",
        "hubble_deep_field",
        True,
        ("blur_lens", 2),
        ("saturate_strengthen_HSV", 3),
        RATE,
        "blur in A, too much color in B",
    ),
)


def square_of(name: str) -> np.ndarray:
    """The photo's square, [SIDE, SIDE, 3]."""
    row, column, side = PHOTOS[name]
    crop = getattr(data, name)()[row : row + side, column : column + side]
    return np.asarray(Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def make(out: Path) -> None:
    """Write every picture of EXAMPLES once, and `examples.json`, which names them."""
    out.mkdir(parents=True, exist_ok=True)

    def save(photo: str, distortion: str | None, severity: int) -> str:
        picture = square_of(photo)
        if distortion is not None:
            picture = add_distortion(picture, severity, distortion, np.random.default_rng(SEED))
        path = out / f"{photo}-{distortion or 'clean'}{severity or ''}.webp"
        Image.fromarray(picture).save(path, quality=QUALITY, method=6)
        return path.name

    rows = []
    for title, photo, with_reference, a, b, question, truth in EXAMPLES:
        pictures = {"ref": (None, 0) if with_reference else None, "a": a, "b": b}
        files = {slot: save(photo, *given) for slot, given in pictures.items() if given is not None}
        rows.append({"title": title, "pictures": files, "question": question, "truth": truth})
    (out / "examples.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the examples of the demo page.")
    parser.add_argument("--out", required=True, type=Path, help="folder to write them to")
    make(parser.parse_args().out)
