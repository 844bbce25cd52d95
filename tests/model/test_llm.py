"""The language model: streamed from any layout of its files within the memory of what stays, and LoRA merged for good."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from depictqa.errors import InputError
from depictqa.model.llm import add_lora, load_llm, merge_lora
from memory import needs_linux, peak

SHARD = 16 * 2**20  # bytes


def tiny_llama(**sizes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    given = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=4, **given | sizes))


def save_as_bin(llm, folder: Path, shards: int) -> None:
    """The older layout: `torch.save`d shards and their index."""
    names, weights = list(llm.state_dict()), llm.state_dict()
    files = {name: f"pytorch_model-{index % shards + 1:05}-of-{shards:05}.bin" for index, name in enumerate(names)}
    for file in set(files.values()):
        torch.save({name: weights[name].clone() for name in names if files[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}), encoding="utf-8")


@pytest.fixture(params=["safetensors", "bin"])
def folder(request, tmp_path):
    """115 MB of fp16 weights in shards of about 16 MB."""
    llm = tiny_llama(hidden_size=1024, intermediate_size=2816, num_hidden_layers=4).half()
    llm.save_pretrained(tmp_path, max_shard_size=SHARD)
    if request.param == "bin":
        for path in [*tmp_path.glob("*.safetensors"), *tmp_path.glob("*.index.json")]:
            path.unlink()
        save_as_bin(llm, tmp_path, shards=7)
    return tmp_path


@pytest.mark.slow
@needs_linux
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_takes_one_shard_more_than_what_stays(folder, dtype):
    imports = "from depictqa.model.llm import load_llm"
    taken = peak(imports, "llm = load_llm(sys.argv[1], getattr(torch, sys.argv[2]))", folder, dtype)
    files = [path.stat().st_size for path in folder.iterdir()]
    stays = sum(files) * (2 if dtype == "float32" else 1)  # the files are fp16
    assert sum(files) > 6 * max(files)
    assert taken < stays + max(files) + 8 * 2**20  # modules and the allocator


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_the_weights_are_those_of_the_files(layout, tied, tmp_path):
    llm = tiny_llama(tie_word_embeddings=tied)
    llm.save_pretrained(tmp_path)
    if layout == "bin":
        (tmp_path / "model.safetensors").unlink()
        save_as_bin(llm, tmp_path, shards=3)
    loaded = load_llm(tmp_path, torch.float32)
    ids = torch.arange(10)[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, llm.eval()(ids).logits, rtol=0, atol=0)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied


def test_a_folder_of_weights_of_other_sizes(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 65}), encoding="utf-8")
    with pytest.raises(InputError, match="model.safetensors: does not fit its config.json: size mismatch for .*64, 32"):
        load_llm(tmp_path, torch.float32)


def test_a_folder_without_weights(tmp_path):
    tiny_llama().config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no weights found; expected one of model.safetensors, "):
        load_llm(tmp_path, torch.float32)


def test_quantized_weights_are_refused(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="the weights are quantized; expected fp32, bf16 or fp16 weights"):
        load_llm(tmp_path, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_merge_rounds_once(dtype):
    llm = add_lora(tiny_llama().to(dtype), 4, 8, 0.0, ["q_proj", "down_proj"])
    layer = llm.get_base_model().model.layers[1].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b.normal_(std=1e-2)
        before, frozen = layer.get_base_layer().weight.double(), layer.get_base_layer().weight
        expected = (before + 8 / 4 * b.double() @ a.double()).to(dtype)
    merge_lora(llm)
    merged = llm.get_base_model().model.layers[1].self_attn.q_proj
    assert type(merged) is torch.nn.Linear and merged.weight is frozen  # in place: no copy of the model
    assert (merged.weight == expected).double().mean() > 0.999  # a float32 sum may turn a tie of the rounding
    assert not torch.equal(merged.weight.double(), before)
    assert [name for name, _ in llm.named_parameters() if ".lora_" in name] == []
