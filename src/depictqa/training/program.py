"""What `train.py` does: everything is checked, then the model is loaded, then the loop runs."""

import hashlib
import shutil
from pathlib import Path

import torch
import yaml
from easydict import EasyDict
from torch import distributed

from depictqa.config import load_config, parse_overrides, require_file
from depictqa.data.training import MicroBatches, TrainingItem, TrainingSet, load_batches, read_mixture
from depictqa.errors import InputError
from depictqa.model.build import build_model, build_preprocessor, pick_device
from depictqa.model.depictqa import DepictQA
from depictqa.training.checkpoint import State, check_settings, find_state, load_state, read_state
from depictqa.training.distributed import from_first, is_first, say, start, together
from depictqa.training.engine import build_engine
from depictqa.training.loop import Saving, run
from depictqa.training.metrics import RunLog
from depictqa.training.settings import Plan, pick_precision, plan_from

RESUMED_WITH = ("seed", "model", "vision_preprocess", "deepspeed", "train.epochs", "train.warmup_rate")  # the same settings


def train(config_path: str, overrides: list[str], resume: str | None = None) -> None:
    """Train as a config says.

    Args:
        overrides: KEY=VALUE texts.
        resume: None starts anew; "auto" continues from the newest state where there is one; else a state's folder.

    Raises:
        InputError: config, data, weights or state are not as they must be, or a loss is not finite.
    """
    config = load_config(config_path, parse_overrides(overrides))
    device = pick_device(config.device)
    if device.type == "mps":
        raise InputError("device: training runs on cuda or cpu; expected --set device=cpu")
    dtype = pick_precision(config, device)
    for key in ("model.vision_encoder_path", "model.llm_path"):
        require_file(config, key)
    device = start(device)
    items, plan = together(lambda: _read_data(config))
    settings = _settings(config, items)
    state = from_first(lambda: _choose_state(config, resume, settings))
    if state and state.finished:
        say(f"{state.path}: this run is finished; nothing to do")
        return
    model = together(lambda: _load_model(config, device, dtype, from_delta=state is None))
    engine = build_engine(model, config, plan, device)
    if state:
        load_state(engine, state)
        say(f"continues after step {state.step} of {plan.optimizer_steps}, from {state.path}")
    first_step = state.step if state else 0
    micro_batches = MicroBatches(
        length=len(items),
        batch_size=engine.train_micro_batch_size_per_gpu(),
        rank=distributed.get_rank(),
        world_size=distributed.get_world_size(),
        seed=config.seed,
        start=first_step * plan.accumulation,
        stop=plan.micro_steps,
    )
    data = TrainingSet(items, build_preprocessor(config), config.seed)
    batches = load_batches(data, micro_batches, config.data.num_workers, pin_memory=device.type == "cuda")
    saving = Saving(
        folder=Path(config.train.save_dir),
        every_micro_steps=config.train.save_freq_step,
        every_epochs=config.train.save_freq_epoch,
        keep_last=config.train.keep_last,
        settings=settings,
    )
    log = _open_log(config, plan, first_step) if is_first() else None
    try:
        run(engine, batches, plan, saving, log, config.seed, first_step)
    finally:
        if log is not None:
            log.close()
    say(f"trained: {saving.folder / 'ckpt.pt'}")


def _read_data(config: EasyDict) -> tuple[list[TrainingItem], Plan]:
    where = f"{config.config_path}: data.train.meta_paths_weights"
    items = read_mixture(config.data.train.meta_paths_weights, config.data.root_dir, where, check_images=is_first())
    plan = plan_from(config, len(items), distributed.get_world_size())
    say(
        f"{len(items)} samples an epoch, {plan.epochs} epochs, {plan.optimizer_steps} optimizer steps of "
        f"{plan.accumulation} x {plan.batch_size} samples; {plan.warmup_steps} warm up"
    )
    return items, plan


def _settings(config: EasyDict, items: list[TrainingItem]) -> dict[str, str]:
    """What a run depends on, by dotted key: a state is continued under the same only."""
    settings = {"processes": str(distributed.get_world_size()), "data": hashlib.sha256(repr(items).encode()).hexdigest()}
    for dotted in RESUMED_WITH:
        value = config
        for key in dotted.split("."):
            value = value[key]
        settings[dotted] = repr(value)
    return settings


def _choose_state(config: EasyDict, resume: str | None, settings: dict) -> State | None:
    """The state to continue from. Starting anew removes the states of a finished run, and those only."""
    folder = Path(config.train.save_dir) / "state"
    newest = find_state(folder)
    if resume is None:
        if newest is not None and not newest.finished:
            raise InputError(
                f"{folder} holds step {newest.step} of {newest.total_steps} of an unfinished run; continue it with "
                "--resume auto, or remove that folder, or choose another train.save_dir"
            )
        shutil.rmtree(folder, ignore_errors=True)
        return None
    state = newest if resume == "auto" else read_state(resume)
    if state is None:
        print(f"--resume auto: no state in {folder}; starting anew")
    else:
        check_settings(state, settings)
    return state


def _load_model(config: EasyDict, device: torch.device, dtype: torch.dtype, from_delta: bool) -> DepictQA:
    torch.manual_seed(config.seed)
    path = config.model.delta_path
    from_delta = from_delta and path is not None and Path(path).exists()
    model = build_model(config, device, dtype, delta=from_delta)
    if from_delta:
        say(f"*** training STARTS FROM the delta {path} (model.delta_path), not from scratch ***")
    trained, everything = (
        sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (True, False)
    )
    say(f"{trained:,} of {everything:,} parameters train; {str(dtype).removeprefix('torch.')} on {device}")
    return model


def _open_log(config: EasyDict, plan: Plan, first_step: int) -> RunLog:
    folder = Path(config.train.log_dir)
    print_every = max(1, config.train.log_step // plan.accumulation)
    log = RunLog(folder, first_step, plan.optimizer_steps, print_every)
    plain = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    (folder / "training_args.yaml").write_text(plain, encoding="utf-8")
    return log


def _plain(value):
    """EasyDict and tuples to what YAML writes."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
