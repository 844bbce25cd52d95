"""Merge a trained LoRA into its language model: `python -m depictqa.export --cfg config.yaml --out FOLDER`.

FOLDER then holds a Hugging Face model with its tokenizer, for any program that reads one, and `delta.pt`: projector
and abstractor, with a LoRA of zeros. Our own programs take both: `--set model.llm_path=FOLDER
model.delta_path=FOLDER/delta.pt`. What was written is loaded again, and its logits are compared.
"""

import argparse
import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from depictqa.config import Config, load_config, parse_overrides, require_file
from depictqa.errors import InputError, exit_cleanly
from depictqa.model.build import DTYPES, build_skeleton
from depictqa.model.delta import save_delta
from depictqa.model.depictqa import DepictQA
from depictqa.model.exporting import compare, new_folder, writing_weights
from depictqa.model.folder import check_complete
from depictqa.model.llm import as_folder, empty_llm, lora_layers, lora_update
from depictqa.model.tokenizer import load_tokenizer
from depictqa.model.weights import load_torch_file, weight_files
from depictqa.prompts import TASKS

TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "*.jinja")


def export(config: Config, out: Path, dtype: torch.dtype) -> tuple[float, float]:
    """Write the merged model to `out`: whole or not at all.

    The language model is never in memory as a whole: it is merged file by file, and compared block by block in float32.

    Args:
        dtype: of the file; merging is done in float32.

    Returns:
        the largest difference of a logit between the trained model and what was written, and the share of positions
        whose likeliest token is the same.

    Raises:
        InputError: a file of the config is absent, `out` exists, or the logits do not agree.
    """
    with new_folder(out) as unfinished:
        model = build_skeleton(config)
        llm_folder = as_folder(require_file(config, "model.llm_path"))
        prompts = [model.tokenizer.encode(f"{task.system} {task.name}") for task in TASKS.values()]
        expected = _logits(_language_model(model), llm_folder, prompts)
        with writing_weights(out):
            _write(model, llm_folder, unfinished, dtype)
        written = _logits(empty_llm(unfinished, torch.float32), unfinished, prompts)
        tokenizer = load_tokenizer(unfinished)
        if any(tokenizer.encode(task.system) != model.tokenizer.encode(task.system) for task in TASKS.values()):
            raise InputError(f"{out}: the exported tokenizer gives other ids; nothing is kept")
        return compare(out, written, expected)


@torch.inference_mode()
def _logits(llm: PreTrainedModel, folder: Path, prompts: Sequence[list[int]]) -> torch.Tensor:
    """[tokens of all prompts, V], by a model on the meta device: each block has its weights while it is called."""
    files = {name: path for path in weight_files(folder) for name in load_torch_file(path)}
    sources = _frozen_names(llm)
    sources |= {name: source for name, source in llm.all_tied_weights_keys.items() if name not in files}
    check_complete(folder, {source for source in sources.values() if source not in files})

    def fill(prefix: str, block: nn.Module, _: tuple) -> None:
        wanted = {name: sources[prefix + name] for name in block.state_dict() if prefix + name in sources}
        opened = {path: load_torch_file(path) for path in {files[source] for source in wanted.values()}}
        weights = {name: opened[files[source]][source].float() for name, source in wanted.items()}
        block.load_state_dict(weights, strict=False, assign=True)

    def empty(prefix: str, block: nn.Module, _: tuple, __: object) -> None:
        state = block.state_dict()
        meta = {name: value.to("meta") for name, value in state.items() if prefix + name in sources}
        block.load_state_dict(meta, strict=False, assign=True)

    layers = [f"model.layers.{number}" for number in range(llm.config.num_hidden_layers)]
    for name in ("model.embed_tokens", *layers, "model.norm", "lm_head"):
        block = llm.get_submodule(name)
        block.register_forward_pre_hook(functools.partial(fill, f"{name}."))
        block.register_forward_hook(functools.partial(empty, f"{name}."))
    ids = nn.utils.rnn.pad_sequence([torch.tensor(one) for one in prompts], batch_first=True)  # [P, T]
    logits = llm(ids, use_cache=False).logits  # [P, T, V]; attention is causal: nothing sees the padding behind it
    return torch.cat([row[: len(one)] for row, one in zip(logits, prompts, strict=True)])


def _language_model(model: DepictQA) -> PreTrainedModel:
    return cast(PreTrainedModel, model.llm.get_base_model())


def _frozen_names(llm: PreTrainedModel) -> dict[str, str]:
    """A model's frozen weights -> their names in files, which know nothing of LoRA."""
    return {name: name.replace(".base_layer.", ".") for name in llm.state_dict() if ".lora_" not in name}


def _write(model: DepictQA, llm_folder: Path, folder: Path, dtype: torch.dtype) -> None:
    """Leaves the LoRA of `model` zeros, as `delta.pt` has it."""
    folder.mkdir(parents=True)
    llm = _language_model(model)
    adapted, wanted = lora_layers(llm), set(_frozen_names(llm).values())
    shards, weight_map = weight_files(llm_folder), {}
    for number, path in enumerate(shards, 1):
        weights = {}
        for name, weight in load_torch_file(path).items():
            if name in wanted:
                layer = adapted.get(name.removesuffix(".weight"))
                merged = weight if layer is None else weight.float() + lora_update(layer)
                weights[name] = merged.to(dtype).contiguous()
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        save_file(weights, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(weights, file)
    if len(shards) > 1:
        size = sum((folder / file).stat().st_size for file in set(weight_map.values()))
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    llm.config.dtype = dtype
    llm.config.save_pretrained(folder)
    GenerationConfig.from_model_config(llm.config).save_pretrained(folder)  # sampling flags are not ours to pass on
    for layer in adapted.values():
        for weight in (*layer.lora_A.parameters(), *layer.lora_B.parameters()):
            nn.init.zeros_(weight)
    save_delta(model, folder / "delta.pt", dtype)
    for pattern in TOKENIZER_FILES:
        for path in llm_folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="Merge a trained LoRA into its language model.")
    parser.add_argument("--cfg", default="config.yaml", help="the experiment's config.yaml (default: here)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new folder of the merged model")
    parser.add_argument(
        "--format", choices=("merged", "hf"), default="merged", help="hf: the whole model, for transformers"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="fp16", help="numbers of the file (default: fp16)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the config")
    args = parser.parse_args()
    write = export
    if args.format == "hf":
        from depictqa.hf.exporting import export_hf as write
    difference, agreement = write(load_config(args.cfg, parse_overrides(args.set)), args.out, DTYPES[args.dtype])
    print(f"{args.out}: logits differ by at most {difference:.3g}; {agreement:.1%} of the likeliest tokens agree")


if __name__ == "__main__":
    main()
