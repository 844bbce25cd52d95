"""Nano's training and test data, in the published formats.

    python build_datasets/nano/build.py --photos DIR --out experiments/Nano/data/train --num 20000
    python build_datasets/nano/build.py --test --out experiments/Nano/data/test

writes pictures (PNG) and one meta file per task. Each item draws from its own seed (seed, kind, number), so the number
of processes and interruptions change nothing; pictures that exist are kept, and a folder that was begun with another
seed or other photos is refused, since its pictures would not show what the metas say.

Two images are a rating pair if they show the same view, distorted by the same function at different severities, or by
different functions (or none: severity 0) at severities at least 2 apart; the lower severity is better.
"""

import argparse
import functools
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from build_datasets.dq495k import questions
from build_datasets.dq495k.describe import describe_one, describe_two
from build_datasets.dq495k.files import write_png
from build_datasets.dq495k.measure import measure
from build_datasets.nano import wording
from build_datasets.nano.photos import load_photos, test_photos
from build_datasets.nano.samples import CLEAN, LABELS, Distortion, draw_distortion, draw_size, draw_view
from depictqa.answers import read_json, write_json
from depictqa.data.images import open_image
from depictqa.errors import InputError, exit_cleanly
from depictqa.prompts import SINGLE_WORD_REQUEST

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
SHORT_QUESTIONS = {False: wording.BRIEF_QUESTIONS, True: wording.RATING_QUESTIONS}  # by is_pair
LONG_QUESTIONS = {False: questions.DETAIL_ONE, True: questions.DETAIL_TWO}

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
    else:
        a_is_better = False
        images = {"image_A": draw_distortion(rng, kind.has_reference, label)}
        answer = questions.word_answer(images["image_A"].state)
    if kind.is_detail:
        template = questions.pick(LONG_QUESTIONS[kind.is_pair], rng)
        query = questions.render(template.question, questions.ANY, kind.has_reference)
    else:
        query = questions.pick(SHORT_QUESTIONS[kind.is_pair], rng) + SINGLE_WORD_REQUEST

    shown = {"image_ref": CLEAN} if kind.has_reference else {}
    shown |= images
    paths = {field: f"images/{kind.name}/{number:06d}_{field.removeprefix('image_')}.png" for field in shown}
    if not all((out / path).exists() for path in paths.values()):  # the pictures of an item share its random draws
        for field, path in paths.items():
            write_png(shown[field].apply(reference, rng), out / path)
    if kind.is_detail:
        pictures = {field: np.asarray(open_image(out / paths[field])) for field in images}
        own_draws = np.random.default_rng([seed, KINDS.index(kind), number, 1])  # whether pictures were there or not
        answer = long_answer(images, pictures, reference, a_is_better, own_draws)
    item = {"id": f"{kind.name}_{number:06d}", "image_ref": None, "image_A": None, "image_B": None}
    item |= {field: f"{out.name}/{path}" for field, path in paths.items()}  # data.root_dir is the folder above
    item |= {"task_type": kind.task} | truth(images)
    if is_test:
        return item | {"query": query, "answer": answer}
    return item | {"conversations": [{"from": "human", "value": query}, {"from": "gpt", "value": answer}]}


def long_answer(
    images: dict[str, Distortion], pictures: dict[str, np.ndarray], reference: np.ndarray, a_is_better: bool, rng
) -> str:
    """What dq495k writes without an API, from labels and measurements."""
    states = tuple(distortion.state for distortion in images.values())
    measured = tuple(measure(pictures[field]) for field in images)
    if len(images) == 1:
        return describe_one(states[0], measured[0], measure(reference), rng)
    return describe_two(states, measured, measure(reference), a_is_better, rng)


def truth(images: dict[str, Distortion]) -> dict:
    """What the evaluation groups by: `severity` of one image, `distortion_A.2` of two."""
    if len(images) == 1:
        (distortion,) = images.values()
        return {
            "distortion_class": distortion.label,
            "distortion_name": distortion.name,
            "severity": distortion.severity,
        }
    return {field.replace("image", "distortion"): [d.label, d.name, d.severity] for field, d in images.items()}


