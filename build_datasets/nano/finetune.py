"""Fine-tune Nano's vision encoder, an EfficientNet-Lite0, to tell distortions, from ImageNet weights.

    python build_datasets/nano/finetune.py --pictures DIR --out DIR --views 400000

`--pictures` is what photos.py made. Every view is new (views.py), the heads and losses are in heads.py. The learning
rate is constant until `--decay_from` views and then falls to nothing at `--views`, so a run may be prolonged: start it
again with more views. What is tested and saved is the average of the weights over the last five hundred steps. A run goes
on from `OUT/state.pt`, which is written every `--save_minutes`, whatever killed it.
"""

import argparse
import copy
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from build_datasets.nano.head_start import cache, head_start
from build_datasets.nano.heads import Heads, Targets, losses, total
from build_datasets.nano.photos import load_photos
from build_datasets.nano.views import CLASS_NAMES, SHARE_OTHERS, Truth, crop, distort, draw_pair
from build_datasets.x_distortion import CLASSES, SEEN_WITHOUT_REFERENCE_FROM
from depictqa.errors import exit_cleanly
from depictqa.model.efficientnet import CELL, EfficientNetEncoder, imagenet_weights

SIDES = (160, 192, 224)  # of views, pixels
DEV_EVERY = 9  # of the photos, how many are there for each that is tested on and not trained on
HEAD_START_EPOCHS = 25
AVERAGE = 0.998  # of the averaged weights that a step keeps
WARM_UP = 200  # steps


def split(pictures: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(train, dev)."""
    is_dev = [index % DEV_EVERY == 4 for index in range(len(pictures))]
    return tuple([p for p, dev in zip(pictures, is_dev, strict=True) if dev == wanted] for wanted in (False, True))


class Views(IterableDataset):
    """Endless batches (uint8 [B, 3, H, W], Targets), each of one size, two pictures of a view in turn."""

    def __init__(self, photos: list[np.ndarray], others: list[np.ndarray], pictures_of_224: int, seed: int):
        self.photos, self.others, self.seed = photos, others, seed
        self.pixels = pictures_of_224 * 224 * 224

    def __iter__(self):
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            size = tuple(int(side) for side in rng.choice(SIDES, 2))
            pairs = []
            for _ in range(max(1, self.pixels // (2 * size[0] * size[1]))):
                pool = self.others if rng.random() < SHARE_OTHERS and self.others else self.photos
                pairs.append(draw_pair(pool[rng.integers(len(pool))], size, rng, CELL))
            pictures = np.concatenate([pair.pictures for pair in pairs])  # [B, H, W, 3]
            yield torch.from_numpy(pictures).permute(0, 3, 1, 2), Targets.of(pairs, CELL)


def dev_set(photos: list[np.ndarray], each: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures of photos that are not trained on, uint8 [B, 3, 224, 224], classes [B], severities [B]."""
    rng, pictures, classes, severities = np.random.default_rng(0), [], [], []
    for number in range(each * len(CLASS_NAMES)):
        label = CLASS_NAMES[number % len(CLASS_NAMES)]
        view, truth = crop(photos[rng.integers(len(photos))], (224, 224), rng), Truth()
        if label is not None:
            least = SEEN_WITHOUT_REFERENCE_FROM[label]
            truth = Truth(((label, str(rng.choice(CLASSES[label])), int(rng.integers(least, 6))),))
        pictures.append(distort(view, truth, rng))
        classes.append(CLASS_NAMES.index(label))
        severities.append(truth.severity)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(classes), torch.tensor(severities)


class Model(torch.nn.Module):
    """The encoder with its heads; the first blocks may be frozen."""

    def __init__(self):
        super().__init__()
        self.encoder = EfficientNetEncoder()
        self.heads = Heads(self.encoder.feature_size)

    def forward(self, pixels: torch.Tensor):
        """uint8 [B, 3, H, W] ->"""
        normal = self.encoder.normalize(pixels).contiguous(memory_format=torch.channels_last)
        return self.heads(self.encoder(normal))

    def freeze(self, blocks: int) -> None:
        """Keep the stem and so many blocks as they are; -1: nothing, 16: all but the projection."""
        parts = [self.encoder.stem, *self.encoder.blocks]
        for index, part in enumerate(parts):
            part.requires_grad_(index > blocks)


@torch.no_grad()
def dev_figures(model: Model, dev: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """Naming, share of clean pictures found clean, severity within a level."""
    pictures, classes, severities = dev
    model.eval()
    judged = [model(part) for part in pictures.split(40)]
    named = torch.cat([one.classes for one in judged]).argmax(1)
    level = torch.cat([one.severity for one in judged]).argmax(1)
    model.train()
    right = (named == classes).float()
    return {
        "named": round(right.mean().item(), 4),
        "none_kept": round(right[classes == 0].mean().item(), 4),
        "none_said_wrongly": round((named[classes != 0] == 0).float().mean().item(), 4),
        "severity_within_1": round(((level - severities).abs() <= 1).float().mean().item(), 4),
    }


def optimizer_of(model: Model, lr: float) -> torch.optim.Optimizer:
    """The backbone learns at a fifth of the pace; gains, biases and norms do not decay."""
    groups = {}
    for name, parameter in model.named_parameters():
        is_backbone = name.startswith(("encoder.stem", "encoder.blocks"))
        groups.setdefault((is_backbone, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "base_lr": lr * (0.2 if is_backbone else 1), "weight_decay": 0.02 * decays}
            for (is_backbone, decays), parameters in groups.items()
        ],
        lr=lr,
        betas=(0.9, 0.99),
    )


class Run:
    """A training run: the model, its averaged weights, the optimizer, how far it is. `folder` holds its checkpoints."""

    def __init__(self, folder: Path, lr: float):
        self.folder, self.views, self.steps = folder, 0, 0
        self.model = Model()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = optimizer_of(self.model, lr)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False where there is none."""
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        for name in ("model", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.views, self.steps = state["views"], state["steps"]
        return True

    def begin(self, batches: Iterator[tuple[torch.Tensor, Targets]], head_start_views: int) -> None:
        """ImageNet's weights, and heads that are trained on them."""
        self.model.encoder.load_state_dict(imagenet_weights(), strict=False)
        path = self.folder / "head_start.pt"  # what it takes longest to make
        if path.exists():
            *statistics, targets = torch.load(path, weights_only=True)
            cached = (*statistics, Targets(**targets))
        else:
            cached = cache(self.model.encoder, batches, head_start_views)
            _save([*cached[:2], vars(cached[2])], path)
        head_start(self.model.encoder, self.model.heads, cached, HEAD_START_EPOCHS)
        self.average.load_state_dict(self.model.state_dict())

    def step(self, pixels: torch.Tensor, targets: Targets, pace: float) -> dict[str, float]:
        """One optimizer step at a share of the learning rate. Returns the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * pace
        parts = losses(self.model(pixels), targets)
        self.optimizer.zero_grad(set_to_none=True)
        total(parts).backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], 2.0)
        self.optimizer.step()
        self.steps, self.views = self.steps + 1, self.views + len(pixels)
        keep = min(AVERAGE, self.steps / (self.steps + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        return {name: loss.item() for name, loss in parts.items()}

    def save(self) -> None:
        """`state.pt` to go on from, `average.pt` (fp16) to use; each whole or not at all."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimizer")}
        _save(state | {"views": self.views, "steps": self.steps}, self.folder / "state.pt")
        _save({key: value.half() for key, value in self.average.state_dict().items()}, self.folder / "average.pt")


