"""What the vision encoder is trained to say, and by which losses; the heads are thrown away afterwards."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from build_datasets.nano.views import CLASS_NAMES, SEVERITIES, Pair, Truth

NUM_CLASSES = len(CLASS_NAMES)
LOSS_WEIGHTS = {"classes": 1.0, "present": 0.5, "severity": 0.3, "order": 0.5, "cells": 0.3}


@dataclass
class Judgement:
    """What the heads say of pictures: logits, but for `score`, which is higher for better pictures."""

    classes: torch.Tensor  # [B, 13], of one distortion or none
    present: torch.Tensor  # [B, 12], of each distortion
    severity: torch.Tensor  # [B, 6]
    score: torch.Tensor  # [B]
    cells: torch.Tensor  # [B, N, 13], of each cell


class Heads(nn.Module):
    """One hidden layer, then linear maps: of the mean token for the whole picture, of each token for its cell.

    Args:
        width: channels of a token.
    """

    def __init__(self, width: int, hidden: int = 512, dropout: float = 0.3):
        super().__init__()
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout))
        self.classes, self.present = nn.Linear(hidden, NUM_CLASSES), nn.Linear(hidden, NUM_CLASSES - 1)
        self.severity, self.score = nn.Linear(hidden, SEVERITIES), nn.Linear(hidden, 1)
        self.cells = nn.Linear(hidden, NUM_CLASSES)

    def forward(self, tokens: torch.Tensor) -> Judgement:
        """[B, N, C] ->"""
        whole = self.hidden(tokens.mean(1))  # [B, hidden]
        cells = self.cells(self.hidden(tokens))  # [B, N, 13]
        return Judgement(self.classes(whole), self.present(whole), self.severity(whole), self.score(whole)[:, 0], cells)


@dataclass
class Targets:
    """Of B pictures, two of each view in turn."""

    classes: torch.Tensor  # [B, 13], probabilities
    present: torch.Tensor  # [B, 12], 0 or 1
    severity: torch.Tensor  # [B, 6], probabilities
    is_whole: torch.Tensor  # [B], 0 where only a part is distorted
    order: torch.Tensor  # [B / 2], 1, -1 or 0
    cells: torch.Tensor  # [B, N, 13], probabilities

    @classmethod
    def of(cls, pairs: list[Pair], cell: int) -> "Targets":
        truths = [truth for pair in pairs for truth in pair.truths]
        shape = pairs[0].pictures.shape[1] // cell, pairs[0].pictures.shape[2] // cell
        classes = torch.from_numpy(np.stack([truth.class_target() for truth in truths]))
        present = torch.zeros(len(truths), NUM_CLASSES)
        for row, truth in zip(present, truths, strict=True):
            row[[CLASS_NAMES.index(label) for label, *_ in truth.distortions]] = 1
        return cls(
            classes=classes,
            present=present[:, 1:],
            severity=torch.from_numpy(np.stack([truth.severity_target() for truth in truths])),
            is_whole=torch.tensor([truth.region is None for truth in truths], dtype=torch.float32),
            order=torch.tensor([pair.order for pair in pairs], dtype=torch.float32),
            cells=torch.stack([_cells(truth, row, shape, cell) for truth, row in zip(truths, classes, strict=True)]),
        )


def _cells(truth: Truth, classes: torch.Tensor, shape: tuple[int, int], cell: int) -> torch.Tensor:
    """The class probabilities of each cell [N, 13]: the picture's within the distorted part, None elsewhere."""
    cells = torch.zeros(*shape, NUM_CLASSES)
    if truth.region is None:
        cells[:] = classes
    else:
        cells[..., 0] = 1
        top, left, bottom, right = (edge // cell for edge in truth.region)
        cells[top:bottom, left:right] = classes
    return cells.flatten(0, 1)


def losses(judged: Judgement, targets: Targets) -> dict[str, torch.Tensor]:
    """By name, each a mean over what it concerns."""
    whole = targets.is_whole
    first, second = judged.score[0::2], judged.score[1::2]
    ordered = targets.order != 0
    return {
        "classes": _mean(F.cross_entropy(judged.classes, targets.classes, reduction="none"), whole),
        "present": _mean(
            F.binary_cross_entropy_with_logits(judged.present, targets.present, reduction="none").sum(1), whole
        ),
        "severity": _mean(F.cross_entropy(judged.severity, targets.severity, reduction="none"), whole),
        "order": _mean(F.softplus(-targets.order * (first - second)), ordered.float()),
        "cells": F.cross_entropy(judged.cells.flatten(0, 1), targets.cells.flatten(0, 1)),
    }


def _mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)


def total(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(LOSS_WEIGHTS[name] * loss for name, loss in parts.items())
