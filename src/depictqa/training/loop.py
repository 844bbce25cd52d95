"""The training loop on a DeepSpeed engine: micro steps, updates, curves, checkpoints."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import distributed

from depictqa.data.training import Batch
from depictqa.training.broken import BrokenSamples
from depictqa.training.checkpoint import save_state, save_trained
from depictqa.training.distributed import fail_together
from depictqa.training.losses import learn
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
    broken: BrokenSamples,
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
        broken: the samples left out so far; a metric counts them.

    Returns:
        the step reached.

    Raises:
        InputError: a loss is not finite, too many samples are broken, or a file cannot be written; the last checkpoint
            stays as it is.
    """
    engine.train()
    step = first_step
    for step in range(first_step + 1, plan.optimizer_steps + 1):
        window = list(islice(batches, plan.accumulation))
        tally, losses, first = Tally(engine.device), [], (step - 1) * plan.accumulation
        for number, (batch, share) in enumerate(zip(window, _shares(window, plan, engine.device), strict=True), first):
            if losses:
                engine.step()  # between two passes it only counts; after the last one it updates
            torch.manual_seed(_seed_of(seed, distributed.get_rank(), number))  # dropout is a matter of the step alone
            output = learn(engine, batch.to(engine.device).conversations)
            engine.backward(output.loss * share)
            if batch.ids:
                tally.add(batch.tasks, output)
            losses.append(output.sample_losses)
        known, stopping = _before_update(engine, step, tally, window, losses, broken, stop)
        engine.step()
        epoch = (step * plan.accumulation - 1) // plan.batches_per_epoch + 1
        metrics = {"step": step, "epoch": epoch} | known | _after_update(engine)
        if log is not None:
            log.write(metrics, plan.batch_size * plan.accumulation)
        saved = _save_if_due(engine, step, plan, saving, broken)
        if stopping and step < plan.optimizer_steps:
            if not saved:
                _save_state(engine, step, plan, saving, broken)
            return step
        done, before = step * plan.accumulation, (step - 1) * plan.accumulation
        if validation is not None and validation.is_due(done, before, last=step == plan.optimizer_steps):
            validated = validation.run(engine, step)
            if log is not None:
                log.write_validation({"step": step} | validated)
    return step


def _seed_of(*numbers: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big")


def _shares(window: Sequence[Batch], plan: Plan, device: torch.device) -> list[torch.Tensor]:
    """What to multiply the mean loss of each micro batch by, so that every sample of the update weighs the same.

    DeepSpeed takes the mean over passes and ranks. It is the mean over samples while all passes have equally many; some
    have fewer where pictures are broken, and then all ranks have to agree on the number that is left. An update without
    any has a gradient of zero.
    """
    left = torch.tensor(float(sum(len(batch.ids) for batch in window)), device=device)
    distributed.all_reduce(left)  # not waited for on the host
    passes = plan.accumulation * distributed.get_world_size()
    return [len(batch.ids) * passes / left.clamp(min=1) for batch in window]  # 1 exactly, where none is broken


def _before_update(
    engine,
    step: int,
    tally: Tally,
    window: Sequence[Batch],
    losses: Sequence[torch.Tensor],
    broken: BrokenSamples,
    stop: StopSignal,
) -> tuple[dict[str, float | None], bool]:
    """Losses and accuracy over all ranks, the learning rate, broken samples so far; and whether any rank is to stop.

    The one place that waits for the device.

    Args:
        losses: [B] of each micro batch of the window.

    Raises:
        InputError: a loss is not finite (names the samples), or too many samples are broken.
    """
    norm = _gradient_norm(engine)  # already under way when the sums are waited for
    left_out = [entry for batch in window for entry in batch.broken]
    sums, stopping, any_broken = tally.reduce(stop.noted, len(left_out))
    if any_broken:  # on any rank
        broken.note(step, left_out)
    overall, per_task = losses_and_accuracies(sums)
    if overall["loss"] is not None and not math.isfinite(overall["loss"]):
        _stop_for(window, losses)
    metrics = {"loss": overall["loss"], "acc": overall["acc"], "lr": engine.get_lr()[0], "broken": len(broken.indices)}
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
        known["grad_norm"] = (
            float(norm) if norm is not None and math.isfinite(norm) else None
        )  # fp16: the step was skipped
    if engine.fp16_enabled():
        known |= {"loss_scale": engine.optimizer.cur_scale, "skipped_steps": engine.skipped_steps}
    if engine.device.type == "cuda":
        known["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return known


def _stop_for(window: Sequence[Batch], losses: Sequence[torch.Tensor]) -> None:
    pairs = zip(window, losses, strict=True)
    sample_losses = [pair for batch, rows in pairs if batch.ids for pair in zip(batch.ids, rows.tolist(), strict=True)]
    names = [name for name, loss in sample_losses if not math.isfinite(loss)]
    everyones: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(everyones, names)
    names = [name for rank_names in everyones for name in rank_names]
    fail_together(
        f"the loss is not finite for the samples {', '.join(names)}; stopped before the update, checkpoints are as they were"
    )


def _save_if_due(engine, step: int, plan: Plan, saving: Saving, broken: BrokenSamples) -> bool:
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
        _save_state(engine, step, plan, saving, broken)
    return bool(names)


def _save_state(engine, step: int, plan: Plan, saving: Saving, broken: BrokenSamples) -> None:
    save_state(
        engine,
        saving.folder / "state",
        step,
        plan.optimizer_steps,
        saving.settings,
        saving.keep_last,
        sorted(broken.indices),
    )
