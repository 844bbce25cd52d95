"""Model folders with a broken file: one line that names the file, never a traceback, and no weights made up."""

import json
import shutil

import pytest
import torch

from conftest import ARTIFACTS
from depictqa.errors import InputError
from depictqa.model.llm import load_llm
from depictqa.model.tokenizer import load_tokenizer

JSON_FAULTS = {
    "cut short": (b'{"a": [1, 2', "cannot be read as JSON"),
    "empty": (b"", "cannot be read as JSON"),
    "no text": (b"\xff\xfe\x00a", "cannot be read as JSON"),
    "a list": (b"[]", r"expected a JSON object, found \[\]"),
    "null": (b"null", "expected a JSON object, found null"),
}


def load_model(folder):
    load_llm(folder, torch.float32)


def copy(folder: str, tmp_path):
    return shutil.copytree(ARTIFACTS / folder, tmp_path / "llm", copy_function=shutil.copyfile)


@pytest.mark.parametrize("fault", JSON_FAULTS)
@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("config.json", load_model),
        ("generation_config.json", load_model),
        ("pytorch_model.bin.index.json", load_model),
        ("tokenizer_config.json", load_tokenizer),
        ("special_tokens_map.json", load_tokenizer),
    ],
)
def test_a_broken_json_file_is_named(tmp_path, name, load, fault):
    data, message = JSON_FAULTS[fault]
    folder = copy("llm_tiny_bin", tmp_path)
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=f"^{folder / name}: {message}.*; download this file again$"):
        load(folder)


@pytest.mark.parametrize(
    ("folder", "name"), [("llm_tiny", "model.safetensors"), ("llm_tiny_bin", "pytorch_model-00002-of-00002.bin")]
)
@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_broken_weight_file_is_named(tmp_path, folder, name, keep):
    folder = copy(folder, tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(InputError, match=f"^{folder / name}: cannot be read as weights") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def test_an_index_without_its_map_is_named(tmp_path):
    folder = copy("llm_tiny_bin", tmp_path)
    (folder / "pytorch_model.bin.index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="pytorch_model.bin.index.json: expected a weight_map"):
        load_model(folder)


def test_weights_that_no_file_holds_are_not_made_up(tmp_path):
    folder = copy("llm_tiny", tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"llm: 9 weights of its config.json are in none of its files: model.layers.\d"
    ):
        load_model(folder)
