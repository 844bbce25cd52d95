"""Photos that Nano is trained on and tested on.

    python build_datasets/nano/photos.py --out DIR      (Debian: needs apt-get and dpkg)

makes the folders of pictures that ours was trained on, out of Debian's packages (catalogue.py). Any other folder of
photos will do. The test photos come with scikit-image and scikit-learn and are never trained on.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from build_datasets.dq495k.files import shrink
from build_datasets.nano.catalogue import OTHERS, PHOTOGRAPHS
from build_datasets.nano.rcc import read_rcc
from depictqa.config.schema import PACKAGE, resolve_path
from depictqa.errors import InputError, exit_cleanly

SHORT_SIDE = 1440  # of a training photo, pixels, at most
SMALLEST = 192  # short side of a training photo, pixels, at least
SKY = (140, 175, 215)  # behind pictures that are cut out
TEST_SHORT_SIDE = 224
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

TEST_PHOTOS = {  # name -> (package, file, whether it is wide enough to give two pictures, left and right)
    "astronaut": ("skimage", "data/astronaut.png", False),
    "chelsea": ("skimage", "data/chelsea.png", True),
    "coffee": ("skimage", "data/coffee.png", True),
    "hubble": ("skimage", "data/hubble_deep_field.jpg", True),
    "motorcycle": ("skimage", "data/motorcycle_left.png", True),
    "rocket": ("skimage", "data/rocket.jpg", True),
    "china": ("sklearn", "datasets/images/china.jpg", True),
    "flower": ("sklearn", "datasets/images/flower.jpg", True),
}


def load_photos(folder: Path) -> list[np.ndarray]:
    """Every picture of a folder, uint8 [H, W, 3]. Raises InputError where there is none, or one cannot be read."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    photos = [_read(path) for path in paths]
    photos = [photo for photo in photos if min(photo.shape[:2]) >= TEST_SHORT_SIDE]
    if not photos:
        raise InputError(
            f"{folder}: no photo of at least {TEST_SHORT_SIDE} pixels found ({', '.join(sorted(SUFFIXES))})"
        )
    return photos


def _read(path: Path) -> np.ndarray:
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a picture ({error})") from None


def test_photos() -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 [H, W, 3] with a short side of 224) of 15 pictures out of 8 photos; halves do not overlap."""
    for name, (package, file, is_wide) in TEST_PHOTOS.items():
        photo = Image.open(resolve_path(f"{PACKAGE}{package}/{file}", Path())).convert("RGB")
        middle = photo.width // 2
        halves = {"_left": (0, 0, middle, photo.height), "_right": (middle, 0, photo.width, photo.height)}
        for suffix, box in halves.items() if is_wide else [("", (0, 0, *photo.size))]:
            yield name + suffix, np.asarray(shrink(photo.crop(box), TEST_SHORT_SIDE))


def download(out: Path) -> int:
    """Make the folders `photos` and `others` of training pictures in `out`.

    Returns:
        How many pictures there are.

    Raises:
        InputError: Debian's packages cannot be fetched, or hold other pictures.
    """
    saved = 0
    for folder, packages in {"photos": PHOTOGRAPHS, "others": OTHERS}.items():
        (out / folder).mkdir(parents=True, exist_ok=True)
        for package, patterns in packages.items():
            with tempfile.TemporaryDirectory() as there:
                unpacked = unpack(package, Path(there))
                for pattern in patterns:
                    if not (paths := sorted(unpacked.glob(pattern))):
                        raise InputError(f"Debian's {package} has no {pattern}; any folder of photos will do")
                    for path in paths:
                        name = "-".join([package, *path.relative_to(unpacked).with_suffix("").parts[2:]])  # usr/share
                        saved += save_picture(path, out / folder / f"{name}.png")
    return saved


def unpack(package: str, folder: Path) -> Path:
    """Fetch and unpack a Debian package, and the Qt resource files in it beside themselves. Raises InputError."""
    try:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg", "-x", archive, folder / "unpacked"], check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise InputError(f"Debian's {package} could not be fetched ({error}); any folder of photos will do") from None
    for path in (folder / "unpacked").rglob("*.rcc"):
        for name, contents in read_rcc(path):
            below = name.partition("/resource/")[2]
            if Path(below).suffix in SUFFIXES:
                (path.with_suffix("") / below).parent.mkdir(parents=True, exist_ok=True)
                (path.with_suffix("") / below).write_bytes(contents)
    return folder / "unpacked"


def save_picture(path: Path, out: Path) -> bool:
    """Scale down to SHORT_SIDE, put what is cut out on a sky, save; False where a picture is smaller than a view."""
    with Image.open(path) as image:
        if min(image.size) < SMALLEST:
            return False
        if image.mode in ("RGBA", "LA", "P"):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, SKY), image)
        shrink(image.convert("RGB"), SHORT_SIDE).save(out, compress_level=1)
    return True


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Make the folders of pictures that Nano is trained on (Debian).")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    out = parser.parse_args().out
    print(f"{download(out)} pictures in {out}")


if __name__ == "__main__":
    main()
