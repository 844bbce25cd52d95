"""Training on a GPU: each precision of the published configs, and a run that is killed and continued there."""

import pytest
import torch

from training.runs import launch, make_items, make_run, metrics_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
PRECISIONS = {
    "fp32": {},
    "bf16": {"bf16": {"enabled": True}},
    "fp16": {"fp16": {"enabled": True, "initial_scale_power": 8}},
}
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 1e-2}
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}  # as the original program's configs have it
CASES = [  # precision, deepspeed.zero_optimization
    ("fp32", {"stage": 0}),
    ("bf16", {"stage": 1}),
    ("bf16", {"stage": 2}),
    ("bf16", {"stage": 3}),
    ("fp16", {"stage": 1}),
    ("fp16", {"stage": 1} | OFFLOAD),
    ("fp16", {"stage": 2}),
]


def deepspeed_of(precision: str, zero: dict) -> dict:
    return PRECISIONS[precision] | {"zero_optimization": zero}


@pytest.mark.parametrize("precision, zero", CASES)
def test_the_first_loss_is_the_cpus_and_falls(tmp_path, precision, zero):
    first = {}
    for device in ("cpu", "cuda"):
        deepspeed = deepspeed_of(precision, zero) if device == "cuda" else {}
        config = make_run(tmp_path / device, make_items(16), device=device, train={"epochs": 6}, deepspeed=deepspeed)
        launch(config, "--set", "model.lora={lora_dropout: 0.0}")
        rows = metrics_of(config)
        first[device] = rows[0]["loss"]
        assert len(rows) == 24 and rows[-1]["loss"] < rows[0]["loss"]
        assert all(0 < row["grad_norm"] < float("inf") for row in rows)
    assert first["cuda"] == pytest.approx(first["cpu"], rel=TOLERANCE[precision])
    assert rows[-1].keys() >= ({"loss_scale", "skipped_steps"} if precision == "fp16" else {"memory_gib"})


@pytest.mark.parametrize("precision, zero", CASES)
def test_a_run_continues_from_its_state(tmp_path, precision, zero):
    """Taken back to a state of its own from the middle: the curve is the one it was."""
    kept = {"epochs": 6, "save_freq_step": 4, "keep_last": 20}
    sections = {"train": kept, "deepspeed": deepspeed_of(precision, zero)}
    config = make_run(tmp_path, make_items(16), device="cuda", **sections)
    launch(config)
    whole = metrics_of(config)
    launch(config, "--resume", str(tmp_path / "ckpt" / "state" / "step00000012"))
    assert [row["step"] for row in metrics_of(config)] == [row["step"] for row in whole]
    for row, again in zip(whole, metrics_of(config), strict=True):
        assert again["loss"] == pytest.approx(row["loss"], rel=1e-2)
        assert again.get("loss_scale") == row.get("loss_scale")
