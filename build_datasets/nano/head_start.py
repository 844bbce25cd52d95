"""Train what lies behind the frozen backbone first, on statistics that are computed once.

An hour of fine-tuning on two CPU cores sees each view once; the projection and the heads learn nearly all they can from
a few thousand views that are gone through many times. Of a view the mean of its cells is kept, which is all that the
heads of the whole picture read, and a few cells for the head that looks at parts: a minute for all epochs.
"""

import dataclasses
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from build_datasets.nano.heads import Heads, Targets, losses, total
from depictqa.model.efficientnet import EfficientNetEncoder

CELLS = 4  # that are kept of a view
BATCH = 64  # pictures, two of each view
INPUT_DROPOUT = 0.3  # of statistics: keeps the heads from leaning on few of them

Cached = tuple[torch.Tensor, torch.Tensor, Targets]  # means [n, S], cells [n, CELLS, S], Targets of n pictures


def cache(encoder: EfficientNetEncoder, batches: Iterator[tuple[torch.Tensor, Targets]], views: int) -> Cached:
    """Statistics and targets of so many pictures, at least."""
    means, cells, targets, seen = [], [], [], 0
    while seen < views:
        pixels, target = next(batches)
        with torch.no_grad():
            normal = encoder.normalize(pixels).contiguous(memory_format=torch.channels_last)
            statistics = encoder.statistics(normal)  # [B, N, S]
        kept = torch.randint(statistics.shape[1], (CELLS,))
        means.append(statistics.mean(1))
        cells.append(statistics[:, kept])
        targets.append(dataclasses.replace(target, cells=target.cells[:, kept]))
        seen += len(pixels)
    columns = zip(*(_fields(target) for target in targets), strict=True)
    return torch.cat(means), torch.cat(cells), Targets(*(torch.cat(column) for column in columns))


def head_start(encoder: EfficientNetEncoder, heads: Heads, cached: Cached, epochs: int, lr: float = 1e-3) -> None:
    """Set the encoder's offset and scale, by which the means of pictures have mean 0 and deviation 1; its projection; the heads."""
    means, cells, targets = cached
    encoder.offset.copy_(means.mean(0))
    encoder.scale.copy_(1 / means.std(0).clamp(min=1e-4))
    parameters = [*encoder.projection.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    num_pairs = len(means) // 2
    steps = -(-num_pairs * 2 // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps, pct_start=0.1)
    for epoch in range(epochs):
        sums: dict[str, float] = {}
        for pairs in torch.randperm(num_pairs).split(BATCH // 2):
            rows = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()  # the two of a view stay together
            batch = Targets(*(field[pairs if field is targets.order else rows] for field in _fields(targets)))
            kept = F.dropout(torch.ones_like(means[rows]), INPUT_DROPOUT)[:, None]  # [B, 1, S]
            of_means = encoder.standardise(means[rows, None]) * kept
            of_cells = encoder.standardise(cells[rows]) * kept
            judged = heads(encoder.project(of_means, of_means))
            parts = losses(dataclasses.replace(judged, cells=heads(encoder.project(of_cells, of_means)).cells), batch)
            optimizer.zero_grad(set_to_none=True)
            total(parts).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 2.0)
            optimizer.step()
            schedule.step()
            for name, loss in parts.items():
                sums[name] = sums.get(name, 0) + loss.item() / steps
        print(
            f"head start {epoch + 1} of {epochs}:", {name: round(value, 3) for name, value in sums.items()}, flush=True
        )


def _fields(targets: Targets) -> list[torch.Tensor]:
    return [getattr(targets, field.name) for field in dataclasses.fields(targets)]
