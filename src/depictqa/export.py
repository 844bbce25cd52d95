"""Merge a trained LoRA into its language model: `python -m depictqa.export --cfg config.yaml --out FOLDER`.

FOLDER then holds a Hugging Face model with its tokenizer, for any program that reads one, and `delta.pt`: projector
and abstractor, with a LoRA of zeros. Our own programs take both: `--set model.llm_path=FOLDER
model.delta_path=FOLDER/delta.pt`. What was written is loaded again, and its logits are compared.
"""

import argparse
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig, PreTrainedModel

from depictqa.config import Config, load_config, parse_overrides, require_file
from depictqa.errors import InputError, exit_cleanly
from depictqa.model.build import DTYPES, build_model
from depictqa.model.delta import save_delta
from depictqa.model.depictqa import DepictQA
from depictqa.model.llm import as_folder, load_llm
from depictqa.model.tokenizer import load_tokenizer
from depictqa.prompts import TASKS

TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "*.jinja")
LEAST_AGREEMENT = 0.98  # share of positions with the same likeliest token; rounding to fp16 may turn a near tie


def export(config: Config, out: Path, dtype: torch.dtype) -> tuple[float, float]:
    """Write the merged model to `out`: whole or not at all.

    Args:
        dtype: of the file; merging is done in float32.

    Returns:
        the largest difference of a logit between the trained model and what was written, and the share of positions
        whose likeliest token is the same.

    Raises:
        InputError: a file of the config is absent, `out` exists, or the logits do not agree.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; expected a new folder")
    model = build_model(config, torch.device("cpu"), torch.float32).eval()
    prompts = [model.tokenizer.encode(f"{task.system} {task.name}") for task in TASKS.values()]
    expected = _logits(model.llm.get_base_model(), prompts)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        llm_folder = as_folder(require_file(config, "model.llm_path"))
        try:
            _write(model, llm_folder, unfinished, dtype)
        except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in its own error
            raise InputError(f"{out}: cannot be written ({error}); nothing is kept") from None
        written = _logits(load_llm(unfinished, torch.float32), prompts)
        tokenizer = load_tokenizer(unfinished)
        if any(tokenizer.encode(task.system) != model.tokenizer.encode(task.system) for task in TASKS.values()):
            raise InputError(f"{out}: the exported tokenizer gives other ids; nothing is kept")
        difference = (written - expected).abs().max().item()
        agreement = (written.argmax(-1) == expected.argmax(-1)).double().mean().item()
        if not agreement >= LEAST_AGREEMENT:
            raise InputError(
                f"{out}: the exported model gives other answers: {agreement:.1%} of the likeliest tokens agree, logits differ "
                f"by up to {difference:.3g}; nothing is kept. Try --dtype fp32"
            )
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return difference, agreement


@torch.inference_mode()
def _logits(llm: PreTrainedModel, prompts: list[list[int]]) -> torch.Tensor:
    """[tokens of all prompts, V]."""
    return torch.cat([llm(torch.tensor([ids])).logits[0].float() for ids in prompts])


def _write(model: DepictQA, llm_folder: Path, folder: Path, dtype: torch.dtype) -> None:
    model.llm.merge_adapter(safe_merge=True)
    with torch.no_grad():
        for name, parameter in model.llm.named_parameters():
            if ".lora_" in name:
                parameter.zero_()
    save_delta(model, folder / "delta.pt", dtype)
    merged = model.llm.unload()
    merged.generation_config = GenerationConfig.from_model_config(
        merged.config
    )  # sampling flags are not ours to pass on
    merged.to(dtype).save_pretrained(folder)
    for pattern in TOKENIZER_FILES:
        for path in llm_folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
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
