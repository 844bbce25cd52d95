"""The language model: a Llama or one of its relatives from a Hugging Face folder or a GGUF file, with peft's LoRA on it."""

import hashlib
import logging
import os
import shutil
import warnings
from pathlib import Path

import torch
from accelerate import init_empty_weights
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

from depictqa.errors import InputError
from depictqa.model.dropout import Dropout
from depictqa.model.folder import MODEL_FILES, check_complete, check_json, explain
from depictqa.model.weights import fill, weight_files

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FAMILIES = {  # `model_type` of config.json -> linear layers that LoRA may adapt
    "llama": PROJECTIONS,
    "mistral": PROJECTIONS,
    "qwen2": PROJECTIONS,
}


def load_llm(path: str | Path, dtype: torch.dtype, device: torch.device = CPU) -> PreTrainedModel:
    """Load a frozen causal LM onto a device, file by file. Weights are read safely: safetensors, or `.bin` with weights_only.

    Raises:
        InputError: the folder holds no model of `FAMILIES`, or a file of it is broken.
    """
    folder = as_folder(path)
    llm = empty_llm(folder, dtype)
    missing = fill(llm, weight_files(folder), device, dtype)
    llm.tie_weights(missing_keys=missing)  # takes tied weights out of `missing`
    check_complete(folder, missing)
    return llm.to(device)  # what is no weight: the frequencies of rotary positions


def empty_llm(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model that a folder's config.json describes, its weights on the meta device. Raises InputError."""
    check_json(folder, MODEL_FILES)
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.model_type not in FAMILIES:
            raise InputError(f"{folder}: expected a model of type {', '.join(FAMILIES)}; found {config.model_type}")
        if getattr(config, "quantization_config", None):
            raise InputError(
                f"{folder}: the weights are quantized; expected fp32, bf16 or fp16 weights, or a GGUF file"
            )
        with init_empty_weights(include_buffers=False):
            llm = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    except InputError:
        raise
    except Exception as error:  # a broken file may lead transformers to any
        raise explain(folder, "no language model found", error) from error
    return llm.eval().requires_grad_(False)


def add_lora(llm: PreTrainedModel, rank: int, alpha: float, dropout: float, target_modules: list[str]) -> PeftModel:
    """Put trainable LoRA beside the named projections (Hu et al., 2021)."""
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's use of transformers, nothing of ours
        model = get_peft_model(llm, config, autocast_adapter_dtype=False)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.update({name: Dropout(dropout) for name in module.lora_dropout if dropout})
    return model


@torch.no_grad()
def merge_lora(llm: PeftModel) -> None:
    """Add LoRA's updates to the weights, for good; plain layers take the place of the adapted ones.

    Updates are small beside the weights: each sum is made in float32, layer by layer, and rounded once.
    """
    base = llm.get_base_model()
    for name, layer in lora_layers(base).items():
        plain = layer.get_base_layer()
        plain.weight.copy_(plain.weight.float() + lora_update(layer))
        parent, _, child = name.rpartition(".")
        setattr(base.get_submodule(parent), child, plain)


def lora_layers(base: nn.Module) -> dict[str, LoraLayer]:
    """The adapted layers of a model by their names in it, which are those of its weights' files."""
    return {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}


def lora_update(layer: LoraLayer) -> torch.Tensor:
    """What LoRA adds to a weight: scaling * B A, [out, in] in float32."""
    (adapter,) = layer.scaling
    a, b = (part[adapter].weight.float() for part in (layer.lora_A, layer.lora_B))  # [rank, in], [out, rank]
    return layer.scaling[adapter] * (b @ a)


def as_folder(path: str | Path) -> Path:
    """A Hugging Face folder for `path`; a GGUF file is converted once and kept in the cache.

    Parsing a GGUF file takes longer than loading the model it holds, so the result stays in `$DEPICTQA_CACHE`
    (default ~/.cache/depictqa), under the name and the hash of the file's head, size and time. Half precision holds
    what 4- and 8-bit weights say.
    """
    path = Path(path)
    if path.suffix != ".gguf":
        return path
    stat = path.stat()
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    key = hashlib.sha256(head + f"{stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("DEPICTQA_CACHE", Path.home() / ".cache" / "depictqa"))
    folder = cache / f"{path.stem}-{key}"
    if not folder.exists():
        logger.info("converting %s once, into %s", path.name, folder)
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        _convert_gguf(path, unfinished)
        try:
            unfinished.rename(folder)  # whole or not at all
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return folder


def _convert_gguf(path: Path, folder: Path) -> None:
    try:
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float16, quantization_config=GgufConfig(dequantize=True)
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as GGUF ({str(error).strip().splitlines()[0]})") from None
    model.save_pretrained(folder)
