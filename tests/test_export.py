"""depictqa.export: a merged folder and its delta give the losses of the model they came from."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import ARTIFACTS, DELTAS, tiny_config
from depictqa import export as export_module
from depictqa.config import load_config
from depictqa.errors import InputError
from depictqa.export import export
from depictqa.model.build import build_model
from depictqa.model.depictqa import Conversation
from depictqa.prompts import TASKS

CPU = torch.device("cpu")


def loss_of(config) -> float:
    model = build_model(config, CPU, torch.float32, delta=True).eval()
    picture = torch.arange(3 * 84 * 70, dtype=torch.int64).remainder(251).to(torch.uint8).view(3, 84, 70)
    with torch.no_grad():
        return model([Conversation(TASKS["quality_single_A_noref"], [picture], [("What is wrong?", "Blur.")])]).loss.item()


@pytest.mark.slow
@pytest.mark.parametrize("name", DELTAS)
def test_the_merged_model_has_the_losses_of_the_trained_one(tmp_path, name):
    config = load_config(tiny_config(tmp_path, name))
    difference, agreement = export(config, tmp_path / "merged", torch.float32)
    assert difference < 1e-4 and agreement == 1
    merged = {"model.llm_path": str(tmp_path / "merged"), "model.delta_path": str(tmp_path / "merged" / "delta.pt")}
    assert loss_of(load_config(tmp_path / "config.yaml", merged)) == pytest.approx(loss_of(config), abs=1e-5)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_it_runs_as_a_program_and_any_program_reads_the_folder(tmp_path):
    from transformers import AutoModelForCausalLM

    config, source = tiny_config(tmp_path), Path(__file__).parents[1] / "src"
    command = [sys.executable, "-m", "depictqa.export", "--cfg", str(config), "--out", str(tmp_path / "merged")]
    process = subprocess.run(command, capture_output=True, text=True, cwd=source, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "of the likeliest tokens agree" in process.stdout
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    original = AutoModelForCausalLM.from_pretrained(ARTIFACTS / "llm_tiny")
    changed = {key for key, value in original.state_dict().items() if not torch.equal(value, merged.state_dict()[key])}
    assert changed and all("self_attn" in key for key in changed)
    process = subprocess.run(command, capture_output=True, text=True, cwd=source, timeout=120)
    assert process.returncode == 2 and "exists already; expected a new folder" in process.stderr


def test_what_does_not_agree_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "LEAST_AGREEMENT", 2.0)
    with pytest.raises(InputError, match="what was written answers otherwise"):
        export(load_config(tiny_config(tmp_path)), tmp_path / "merged", torch.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]
