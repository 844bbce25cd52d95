"""What `train.py` does: everything is checked, then the model is loaded, then the loop runs."""

import hashlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel
from torch import distributed

from depictqa.answers import write_text
from depictqa.config import Config, load_config, parse_overrides, require_file, value_at
from depictqa.data.loading import loaders_that_live
from depictqa.data.training import (
    MicroBatches,
    TrainingItem,
    TrainingSet,
    estimate_tokens,
    load_batches,
    read_mixture,
)
from depictqa.errors import InputError
from depictqa.files import Unwritable, writing
from depictqa.model.build import build_model, build_preprocessor, pick_device
from depictqa.model.delta import load_delta
from depictqa.model.depictqa import DepictQA
from depictqa.model.identity import digest
from depictqa.training.broken import BrokenSamples
from depictqa.training.checkpoint import DELTA, State, check_settings, find_state, load_state, read_state
from depictqa.training.curves import draw_curves
from depictqa.training.distributed import check_shared, from_first, is_first, say, start, together
from depictqa.training.engine import build_engine
from depictqa.training.loop import Saving, run
from depictqa.training.metrics import BROKEN, RunLog
from depictqa.training.settings import Plan, check_sections, pick_precision, plan_from
from depictqa.training.stop import EXIT_CODE, StopSignal
from depictqa.training.validation import Validation

RESUMED_WITH = (  # what a run's numbers depend on, beside its data and the number of processes
    *("seed", "deepspeed", "vision_preprocess", "train.epochs", "train.warmup_rate", "train.max_tokens"),
    *(
        "train.mask_answer_ends",
        "train.tune_llm",
        "train.length_window",
        "model.lora",
        "model.abstractor",
        "model.vision_feature_type",
    ),
    *("model.llm_conv_type", "model.unique_tag"),
)


def train(config_path: str, overrides: list[str], resume: str | None = None) -> None:
    """Train as a config says.

    Args:
        overrides: KEY=VALUE texts.
        resume: None starts anew; "auto" continues from the newest state where there is one; else a state's folder.

    Raises:
        InputError: config, data, weights or state are not as they must be, a loss is not finite, too many pictures are
            broken, or a file cannot be written.
    """
    warnings.simplefilter("ignore", FutureWarning)  # libraries about each other
    config = load_config(config_path, parse_overrides(overrides))
    device = pick_device(config.device)
    if device.type == "mps":
        raise InputError("device: training runs on cuda or cpu; expected --set device=cpu")
    for key in ("model.vision_encoder_path", "model.llm_path"):
        require_file(config, key)  # first of all: who has not got the weights yet is told so
    check_sections(config)
    dtype = pick_precision(config, device)
    device = start(device)
    max_missing = config.train.max_broken if resume else 0.0  # files may have got lost since the run began
    items, plan = together(lambda: _read_data(config, max_missing))
    validation_set = together(lambda: _read_validation(config, max_missing))
    settings = from_first(lambda: _settings(config, items))
    state = from_first(lambda: _choose_state(config, resume, settings))
    check_shared(Path(config.train.save_dir), f"{config.config_path}: train.save_dir")
    if state and state.finished:
        say(f"{state.path}: this run is finished; nothing to do")
        return
    model = together(lambda: _load_model(config, device, dtype, state))
    engine = together(lambda: build_engine(model, config, plan, device))
    if any(item.opinion for item in items):
        together(lambda: model.level_ids)  # raises where the tokenizer cannot tell them apart
    if state:
        load_state(engine, state)
        say(f"continues after step {state.step} of {plan.optimizer_steps}, from {state.path}")
    first_step = state.step if state else 0
    saving = Saving(
        folder=Path(config.train.save_dir),
        every_micro_steps=config.train.save_freq_step,
        every_epochs=config.train.save_freq_epoch,
        keep_last=config.train.keep_last,
        settings=settings,
    )
    data = TrainingSet(items, build_preprocessor(config), config.seed)
    known = from_first(lambda: data.broken_among(state.broken)) if state else []  # others were mended
    batches = _load_batches(config, data, plan, device, first_step)
    log = _open_log(config, plan, first_step) if is_first() else None
    broken = _broken_samples(config, "training", data, log, known)
    validation = _validation(config, validation_set, log) if validation_set is not None else None
    try:
        with StopSignal() as stop, loaders_that_live("continue with --resume auto"):
            step = run(engine, batches, plan, saving, validation, log, broken, stop, config.seed, first_step)
    except Unwritable as error:
        raise InputError(
            f"{error}; earlier checkpoints are as they were. Make room there, then continue with --resume auto"
        ) from None
    finally:
        if log is not None:
            log.close()
    if step < plan.optimizer_steps:
        say(f"stopped by SIGTERM after step {step} of {plan.optimizer_steps}; go on with --resume auto")
        sys.exit(EXIT_CODE)
    if is_first():
        with writing(Path(config.train.log_dir)):
            draw_curves(Path(config.train.log_dir))
    say(f"trained: {saving.folder / 'ckpt.pt'}; curves: {config.train.log_dir}")


def _read_data(config: Config, max_missing: float) -> tuple[list[TrainingItem], Plan]:
    where = f"{config.config_path}: data.train.meta_paths_weights"
    items = read_mixture(config.data.train.meta_paths_weights, config.data.root_dir, where, is_first(), max_missing)
    plan = plan_from(config, len(items), distributed.get_world_size())
    say(
        f"{len(items)} samples an epoch, {plan.epochs} epochs, {plan.optimizer_steps} optimizer steps of "
        f"{plan.accumulation} x {plan.batch_size} samples; {plan.warmup_steps} warm up"
        + (", which is all of them: little will be learned" if plan.warmup_steps >= plan.optimizer_steps else "")
    )
    return items, plan


