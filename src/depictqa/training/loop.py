"""The training loop on a DeepSpeed engine: micro steps, updates, curves, checkpoints."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from depictqa.data.training import Batch
from depictqa.model.delta import save_delta
from depictqa.training.checkpoint import save_state
from depictqa.training.distributed import fail_together
from depictqa.training.metrics import RunLog
from depictqa.training.settings import Plan


@dataclass(frozen=True)
class Saving:
    """When and where checkpoints are written; the two frequencies are `train.save_freq_*`, None for never."""

    folder: Path
    every_micro_steps: int | None
    every_epochs: int | None
    keep_last: int
    settings: dict  # what a state's run depends on


@dataclass
class MicroStep:
    """What is kept of a micro step until the update; tensors stay on the device."""

    ids: list[str]
    losses: torch.Tensor  # [B]
    correct: torch.Tensor
    targets: torch.Tensor


def run(
    engine, batches: Iterator[Batch], plan: Plan, saving: Saving, log: RunLog | None, seed: int, first_step: int = 0
) -> None:
    """Train from optimizer step `first_step` to the end of the plan.

    Args:
        engine: DeepSpeed's, around a `DepictQA`.
        batches: this rank's micro batches from there on.
        log: None on every rank but the first.

    Raises:
        InputError: a loss is not finite, or a picture cannot be read; the last checkpoint stays as it is.
    """
    engine.train()
    window: list[MicroStep] = []
    for number, batch in enumerate(batches, first_step * plan.accumulation):
        torch.manual_seed(_seed_of(seed, distributed.get_rank(), number))  # dropout is a matter of the step alone
        output = engine(batch.to(engine.device).conversations)
        engine.backward(output.loss)
        window.append(MicroStep(batch.ids, output.sample_losses, output.correct, output.targets))
        if len(window) < plan.accumulation:
            engine.step()
            continue
        step = (number + 1) // plan.accumulation
        lr = engine.get_lr()[0]
        metrics, samples = _reduce(window, engine)
        window = []
        engine.step()
        if log is not None:
            epoch = number // plan.batches_per_epoch + 1
            log.write({"step": step, "epoch": epoch, **metrics, "lr": lr, **_after_step(engine, metrics)}, samples)
        _save_if_due(engine, step, plan, saving)


def _seed_of(*numbers: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big")


def _reduce(window: list[MicroStep], engine) -> tuple[dict, int]:
    """Loss and accuracy over all ranks, and the number of samples. The one place that waits for the device.

    Raises:
        InputError: a loss is not finite; names the samples.
    """
    losses = torch.cat([micro.losses for micro in window]).double()
    counts = torch.stack([sum(micro.correct for micro in window), sum(micro.targets for micro in window)]).double()
    norm = _gradient_norm(engine)
    totals = torch.cat([losses.sum()[None], losses.new_tensor([len(losses)]), counts])
    distributed.all_reduce(totals)
    loss, samples, correct, targets, norm = torch.cat([totals, norm]).tolist()
    if loss - loss != 0:  # not finite, on any rank
        _stop_for(window)
    metrics = {"loss": loss / samples, "acc": correct / max(targets, 1.0)}
    return metrics | ({"grad_norm": norm} if norm >= 0 else {}), int(samples)


def _gradient_norm(engine) -> torch.Tensor:
    """[1]: the norm of plain fp32 gradients, before clipping; -1 where DeepSpeed's optimizer will know it."""
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    if engine.zero_optimization_stage() > 0 or not gradients:
        return torch.full((1,), -1.0, dtype=torch.double, device=engine.device)
    return torch.nn.utils.get_total_norm(gradients).double()[None]


def _after_step(engine, metrics: dict) -> dict:
    """What is known once DeepSpeed's optimizer has stepped."""
    known = {}
    if "grad_norm" not in metrics:
        known["grad_norm"] = float(engine.get_global_grad_norm())
    if engine.fp16_enabled():
        known |= {"loss_scale": engine.optimizer.cur_scale, "skipped_steps": engine.skipped_steps}
    if engine.device.type == "cuda":
        known["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return known


def _stop_for(window: list[MicroStep]) -> None:
    ids = [name for micro in window for name, loss in zip(micro.ids, micro.losses.tolist(), strict=True) if loss - loss != 0]
    everyones: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(everyones, ids)
    names = ", ".join(name for rank_ids in everyones for name in rank_ids)
    fail_together(f"the loss is not finite for the samples {names}; stopped before the update, checkpoints are as they were")


def _save_if_due(engine, step: int, plan: Plan, saving: Saving) -> None:
    """Checkpoints fall on updates: one that is due within an accumulation is written right after its update."""
    done, before = step * plan.accumulation, (step - 1) * plan.accumulation
    epoch, within = divmod(done, plan.batches_per_epoch)
    epoch_before, within_before = divmod(before, plan.batches_per_epoch)
    names = []
    if step == plan.optimizer_steps:
        names += [f"ckpt_epoch{plan.epochs}.pt", "ckpt.pt"]
    elif epoch > epoch_before and saving.every_epochs and epoch % saving.every_epochs == 0:
        names.append(f"ckpt_epoch{epoch}.pt")
    elif epoch == epoch_before and (every := saving.every_micro_steps) and within // every > within_before // every:
        names.append(f"ckpt_epoch{epoch + 1}_step{within // every * every}.pt")
    for name in names:
        save_trained(engine, saving.folder / name)
    if names:
        save_state(engine, saving.folder / "state", step, plan.optimizer_steps, saving.settings, saving.keep_last)


def save_trained(engine, path: Path) -> None:
    """Write the delta. Every rank calls this: with ZeRO 3 each holds a part."""
    import deepspeed

    trained = [p for p in engine.module.parameters() if p.requires_grad]
    with deepspeed.zero.GatheredParameters(trained, enabled=engine.zero_optimization_stage() == 3):
        if distributed.get_rank() == 0:
            save_delta(engine.module, path)
