"""Weight files from strangers: tensors are read, code is never run."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from depictqa.errors import InputError
from depictqa.model.weights import load_torch_file


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_tensors_come_back(tmp_path, suffix):
    path, tensors = tmp_path / f"w{suffix}", {"a": torch.arange(3.0)}
    torch.save(tensors, path) if suffix == ".pt" else save_file(tensors, path)
    assert torch.equal(load_torch_file(path)["a"], tensors["a"])


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_file_that_runs_code_is_refused(tmp_path, writer):
    path, marker = tmp_path / "evil.pt", tmp_path / "was_here"
    writer({"a": RunsCode(marker)}, path)
    with pytest.raises(InputError, match="evil.pt: cannot be read as weights; expected tensors only"):
        load_torch_file(path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_cut_short(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    torch.save({"a": torch.ones(1000)}, path) if suffix == ".pt" else save_file({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_torch_file(path)


def test_what_is_no_tensor_is_named(tmp_path):
    torch.save({"a": torch.ones(1), "note": "hello"}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"found others under \['note'\]"):
        load_torch_file(tmp_path / "w.pt")
