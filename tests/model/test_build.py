"""Wiring: published sizes on the meta device, and configs that cannot be a model."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from conftest import ARTIFACTS, tiny_config
from depictqa.config import load_config
from depictqa.errors import InputError
from depictqa.model.build import assemble, build_model, pick_device, pick_dtype
from depictqa.model.clip import CLIPEncoder, describe_openai_vit
from depictqa.model.delta import delta_tensors
from depictqa.model.llm import load_llm
from depictqa.model.tokenizer import load_tokenizer

ABSTRACTOR = {"dim_feedforward": 2048, "nhead": 8, "num_layers": 4, "num_query": 64}


def published_model(tmp_path, **model):
    """ViT-L/14 and Llama-7B without memory."""
    config = load_config(tiny_config(tmp_path, model=model))
    llama = LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        encoder = CLIPEncoder(describe_openai_vit(1024, 24, 14, 224, 768), "local").requires_grad_(False)
        llm = LlamaForCausalLM(llama).requires_grad_(False)
        return assemble(config, encoder, llm, load_tokenizer(ARTIFACTS / "llm_tiny"))


def test_published_sizes(tmp_path):
    model = published_model(tmp_path)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    lora = 32 * 4 * 2 * 16 * 4096
    assert trainable == lora + 1024 * 4096 + 4096
    assert sum(p.numel() for p in model.llm.get_base_model().parameters()) - lora == 6_738_415_616  # Llama-7B
    keys = list(delta_tensors(model))
    assert len(keys) == 32 * 4 * 2 + 2
    assert "llm.base_model.model.model.layers.31.self_attn.o_proj.lora_B.default.weight" in keys


def test_published_abstractor(tmp_path):
    model = published_model(tmp_path, abstractor=ABSTRACTOR | {"dropout": 0.1, "add_pos_emd": False})
    keys = list(delta_tensors(model))
    assert model.abstractor.query_embeds.shape == (64, 1, 1024)
    assert "abstractor.abstractor.layers.3.multihead_attn.in_proj_weight" in keys
    assert len([key for key in keys if key.startswith("abstractor.")]) == 1 + 4 * 18


@pytest.mark.parametrize("llm", ["llm_tiny", "llm_tiny_bin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_config_chooses_the_dtype_not_the_file(llm, dtype, tmp_path):
    model = build_model(load_config(tiny_config(tmp_path, llm=llm)), torch.device("cpu"), dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_global_features_have_nothing_to_abstract(tmp_path):
    path = tiny_config(tmp_path, "abs", model={"vision_feature_type": "global"})
    with pytest.raises(
        InputError, match="model: abstractor reads patch tokens: expected vision_feature_type local, found global"
    ):
        load_config(path)


def test_projections_that_a_llama_lacks_are_named_before_anything_loads(tmp_path):
    path = tiny_config(tmp_path, model={"lora": {"lora_target_modules": ["q_proj", "vproj"]}, "llm_path": "absent"})
    message = "config.yaml: model.lora.lora_target_modules: expected some of q_proj, k_proj, .*; found vproj"
    with pytest.raises(InputError, match=message):
        build_model(load_config(path), torch.device("cpu"), torch.float32)


def test_rank_and_targets_are_the_configs(tmp_path):
    lora = {"lora_r": 3, "lora_alpha": 6, "lora_target_modules": ["v_proj", "down_proj"]}
    config = load_config(tiny_config(tmp_path, model={"lora": lora}))
    model = build_model(config, torch.device("cpu"), torch.float32, delta=False)
    layer, width = model.llm.get_base_model().model.layers[0], model.llm.config.intermediate_size
    adapted = {name.split(".lora_")[0].split(".")[-1] for name in list(delta_tensors(model)) if ".lora_" in name}
    assert adapted == {"v_proj", "down_proj"}
    assert layer.mlp.down_proj.lora_A["default"].weight.shape == (3, width)
    assert layer.self_attn.v_proj.scaling["default"] == 2


def test_heads_of_the_abstractor_share_its_width(tmp_path):
    with pytest.raises(InputError, match="model.abstractor.nhead is 7; expected a divisor of the patches' width, 1024"):
        published_model(tmp_path, abstractor=ABSTRACTOR | {"dropout": 0.1, "add_pos_emd": False, "nhead": 7})


def test_patch_size_must_be_the_encoders(tmp_path):
    path = tiny_config(tmp_path, vision_preprocess={"patch_size": 16})
    with pytest.raises(InputError, match="vision_preprocess.patch_size is 16, but .*ViT-tiny-14.pt has patches of 14"):
        build_model(load_config(path), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("key", ["vision_encoder_path", "llm_path", "delta_path"])
def test_a_missing_file_is_named_with_its_key(key, tmp_path):
    path = tiny_config(tmp_path, model={key: "absent"})
    with pytest.raises(InputError, match=rf"model.{key}: .*absent does not exist \(README.md, section 'Models'"):
        build_model(load_config(path), torch.device("cpu"), torch.float32)


def damaged(tmp_path, llm: str, name: str, data: bytes) -> Path:
    folder = tmp_path / "llm"
    shutil.copytree(ARTIFACTS / llm, folder)
    (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("data", [b"", b"[1]", b"\x00\xff" * 50], ids=["empty", "list", "garbage"])
@pytest.mark.parametrize(
    ("llm", "name"),
    [
        ("llm_tiny", "config.json"),
        ("llm_tiny", "tokenizer_config.json"),
        ("llm_tiny", "tokenizer.model"),
        ("llm_tiny", "model.safetensors"),
        ("llm_tiny_bin", "pytorch_model-00002-of-00002.bin"),
        ("llm_tiny_bin", "pytorch_model.bin.index.json"),
    ],
)
def test_a_broken_file_of_a_language_model_is_named_in_one_line(llm, name, data, tmp_path):
    folder = damaged(tmp_path, llm, name, data)
    with pytest.raises(InputError, match=name) as error:
        load_llm(folder, torch.float32)
        load_tokenizer(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_a_folder_without_a_model(tmp_path):
    (tmp_path / "empty").mkdir()
    path = tiny_config(tmp_path, model={"llm_path": "empty"})
    with pytest.raises(InputError, match="empty: no language model found"):
        build_model(load_config(path), torch.device("cpu"), torch.float32)


def test_devices():
    assert pick_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="PyTorch finds no cuda device"):
            pick_device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "stored", "picked"),
    [
        ("auto", "cpu", torch.float16, torch.float32),
        ("auto", "cuda", torch.float16, torch.float16),
        ("auto", "cuda", torch.float32, torch.bfloat16),
        ("auto", "cuda", torch.bfloat16, torch.bfloat16),
        ("bf16", "cuda", torch.float16, torch.bfloat16),
    ],
)
def test_fp16_weights_stay_fp16_on_a_gpu(name, device, stored, picked, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    save_file({"weight": torch.ones(1, dtype=stored)}, tmp_path / "model.safetensors")
    assert pick_dtype(name, torch.device(device), tmp_path) == picked
