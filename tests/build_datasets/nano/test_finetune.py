"""Fine-tuning the vision encoder, on tiny pictures: losses, the head start, going on after a kill, the figures."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from build_datasets.nano import evaluate, finetune
from build_datasets.nano.head_start import cache, head_start
from build_datasets.nano.heads import NUM_CLASSES, Judgement, Targets, losses
from build_datasets.nano.heldout import SETS, Item
from build_datasets.nano.views import CLASS_NAMES, Pair, Truth

CLEAN = Truth()
NOISE = Truth((("noise", "noise_gaussian_RGB", 2),))
PART = Truth((("noise", "noise_gaussian_RGB", 4),), (0, 0, 32, 64))


def pair(first=CLEAN, second=NOISE, order=1):
    return Pair(np.zeros((2, 64, 64, 3), np.uint8), (first, second), order)


@pytest.fixture
def pictures(tmp_path):
    """Folders as photos.py makes them, of noise in large squares."""
    rng = np.random.default_rng(0)
    for folder, count in (("photos", 9), ("others", 1)):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for number in range(count):
            squares = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(squares).save(tmp_path / "pictures" / folder / f"{number}.png")
    return tmp_path / "pictures"


def test_targets_are_those_of_each_picture_and_cell():
    targets = Targets.of([pair(), pair(NOISE, PART, 0)], 32)
    assert targets.classes.argmax(1).tolist() == [0, 2, 2, 2] and CLASS_NAMES[2] == "noise"
    assert targets.present.sum(1).tolist() == [0, 1, 1, 1]
    assert targets.is_whole.tolist() == [1, 1, 1, 0]
    assert targets.cells[3].argmax(1).tolist() == [2, 2, 0, 0]  # the upper row of cells is distorted


def test_right_answers_cost_less_than_wrong_ones():
    targets = Targets.of([pair()], 32)
    right = Judgement(
        classes=10 * targets.classes,
        present=20 * targets.present - 10,
        severity=10 * targets.severity,
        score=torch.tensor([5.0, -5.0]),
        cells=10 * targets.cells,
    )
    wrong = Judgement(-right.classes, -right.present, -right.severity, -right.score, -right.cells)
    for name, loss in losses(right, targets).items():
        assert loss < losses(wrong, targets)[name]
        assert loss < (0.1 if name != "severity" else 1.1), name


def test_the_heads_learn_from_cached_statistics(pictures):
    torch.manual_seed(0)
    model = finetune.Model()
    views = iter(finetune.Views(finetune.load_photos(pictures / "photos"), [], 4, 0))
    cached = cache(model.encoder, views, 8)
    means, cells, targets = cached
    assert len(means) == len(cells) == len(targets.classes) == 2 * len(targets.order) >= 8

    def loss():
        model.eval()
        whole = model.encoder.standardise(means[:, None])
        judged = model.heads(model.encoder.project(whole, whole))
        return losses(dataclasses.replace(judged, cells=targets.cells), targets)["present"].item()

    before = loss()
    head_start(model.encoder, model.heads, cached, epochs=8)
    assert loss() < before


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_killed(pictures, tmp_path, monkeypatch):
    def run(views):
        flags = {
            "pictures": pictures,
            "out": tmp_path / "out",
            "views": views,
            "batch": 2,
            "head_start": 4,
            "test_views": 2,
        }
        monkeypatch.setattr(sys, "argv", ["finetune.py", *(f"--{name}={value}" for name, value in flags.items())])
        finetune.main()
        return torch.load(tmp_path / "out" / "state.pt", weights_only=True)

    monkeypatch.setattr(finetune, "imagenet_weights", dict)
    monkeypatch.setattr(finetune, "SIDES", (64,))
    monkeypatch.setattr(finetune, "dev_set", lambda photos: tuple(part[:2] for part in DEV))
    monkeypatch.setattr(finetune, "HEAD_START_EPOCHS", 1)
    first, second = run(20), run(60)
    assert 60 > first["views"] >= 20 and second["views"] >= 60 and second["steps"] > first["steps"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["views"] for line in lines] == sorted(line["views"] for line in lines)
    assert evaluate.load(tmp_path / "out" / "average.pt").encoder.feature_size == 256


DEV = (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.tensor([0, 1]), torch.tensor([0, 2]))


def test_frozen_blocks_keep_their_weights():
    model = finetune.Model()
    model.freeze(2)
    assert not any(
        p.requires_grad for part in (model.encoder.stem, *model.encoder.blocks[:2]) for p in part.parameters()
    )
    assert all(
        p.requires_grad for part in (*model.encoder.blocks[2:], model.encoder.projection) for p in part.parameters()
    )
    model.freeze(-1)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("policy, shapes", [("whole-96", [(96, 160)]), ("crops-64", [(64, 64)] * 4), ("both-96", None)])
def test_ways_to_look_at_a_picture(policy, shapes):
    views = evaluate.views_of(np.zeros((200, 340, 3), np.uint8), policy)
    assert all(side % 32 == 0 for view in views for side in view.shape[:2])
    assert len(views) == 5 if shapes is None else [view.shape[:2] for view in views] == shapes


def test_intervals_resample_photos():
    values = np.array([1.0] * 50 + [0.0] * 50)
    assert evaluate.interval(values, ["a"] * 50 + ["b"] * 50) == "0.500 (0.00 to 1.00)"
    assert evaluate.interval(np.ones(4), list("aabb")) == "1.000 (1.00 to 1.00)"


def test_figures_of_a_perfect_judge():
    black = np.zeros((64, 64, 3), np.uint8)
    items = [Item(black, truth, str(index % 2)) for index, truth in enumerate([Truth(), NOISE] * 4)]
    classes = np.eye(NUM_CLASSES)[[0, 2] * 4]
    judged = {"classes": classes, "present": classes[:, 1:], "level": np.array([0, 2] * 4), "score": np.zeros(8)}
    found = evaluate.figures("clean", items, judged)
    assert found["right"].startswith("1.000") and found["sure"] == 1
    assert evaluate.overlap({"noise", "blur"}, {"noise", "darken"}) == 0.5


def test_held_out_sets_are_what_they_say():
    clean, elsewhere = list(SETS["clean"]()), list(SETS["elsewhere"]())
    assert len({item.photo for item in clean}) == 14 and not any(item.truth.distortions for item in clean + elsewhere)
    assert min(min(item.picture.shape[:2]) for item in clean + elsewhere) >= 192
    first = next(SETS["full_size"]())
    assert first.picture.shape == clean[0].picture.shape and first.truth.distortions[0][0] == "noise"
    assert len(next(SETS["two"]()).truth.distortions) == 2
