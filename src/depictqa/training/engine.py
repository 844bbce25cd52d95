"""The DeepSpeed engine around a model, and its configuration completed."""

import logging

import torch

from depictqa.config import Config
from depictqa.errors import InputError
from depictqa.model.depictqa import DepictQA
from depictqa.training.distributed import say
from depictqa.training.settings import Plan, plain

ADAM = ("adam", "adamw")


def build_engine(model: DepictQA, config: Config, plan: Plan, device: torch.device):
    """DeepSpeed's engine, with the optimizer and the schedule of `deepspeed.*`. Says what it had to change there.

    Raises:
        InputError: DeepSpeed does not take a key or a value.
    """
    import deepspeed  # it looks at the device when imported: after `distributed.start`
    from deepspeed.runtime.config import DeepSpeedConfigError

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled at the first start, for 90 s
    settings, notes = complete(config.deepspeed, plan, device)
    for note in notes:
        say(note)
    if settings["zero_optimization"].get("stage") == 3:
        model.least_share = 0  # parameters are gathered for each pass of a module: as many passes on every rank
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        engine, *_ = deepspeed.initialize(
            model=model,
            model_parameters=trained,  # pyright: ignore[reportArgumentType]  # DeepSpeed's annotation says Module
            config=settings,
        )
    except (DeepSpeedConfigError, AssertionError, AttributeError, TypeError, ValueError) as error:  # also pydantic's
        reason = " ".join(str(error).split())
        raise InputError(f"{config.config_path}: deepspeed: DeepSpeed rejects this: {reason}") from error
    return engine


def complete(given: dict, plan: Plan, device: torch.device) -> tuple[dict, list[str]]:
    """Fill in what is computed, and what training here needs.

    Returns:
        DeepSpeed's configuration, and a line for each given key that was changed.
    """
    settings, notes = plain(given), []
    zero = settings.setdefault("zero_optimization", {})
    low_precision = [name for name in ("fp16", "bf16") if settings.get(name, {}).get("enabled")]
    if low_precision and zero.get("stage", 0) == 0:
        zero["stage"] = 1
        beside = f"which keeps fp32 weights beside those in {low_precision[0]}"
        notes.append(f"deepspeed.zero_optimization.stage: 0 -> 1, {beside}")
    if device.type == "cpu" and zero.pop("offload_optimizer", None):
        notes.append("deepspeed.zero_optimization.offload_optimizer: left out, everything is on the CPU")
    if "bf16" in low_precision:
        settings.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")
    if settings.get("optimizer", {}).get("type", "").lower() in ADAM:
        settings["optimizer"].setdefault("params", {}).setdefault("torch_adam", True)  # DeepSpeed's needs a compiler
    if settings.get("scheduler", {}).get("type") == "WarmupDecayLR":
        steps = {"total_num_steps": plan.schedule_steps, "warmup_num_steps": plan.warmup_steps}
        settings["scheduler"].setdefault("params", {}).update(steps)
    settings.setdefault("gradient_accumulation_steps", 1)
    settings.setdefault("train_micro_batch_size_per_gpu", 1)
    settings.setdefault("steps_per_print", None)
    settings.setdefault("timers", {"throughput": {"enabled": False}})  # it waits for the GPU at every micro step
    return settings, notes
