"""The merged model answers as the trained one does, through our own programs and as a plain Llama."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import ARTIFACTS, golden, load_images, tiny_config
from depictqa.config import load_config
from depictqa.data.training import Conversation
from depictqa.errors import InputError
from depictqa.export import export
from depictqa.model import exporting
from depictqa.model.build import build_model
from depictqa.model.delta import save_delta
from depictqa.prompts import TASKS
from depictqa.training.losses import learn
from memory import needs_linux, peak
from processes import GIVE_UP_SECONDS

CPU = torch.device("cpu")


@pytest.mark.parametrize("name, llm", [("base", "llm_tiny"), ("abs", "llm_tiny_bin")])
def test_the_merged_model_has_the_trained_ones_losses(tmp_path, tiny_model, name, llm):
    config = load_config(tiny_config(tmp_path, name, llm))
    difference, agreement = export(config, tmp_path / "merged", torch.float32)
    assert difference < 1e-4 and agreement == 1.0
    files = {"model.llm_path": str(tmp_path / "merged"), "model.delta_path": str(tmp_path / "merged" / "delta.pt")}
    merged = build_model(load_config(tmp_path / "config.yaml", files), CPU, torch.float32, delta=True).eval()
    trained, preprocess = tiny_model(name, llm)
    case = next(case for case in golden("e2e/train.json") if case["model"] == name and case["unique_tag"])
    task = TASKS[case["task_type"]]
    values = [turn["value"] for turn in case["conversation"]]
    turns = list(zip(values[::2], values[1::2], strict=True))
    with torch.no_grad():
        conversation = Conversation(task, load_images(preprocess, task, case), turns)
        expected = learn(trained, [conversation]).loss.item()
        assert learn(merged, [conversation]).loss.item() == pytest.approx(expected, abs=1e-5)


def test_any_program_reads_the_folder_without_lora(tmp_path):
    from transformers import AutoModelForCausalLM

    export(load_config(tiny_config(tmp_path)), tmp_path / "merged", torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    before = AutoModelForCausalLM.from_pretrained(ARTIFACTS / "llm_tiny").state_dict()
    changed = {key for key in before if not torch.equal(merged[key].float(), before[key].float())}
    assert merged.keys() == before.keys()
    assert changed and all(".self_attn." in key for key in changed)


def test_a_merge_that_answers_otherwise_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "LEAST_AGREEMENT", 1.1)
    with pytest.raises(
        InputError, match="the exported model gives other answers: 100.0% of the likeliest tokens agree"
    ):
        export(load_config(tiny_config(tmp_path)), tmp_path / "merged", torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_folder_that_exists_is_not_written_over(tmp_path):
    with pytest.raises(InputError, match="exists already; expected a new folder"):
        export(load_config(tiny_config(tmp_path)), tmp_path, torch.float16)


@pytest.mark.slow
def test_it_runs_as_a_program(tmp_path):
    command = [
        sys.executable,
        "-m",
        "depictqa.export",
        "--cfg",
        str(tiny_config(tmp_path)),
        "--out",
        str(tmp_path / "merged"),
    ]
    folder = Path(__file__).parents[1] / "src"
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=GIVE_UP_SECONDS)
    assert process.returncode == 0, process.stderr
    assert "of the likeliest tokens agree" in process.stdout
    assert (tmp_path / "merged" / "tokenizer.model").exists()


@pytest.mark.slow
@needs_linux
def test_the_model_is_never_in_memory_as_a_whole(tmp_path):
    """200 MB of float32 weights in shards of 20 MB, the largest layer of 18 MB."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "llm"
    shutil.copytree(ARTIFACTS / "llm_tiny", folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=1200, **sizes))
    llama.save_pretrained(folder, max_shard_size="20MB")
    files = [path.stat().st_size for path in folder.glob("*.safetensors")]
    config = tiny_config(tmp_path, model={"llm_path": str(folder), "delta_path": str(tmp_path / "delta.pt")})
    save_delta(build_model(load_config(config), CPU, torch.float32, delta=False), tmp_path / "delta.pt")
    imports = "from depictqa import export\nfrom depictqa.config import load_config"
    code = "export.TASKS = {'normal': export.TASKS['normal']}  # activations of a prompt are small\n"
    code += "export.export(load_config(sys.argv[1]), Path(sys.argv[2]), torch.float32)"
    taken = peak(imports, code, config, tmp_path / "merged")
    assert sum(files) > 8 * max(files)
    assert taken < 3 * max(files) + 32 * 2**20  # a shard and what is made of it; the vision encoder, activations
