"""Nano's training and test data, in the published formats.

    python build_datasets/nano/build.py --photos DIR --out experiments/Nano/data/train --num 20000
    python build_datasets/nano/build.py --test --out experiments/Nano/data/test

writes pictures (PNG) and one meta file per task. Each item draws from its own seed (seed, kind, number), so the number
of processes and interruptions change nothing; pictures that exist are kept.

Two images are a rating pair if they show the same view, distorted by the same function at different severities, or by
different functions (or none: severity 0) at severities at least 2 apart; the lower severity is better.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from depictqa.answers import write_json
from depictqa.errors import InputError, exit_cleanly
from nano import wording
from nano.photos import load_photos, test_photos
from nano.samples import LABELS, Distortion, draw_distortion, draw_size, draw_view

TEST_SINGLES_PER_LABEL, TEST_PAIRS, TEST_DETAILS = 30, 300, 40


@dataclass(frozen=True)
class Kind:
    """A meta file: its task, whether two images are compared, whether a reference is given, how it is asked."""

    name: str
    task: str
    is_pair: bool
    has_reference: bool
    is_detail: bool
    share: float  # of a training set


KINDS = (
    Kind("A_brief", "quality_single_A_noref", False, False, False, 0.34),
    Kind("refA_brief", "quality_single_A", False, True, False, 0.22),
    Kind("AB_rating", "quality_compare_noref", True, False, False, 0.12),
    Kind("refAB_rating", "quality_compare", True, True, False, 0.14),
    Kind("A_detail", "quality_single_A_noref", False, False, True, 0.05),
    Kind("refA_detail", "quality_single_A", False, True, True, 0.05),
    Kind("AB_detail", "quality_compare_noref", True, False, True, 0.04),
    Kind("refAB_detail", "quality_compare", True, True, True, 0.04),
)
QUESTIONS = {  # (is_pair, is_detail) -> templates
    (False, False): wording.BRIEF_QUESTIONS,
    (True, False): wording.RATING_QUESTIONS,
    (False, True): wording.DETAIL_QUESTIONS,
    (True, True): wording.DETAIL_PAIR_QUESTIONS,
}

View = Callable[[np.random.Generator], np.ndarray]


def draw_pair(rng: np.random.Generator, needs_reference: bool) -> tuple[Distortion, Distortion]:
    """(worse, better), by the rule above."""
    while True:
        first, second = (draw_distortion(rng, needs_reference) for _ in range(2))
        if rng.random() < 0.5 and first.name is not None:  # half of the pairs differ in severity alone
            severity = int(rng.integers(1, 6))
            second = Distortion(first.label, first.name, severity)
            if not (needs_reference or second.is_seen_without_reference):
                continue
        gap = abs(first.severity - second.severity)
        if gap >= (1 if first.name == second.name else 2):
            return (first, second) if first.severity > second.severity else (second, first)


def make_item(kind: Kind, number: int, view: View, out: Path, seed: int, label=..., is_test: bool = False) -> dict:
    """Draw one item, write its pictures, return its meta entry."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    reference = view(rng)
    if kind.is_pair:
        worse, better = draw_pair(rng, kind.has_reference)
        a_is_better = bool(rng.random() < 0.5)
        images = {"image_A": better if a_is_better else worse, "image_B": worse if a_is_better else better}
        answer = "Image A" if a_is_better else "Image B"
        if kind.is_detail:
            answer = wording.detail_pair_answer(*images.values(), answer, rng)
    else:
        images = {"image_A": draw_distortion(rng, kind.has_reference, label)}
        distortion = images["image_A"]
        answer = wording.detail_answer(distortion, rng) if kind.is_detail else wording.brief_answer(distortion)
    query = wording.pick(QUESTIONS[kind.is_pair, kind.is_detail], rng) + ("" if kind.is_detail else wording.SINGLE_WORD)

    item = {"id": f"{kind.name}_{number:06d}", "image_ref": None, "image_A": None, "image_B": None}
    pixels = {"image_ref": reference} if kind.has_reference else {}
    pixels |= {field: distortion.apply(reference, rng) for field, distortion in images.items()}
    for field, picture in pixels.items():
        path = Path("images") / kind.name / f"{number:06d}_{field.removeprefix('image_')}.png"
        item[field] = f"{out.name}/{path.as_posix()}"  # relative to data.root_dir, the folder above
        write_picture(picture, out / path)
    truth = {
        field.replace("image", "distortion"): [d.label, d.name, d.severity] for field, d in images.items()
    }
    if is_test:
        return item | {"query": query, "answer": answer, "task_type": kind.task} | truth
    conversation = [{"from": "human", "value": query}, {"from": "gpt", "value": answer}]
    return item | {"task_type": kind.task, "conversations": conversation} | truth


