"""The full state of a run: folders `{save_dir}/state/step{N}` that are whole or not there.

A folder holds the delta, the optimizer (`optimizer.rank{R}.pt`, one for each process from ZeRO 1 on) and
`manifest.json`: the step, the settings that the run depends on, the samples left out so far, the hash of every file.
It is written under a temporary name and renamed; the newest folder whose files fit its manifest is the one to continue
from. No random state is kept, since every draw follows from the seed and the step. The files hold tensors and plain
values only, so that nothing they may carry is run.
"""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from depictqa.answers import write_json
from depictqa.errors import InputError
from depictqa.files import writing
from depictqa.model.delta import belongs_to_delta, save_delta
from depictqa.model.weights import save_torch_file

MANIFEST = "manifest.json"
DELTA = "delta.pt"
COUNTERS = ("global_steps", "global_samples", "skipped_steps")  # attributes of DeepSpeed's engine
LOSS_SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")  # of its loss scaler, with fp16


@dataclass(frozen=True)
class State:
    """A state on disk, found whole. `step` counts optimizer steps; `total_steps` is where its run ends; `broken` are the
    indices of the samples left out until then."""

    path: Path
    step: int
    total_steps: int
    settings: Mapping
    broken: Sequence[int]

    @property
    def finished(self) -> bool:
        return self.step >= self.total_steps


def save_trained(engine, path: Path) -> None:
    """Write the delta. Every rank calls this: with ZeRO 3 each holds a part."""
    import deepspeed

    parameters = [p for name, p in engine.module.named_parameters() if belongs_to_delta(name)]
    with deepspeed.zero.GatheredParameters(parameters, enabled=engine.zero_optimization_stage() == 3):
        if distributed.get_rank() == 0:
            save_delta(engine.module, path)


def save_state(
    engine, folder: Path, step: int, total_steps: int, settings: Mapping, keep_last: int, broken: Sequence[int] = ()
) -> None:
    """Write `folder/step{step}`, then remove all but the newest `keep_last`. Every rank calls this.

    Raises:
        InputError: the disk is full, or does not take the files; the states before are untouched.
    """
    target = folder / f"step{step:08d}"
    unfinished = folder / f".{target.name}.tmp"
    first = distributed.get_rank() == 0
    if first:
        shutil.rmtree(unfinished, ignore_errors=True)
    distributed.barrier()
    save_trained(engine, unfinished / DELTA)
    if first or engine.zero_optimization_stage() > 0:
        save_torch_file(unfinished / _optimizer_file(engine), _optimizer_state(engine))
    distributed.barrier()
    if first:
        with writing(target):
            files = {str(path.relative_to(unfinished)): _digest(path) for path in _files(unfinished)}
            manifest = {"step": step, "total_steps": total_steps, "settings": dict(settings), "broken": list(broken)}
            write_json(unfinished / MANIFEST, manifest | {"files": files})
            for path in _files(unfinished):
                _sync(path)
            shutil.rmtree(target, ignore_errors=True)  # a state of the same step that was found broken
            os.replace(unfinished, target)
            _sync(folder)
            for old in _newest_first(folder)[keep_last:]:
                shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()


def find_state(folder: Path) -> State | None:
    """The newest whole state in `folder`; broken ones are passed over, with a line on each."""
    for path in _newest_first(folder):
        try:
            return read_state(path)
        except InputError as error:
            print(f"passed over: {error}")
    return None


def read_state(path: str | Path) -> State:
    """Check a state's files against its manifest. Raises InputError: it is no state, or not whole."""
    path = Path(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        broken = manifest.get("broken", [])  # none were left out before there was this entry
        state = State(path, manifest["step"], manifest["total_steps"], manifest["settings"], broken)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: no training state; expected a folder like save_dir/state/step00000100") from None
    for name, digest in files.items():
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise InputError(f"{path}: this training state is broken: {name} has changed since it was written")
    return state


def load_state(engine, state: State) -> None:
    """Put fp32 weights, optimizer, schedule and loss scale back; the model has its delta already. Every rank calls this.

    Raises:
        InputError: the file is absent, or holds more than tensors and plain values.
    """
    saved = _load_without_code(state.path / _optimizer_file(engine))
    with _base_optimizer(engine) as optimizer:
        for weights, saved_weights in zip(_masters(optimizer), saved["weights"], strict=True):
            weights.data.copy_(saved_weights)
        optimizer.load_state_dict(saved["optimizer"])
    if engine.lr_scheduler is not None:
        engine.lr_scheduler.load_state_dict(saved["schedule"])
    vars(engine).update(saved["counters"])
    if engine.fp16_enabled():
        vars(engine.optimizer.loss_scaler).update(saved["loss_scale"])


def _optimizer_state(engine) -> dict:
    """What this rank's part of the optimizer holds after an update."""
    with _base_optimizer(engine) as optimizer:
        state = {
            "weights": [weights.detach().to("cpu", copy=True) for weights in _masters(optimizer)],
            "optimizer": optimizer.state_dict(),
        }
    state["schedule"] = engine.lr_scheduler.state_dict() if engine.lr_scheduler is not None else None
    state["counters"] = {name: getattr(engine, name) for name in COUNTERS}
    scaler = vars(engine.optimizer.loss_scaler) if engine.fp16_enabled() else {}
    return state | {"loss_scale": {name: scaler[name] for name in LOSS_SCALE if name in scaler}}


@contextlib.contextmanager
def _base_optimizer(engine) -> Iterator[torch.optim.Optimizer]:
    """The optimizer of PyTorch that DeepSpeed's drives; its groups hold the fp32 weights that this rank updates."""
    outer = engine.optimizer
    if engine.zero_optimization_stage() < 3:
        yield getattr(outer, "optimizer", outer)
        return
    outer._set_fp32_optimizer_param_groups()  # between two updates, ZeRO 3 leaves the groups empty
    yield outer.optimizer
    outer._clear_fp32_optimizer_param_groups()


def _masters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [weights for group in optimizer.param_groups for weights in group["params"]]


def _optimizer_file(engine) -> str:
    rank = distributed.get_rank() if engine.zero_optimization_stage() > 0 else 0  # below ZeRO 1 all ranks hold the same
    return f"optimizer.rank{rank}.pt"


def _load_without_code(path: Path) -> dict:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(
            f"{path.parent}: this training state has no {path.name}: an earlier release wrote it; start anew, with "
            f"model.delta_path={path.parent / DELTA}"
        ) from None
    except pickle.UnpicklingError as error:
        reason = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), str(error)[:200])
        raise InputError(f"{path}: this state holds more than tensors and is not loaded ({reason})") from None


def check_settings(state: State, settings: Mapping) -> None:
    """Raises InputError naming the settings under which the state's run was started otherwise.

    What a state does not know, as it is of a time before that was noted, cannot be compared.
    """
    changed = [
        f"{key} was {was!r}, is {settings.get(key)!r}"
        for key, was in sorted(state.settings.items())
        if settings.get(key) != was
    ]
    if changed:
        raise InputError(f"{state.path}: this run was started with other settings: {'; '.join(changed)}")


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step*"), reverse=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
