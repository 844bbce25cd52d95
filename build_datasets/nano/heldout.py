"""Held-out pictures to judge Nano's vision encoder on: none of them, nor any photo of their packages, is trained on.

Each set is made of `Item`s, made from the photos that Python packages bring, all but the first on the spot:

    today      the naming questions of build.py --test: 224 pixels, one distortion or none
    two        the same photos with two distortions
    clean      photos as they come, whole and in halves
    styled     the same whole photos in three random styles each
    full_size  photos at their own size, with distortions of single pixels
    elsewhere  no ordinary photos: drawings, screenshots, text, the night sky, microscopy, bare textures
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from build_datasets.nano.photos import test_photos
from build_datasets.nano.style import draw_style
from build_datasets.nano.views import Truth, distort_plainly
from build_datasets.x_distortion import CLASSES, PAIRS
from depictqa.answers import read_json
from depictqa.data.images import open_image

SEED = 131
PHOTOS = {  # package -> colour photographs that nothing is wrong with
    "skimage": "data/astronaut.png data/chelsea.png data/coffee.png data/motorcycle_left.png data/rocket.jpg",
    "sklearn": "datasets/images/china.jpg datasets/images/flower.jpg",
    "gradio": (
        "media_assets/images/cheetah.jpg media_assets/images/cheetah1.jpg media_assets/images/groot.jpeg "
        "media_assets/images/lion.jpg media_assets/images/tower.jpg test_data/cheetah2.jpg"
    ),
    "matplotlib": "mpl-data/sample_data/grace_hopper.jpg",
}
ELSEWHERE = {  # kind -> (package, file)
    "night sky": [("skimage", "data/hubble_deep_field.jpg"), ("skimage", "data/moon.png")],
    "microscopy": [("skimage", f"data/{name}") for name in ("cell.png", "ihc.png", "retina.jpg")],
    "text": [("skimage", "data/page.png"), ("skimage", "data/text.png")],
    "drawing": [
        *(("skimage", f"data/{name}") for name in ("logo.png", "horse.png", "color.png")),
        ("matplotlib", "mpl-data/sample_data/Minduka_Present_Blue_Pack.png"),
        ("gradio", "media_assets/images/hf-logo_transpng.png"),
    ],
    "screenshot": [("gradio", "media_assets/images/screenshot.gif")],
    "texture": [("skimage", f"data/{name}.png") for name in ("brick", "grass", "gravel")],
    "grey photo": [("skimage", "data/camera.png"), ("skimage", "data/coins.png")],
}
PIXEL_LEVEL = ("noise", "blur", "compression", "oversharpen")


@dataclass(frozen=True)
class Item:
    """A picture, uint8 [H, W, 3]; what was done to it; the photo it comes from; its kind, for those `elsewhere`."""

    picture: np.ndarray
    truth: Truth
    photo: str
    kind: str = ""
    reference: np.ndarray | None = None

    @property
    def label(self) -> str | None:
        """The class of the first distortion."""
        return self.truth.distortions[0][0] if self.truth.distortions else None


@dataclass(frozen=True)
class Pair:
    """Two pictures of a view, uint8 [H, W, 3] each; which is better ("Image A" or "Image B"); photo and reference."""

    pictures: tuple[np.ndarray, np.ndarray]
    answer: str
    photo: str
    reference: np.ndarray | None = None


def today(folder: Path, kind: str) -> Iterator[Item]:
    """The naming questions `kind` (A_brief or refA_brief) of `folder`, which build.py --test has made."""
    for item, photo in _questions(folder, kind):
        label = item["distortion_class"]
        truth = Truth(() if label is None else ((label, item["distortion_name"], item["severity"]),))
        yield Item(_read(folder, item["image_A"]), truth, photo, reference=_reference(folder, item))


def pairs(folder: Path, kind: str) -> Iterator[Pair]:
    """The comparisons `kind` (AB_rating or refAB_rating) of `folder`."""
    for item, photo in _questions(folder, kind):
        pictures = _read(folder, item["image_A"]), _read(folder, item["image_B"])
        yield Pair(pictures, item["answer"], photo, _reference(folder, item))


def _questions(folder: Path, kind: str) -> Iterator[tuple[dict, str]]:
    """With the photo of each."""
    names = [name.split("_")[0] for name, _ in test_photos()]
    for number, item in enumerate(read_json(folder / "metas" / f"{kind}.json")):
        yield item, names[number % len(names)]


def _read(folder: Path, path: str) -> np.ndarray:
    return np.asarray(open_image(folder.parent / path))


def _reference(folder: Path, item: dict) -> np.ndarray | None:
    return None if item["image_ref"] is None else _read(folder, item["image_ref"])


def two() -> Iterator[Item]:
    """Every pair of classes that may follow each other, twice, at severities 1 to 3."""
    rng = np.random.default_rng(SEED)
    photos = list(test_photos())
    pairs = [(first, second) for first, others in PAIRS.items() for second in others] * 2
    for number, pair in enumerate(pairs):
        name, photo = photos[number % len(photos)]
        truth = Truth(tuple((label, str(rng.choice(CLASSES[label])), int(rng.integers(1, 4))) for label in pair))
        yield Item(distort_plainly(photo, truth, rng), truth, name.split("_")[0], reference=photo)


def clean() -> Iterator[Item]:
    for name, photo in photos():
        yield Item(photo, Truth(), name)
        middle = max(photo.shape[:2]) // 2
        is_wide = photo.shape[1] >= photo.shape[0]
        for half in (photo[:, :middle], photo[:, middle:]) if is_wide else (photo[:middle], photo[middle:]):
            if min(half.shape[:2]) >= 192:
                yield Item(half, Truth(), name)


def styled() -> Iterator[Item]:
    rng = np.random.default_rng(SEED)
    for name, photo in photos():
        for _ in range(3):
            yield Item(draw_style(photo, rng, share_plain=0), Truth(), name)


def full_size() -> Iterator[Item]:
    """Every function of the pixel-level classes once a photo, at a random severity."""
    rng = np.random.default_rng(SEED)
    for name, photo in photos():
        for label in PIXEL_LEVEL:
            for function in CLASSES[label][:3]:
                truth = Truth(((label, function, int(rng.integers(1, 6))),))
                yield Item(distort_plainly(photo, truth, rng), truth, name)


def elsewhere() -> Iterator[Item]:
    for kind, files in ELSEWHERE.items():
        for package, file in files:
            yield Item(read(package, file), Truth(), file, kind)
    for kind, draw in (("text", _draw_page), ("drawing", _draw_chart), ("screenshot", _draw_window)):
        for number in range(4):
            yield Item(draw(np.random.default_rng([SEED, number])), Truth(), f"{kind} {number}", kind)


SETS = {make.__name__: make for make in (two, clean, styled, full_size, elsewhere)}


def photos() -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 [H, W, 3]) at their own size."""
    for package, files in PHOTOS.items():
        for file in files.split():
            yield Path(file).stem, read(package, file)


