"""CLIP's ViT at any resolution, on transformers' `CLIPVisionModel`: the encoder of the published checkpoints.

Reads OpenAI's TorchScript archives (`ViT-L-14.pt`), plain state dicts with OpenAI's key names, and Hugging Face
CLIP folders. Knows nothing of projectors or language.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from depictqa.errors import InputError
from depictqa.model.folder import MODEL_FILES, check_complete, check_json, explain
from depictqa.model.vision import VisionEncoder, padding_mask
from depictqa.model.weights import load_torch_file

# OpenAI's names -> transformers' names. The fused query/key/value projection is split in `_from_openai`.
_OPENAI_NAMES = (
    (r"^class_embedding$", "embeddings.class_embedding"),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^conv1\.", "embeddings.patch_embedding."),
    (r"^ln_pre\.", "pre_layrnorm."),
    (r"^ln_post\.", "post_layernorm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)


class CLIPEncoder(VisionEncoder):
    """CLIP's ViT over pictures of any size.

    Args:
        config: transformers' description of the ViT.
        feature_type: "local": the patch outputs of the last block, without the class token and the final norm;
            "global": the class token, normalised and projected.
    """

    def __init__(self, config: CLIPVisionConfig, feature_type: str):
        super().__init__()
        self.feature_type = feature_type
        self.vit = CLIPVisionModel(config)
        del self.vit.embeddings.position_ids  # `position_table` takes its place
        self.proj = nn.Parameter(torch.empty(config.hidden_size, config.projection_dim))
        self.patch_size = config.patch_size
        self.feature_size = config.projection_dim if feature_type == "global" else config.hidden_size

    def num_tokens(self, height: int, width: int) -> int:
        return 1 if self.feature_type == "global" else super().num_tokens(height, width)

    def forward(self, images: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode normalised pictures, whatever their sizes, in one pass.

        Args:
            images: B tensors [3, H, W], H and W multiples of the patch size, in the encoder's dtype.

        Returns:
            features: local [B, N, C] with N the largest number of patches; global [B, 1, projection].
            padding_mask: [B, N], True behind the patches of smaller pictures; None where there is no padding.
        """
        grids = [self.grid(*image.shape[1:]) for image in images]
        counts = [height * width for height, width in grids]
        embeddings = self.vit.embeddings
        weight = embeddings.patch_embedding.weight.flatten(1)  # [C, 3 * patch * patch]
        patches = torch.cat([self._patchify(image) for image in images]) @ weight.T  # [sum N_i, C]
        tables = [self.position_table(*grid).to(patches.dtype) for grid in grids]  # B x [1 + N_i, C]
        class_token = embeddings.class_embedding[None]
        sequences = [
            torch.cat([class_token, patch]) + table for patch, table in zip(patches.split(counts), tables, strict=True)
        ]
        hidden = nn.utils.rnn.pad_sequence(sequences, batch_first=True)  # [B, 1 + N, C]
        padded = padding_mask([1 + count for count in counts], hidden.device)  # [B, 1 + N]
        attention_mask = None
        if padded is not None:
            attention_mask = hidden.new_zeros(padded.shape).masked_fill(padded, float("-inf"))
            attention_mask = attention_mask[:, None, None].expand(-1, -1, padded.shape[1], -1)  # [B, 1, 1 + N, 1 + N]
        hidden = self.vit.pre_layrnorm(hidden)
        hidden = self.vit.encoder(inputs_embeds=hidden, attention_mask=attention_mask).last_hidden_state
        if self.feature_type == "global":
            return self.vit.post_layernorm(hidden[:, :1]) @ self.proj, None
        return hidden[:, 1:], None if padded is None else padded[:, 1:]

    def _patchify(self, image: torch.Tensor) -> torch.Tensor:
        """[3, H, W] -> [N, 3 * patch * patch], row by row: what a convolution with that stride sees."""
        size = self.patch_size
        patches = image.unfold(1, size, size).unfold(2, size, size)  # [3, H', W', patch, patch]
        return patches.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)

    def position_table(self, height: int, width: int) -> torch.Tensor:
        """The position table for a grid of height x width patches: [1 + height * width, C].

        Bicubic with aligned corners, as the published checkpoints were trained; the native grid is not touched.
        """
        table = self.vit.embeddings.position_embedding.weight
        side = math.isqrt(len(table) - 1)
        if (height, width) == (side, side):
            return table
        grid = table[1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)  # [1, C, side, side]
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)
        return torch.cat([table[:1].float(), grid.flatten(2)[0].T])


def load_clip(path: Path, feature_type: str) -> CLIPEncoder:
    """Load a frozen encoder in float32 from an archive, a state dict or a Hugging Face CLIP folder.

    Raises:
        InputError: the path is absent or holds no CLIP vision encoder.
    """
    if path.is_dir():
        config, weights = _from_folder(path)
    else:
        config, weights = _from_openai(load_torch_file(path), path)
    with torch.device("meta"):
        encoder = CLIPEncoder(config, feature_type)
    missing, unexpected = encoder.load_state_dict(weights, strict=False, assign=True)
    if missing or unexpected:
        raise InputError(f"{path}: not a CLIP vision encoder: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return encoder.eval().requires_grad_(False)


def describe_openai_vit(width: int, layers: int, patch_size: int, image_size: int, output: int) -> CLIPVisionConfig:
    """OpenAI's ViT of these sizes (heads of 64, MLP of 4 widths, quick GELU) as a transformers config."""
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        patch_size=patch_size,
        image_size=image_size,
        projection_dim=output,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
    )


def _from_openai(state: dict[str, torch.Tensor], path: Path) -> tuple[CLIPVisionConfig, dict[str, torch.Tensor]]:
    visual = {
        key.removeprefix("visual."): value.to(torch.float32, copy=True)
        for key, value in state.items()
        if key.startswith("visual.")
    }
    if not {"conv1.weight", "positional_embedding", "proj"} <= set(visual):
        raise InputError(f"{path}: expected OpenAI's CLIP weights with keys 'visual.*', found {list(state)[:3]}")
    width, _, patch_size, _ = visual["conv1.weight"].shape
    config = describe_openai_vit(
        width=width,
        layers=1 + max(int(match[1]) for key in visual if (match := re.search(r"resblocks\.(\d+)\.", key))),
        patch_size=patch_size,
        image_size=patch_size * math.isqrt(len(visual["positional_embedding"]) - 1),
        output=visual["proj"].shape[1],
    )
    weights = {"proj": visual.pop("proj")}
    for key, value in visual.items():
        for pattern, name in _OPENAI_NAMES:
            key = re.sub(pattern, name, key)
        fused = re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", key)
        if fused is None:
            weights[f"vit.{key}"] = value
            continue
        for name, part in zip("qkv", value.chunk(3), strict=True):
            weights[f"vit.{fused[1]}.self_attn.{name}_proj.{fused[2]}"] = part.contiguous()
    return config, weights


def _from_folder(path: Path) -> tuple[CLIPVisionConfig, dict[str, torch.Tensor]]:
    from transformers import CLIPVisionModelWithProjection

    check_json(path, MODEL_FILES)
    try:
        model, found = CLIPVisionModelWithProjection.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # a broken file may lead transformers to any
        raise explain(path, "not a CLIP model folder", error) from error
    check_complete(path, set(found["missing_keys"]))
    weights = {f"vit.{key}": value for key, value in model.vision_model.state_dict().items()}
    return model.config, weights | {"proj": model.visual_projection.weight.detach().T.contiguous()}