def write_picture(picture: np.ndarray, path: Path) -> None:
    """Write a PNG, whole or not at all; one that exists is kept."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    Image.fromarray(picture).save(temporary, format="PNG", compress_level=1)
    os.replace(temporary, path)


_photos: list[np.ndarray] = []  # of this process; sent once to each worker by its path


def _training_item(kind: Kind, number: int, photos: Path, out: Path, seed: int) -> dict:
    if not _photos:
        _photos.extend(load_photos(photos))

    def view(rng: np.random.Generator) -> np.ndarray:
        return draw_view(_photos[rng.integers(len(_photos))], draw_size(rng), rng)

    return make_item(kind, number, view, out, seed)


def _test_item(kind: Kind, number: int, out: Path, seed: int, label) -> dict:
    if not _photos:
        _photos.extend(photo for _, photo in test_photos())
    photo = _photos[number % len(_photos)]
    return make_item(kind, number, lambda rng: photo, out, seed, label, is_test=True)


def build(jobs: dict[Kind, list], out: Path, workers: int) -> None:
    """Run delayed items, kind by kind, and write the meta files."""
    for kind, items in jobs.items():
        done = Parallel(n_jobs=workers, return_as="generator")(items)
        metas = list(tqdm(done, total=len(items), desc=kind.name, unit="item"))
        write_json(out / "metas" / f"{kind.name}.json", metas)


def training_jobs(photos: Path, out: Path, num: int, seed: int) -> dict[Kind, list]:
    return {
        kind: [delayed(_training_item)(kind, n, photos, out, seed) for n in range(round(num * kind.share))] for kind in KINDS
    }


def test_jobs(out: Path, seed: int, scale: float = 1.0) -> dict[Kind, list]:
    """Every label equally often in brief single questions; all test photos in turn."""
    jobs = {}
    for kind in KINDS:
        if kind.is_detail:
            labels = [...] * round(TEST_DETAILS * scale)
        elif kind.is_pair:
            labels = [...] * round(TEST_PAIRS * scale)
        else:
            labels = [label for _ in range(round(TEST_SINGLES_PER_LABEL * scale)) for label in LABELS]
        jobs[kind] = [delayed(_test_item)(kind, n, out, seed, label) for n, label in enumerate(labels)]
    return jobs


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; data.root_dir is the folder above")
    parser.add_argument("--photos", type=Path, help="folder of training photos")
    parser.add_argument("--num", type=int, default=20000, help="training items over all tasks")
    parser.add_argument("--test", action="store_true", help="the test set, from photos that are never trained on")
    parser.add_argument("--seed", type=int, default=131)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args()
    out = args.out.resolve()
    if args.test:
        build(test_jobs(out, args.seed), out, args.workers)
    elif args.photos is None:
        raise InputError("--photos is missing; expected a folder of photos (or --test)")
    else:
        load_photos(args.photos)  # says at once what is wrong with the folder
        build(training_jobs(args.photos, out, args.num, args.seed), out, args.workers)


if __name__ == "__main__":
    from nano import build as module  # by this name workers find its functions, and keep the photos they load

    module.main()
