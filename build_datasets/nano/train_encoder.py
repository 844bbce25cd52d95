"""Train Nano's vision encoder to judge scenes: the two layers behind its frozen ImageNet backbone.

    python build_datasets/nano/train_encoder.py --scenes DIR --out experiments/Nano/ckpt/encoder

`--scenes` is what scenes.py made. Prints what it gets right on photos that it is not trained on, and writes a folder
that `model.vision_encoder_path` names. A minute on one CPU core.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from build_datasets.nano import scenes
from build_datasets.nano.scenes import Scenes
from build_datasets.nano.views import CLASS_NAMES, Truth, order
from depictqa.errors import exit_cleanly
from depictqa.model.efficientnet import EfficientNetEncoder, Judgement, imagenet_weights

EPOCHS, BATCH, LR = 25, 64, 1e-3  # BATCH: scenes, of three pictures each
INPUT_DROPOUT, DROPOUT = 0.3, 0.5  # of statistics, of the first hidden layer
REFERENCE_WEIGHT = 0.3  # of a reference beside a distorted picture: a third of all would be clean otherwise
LOSS_WEIGHTS = {"classes": 1.0, "present": 0.5, "severity": 0.5, "order": 0.5}


def targets(truths: list[tuple[Truth, Truth]]) -> tuple[torch.Tensor, ...]:
    """Of reference, first, second: classes [n, 3, 13], present [n, 3, 12], severity [n, 3, 6]; order of each two [n, 3]."""
    triples = [(Truth(), *pair) for pair in truths]
    classes = torch.tensor(np.array([[truth.class_target() for truth in three] for three in triples]))
    present = torch.zeros_like(classes)
    for row, three in zip(present, triples, strict=True):
        for picture, truth in zip(row, three, strict=True):
            picture[[CLASS_NAMES.index(label) for label, *_ in truth.distortions]] = 1
    severity = torch.tensor(np.array([[truth.severity_target() for truth in three] for three in triples]))
    orders = torch.tensor([[order(a, b), order(a, c), order(b, c)] for a, b, c in triples], dtype=torch.float32)
    return classes, present[..., 1:], severity, orders


def losses(judged: Judgement, classes, present, severity, orders) -> dict[str, torch.Tensor]:
    """Of judgements [n, 3, ...]; by name, each a mean."""
    weights = torch.tensor([REFERENCE_WEIGHT, 1, 1]).expand(len(classes), 3)
    a, b, c = judged.harm[..., 0].unbind(1)
    gaps = torch.stack([b - a, c - a, c - b], dim=1)  # [n, 3], above 0 where the former is better
    return {
        "classes": _mean(F.cross_entropy(judged.classes.mT, classes.mT, reduction="none"), weights),
        "present": _mean(
            F.binary_cross_entropy_with_logits(judged.present, present, reduction="none").sum(-1), weights
        ),
        "severity": _mean(F.cross_entropy(judged.severity.mT, severity.mT, reduction="none"), weights),
        "order": _mean(F.softplus(-orders * gaps), orders.abs()),
    }


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)


def train(encoder: EfficientNetEncoder, looks: torch.Tensor, wanted: tuple[torch.Tensor, ...], epochs: int) -> None:
    """Set the encoder's offset, scale and layers, from looks [n, 3, 2, S] and their `targets`."""
    flat = looks.flatten(0, 2).float()
    encoder.offset.copy_(flat.mean(0))
    encoder.scale.copy_(1 / flat.std(0).clamp(min=1e-4))
    layers = torch.nn.ModuleList([encoder.first, encoder.second, encoder.judge])
    optimizer = torch.optim.AdamW(layers.parameters(), lr=LR, weight_decay=0.05)
    steps = -(-len(looks) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * steps, pct_start=0.1)
    for epoch in range(epochs):
        sums = dict.fromkeys(LOSS_WEIGHTS, 0.0)
        for rows in torch.randperm(len(looks)).split(BATCH):
            standard = encoder.standardise(looks[rows]).flatten(2)  # [B, 3, 2 S]
            seen = encoder.seen(F.dropout(standard, INPUT_DROPOUT), DROPOUT)  # [B, 3, SEEN]
            parts = losses(Judgement.of(encoder.judge(seen)), *(target[rows] for target in wanted))
            optimizer.zero_grad(set_to_none=True)
            torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in parts.items()]).sum().backward()
            torch.nn.utils.clip_grad_norm_(layers.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            for name, loss in parts.items():
                sums[name] += loss.item() / steps
        print(f"epoch {epoch + 1} of {epochs}:", {name: round(value, 3) for name, value in sums.items()}, flush=True)


@torch.inference_mode()
def figures(encoder: EfficientNetEncoder, dev: Scenes) -> dict[str, float]:
    """On scenes that were not trained on: naming of one distortion, None kept, severity within a level, order of two."""
    judged = Judgement.of(encoder.judge(encoder.seen(encoder.standardise(dev.looks).flatten(2))))
    named, harm = judged.classes.argmax(-1)[:, 1:], judged.harm[..., 0]
    level = (judged.severity.softmax(-1) @ torch.arange(6.0))[:, 1:]
    classes = torch.tensor([[truth.class_target().argmax() for truth in pair] for pair in dev.truths])
    count = torch.tensor([[len(truth.distortions) for truth in pair] for pair in dev.truths])
    severity = torch.tensor([[truth.severity for truth in pair] for pair in dev.truths])
    orders = torch.tensor([order(*pair) for pair in dev.truths])
    right, is_one = named == classes, (count == 1) & (classes > 0)
    by_class = torch.stack([right[is_one & (classes == k)].float().mean() for k in range(1, len(CLASS_NAMES))])
    within = (level.round() - severity).abs() <= 1
    found = {
        "named": by_class.mean(),
        "none_kept": right[count == 0].float().mean(),
        "reference_kept": (judged.classes.argmax(-1)[:, 0] == 0).float().mean(),
        "severity_within_1": within[count == 1].float().mean(),
        "order": ((harm[:, 2] - harm[:, 1]).sign() == orders)[orders != 0].float().mean(),
    }
    return {name: round(value.item(), 4) for name, value in found.items()}


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder that scenes.py has filled")
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoder")
    parser.add_argument("--num", type=int, help="train on so many scenes at most: those behind are left to the delta")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=131)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    found = scenes.load(args.scenes)
    train_on, dev = found.of(~found.is_dev), found.of(found.is_dev)
    encoder = EfficientNetEncoder()
    encoder.load_state_dict(imagenet_weights(), strict=False)
    train(encoder, train_on.looks[: args.num], targets(train_on.truths[: args.num]), args.epochs)
    print(figures(encoder.eval(), dev))
    encoder.save(args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
