"""Step counts, precision and DeepSpeed's configuration."""

import pytest
import torch

from conftest import golden
from depictqa.config import load_config
from depictqa.errors import InputError
from depictqa.training.engine import complete
from depictqa.training.settings import make_plan, pick_precision, plan_from
from training.runs import make_run

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("case", golden("training/training.json")["settings"], ids=lambda case: case["name"])
def test_steps_are_counted_as_published(case):
    plan = make_plan(
        case["dataset_len"],
        case["world_size"],
        case["train_micro_batch_size_per_gpu"],
        case["gradient_accumulation_steps"],
        case["epochs"],
        case["warmup_rate"],
    )
    assert (plan.schedule_steps, plan.warmup_steps) == (case["total_num_steps"], case["warmup_num_steps"])
    assert plan.batches_per_epoch == case["batches_per_epoch_per_rank"]
    assert plan.epochs * plan.batches_per_epoch == case["progress_bar_total"]


def load(tmp_path, **deepspeed):
    return load_config(make_run(tmp_path, deepspeed=deepspeed))


def test_the_schedule_counts_to_the_plans_steps(tmp_path):
    config = load(tmp_path)
    settings, _ = complete(config.deepspeed, plan_from(config, 495_000, 8), CPU)
    params = settings["scheduler"]["params"]
    assert params["total_num_steps"] == 495_000 // 32 and params["warmup_num_steps"] == 1546
    assert "total_num_steps" not in config.deepspeed.scheduler.params


@pytest.mark.parametrize(
    "case", golden("training/warmup_decay_lr.json")["cases"], ids=lambda case: case["total_num_steps"]
)
def test_the_installed_deepspeeds_schedule_is_the_recorded_one(case):
    from deepspeed.runtime.lr_schedules import WarmupDecayLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    arguments = {key: value for key, value in case.items() if key != "lr"}
    schedule = WarmupDecayLR(optimizer, **arguments)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in case["lr"][1:]:
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx(case["lr"])


@pytest.mark.parametrize(
    "sections, device, dtype",
    [
        ({}, CPU, torch.float32),
        ({"bf16": {"enabled": True}, "fp16": {"enabled": False}}, CPU, torch.bfloat16),
        ({"fp16": {"enabled": True}}, GPU, torch.float16),
    ],
)
def test_deepspeeds_sections_decide_the_precision(tmp_path, sections, device, dtype):
    assert pick_precision(load(tmp_path, **sections), device) == dtype


@pytest.mark.parametrize(
    "sections, message",
    [
        (
            {"fp16": {"enabled": True}},
            "deepspeed.fp16.enabled: fp16 trains on a GPU only.*deepspeed.fp16.enabled=false",
        ),
        ({"fp16": {"enabled": True}, "bf16": {"enabled": True}}, "exclude each other"),
    ],
)
def test_a_precision_that_cannot_be_is_refused(tmp_path, sections, message):
    with pytest.raises(InputError, match=message):
        pick_precision(load(tmp_path, **sections), CPU)


def test_too_little_data_and_wrong_sizes_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 epochs of 3 samples do not fill one optimizer step of 4 samples"):
        plan_from(load(tmp_path), 3, 1)
    with pytest.raises(
        InputError, match="deepspeed.train_micro_batch_size_per_gpu: expected a whole number >= 1, found 'auto'"
    ):
        plan_from(load(tmp_path, train_micro_batch_size_per_gpu="auto"), 3, 1)


def test_an_offloaded_optimizer_stays_on_the_cpu_it_is_on(tmp_path):
    config = load(tmp_path, zero_optimization={"stage": 1, "offload_optimizer": {"device": "cpu"}})
    settings, notes = complete(config.deepspeed, plan_from(config, 100, 1), CPU)
    assert "offload_optimizer" not in settings["zero_optimization"]
    assert len(notes) == 1 and "offload_optimizer" in notes[0]
