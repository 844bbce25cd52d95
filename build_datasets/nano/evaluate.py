"""Nano on held-out pictures: the table of figures and targets, with 95% intervals, beside baselines.

    sh experiments/Nano/evaluate.sh             # makes the pictures, then runs this
    python build_datasets/nano/evaluate.py --cfg CONFIG --test FOLDER [--quick] [--out TABLE.md]

`--test` is what build.py --test has made; the other sets are made on the spot (heldout.py). Everything is asked as a user
would ask it. Intervals resample photos, not pictures: pictures of one photo err together.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from build_datasets.dq495k.labels import named
from build_datasets.nano import wording
from build_datasets.nano.asking import SEVERITY_WORDS, state_of
from build_datasets.nano.heldout import SETS, Item, Pair, pairs, today
from build_datasets.nano.views import CLASS_NAMES
from build_datasets.x_distortion import SEVERITY_NAMES
from depictqa.config import load_config
from depictqa.errors import exit_cleanly
from depictqa.evaluation.accuracy import overlap
from depictqa.evaluation.statistics import calibration
from depictqa.inference.assessor import Assessor, Question
from depictqa.inference.program import lazy_assessor
from depictqa.inference.sampling import Sampling
from depictqa.model.build import build_preprocessor
from depictqa.prompts import LEVELS, NO_DISTORTION, QUESTIONS, render_answer, task_of

RESAMPLES = 2000
BATCH = 16
QUICK = 13  # items of each set with --quick
DESCRIBED = 78  # pictures that are described
ANSWER = Sampling(max_new_tokens=12)
DESCRIPTION = Sampling(max_new_tokens=110)


@dataclass(frozen=True)
class Figure:
    """A row of the table. `values` are what is averaged, [n]; `photos` whose pictures they are of."""

    measure: str
    target: float | None
    values: np.ndarray
    photos: Sequence[str]
    average: Callable[[np.ndarray], float] = np.mean

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """95% of the averages of photos drawn anew."""
        photos = np.array(self.photos)
        groups = [np.flatnonzero(photos == name) for name in sorted(set(self.photos))]
        rng = np.random.default_rng(seed)
        averages = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(len(groups), size=len(groups))
            averages.append(self.average(self.values[np.concatenate([groups[index] for index in drawn])]))
        low, high = np.nanpercentile(averages, (2.5, 97.5))
        return float(low), float(high)

    def __str__(self) -> str:
        value, (low, high) = self.average(self.values), self.interval()
        verdict = ""
        if self.target is not None:
            is_met = value <= self.target if self.measure.startswith("ECE") else value >= self.target
            verdict = f"{self.target:.2f} {'met' if is_met else 'missed'}"
        return f"| {self.measure} | {value:.3f} ({low:.2f} to {high:.2f}) | {len(self.values)} | {verdict} |"


class Asker:
    """Asks about pictures (uint8 [H, W, 3])."""

    def __init__(self, assessor: Assessor, preprocess: Callable):
        self.assessor, self.preprocess = assessor, preprocess

    def question(self, query: str, **pictures: np.ndarray | None) -> Question:
        """`pictures` by field: image_ref, image_A, image_B."""
        shown = {field: picture for field, picture in pictures.items() if picture is not None}
        task = task_of(list(shown))
        return Question(task, tuple(self._prepared(shown[field]) for field in task.fields), query)

    def _prepared(self, picture: np.ndarray) -> torch.Tensor:
        from PIL import Image

        return self.preprocess(Image.fromarray(picture))

    def ask(self, questions: Iterable[Question], sampling: Sampling = ANSWER) -> tuple[list[str], np.ndarray]:
        """Texts and confidences (nan where there is none) [n]."""
        texts, confidences = [], []
        for batch in batches(questions):
            for found in self.assessor.assess(batch, sampling, confidence=sampling is ANSWER):
                texts.append(found.answer.text)
                confidences.append(np.nan if found.confidence is None else found.confidence)
        return texts, np.array(confidences)

    def first_token(self, questions: Iterable[Question], words: Sequence[str]) -> np.ndarray:
        """Probabilities [n, words] of the answers' first tokens, among them only."""
        model = self.assessor.model
        ids = [model.tokenizer.encode(render_answer(word, model.format))[0] for word in words]
        sampling = Sampling(max_new_tokens=1, watched=tuple(ids))
        answers = [one.answer for batch in batches(questions) for one in self.assessor.assess(batch, sampling)]
        found = np.array([answer.watched for answer in answers])
        return found / found.sum(1, keepdims=True)


def batches(questions: Iterable[Question]) -> Iterable[list[Question]]:
    batch: list[Question] = []
    for question in questions:
        batch.append(question)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def ece(values: np.ndarray) -> float:
    """Of (confidence, right) [n, 2]."""
    return calibration(values[:, 0], values[:, 1]).ece


