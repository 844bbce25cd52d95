"""The full state of a run: folders `{save_dir}/state/step{N}` that are whole or not there.

A folder holds the delta, DeepSpeed's files (optimizer, fp32 weights, schedule, loss scale) and `manifest.json`: the
step, the settings that the run depends on, the samples left out so far, the hash of every file. It is written under a
temporary name and renamed; the newest folder whose files fit its manifest is the one to continue from. No code that a
file may carry is run.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from depictqa.answers import write_json
from depictqa.errors import InputError
from depictqa.model.delta import belongs_to_delta, save_delta
from depictqa.training.disk import writing

TAG = "deepspeed"  # the folder that DeepSpeed makes inside
MANIFEST = "manifest.json"
DELTA = "delta.pt"


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
            with writing(path):
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
    _pickle_enums_by_value()
    with writing(target):
        engine.save_checkpoint(str(unfinished), tag=TAG, save_latest=False, exclude_frozen_parameters=True)
        if first:
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
    """Put weights, optimizer, schedule and loss scale back. Every rank calls this."""
    engine.checkpoint_engine.load = _load_without_code  # DeepSpeed's own would unpickle whatever is there
    loaded, _ = engine.load_checkpoint(str(state.path), tag=TAG, load_module_strict=False)
    assert loaded is not None, state.path


def _load_without_code(path: str, map_location=None):
    """A file of DeepSpeed: tensors, plain values, and the few classes that it writes.

    Raises:
        InputError: the file holds anything else.
    """
    with torch.serialization.safe_globals(_deepspeeds_classes()):
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            reason = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), str(error)[:200])
            raise InputError(f"{path}: this state holds more than tensors and is not loaded ({reason})") from None


def _pickle_enums_by_value() -> None:
    """As Python does from 3.11.4 on; before, it wrote a `getattr`, and what asks for that is not loaded."""
    from deepspeed.runtime.zero.config import ZeroStageEnum

    ZeroStageEnum.__reduce_ex__ = lambda stage, protocol: (ZeroStageEnum, (stage.value,))


def _deepspeeds_classes() -> list[type]:
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [ZeroStageEnum, fragment_address, LossScaler, DynamicLossScaler]


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
