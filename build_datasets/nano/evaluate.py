"""Judge a fine-tuned vision encoder on the held-out sets, by its own heads, without reference.

    python build_datasets/nano/evaluate.py --checkpoint DIR/average.pt --views whole-224 whole-448 crops-224

A large picture may be looked at in several ways: `whole-S` scales its short side down to S pixels, `crops-S` takes four
squares of S at the picture's own size, and `both-S` takes both. Of several views the probabilities are averaged. Intervals
are 95%, by resampling photos, since pictures of one photo err together.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from build_datasets.nano.finetune import Model
from build_datasets.nano.heldout import SETS, Item, today
from build_datasets.nano.photos import test_photos
from build_datasets.nano.views import CLASS_NAMES, Truth
from depictqa.answers import read_json
from depictqa.data.images import open_image
from depictqa.errors import exit_cleanly
from depictqa.evaluation.statistics import calibration
from depictqa.model.efficientnet import CELL

RESAMPLES = 2000
CROPS = 4


def whole(picture: np.ndarray, side: int) -> np.ndarray:
    """Scaled down to a short side of `side`, cut to whole cells."""
    height, width = picture.shape[:2]
    factor = min(1.0, side / min(height, width))
    size = round(width * factor), round(height * factor)
    scaled = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)) if factor < 1 else picture
    return scaled[: scaled.shape[0] // CELL * CELL, : scaled.shape[1] // CELL * CELL]


def crops(picture: np.ndarray, side: int) -> list[np.ndarray]:
    """CROPS squares at the picture's own size, spread along its diagonals; fewer where it is small."""
    height, width = (min(side, length) // CELL * CELL for length in picture.shape[:2])
    bottom, right = picture.shape[0] - height, picture.shape[1] - width
    places = {(int(bottom * y), int(right * x)) for y, x in ((0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8))}
    return [picture[top : top + height, left : left + width] for top, left in sorted(places)[:CROPS]]


def views_of(picture: np.ndarray, policy: str) -> list[np.ndarray]:
    kind, side = policy.split("-")
    views = [] if kind == "crops" else [whole(picture, int(side))]
    return views if kind == "whole" else views + crops(picture, int(side))


@torch.no_grad()
def judge(model: Model, items: list[Item], policy: str, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """`classes` [n, 13] and `present` [n, 12] probabilities, `level` [n] (mean of 0..5), `score` [n]."""
    columns = {"classes": [], "present": [], "level": [], "score": []}
    for item in items:
        views = [torch.from_numpy(view.copy()).permute(2, 0, 1)[None] for view in views_of(item.picture, policy)]
        found = [model(view) for view in views]  # one at a time: their sizes may differ
        columns["classes"].append(torch.cat([one.classes / temperature for one in found]).softmax(1).mean(0))
        columns["present"].append(torch.cat([one.present for one in found]).sigmoid().mean(0))
        columns["level"].append(torch.cat([one.severity for one in found]).softmax(1).mean(0) @ torch.arange(6.0))
        columns["score"].append(torch.cat([one.score for one in found]).mean())
    return {name: torch.stack(column).numpy() for name, column in columns.items()}


def interval(values: np.ndarray, photos: list[str], seed: int = 0) -> str:
    """'0.812 (0.75 to 0.87)': the mean, and 95% of those of photos drawn anew."""
    names = sorted(set(photos))
    groups = [values[np.array(photos) == name] for name in names]
    sums, counts = np.array([group.sum() for group in groups]), np.array([len(group) for group in groups])
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return f"{values.mean():.3f} ({low:.2f} to {high:.2f})"


def overlap(named: set[str], true: set[str]) -> float:
    """As cal_acc_multi_distortion.py scores it."""
    return len(named & true) / max(len(named), len(true))


def figures(name: str, items: list[Item], judged: dict[str, np.ndarray]) -> dict[str, str | float]:
    """What a set measures."""
    photos = [item.photo for item in items]
    named = judged["classes"].argmax(1)
    labels = [item.truth.distortions[0][0] if item.truth.distortions else None for item in items]
    first = np.array([CLASS_NAMES.index(label) for label in labels])
    sure = judged["classes"].max(1)
    if name == "two":
        pairs = [{CLASS_NAMES[1 + index] for index in row.argsort()[-2:]} for row in judged["present"]]
        true = [{label for label, *_ in item.truth.distortions} for item in items]
        scores = [overlap(pair, labels) for pair, labels in zip(pairs, true, strict=True)]
        return {"both named (score)": interval(np.array(scores), photos)}
    right = (named == first).astype(float)
    found: dict[str, str | float] = {"right": interval(right, photos), "sure": round(float(sure.mean()), 3)}
    if name == "today":
        severity = np.array([item.truth.severity for item in items])
        clean = first == 0
        found["None kept"] = interval(right[clean], [p for p, c in zip(photos, clean, strict=True) if c])
        found["None said of distorted"] = round(float((named[~clean] == 0).mean()), 3)
        found["ECE"] = round(calibration(sure, right).ece, 3)
        found["severity within 1"] = interval((abs(judged["level"].round() - severity) <= 1).astype(float), photos)
        by_class = [
            spearmanr(-judged["score"][first == k], severity[first == k])[0] for k in range(1, len(CLASS_NAMES))
        ]
        found["SRCC within class"] = round(float(np.mean(by_class)), 3)
        found["by class"] = " ".join(
            f"{CLASS_NAMES[k]}:{right[first == k].mean():.2f}" for k in range(len(CLASS_NAMES))
        )
    groups = labels if name == "full_size" else [item.kind for item in items]
    for group in sorted(set(groups) - {""}):
        here = np.array([one == group for one in groups])
        found[group] = f"{right[here].mean():.2f} of {here.sum()}"
    return found


def rating(model: Model, folder: Path) -> str:
    """Better of two, without reference, of the questions that build.py --test has made in `folder`."""
    items = read_json(folder / "metas" / "AB_rating.json")
    photos = [name.split("_")[0] for name, _ in test_photos()]
    scores = []
    for field in ("image_A", "image_B"):
        pictures = [Item(np.asarray(open_image(folder.parent / item[field])), Truth(), "") for item in items]
        scores.append(judge(model, pictures, "whole-224")["score"])
    right = [("Image A" if a > b else "Image B") == item["answer"] for a, b, item in zip(*scores, items, strict=True)]
    return interval(np.array(right, float), [photos[number % len(photos)] for number in range(len(items))])


def load(path: Path) -> Model:
    """The averaged weights that finetune.py wrote, in float32."""
    model = Model()
    model.load_state_dict({key: value.float() for key, value in torch.load(path, weights_only=True).items()})
    return model.eval()


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--views", nargs="+", default=["whole-224"], help="ways to look at a picture: whole-S, crops-S, both-S"
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument(
        "--test", type=Path, help="folder that build.py --test has made, for the figures of the first edition"
    )
    args = parser.parse_args()
    model = load(args.checkpoint)
    if args.test:
        items = list(today(args.test.resolve()))
        print(f"today [{len(items)}]: {figures('today', items, judge(model, items, 'whole-224'))}", flush=True)
        print(f"better of two: {rating(model, args.test.resolve())}", flush=True)
    for name in args.sets:
        items = list(SETS[name]())
        for policy in args.views if name != "two" else ["whole-224"]:
            print(f"{name} [{len(items)}] {policy}: {figures(name, items, judge(model, items, policy))}", flush=True)


if __name__ == "__main__":
    main()