def _read_validation(config: Config, max_missing: float) -> TrainingSet | None:
    if not config.train.val_meta_paths:
        return None
    where = f"{config.config_path}: train.val_meta_paths"
    metas = [[path, 1] for path in config.train.val_meta_paths]
    items = read_mixture(metas, config.data.root_dir, where, is_first(), max_missing)
    if config.train.val_metric and config.deepspeed.get("zero_optimization", {}).get("stage") == 3:
        raise InputError(
            f"{config.config_path}: train.val_metric: answers differ in length, but ZeRO stage 3 needs the same steps on "
            "every rank; expected null with deepspeed.zero_optimization.stage 3"
        )
    return TrainingSet(items, build_preprocessor(config), seed=None)


def _validation(config: Config, data: TrainingSet, log: RunLog | None) -> Validation:
    return Validation(
        data=data,
        every_micro_steps=config.train.val_freq_step,
        batch_size=config.deepspeed.get("train_micro_batch_size_per_gpu", 1),
        num_workers=config.data.num_workers,
        broken=_broken_samples(config, "validation", data, log),
        metric=config.train.val_metric,
        max_new_tokens=config.infer.max_new_tokens,
    )


def _broken_samples(
    config: Config, name: str, data: TrainingSet, log: RunLog | None, known: Sequence[int] = ()
) -> BrokenSamples:
    file = Path(config.train.log_dir) / BROKEN
    return BrokenSamples(name, len(data), config.train.max_broken, file, log.write_broken if log else None, known)


def _load_batches(config: Config, data: TrainingSet, plan: Plan, device: torch.device, first_step: int):
    """This rank's micro batches from `first_step` on."""
    tokens_per_image = (config.vision_preprocess.resize // config.vision_preprocess.patch_size) ** 2
    if config.model.abstractor is not None:
        tokens_per_image = config.model.abstractor.num_query
    micro_batches = MicroBatches(
        lengths=[estimate_tokens(item, tokens_per_image) for item in data.items],
        batch_size=plan.batch_size // distributed.get_world_size(),
        accumulation=plan.accumulation,
        rank=distributed.get_rank(),
        world_size=distributed.get_world_size(),
        seed=config.seed,
        start=first_step * plan.accumulation,
        stop=plan.micro_steps,
        window=config.train.length_window,
    )
    pin_memory = device.type == "cuda"
    return load_batches(data, micro_batches, config.data.num_workers, pin_memory, ahead=plan.accumulation)


def _settings(config: Config, items: list[TrainingItem]) -> dict[str, str]:
    """What a run depends on, by dotted key: a state is continued under the same only. Files may have moved."""
    data = hashlib.sha256()
    for item in items:
        data.update(repr((item.id, item.task.name, item.turns, item.opinion)).encode())
    settings = {"processes": str(distributed.get_world_size()), "data.train (sha256 of its items)": data.hexdigest()}
    for key in ("vision_encoder_path", "llm_path"):
        settings[f"model.{key} (sha256 of its files)"] = digest(getattr(config.model, key))
    for dotted in RESUMED_WITH:
        value = value_at(config, dotted)
        settings[dotted] = repr(value.model_dump() if isinstance(value, BaseModel) else value)
    return settings


def _choose_state(config: Config, resume: str | None, settings: dict) -> State | None:
    """The state to continue from. Starting anew removes the states of a finished run, and those only."""
    for key in ("train.save_dir", "train.log_dir"):
        _check_writable(Path(value_at(config, key)), f"{config.config_path}: {key}")
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


def _check_writable(folder: Path, where: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{where}: {folder} cannot be written ({error.strerror})") from None


def _load_model(config: Config, device: torch.device, dtype: torch.dtype, state: State | None) -> DepictQA:
    torch.manual_seed(config.seed)
    given = config.model.delta_path
    if state is not None:
        delta = state.path / DELTA
    else:
        delta = Path(given) if given is not None and Path(given).exists() else None
    model = build_model(config, device, dtype, delta=False)
    if delta is not None:
        load_delta(model, delta)
    if delta is not None and state is None:
        say(f"*** training STARTS FROM the delta {delta} (model.delta_path), not from scratch ***")
    if not config.train.tune_llm:
        model.llm.requires_grad_(False)
    if device.type == "cpu":
        model.least_share = 1  # a pass through the ViT for each size: sharing one would only add padding
    if config.train.gradient_checkpointing:
        llama: Any = model.llm.get_base_model()  # a PreTrainedModel; peft says Module
        llama.gradient_checkpointing_enable({"use_reentrant": False})
    trained, everything = (
        sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (True, False)
    )
    say(f"{trained:,} of {everything:,} parameters train; {str(dtype).removeprefix('torch.')} on {device}")
    return model


def _open_log(config: Config, plan: Plan, first_step: int) -> RunLog:
    folder = Path(config.train.log_dir)
    print_every = max(1, config.train.log_step // plan.accumulation)
    log = RunLog(folder, first_step, plan.optimizer_steps, print_every)
    resolved = yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)
    write_text(folder / "training_args.yaml", resolved)
    return log