@functools.cache  # once per process and folder; a worker is sent the path, not the photos
def _training_photos(folder: Path) -> list[np.ndarray]:
    return load_photos(folder)


@functools.cache
def _test_photos() -> list[np.ndarray]:
    return [photo for _, photo in test_photos()]


def make_training_item(kind: Kind, number: int, photos: Path, out: Path, seed: int) -> dict:
    """Item `number` of a training meta: a random view of a random photo of the folder `photos`."""

    def view(rng: np.random.Generator) -> np.ndarray:
        pool = _training_photos(photos)
        return draw_view(pool[rng.integers(len(pool))], draw_size(rng), rng)

    return make_item(kind, number, view, out, seed)


def make_test_item(kind: Kind, number: int, out: Path, seed: int, label) -> dict:
    """Item `number` of a test meta, on the test photos in turn; `label` a class, None, or ... to draw one."""
    pool = _test_photos()
    return make_item(kind, number, lambda rng: pool[number % len(pool)], out, seed, label, is_test=True)


def claim(out: Path, photos: list[np.ndarray], seed: int) -> None:
    """Note in `out` what it is made from. Raises InputError: it was begun with something else."""
    origin = {
        "seed": seed,
        "photos": len(photos),
        "checksum": functools.reduce(lambda sum, one: zlib.crc32(one.data, sum), photos, 0),
    }
    path = out / "made_from.json"
    if path.exists() and (found := read_json(path)) != origin:
        raise InputError(f"{out}: was begun with {found}, now {origin}; expected the same, or another --out")
    write_json(path, origin)


def build(jobs: dict[Kind, list], out: Path, workers: int) -> None:
    """Run delayed items, kind by kind, and write the meta files."""
    for kind, items in jobs.items():
        done = Parallel(n_jobs=workers, return_as="generator")(items)
        metas = list(tqdm(done, total=len(items), desc=kind.name, unit="item"))
        write_json(out / "metas" / f"{kind.name}.json", metas)


def training_jobs(photos: Path, out: Path, num: int, seed: int) -> dict[Kind, list]:
    return {
        kind: [delayed(make_training_item)(kind, n, photos, out, seed) for n in range(round(num * kind.share))]
        for kind in KINDS
    }


def test_jobs(out: Path, seed: int) -> dict[Kind, list]:
    """Every label equally often in brief single questions; all test photos in turn."""
    jobs = {}
    for kind in KINDS:
        if kind.is_detail:
            labels = [...] * TEST_DETAILS
        elif kind.is_pair:
            labels = [...] * TEST_PAIRS
        else:
            labels = [*LABELS] * TEST_SINGLES_PER_LABEL
        jobs[kind] = [delayed(make_test_item)(kind, n, out, seed, label) for n, label in enumerate(labels)]
    return jobs


def positive(text: str) -> int:
    """For argparse, which names the flag in front of the message."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found '{text}'")
    return int(text)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Nano's training and test data, in the published formats.")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; data.root_dir is the folder above")
    parser.add_argument("--photos", type=Path, help="folder of training photos")
    parser.add_argument("--num", type=positive, default=20000, help="training items over all tasks")
    parser.add_argument("--test", action="store_true", help="the test set, from photos that are never trained on")
    parser.add_argument("--seed", type=int, default=131)
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="processes")
    args = parser.parse_args()
    out = args.out.resolve()
    if args.test:
        photos, jobs = _test_photos(), test_jobs(out, args.seed)
    elif args.photos is not None:
        photos, jobs = load_photos(args.photos), training_jobs(args.photos, out, args.num, args.seed)
    else:
        raise InputError("--photos is missing; expected a folder of photos (or --test)")
    claim(out, photos, args.seed)
    build(jobs, out, args.workers)


if __name__ == "__main__":
    from build_datasets.nano import (
        build as module,  # by this name workers find its functions, and keep the photos they load
    )

    module.main()
