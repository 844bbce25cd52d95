"""Sums over samples, per task: losses and hits stay on the device until somebody asks."""

import torch
from torch import distributed

from depictqa.prompts import TASKS
from depictqa.training.losses import TrainingOutput

NAMES = list(TASKS)


class Tally:
    """Adds up micro batches; `reduce` adds up the ranks. Per task: samples, losses, hits, targets, whole answers hit.
    One more row holds how many ranks stop, and how many samples are broken."""

    def __init__(self, device: torch.device):
        self._sums = torch.zeros(len(NAMES) + 1, 5, dtype=torch.float64, device=device)

    def add(self, tasks: list[str], output: TrainingOutput) -> None:
        """Count a micro batch: the task of each sample beside what the model made of it."""
        rows = torch.tensor([NAMES.index(task) for task in tasks]).to(self._sums.device, non_blocking=True)
        whole = (output.sample_correct == output.sample_targets) & (output.sample_targets > 0)
        columns = (torch.ones_like(whole), output.sample_losses, output.sample_correct, output.sample_targets, whole)
        self._sums.index_add_(0, rows, torch.stack([column.double() for column in columns], dim=1))  # [B, 5]

    def reduce(self, stopping: bool = False, broken: int = 0) -> tuple[list[list[float]], bool, int]:
        """The sums over all ranks, a row per task; whether any rank is `stopping`; and how many samples are `broken`.

        Waits for the device; every rank calls this, and all get the same.
        """
        self._sums[-1, :2] = torch.tensor([float(stopping), float(broken)])
        distributed.all_reduce(self._sums)
        *rows, (stops, all_broken, *_) = self._sums.tolist()
        return rows, stops > 0, int(all_broken)


def losses_and_accuracies(
    rows: list[list[float]],
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Over all samples, and per task that occurred: `loss` (mean over samples), `acc` (share of the target tokens predicted
    right), `exact` (share of the answers predicted right as a whole: what greedy decoding would answer). Without any
    sample all are None."""
    per_task = {name: _means(row) for name, row in zip(NAMES, rows, strict=True) if row[0]}
    return _means([sum(column) for column in zip(*rows, strict=True)]), per_task


def _means(row: list[float]) -> dict[str, float | None]:
    samples, losses, correct, targets, whole = row
    if not samples:
        return dict.fromkeys(("loss", "acc", "exact"))
    return {"loss": losses / samples, "acc": correct / max(targets, 1.0), "exact": whole / samples}
