"""Files of tensors: written whole; read, as they may come from people one does not know, without running code in them."""

import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from depictqa.errors import InputError
from depictqa.files import replacing


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