def srcc(values: np.ndarray) -> float:
    """Of (score, quality) [n, 2]; nan where either is constant."""
    if len(values) < 3 or np.ptp(values[:, 0]) == 0 or np.ptp(values[:, 1]) == 0:
        return np.nan
    return float(spearmanr(values[:, 0], values[:, 1]).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def srcc_within(values: np.ndarray) -> float:
    """Mean over the classes of (score, quality, class) [n, 3]."""
    found = [srcc(values[values[:, 2] == label]) for label in np.unique(values[:, 2])]
    return float(np.mean([one for one in found if np.isfinite(one)] or [np.nan]))


def truth_of(item: Item) -> str:
    return " and ".join(named(state_of(item.truth)))


def naming(asker: Asker, items: list[Item], has_reference: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [n], whether none is said [n], confidences [n]. Half a point is for one of two distortions only."""
    query = QUESTIONS["distortions"]
    texts, sure = asker.ask(
        asker.question(query, image_ref=item.reference if has_reference else None, image_A=item.picture)
        for item in items
    )
    found = zip(texts, map(truth_of, items), items, strict=True)
    scores = [
        overlap(text, truth) if len(item.truth.distortions) == 2 else float(text.lower() == truth)
        for text, truth, item in found
    ]
    return np.array(scores), np.array([text.lower() == NO_DISTORTION for text in texts]), sure


def rating(asker: Asker, found: list[Pair], has_reference: bool) -> tuple[np.ndarray, np.ndarray]:
    """Right in the given order [n], and whether the other order agrees [n]."""

    def ask(is_swapped: bool) -> list[str]:
        return asker.ask(
            asker.question(
                QUESTIONS["better"],
                image_ref=pair.reference if has_reference else None,
                image_A=pair.pictures[is_swapped],
                image_B=pair.pictures[not is_swapped],
            )
            for pair in found
        )[0]

    first, second = ask(False), ask(True)
    right = np.array([text == pair.answer for text, pair in zip(first, found, strict=True)], float)
    agree = np.array([{a, b} == {"Image A", "Image B"} for a, b in zip(first, second, strict=True)], float)
    return right, agree


def figures(asker: Asker, test: Path, most: int | None) -> list[Figure]:
    """All rows, of at most so many items of each set."""
    items, with_reference = list(islice(today(test, "A_brief"), most)), list(islice(today(test, "refA_brief"), most))
    photos, classes = [item.photo for item in items], np.array([CLASS_NAMES.index(item.label) for item in items])
    right, _, sure = naming(asker, items, False)
    right_ref, _, sure_ref = naming(asker, with_reference, True)
    clean = classes == 0
    rows = [
        Figure("one distortion or none, no reference", 0.86, right, photos),
        Figure("one distortion or none, reference", 0.90, right_ref, [item.photo for item in with_reference]),
        Figure('"None" kept, today\'s set', 0.80, right[clean], [p for p, c in zip(photos, clean, strict=True) if c]),
        Figure("ECE of naming", 0.06, np.stack([sure, right], 1), photos, ece),
        Figure("ECE of naming, reference", 0.06, np.stack([sure_ref, right_ref], 1), photos, ece),
    ]
    sets = {name: list(islice(make(), most)) for name, make in SETS.items()}
    two = sets.pop("two")
    for has_reference, target in ((False, 0.55), (True, 0.60)):
        scores, _, _ = naming(asker, two, has_reference)
        name = "reference" if has_reference else "no reference"
        rows.append(Figure(f"two distortions (score), {name}", target, scores, [item.photo for item in two]))
    titles = {
        "clean": ('photos as they are: "None" kept', 0.80),
        "styled": ('photos in random styles: "None" kept', None),
        "full_size": ("full size, distortions of single pixels", 0.70),
        "elsewhere": ('no ordinary photos: "None" said', None),
    }
    for name, found in sets.items():
        scores, _, sure = naming(asker, found, False)
        rows.append(Figure(f"{titles[name][0]} (mean confidence {sure.mean():.2f})", titles[name][1], scores,
                           [item.photo for item in found]))  # fmt: skip
    for kind, has_reference, target in (("AB_rating", False, 0.92), ("refAB_rating", True, 0.94)):
        found = list(islice(pairs(test, kind), most))
        is_right, agrees = rating(asker, found, has_reference)
        name = "reference" if has_reference else "no reference"
        rows.append(Figure(f"better of two, {name}", target, is_right, [pair.photo for pair in found]))
        rows.append(Figure(f"both orders agree, {name}", 0.95, agrees, [pair.photo for pair in found]))
    return rows + graded(asker, items, photos, classes) + described(asker, items[:DESCRIBED])


def graded(asker: Asker, items: list[Item], photos: list[str], classes: np.ndarray) -> list[Figure]:
    """Severity and score of single distortions, without a reference."""
    severity = np.array([item.truth.severity for item in items])
    asked = [asker.question(wording.SEVERITY_QUESTION, image_A=item.picture) for item in items]
    levels = np.round(asker.first_token(asked, SEVERITY_WORDS) @ np.arange(len(SEVERITY_WORDS)))
    scored = [asker.question(QUESTIONS["score"], image_A=item.picture) for item in items]
    scores = asker.first_token(scored, list(LEVELS)) @ np.array(list(LEVELS.values()))
    values = np.stack([scores, -severity, classes], 1)
    inside = classes > 0
    return [
        Figure("severity within one level", 0.90, (abs(levels - severity) <= 1).astype(float), photos),
        Figure("SRCC of score and severity within a class", 0.85, values[inside],
               [p for p, kept in zip(photos, inside, strict=True) if kept], srcc_within),
        Figure("SRCC of score and severity over all", None, values[:, :2], photos, srcc),
    ]  # fmt: skip


def described(asker: Asker, items: list[Item]) -> list[Figure]:
    """Descriptions: do they name the distortion, and agree with the score?"""
    photos = [item.photo for item in items]
    questions = [asker.question(QUESTIONS["describe"], image_A=item.picture) for item in items]
    texts, _ = asker.ask(questions, DESCRIPTION)
    truths = [truth_of(item) for item in items]
    names = [
        float(truth in text.lower() if truth != NO_DISTORTION else not any(word in text for word in SEVERITY_NAMES))
        for text, truth in zip(texts, truths, strict=True)
    ]
    scored = [asker.question(QUESTIONS["score"], image_A=item.picture) for item in items]
    levels = asker.first_token(scored, list(LEVELS)) @ np.array(list(LEVELS.values()))
    agree = [float(abs(verdict(text) - level) <= 1) for text, level in zip(texts, levels, strict=True)]
    return [
        Figure("description names the distortion", 0.75, np.array(names), photos),
        Figure("description within one level of the score", 0.97, np.array(agree), photos),
    ]


def verdict(text: str) -> float:
    """The level, 1..5, that a description ends in; nan where it has none."""
    words = [word.strip(".,") for word in text.lower().split()]
    found = [LEVELS[word] for word in words if word in LEVELS]
    return found[-1] if found else np.nan


class Blind:
    """A preprocessor that shows a grey square instead of every picture: what the language model says without seeing."""

    def __call__(self, image) -> torch.Tensor:
        return torch.full((3, 224, 224), 127, dtype=torch.uint8)


def baselines(asker: Asker, test: Path, most: int | None) -> list[Figure]:
    """What is right without looking, and by comparing with the reference."""
    from skimage.metrics import structural_similarity

    def ssim(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean(structural_similarity(a, b, channel_axis=2)))

    blind, items = Asker(asker.assessor, Blind()), list(islice(today(test, "A_brief"), most))
    found = list(islice(pairs(test, "refAB_rating"), most))
    photos, pair_photos = [item.photo for item in items], [pair.photo for pair in found]

    def by(similarity: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
        references = [pair.reference for pair in found if pair.reference is not None]
        picks = [
            np.argmax([similarity(reference, picture) for picture in pair.pictures])
            for reference, pair in zip(references, found, strict=True)
        ]
        return np.array([f"Image {'AB'[pick]}" == pair.answer for pick, pair in zip(picks, found, strict=True)], float)

    encoder: Any = asker.assessor.model.vision_encoder
    with torch.inference_mode():
        judged = [encoder.judgement(encoder.normalize(asker._prepared(item.picture))[None]) for item in items]
    named = np.array([one.classes.argmax().item() for one in judged])
    classes = np.array([CLASS_NAMES.index(item.label) for item in items])
    return [
        Figure("one class for all: naming", None, (classes == 0).astype(float), photos),
        Figure("a grey square instead of pictures: naming", None, naming(blind, items, False)[0], photos),
        Figure("a grey square instead of pictures: better of two", None, rating(blind, found, False)[0], pair_photos),
        Figure("the encoder alone: naming, no reference", None, (named == classes).astype(float), photos),
        Figure("SSIM: better of two, reference", None, by(ssim),
               pair_photos),
        Figure("PSNR: better of two, reference", None, by(lambda a, b: -np.square(a.astype(float) - b).mean()),
               pair_photos),
    ]  # fmt: skip


def table(rows: list[Figure]) -> str:
    return "\n".join(["| measure | figure (95% interval) | n | target |", "|---|---|---|---|", *map(str, rows)])


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cfg", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True, help="folder that build.py --test has made")
    parser.add_argument("--delta", type=Path, help="in place of the config's")
    parser.add_argument("--encoder", type=Path, help="in place of the config's")
    parser.add_argument("--dtype", default="auto", help="fp32 or bf16, which is faster on some CPUs")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} items of each set, for a try")
    parser.add_argument("--out", type=Path, help="where to write the table, too")
    args = parser.parse_args()
    given = {"model.delta_path": args.delta, "model.vision_encoder_path": args.encoder}
    paths = {key: str(path.resolve()) for key, path in given.items() if path}
    config = load_config(args.cfg, {"dtype": args.dtype, **paths})
    asker = Asker(lazy_assessor(config)(), build_preprocessor(config))
    most = QUICK if args.quick else None
    test = args.test.resolve()
    found = f"{table(figures(asker, test, most))}\n\nBaselines\n\n{table(baselines(asker, test, most))}\n"
    print(found)
    if args.out:
        args.out.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
