"""From a config to the numbers of a run: steps, warm-up, precision."""

from dataclasses import dataclass
from typing import Any

import torch

from depictqa.config import Config
from depictqa.errors import InputError

LEAST_WARMUP = 10  # optimizer steps
SECTIONS = ("optimizer", "scheduler", "zero_optimization", "fp16", "bf16")


@dataclass(frozen=True)
class Plan:
    """How many steps a run has. A micro step is one forward and backward of every rank; `accumulation` of them
    make an optimizer step."""

    epochs: int
    batch_size: int  # samples of a micro step on all ranks
    batches_per_epoch: int  # micro steps; the incomplete last batch is left out
    accumulation: int
    schedule_steps: int  # what the learning rate's schedule counts to
    warmup_steps: int

    @property
    def optimizer_steps(self) -> int:
        """Updates that the data suffices for; micro steps after the last of them would change nothing."""
        return self.epochs * self.batches_per_epoch // self.accumulation

    @property
    def micro_steps(self) -> int:
        return self.optimizer_steps * self.accumulation


def make_plan(
    length: int, world_size: int, micro_batch: int, accumulation: int, epochs: int, warmup_rate: float
) -> Plan:
    """Count steps.

    Args:
        length: samples of an epoch.
        micro_batch: samples of a micro step on one rank.
        warmup_rate: share of the steps that warm up; never under LEAST_WARMUP steps.

    Raises:
        InputError: the data does not suffice for one optimizer step.
    """
    batch = micro_batch * accumulation * world_size
    schedule_steps = epochs * length // batch
    plan = Plan(
        epochs,
        micro_batch * world_size,
        length // (micro_batch * world_size),
        accumulation,
        schedule_steps,
        max(LEAST_WARMUP, int(schedule_steps * warmup_rate)),
    )
    if plan.optimizer_steps < 1:
        raise InputError(
            f"{epochs} epochs of {length} samples do not fill one optimizer step of {batch} samples "
            f"({world_size} processes x micro batch {micro_batch} x accumulation {accumulation})"
        )
    return plan


def plan_from(config: Config, length: int, world_size: int) -> Plan:
    """The plan of a config; see `make_plan`."""
    sizes = []
    for key in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        size = config.deepspeed.get(key, 1)
        if not isinstance(size, int) or size < 1:
            raise InputError(f"{config.config_path}: deepspeed.{key}: expected a whole number >= 1, found {size!r}")
        sizes.append(size)
    micro_batch, accumulation = sizes
    return make_plan(length, world_size, micro_batch, accumulation, config.train.epochs, config.train.warmup_rate)


def check_sections(config: Config) -> None:
    """Raises InputError where `deepspeed` names no optimizer, or holds something else than keys in a section we read."""
    for name in SECTIONS:
        if not isinstance(config.deepspeed.get(name, {}), dict):
            found = config.deepspeed[name]
            raise InputError(f"{config.config_path}: deepspeed.{name}: expected keys and values, found {found!r}")
    if "type" not in config.deepspeed.get("optimizer", {}):
        raise InputError(f"{config.config_path}: deepspeed.optimizer.type is missing; expected Adam, AdamW, ...")


def pick_precision(config: Config, device: torch.device) -> torch.dtype:
    """The model's dtype: deepspeed.fp16 or deepspeed.bf16 where enabled, else fp32.

    Raises:
        InputError: both are enabled, fp16 on a CPU, or `dtype` says otherwise.
    """
    enabled = [name for name in ("fp16", "bf16") if config.deepspeed.get(name, {}).get("enabled")]
    if len(enabled) == 2:
        raise InputError(f"{config.config_path}: deepspeed.fp16.enabled and deepspeed.bf16.enabled exclude each other")
    name = enabled[0] if enabled else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise InputError(
            f"{config.config_path}: deepspeed.fp16.enabled: fp16 trains on a GPU only, and the device is {device.type}; "
            "set deepspeed.fp16.enabled=false for fp32"
        )
    if config.dtype not in ("auto", name):
        raise InputError(
            f"{config.config_path}: dtype is {config.dtype}, but deepspeed.fp16 and deepspeed.bf16 say {name}; "
            "training uses their precision: leave dtype at auto"
        )
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]


def plain(value) -> Any:
    """EasyDict and tuples to the dicts and lists that YAML and a state without code hold."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
