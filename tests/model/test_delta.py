"""Deltas: published key names in and out, whole or not at all, and refused where they do not fit."""

import pytest
import torch
from safetensors.torch import save_file

from conftest import ARTIFACTS, DELTAS
from depictqa.errors import InputError
from depictqa.model.delta import load_delta, save_delta


@pytest.mark.parametrize("name", DELTAS)
def test_what_is_written_has_the_published_keys_and_loads_again(name, tiny_model, tmp_path):
    model, _ = tiny_model(name)
    published = torch.load(ARTIFACTS / DELTAS[name] / "ckpt.pt", weights_only=True)
    save_delta(model, tmp_path / "ckpt.pt", torch.float16)
    written = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[key], published[key]) for key in published)
    load_delta(model, tmp_path / "ckpt.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


def test_safetensors(tiny_model, tmp_path):
    model, _ = tiny_model()
    published = torch.load(ARTIFACTS / "delta" / "ckpt.pt", weights_only=True)
    save_file({key: value.contiguous() for key, value in published.items()}, tmp_path / "ckpt.safetensors")
    load_delta(model, tmp_path / "ckpt.safetensors")


@pytest.mark.parametrize(
    ("model", "delta", "advice"),
    [
        ("base", "delta_abstractor", r"37 keys that this model does not have: abstractor\..*set model.abstractor"),
        ("abs", "delta", r"37 keys missing: abstractor\..*remove model.abstractor"),
        ("base", "delta_global", r"1 keys of another shape: vision_proj.weight \[64, 64\] instead of \[64, 128\]"),
    ],
)
def test_a_delta_of_another_config_is_refused(model, delta, advice, tiny_model):
    built, _ = tiny_model(model)
    before = built.vision_proj.weight.clone()
    with pytest.raises(InputError, match=f"(?s)ckpt.pt: this delta does not fit the config: {advice}"):
        load_delta(built, ARTIFACTS / delta / "ckpt.pt")
    assert torch.equal(built.vision_proj.weight, before)