def read(package: str, file: str) -> np.ndarray:
    """A picture of an installed package; what is cut out lies on white, and a short side has at least 192 pixels."""
    path = Path(str(importlib.import_module(package).__file__)).parent / file
    with Image.open(path) as image:
        image = image.convert("RGBA")
    picture = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    missing = [max(0, 192 - side) for side in picture.shape[:2]]
    if any(missing):  # strips of text: padded with their own border
        picture = cv2.copyMakeBorder(picture, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return picture


def _draw_page(rng: np.random.Generator) -> np.ndarray:
    """A page of words."""
    page = Image.new("RGB", (640, 480), (int(rng.integers(235, 256)),) * 3)
    pen, size = ImageDraw.Draw(page), int(rng.integers(14, 24))
    font = ImageFont.load_default(size)
    for row in range(20, 460, int(size * 1.5)):
        words = ("".join(rng.choice(list("abcdefghijklmnoprstuvw"), int(rng.integers(2, 10)))) for _ in range(12))
        pen.text((24, row), " ".join(words), font=font, fill=(20, 20, 24))
    return np.asarray(page)


def _draw_chart(rng: np.random.Generator) -> np.ndarray:
    """Bars and a curve on white."""
    chart = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(chart)
    pen.line((50, 20, 50, 430, 620, 430), fill="black", width=2)
    for index in range(12):
        colour = tuple(int(level) for level in rng.integers(40, 220, 3))
        pen.rectangle((65 + 45 * index, 430 - int(rng.integers(30, 380)), 95 + 45 * index, 429), fill=colour)
    points = [(50 + 20 * step, float(height)) for step, height in enumerate(200 + np.cumsum(rng.normal(0, 20, 29)))]
    pen.line(points, fill=(180, 30, 30), width=3)
    return np.asarray(chart)


def _draw_window(rng: np.random.Generator) -> np.ndarray:
    """A program's window with a list and buttons."""
    window = Image.new("RGB", (800, 600), tuple(int(level) for level in rng.integers(225, 250, 3)))
    pen, font = ImageDraw.Draw(window), ImageFont.load_default(15)
    pen.rectangle((0, 0, 800, 34), fill=tuple(int(level) for level in rng.integers(30, 130, 3)))
    pen.text((12, 8), "Settings", font=font, fill="white")
    for row in range(12):
        top = 50 + 42 * row
        pen.rounded_rectangle((20, top, 560, top + 34), 6, fill="white", outline=(190, 190, 200))
        pen.text((32, top + 8), "".join(rng.choice(list("abcdefgh mnoprst"), 30)), font=font, fill=(40, 40, 50))
        pen.rounded_rectangle((600, top, 760, top + 34), 8, fill=(60, 120, 200) if row % 3 == 0 else (210, 214, 220))
    return np.asarray(window)
