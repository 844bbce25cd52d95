"""The abstractor's output equals the original's, with and without its position code, alone and in a batch."""

import numpy as np
import pytest
import torch

from conftest import ARTIFACTS, DATA, tiny_config
from depictqa.config import load_config
from depictqa.model.abstractor import Abstractor, sine_code
from depictqa.model.build import build_model
from depictqa.model.weights import load_torch_file

GOLDEN = np.load(DATA / "vision" / "abstractor.npz")
DELTA = ARTIFACTS / "delta_abstractor" / "ckpt.pt"
SHAPE = {"hidden_size": 128, "num_query": 8, "num_layers": 2, "nhead": 4, "dim_feedforward": 64, "dropout": 0.1}


def load(add_pos_emd: bool) -> Abstractor:
    prefix = "abstractor."
    weights = {k.removeprefix(prefix): v for k, v in load_torch_file(DELTA).items() if k.startswith(prefix)}
    abstractor = Abstractor(**SHAPE, add_pos_emd=add_pos_emd).eval()
    abstractor.load_state_dict(weights)
    return abstractor


def patches(key: str) -> torch.Tensor:
    return torch.tensor(GOLDEN[key]).float()


@torch.no_grad()
@pytest.mark.parametrize("size", ["1x25", "2x36", "1x7"])
def test_output(size):
    given = patches(f"in_{size}")
    np.testing.assert_allclose(load(False)(given), GOLDEN[f"out_{size}"], atol=1e-4)


@torch.no_grad()
def test_output_with_position_code():
    output = load(True)(patches("in_posemd_3x5"), grids=[(3, 5)])
    np.testing.assert_allclose(output, GOLDEN["out_posemd_3x5"], atol=1e-4)


def test_position_code():
    np.testing.assert_allclose(sine_code(3, 5, 16), GOLDEN["sine_3x5_8_normalize"], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("add_pos_emd", [False, True])
def test_a_padded_batch_equals_single_pictures(add_pos_emd):
    abstractor = load(add_pos_emd)
    pictures = [patches("in_1x25")[0], patches("in_1x7")[0], patches("in_posemd_3x5")[0]]
    grids = [(5, 5), (1, 7), (3, 5)]
    padded = torch.full((3, 25, 128), 7.0)  # what stands in the padding does not matter
    padding_mask = torch.ones(3, 25, dtype=torch.bool)
    for row, picture in enumerate(pictures):
        padded[row, : len(picture)], padding_mask[row, : len(picture)] = picture, False
    together = abstractor(padded, padding_mask, grids)
    for row, (picture, grid) in enumerate(zip(pictures, grids, strict=True)):
        torch.testing.assert_close(together[row], abstractor(picture[None], None, [grid])[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_config_switches_the_position_code(tmp_path):
    abstractor = {key: value for key, value in SHAPE.items() if key != "hidden_size"} | {"add_pos_emd": True}
    path = tiny_config(tmp_path, "abs", model={"abstractor": abstractor})
    model = build_model(load_config(path), torch.device("cpu"), torch.float32, delta=True).eval()
    picture = torch.arange(3 * 42 * 70).view(3, 42, 70).remainder(251).to(torch.uint8)
    (coded,) = model.embed_images([picture])
    model.abstractor.add_pos_emd = False
    (plain,) = model.embed_images([picture])
    assert (coded - plain).abs().max() > 1e-3
