"""Files of tensors: written whole; read, as they may come from people one does not know, without running code in them."""

import json
import pickle
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from depictqa.errors import InputError
from depictqa.files import replacing

LAYOUTS = (  # of the weights in a Hugging Face folder, the first that is there counts: as transformers chooses
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def load_torch_file(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a `.safetensors` file, a `torch.save`d state dict, or a TorchScript archive.

    Returns:
        name -> tensor on the CPU, in the file's dtypes; entries that are no floating-point tensors are dropped. Bytes stay
        in the file (memory-mapped) until they are read, so copy what outlives the file.

    Raises:
        InputError: the file is absent, cut short, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        state = _read(path)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: cannot be read as weights; expected tensors only ({reason})") from None
    if not isinstance(state, dict):
        raise InputError(f"{path}: expected a dictionary of tensors, found {type(state).__name__}")
    strangers = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise InputError(f"{path}: expected tensors only, found others under {strangers[:3]}")
    return {key: value for key, value in state.items() if value.is_floating_point()}


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of a Hugging Face folder: one, or the shards that its index names.

    Raises:
        InputError: there are none.
    """
    layout = next((folder / name for name in LAYOUTS if (folder / name).is_file()), None)
    if layout is None:
        raise InputError(f"{folder}: no weights found; expected one of {', '.join(LAYOUTS)}")
    if layout.suffix != ".json":
        return [layout]
    return [
        folder / name for name in sorted(set(json.loads(layout.read_text(encoding="utf-8"))["weight_map"].values()))
    ]


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype of the first weight of a Hugging Face folder. Raises InputError."""
    return next(iter(load_torch_file(weight_files(folder)[0]).values())).dtype


def fill(module: nn.Module, files: Sequence[Path], device: torch.device, dtype: torch.dtype) -> set[str]:
    """Give a module the weights of some files, one file after another, each tensor straight to its device and dtype.

    On the host there is never more than one file above what stays there.

    Args:
        module: its parameters may be on the meta device; they are replaced. Weights of the files that it does not have
            are ignored.

    Returns:
        the module's weights that are in none of the files.

    Raises:
        InputError: a file cannot be read, or holds a weight of another shape.
    """
    missing = set(module.state_dict())
    for path in files:
        tensors = {
            name: tensor.to(device, dtype, copy=True)
            for name, tensor in load_torch_file(path).items()
            if name in missing
        }
        try:
            module.load_state_dict(tensors, strict=False, assign=True)
        except RuntimeError as error:  # a shape: torch lists them, one a line, after a headline
            raise InputError(f"{path}: does not fit its config.json: {str(error).splitlines()[1].strip()}") from None
        missing -= tensors.keys()
    return missing


def _read(path: Path) -> dict:
    """Tensors lie in the file until they are used, but for TorchScript and for files from before PyTorch 1.6."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}
        except SafetensorError as error:
            raise ValueError(error) from None
    if _is_torchscript(path):  # runs no code of the archive: only its state dict is taken, nothing is called
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def save_torch_file(path: str | Path, state: dict) -> None:
    """`torch.save` tensors and plain values: whole or not at all. Raises InputError: the file cannot be written."""
    buffer = BytesIO()  # torch.save itself would tell of a full disk in words of its own
    torch.save(state, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
