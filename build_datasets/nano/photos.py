"""Photos that Nano is trained on and tested on.

    python build_datasets/nano/photos.py --out DIR      (Debian: needs apt-get and dpkg)

makes the folder of training photos that ours was trained on, out of Debian's wallpaper packages: the photographs
among them, scaled down until no trace of their compression is left. Any other folder of photos will do. The test
photos come with scikit-image and scikit-learn and are never trained on.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from build_datasets.dq495k.files import shrink
from depictqa.errors import InputError, exit_cleanly
from depictqa.files import replacing

SHORT_SIDE = 1080  # of a training photo, pixels
TEST_SHORT_SIDE = 224
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

PHOTOGRAPHS = {  # package -> file names (or folders of plasma's wallpapers) that are photographs, chosen by eye
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace Picture_1A_by_freespace "
        "Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi free_by_Peter_Nerlich "
        "friends_by_Aitzol_Berasategi greentock_by_Peter_Nerlich life_by_Aitzol_Berasategi "
        "picosdeeuropa_by_Aitzol_Berasategi seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi"
    ).split(),
    "lomiri-wallpapers-20.04": ["Kleiber_by_Lukas_Baubkus"],
    "mate-backgrounds": (
        "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower"
    ).split(),
    "plasma-workspace-wallpapers": (
        "BytheWater ColdRipple ColorfulCups EveningGlow FallenLeaf Kite OneStandsOut Path summer_1am"
    ).split(),
}

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
        raise InputError(f"{folder}: no photo of at least {TEST_SHORT_SIDE} pixels found ({', '.join(sorted(SUFFIXES))})")
    return photos


def _read(path: Path) -> np.ndarray:
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a picture ({error})") from None


def test_photos() -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 [H, W, 3] with a short side of 224) of 15 pictures out of 8 photos; halves do not overlap."""
    import importlib.util

    for name, (package, file, is_wide) in TEST_PHOTOS.items():
        photo = Image.open(Path(importlib.util.find_spec(package).origin).parent / file).convert("RGB")
        middle = photo.width // 2
        halves = {"_left": (0, 0, middle, photo.height), "_right": (middle, 0, photo.width, photo.height)}
        for suffix, box in halves.items() if is_wide else [("", (0, 0, *photo.size))]:
            yield name + suffix, np.asarray(shrink(photo.crop(box), TEST_SHORT_SIDE))


def download(out: Path) -> int:
    """Make the folder of training photos. Returns their number. Raises InputError where the packages hold others."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = {name for names in PHOTOGRAPHS.values() for name in names}
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["apt-get", "download", "-qq", *PHOTOGRAPHS], cwd=folder, check=True)
            for package in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg", "-x", package, folder], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(f"Debian's packages could not be fetched ({error}); any folder of photos will do") from None
        largest: dict[str, Path] = {}
        for path in Path(folder).rglob("*"):
            name = path.parents[2].name if "contents" in path.parts and len(path.parents) > 2 else path.stem
            if name in wanted and path.suffix.lower() in SUFFIXES and "screenshot" not in path.name:
                size = path.stat().st_size
                if name not in largest or size > largest[name].stat().st_size:
                    largest[name] = path
        if missing := wanted - largest.keys():
            raise InputError(f"Debian's packages lack {', '.join(sorted(missing))}; any folder of photos will do")
        for name, path in sorted(largest.items()):
            image = shrink(Image.open(path).convert("RGB"), SHORT_SIDE)
            with replacing(out / f"{name}.jpg") as temporary:
                image.save(temporary, format="JPEG", quality=93, subsampling=0)
    return len(largest)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Make the folder of photos that Nano was trained on (Debian).")
    parser.add_argument("--out", type=Path, required=True, help="folder of the photos")
    out = parser.parse_args().out
    print(f"{download(out)} photos in {out}")


if __name__ == "__main__":
    main()
