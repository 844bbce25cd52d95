"""The language model: a Llama or one of its relatives from a Hugging Face folder or a GGUF file, with peft's LoRA on it."""

import hashlib
import logging
import os
import shutil
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from depictqa.errors import InputError
from depictqa.model.dropout import Dropout
from depictqa.model.folder import MODEL_FILES, check_complete, check_json, explain

logger = logging.getLogger(__name__)

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FAMILIES = {  # `model_type` of config.json -> linear layers that LoRA may adapt
    "llama": PROJECTIONS,
    "mistral": PROJECTIONS,
    "qwen2": PROJECTIONS,
}


def load_llm(path: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a frozen causal LM. Weights are read safely: safetensors, or `.bin` shards with weights_only.

    Raises:
        InputError: the folder holds no model of `FAMILIES`, or a file of it is broken.
    """
    folder = as_folder(path)
    check_json(folder, MODEL_FILES)
    transformers_logging.disable_progress_bar()
    try:
        llm, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
        )
    except Exception as error:  # a broken file may lead transformers to any
        raise explain(folder, "no language model found", error) from error
    check_complete(folder, set(found["missing_keys"]))
    if llm.config.model_type not in FAMILIES:
        raise InputError(f"{path}: expected a model of type {', '.join(FAMILIES)}; found {llm.config.model_type}")
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
