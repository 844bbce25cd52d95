"""A small CLIP with OpenAI's parameter names (Radford et al., 2021), for pre-training; words instead of BPE.

The package reads what is trained here through its loader of OpenAI's state dicts.
"""

import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    def __init__(self, width: int, layers: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        c_fc, c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=c_fc, gelu=QuickGELU(), c_proj=c_proj))
        self.ln_2 = nn.LayerNorm(width)
        # as in CLIP: the residual stream keeps its scale with depth
        nn.init.normal_(self.attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(self.attn.out_proj.weight, std=(width * 2 * layers) ** -0.5)
        nn.init.normal_(c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(c_proj.weight, std=(width * 2 * layers) ** -0.5)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int):
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, layers) for _ in range(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTransformer(nn.Module):
    def __init__(self, image_size: int, patch_size: int, width: int, layers: int, output: int):
        super().__init__()
        self.patch_size = patch_size
        self.grid = image_size // patch_size
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.conv1.weight.data = dct_patches(width, patch_size)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(self.grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, output))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 1 + N, output]: the class token and the patches, all through the final norm."""
        x = self.conv1(pixels)  # [B, C, H', W']
        positions = self._positions(*x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)  # [B, N, C]
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + positions
        return self.ln_post(self.transformer(self.ln_pre(x))) @ self.proj

    def _positions(self, height: int, width: int) -> torch.Tensor:
        table = self.positional_embedding
        if (height, width) == (self.grid, self.grid):
            return table
        grid = table[1:].view(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)
        return torch.cat([table[:1], grid.flatten(2)[0].T])


class CLIP(nn.Module):
    """Args: sizes of the ViT; `vocabulary` words, texts of `context` words at most, the last id ends a text."""

    def __init__(
        self, vocabulary: int, context: int, width: int = 256, layers: int = 6, output: int = 128, text_width: int = 128
    ):
        super().__init__()
        self.visual = VisionTransformer(224, 14, width, layers, output)
        self.transformer = Transformer(text_width, 2)
        self.token_embedding = nn.Embedding(vocabulary, text_width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context, text_width))
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(text_width**-0.5 * torch.randn(text_width, output))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors [B, output] of the class token and of the patches' mean.

        CLIP's loss sees the class token only, so the last block would leave its patches untrained; downstream reads
        just those, so both are trained.
        """
        tokens = self.visual(pixels)
        return F.normalize(tokens[:, 0], dim=-1), F.normalize(tokens[:, 1:].mean(1), dim=-1)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """[U, context] -> unit vectors [U, output], read at the end word."""
        length = ids.shape[1]
        mask = torch.full((length, length), float("-inf"), device=ids.device).triu(1)
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding[:length], mask)
        x = self.ln_final(x)[torch.arange(len(ids)), ids.argmax(-1)]
        return F.normalize(x @ self.text_projection, dim=-1)


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, pairs: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """CLIP's symmetric loss where pictures share captions: every picture of a caption is a positive (Yang et al., 2022).

    Args:
        images: unit vectors [B, D].
        texts: unit vectors of the distinct captions [U, D].
        pairs: caption of each picture [B], every caption has a picture.
    """
    logits = scale * images @ texts.T  # [B, U]
    to_text = F.cross_entropy(logits, pairs)
    positive = F.one_hot(pairs, len(texts)).to(logits.dtype)  # [B, U]
    to_image = -((logits.log_softmax(0) * positive).sum(0) / positive.sum(0)).mean()
    return (to_text + to_image) / 2


def dct_patches(width: int, size: int) -> torch.Tensor:
    """Start of the patch embedding: [width, 3, size, size], half luma and a quarter each of two chroma differences.

    An orthonormal 2-D DCT basis by frequency, high frequencies amplified since photos have little of them: what tells
    a blurred, a blocky and a noisy patch apart is there from the first step.
    """
    n = torch.arange(size)
    basis = torch.cos(math.pi * (n + 0.5) * n[:, None] / size) * math.sqrt(2 / size)  # [frequency, position]
    basis[0] /= math.sqrt(2)
    order = sorted(((u, v) for u in range(size) for v in range(size)), key=lambda f: (f[0] ** 2 + f[1] ** 2, f))
    colours = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]]).float()
    rows = []
    for colour, count in zip(colours, (width // 2, width // 4, width // 4), strict=True):
        for u, v in order[:count]:
            patch = torch.outer(basis[u], basis[v]) * (1 + math.hypot(u, v)) / size
            rows.append(patch[None] * (colour / colour.norm())[:, None, None])
    return torch.stack(rows)