def _save(value: dict, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(value, temporary)
    os.replace(temporary, path)


def pace_at(run: Run, views: int, decay_from: int | None) -> float:
    """Share of the learning rate: up over the first steps, constant, down to nothing at `views`."""
    pace = min(1, (run.steps + 1) / WARM_UP)
    if decay_from is not None and run.views > decay_from:
        pace *= (views - run.views) / (views - decay_from)
    return pace


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args.out, args.lr)
    is_resumed = run.resume()
    photos, dev_photos = split(load_photos(args.pictures / "photos"))
    views = Views(photos, load_photos(args.pictures / "others"), args.batch, args.seed + run.steps)
    batches = iter(DataLoader(views, batch_size=None, num_workers=1, prefetch_factor=4))
    if not is_resumed:
        run.begin(batches, args.head_start)
        run.save()
    run.model.to(memory_format=torch.channels_last).freeze(args.frozen)
    dev = dev_set(dev_photos)
    print(f"after {run.views} views: {dev_figures(run.average, dev)}", flush=True)
    sums: Counter[str] = Counter()
    started, saved, tested = time.monotonic(), time.monotonic(), (run.views, run.steps)
    while run.views < args.views:
        sums.update(run.step(*next(batches), pace_at(run, args.views, args.decay_from)))
        is_done = run.views >= args.views
        if run.views - tested[0] >= args.test_views or is_done:
            seconds = time.monotonic() - started
            line = {"time": time.strftime("%FT%T"), "views": run.views, "steps": run.steps}
            line["views_per_s"] = round((run.views - tested[0]) / seconds, 1)
            line |= {f"loss_{name}": round(value / (run.steps - tested[1]), 4) for name, value in sums.items()}
            line |= dev_figures(run.average, dev)
            with (args.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
            sums.clear()
            started, tested = time.monotonic(), (run.views, run.steps)
        if time.monotonic() - saved > 60 * args.save_minutes or is_done:
            run.save()
            saved = time.monotonic()


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, required=True, help="folder with photos/ and others/")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and log")
    parser.add_argument("--views", type=int, default=400_000, help="pictures to train on, in all")
    parser.add_argument("--decay_from", type=int, help="pictures after which the learning rate falls")
    parser.add_argument(
        "--frozen", type=int, default=-1, help="blocks that keep their weights, with the stem; -1: none"
    )
    parser.add_argument("--batch", type=int, default=32, help="pictures of 224 x 224 in a batch; more of smaller ones")
    parser.add_argument(
        "--head_start", type=int, default=10_000, help="pictures that the heads are trained on beforehand"
    )
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--test_views", type=int, default=5000, help="pictures between tests")
    parser.add_argument("--save_minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=131)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
