"""Features equal the original's at any resolution, from every published file layout."""

import numpy as np
import pytest
import torch
from transformers import CLIPVisionModelWithProjection

from conftest import ARTIFACTS, DATA
from depictqa.errors import InputError
from depictqa.model.build import load_vision_encoder
from depictqa.model.clip import CLIPEncoder, describe_openai_vit

ARCHIVE = ARTIFACTS / "clip_tiny" / "ViT-tiny-14.pt"
GOLDEN = np.load(DATA / "vision" / "clip_features.npz")
SIZES = [key.removeprefix("in_") for key in GOLDEN if key.startswith("in_")]


@pytest.mark.parametrize(("feature_type", "prefix"), [("local", "patch"), ("global", "global")])
@pytest.mark.parametrize("size", SIZES)
def test_features(feature_type, prefix, size):
    encoder = load_vision_encoder(ARCHIVE, feature_type)
    features, padding_mask = encoder(torch.tensor(GOLDEN[f"in_{size}"]).float())
    expected = GOLDEN[f"{prefix}_{size}"]
    assert padding_mask is None
    np.testing.assert_allclose(features.reshape(expected.shape), expected, atol=1e-4)


@pytest.mark.parametrize("key", [key for key in GOLDEN if key.startswith("posemb_")])
def test_position_table(key):
    height, width = map(int, key.removeprefix("posemb_").split("x"))
    table = load_vision_encoder(ARCHIVE, "local").position_table(height, width)
    np.testing.assert_allclose(table, GOLDEN[key], atol=1e-5)


@pytest.mark.parametrize("feature_type", ["local", "global"])
def test_pictures_of_different_sizes_in_one_pass(feature_type):
    encoder = load_vision_encoder(ARCHIVE, feature_type)
    pictures = [torch.randn(3, *size) for size in ((70, 70), (42, 84), (14, 14))]
    together, padding_mask = encoder(pictures)
    for row, picture in enumerate(pictures):
        (alone,), _ = encoder([picture])
        kept = together[row] if padding_mask is None else together[row][~padding_mask[row]]
        torch.testing.assert_close(kept, alone, atol=1e-5, rtol=1e-4)


def test_plain_state_dict_and_hugging_face_folder_give_the_same(tmp_path):
    picture = [torch.randn(3, 70, 56)]
    expected, _ = load_vision_encoder(ARCHIVE, "global")(picture)
    torch.save(torch.jit.load(ARCHIVE).state_dict(), tmp_path / "plain.pt")
    torch.testing.assert_close(load_vision_encoder(tmp_path / "plain.pt", "global")(picture)[0], expected)

    ours = load_vision_encoder(ARCHIVE, "global")
    folder_model = CLIPVisionModelWithProjection(ours.vit.config)
    folder_model.vision_model.load_state_dict(ours.vit.state_dict())
    folder_model.visual_projection.weight.data = ours.proj.T.contiguous()
    folder_model.save_pretrained(tmp_path / "folder")
    torch.testing.assert_close(load_vision_encoder(tmp_path / "folder", "global")(picture)[0], expected)


def test_frozen_and_float32_whatever_the_file_holds():
    encoder = load_vision_encoder(ARCHIVE, "local")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_vit_l_14_has_the_published_size():
    with torch.device("meta"):
        encoder = CLIPEncoder(describe_openai_vit(1024, 24, 14, 224, 768), "local")
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 303_966_208


def test_other_weights_are_refused(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other.pt: expected OpenAI's CLIP weights"):
        load_vision_encoder(tmp_path / "other.pt", "local")
    with pytest.raises(InputError, match="absent.pt: no such file"):
        load_vision_encoder(tmp_path / "absent.pt", "local")
