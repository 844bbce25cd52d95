"""Deltas: the trained part of a model (projector, abstractor, LoRA) as a file of named tensors.

Key names are the published format: `vision_proj.*`, `abstractor.query_embeds`, `abstractor.abstractor.layers.N.*`,
`llm.base_model.model.model.layers.N.self_attn.{q,k,v,o}_proj.lora_{A,B}.default.weight`.
"""

from pathlib import Path

import torch
from torch import nn

from depictqa.errors import InputError
from depictqa.model.weights import load_torch_file, save_torch_file


def delta_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a delta of this model holds, by name; the tensors are the model's own."""
    return {name: tensor for name, tensor in model.state_dict().items() if belongs_to_delta(name)}


def belongs_to_delta(name: str) -> bool:
    """Whether a parameter of that name is trained, and so part of a delta."""
    return name.startswith(("vision_proj.", "abstractor.")) or (name.startswith("llm.") and ".lora_" in name)


def load_delta(model: nn.Module, path: str | Path) -> None:
    """Load a `.pt` or `.safetensors` delta into `model`, converting to the model's dtypes.

    Raises:
        InputError: the file is unreadable, or has missing, foreign or misshapen keys (each kind is listed).
    """
    given = load_torch_file(path)
    expected = delta_tensors(model)
    problems = []
    if missing := sorted(expected.keys() - given.keys()):
        problems.append(f"{len(missing)} keys missing: {_some(missing)}")
    if foreign := sorted(given.keys() - expected.keys()):
        problems.append(f"{len(foreign)} keys that this model does not have: {_some(foreign)}")
    misshapen = [
        f"{key} {list(given[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in given and given[key].shape != tensor.shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} keys of another shape: {_some(misshapen)}")
    if problems:
        raise InputError(f"{path}: this delta does not fit the config: {'; '.join(problems)}{_hint(missing, foreign)}")
    for key, tensor in expected.items():
        tensor.copy_(given[key])


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")


def _hint(missing: list[str], foreign: list[str]) -> str:
    if any(key.startswith("abstractor.") for key in foreign):
        return " (it was trained with an abstractor: set model.abstractor)"
    if any(key.startswith("abstractor.") for key in missing):
        return " (it was trained without an abstractor: remove model.abstractor)"
    return ""


def save_delta(model: nn.Module, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write the delta, whole or not at all. `dtype` None keeps the model's. Raises InputError: it cannot be written."""
    delta = delta_tensors(model)
    save_torch_file(path, {key: tensor.detach().to("cpu", dtype or tensor.dtype) for key, tensor in delta.items()})
