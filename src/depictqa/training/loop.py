"""The training loop on a DeepSpeed engine: micro steps, updates, curves, checkpoints."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from depictqa.data.training import Batch
from depictqa.training.checkpoint import save_state, save_trained
from depictqa.training.distributed import fail_together
from depictqa.training.metrics import RunLog
from depictqa.training.settings import Plan
from depictqa.training.stop import StopSignal
from depictqa.training.tally import Tally, losses_and_accuracies
from depictqa.training.validation import Validation


@dataclass(frozen=True)
class Saving:
    """When and where checkpoints are written; the two frequencies are `train.save_freq_*`, None for never."""

    folder: Path
    every_micro_steps: int | None
    every_epochs: int | None
    keep_last: int
    settings: dict  # what a state's run depends on


def run(
    engine,
    batches: Iterator[Batch],
    plan: Plan,
    saving: Saving,
    validation: Validation | None,
    log: RunLog | None,
    stop: StopSignal,
    seed: int,
    first_step: int = 0,
) -> int:
    """Train from optimizer step `first_step` to the end of the plan, or until `stop` asks for an end; then the state
    of that step is saved.

    Args:
        engine: DeepSpeed's, around a `DepictQA`.
        batches: this rank's micro batches from there on.
        log: None on every rank but the first.

    Returns:
        the step reached.

    Raises:
        InputError: a loss is not finite, or a picture cannot be read; the last checkpoint stays as it is.
    """
    engine.train()
    tally, window, step = Tally(engine.device), [], first_step
    for number, batch in enumerate(batches, first_step * plan.accumulation):
        torch.manual_seed(_seed_of(seed, distributed.get_rank(), number))  # dropout is a matter of the step alone
        output = engine(batch.to(engine.device).conversations)
        engine.backward(output.loss)
        tally.add(batch.tasks, output)
        window.append((batch.ids, output.sample_losses))
        if len(window) < plan.accumulation:
            engine.step()
            continue
        step = (number + 1) // plan.accumulation
        known, stopping = _before_update(engine, tally, window, stop)
        engine.step()
        metrics = {"step": step, "epoch": number // plan.batches_per_epoch + 1} | known | _after_update(engine)
        tally, window = Tally(engine.device), []
        if log is not None:
            log.write(metrics, plan.batch_size * plan.accumulation)
        saved = _save_if_due(engine, step, plan, saving)
        if stopping and step < plan.optimizer_steps:
            if not saved:
                _save_state(engine, step, plan, saving)
            return step
        done, before = step * plan.accumulation, (step - 1) * plan.accumulation
        if validation is not None and validation.is_due(done, before, last=step == plan.optimizer_steps):
            validated = validation.run(engine)
            if log is not None:
                log.write_validation({"step": step} | validated)
    return step


def _seed_of(*numbers: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big")


def _before_update(
    engine, tally: Tally, window: list[tuple[list[str], torch.Tensor]], stop: StopSignal
) -> tuple[dict[str, float], bool]:
    """Losses and accuracy over all ranks, and the learning rate; and whether any rank is to stop.

    The one place that waits for the device.

    Raises:
        InputError: a loss is not finite; names the samples.
    """
    norm = _gradient_norm(engine)  # already under way when the sums are waited for
    sums, stopping = tally.reduce(stop.noted)
    overall, per_task = losses_and_accuracies(sums)
    if not math.isfinite(overall["loss"]):  # on any rank
        _stop_for(window)
    metrics = {"loss": overall["loss"], "acc": overall["acc"], "lr": engine.get_lr()[0]}
    if norm is not None:
        metrics["grad_norm"] = norm.item()
    return metrics | {f"loss/{task}": means["loss"] for task, means in per_task.items()}, stopping


def _gradient_norm(engine) -> torch.Tensor | None:
    """The norm of plain fp32 gradients, before clipping; None where DeepSpeed's optimizer will know it."""
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    if engine.zero_optimization_stage() > 0 or not gradients:
        return None
    return torch.nn.utils.get_total_norm(gradients)


def _after_update(engine) -> dict[str, float | None]:
    """What is known once DeepSpeed's optimizer has stepped."""
    known: dict[str, float | None] = {}
    if engine.zero_optimization_stage() > 0:
        norm = engine.get_global_grad_norm()
        known["grad_norm"] = float(norm) if norm is not None and math.isfinite(norm) else None  # fp16: the step was skipped
    if engine.fp16_enabled():
        known |= {"loss_scale": engine.optimizer.cur_scale, "skipped_steps": engine.skipped_steps}
    if engine.device.type == "cuda":
        known["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return known


def _stop_for(window: list[tuple[list[str], torch.Tensor]]) -> None:
    sample_losses = [pair for ids, losses in window for pair in zip(ids, losses.tolist(), strict=True)]
    names = [name for name, loss in sample_losses if not math.isfinite(loss)]
    everyones: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(everyones, names)
    names = [name for rank_names in everyones for name in rank_names]
    fail_together(
        f"the loss is not finite for the samples {', '.join(names)}; stopped before the update, checkpoints are as they were"
    )


def _save_if_due(engine, step: int, plan: Plan, saving: Saving) -> bool:
    """Checkpoints fall on updates: one that is due within an accumulation is written right after its update.

    Returns:
        whether any was written, and with it the state.
    """
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
        _save_state(engine, step, plan, saving)
    return bool(names)


def _save_state(engine, step: int, plan: Plan, saving: Saving) -> None:
    save_state(engine, saving.folder / "state", step, plan.optimizer_steps, saving.settings, saving.keep_last)
