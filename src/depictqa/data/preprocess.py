"""Pictures to tensors: any size in, a multiple of the patch size out.

Works on the CPU and stays in uint8: loader workers hand small tensors on; the encoder normalises them on its device.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from depictqa.data.images import open_image

if TYPE_CHECKING:
    from depictqa.data.images import Source


class ImagePreprocessor:
    """Scale a picture down where it is large, crop it at random (training only), pad it with black.

    Args:
        patch_size: edge of a patch of the vision encoder, pixels.
        resize: a picture whose short side has at least this many pixels is scaled down to it.
        min_size: both sides have at least this many pixels in the end.
        max_size: a picture whose long side has at least this many pixels is scaled down to it.
        crop_ratio: (low, high) of the share of each side that a training crop keeps.
        keep_ratio: keep the aspect ratio when scaling; otherwise scale to resize x resize.
        color_profiles: `load` converts embedded colour profiles to sRGB.
    """

    def __init__(
        self,
        patch_size: int,
        resize: int,
        max_size: int,
        crop_ratio: tuple[float, float],
        keep_ratio: bool = True,
        min_size: int = 70,
        color_profiles: bool = True,
    ):
        self.patch_size, self.resize, self.max_size = patch_size, resize, max_size
        self.crop_ratio, self.keep_ratio, self.min_size = tuple(crop_ratio), keep_ratio, min_size
        self.color_profiles = color_profiles

    def load(
        self, source: Source, rng: random.Random | None = None, name: str | None = None, max_memory: int | None = None
    ) -> torch.Tensor:
        """Open an image (see `open_image`) and prepare it. Raises InputError."""
        return self(open_image(source, name, max_memory, self.color_profiles), rng)

    def __call__(self, image: Image.Image, rng: random.Random | None = None) -> torch.Tensor:
        """Prepare one RGB picture.

        Args:
            rng: draws the training crop; None means no crop (inference).

        Returns:
            uint8 [3, H, W]; H and W are multiples of `patch_size` and at least `min_size`.
        """
        image = self._scale(image)
        if rng is not None:
            image = self._crop(image, rng)
        width, height = (self._padded(side) for side in image.size)
        image = _center(image, width, height)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # [H, W, 3] -> [3, H, W]

    def prepared_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(W, H) of a picture -> (W, H) of what is made of it without a crop."""
        width, height = map(self._padded, self._scaled(size))
        return width, height

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        short, long = sorted(size)
        if short < self.resize and long < self.max_size:
            return size
        if not self.keep_ratio:
            return self.resize, self.resize
        factor = min(self.resize / short, self.max_size / long)
        width, height = (max(1, round(side * factor)) for side in size)
        return width, height

    def _scale(self, image: Image.Image) -> Image.Image:
        return image.resize(self._scaled(image.size), Image.Resampling.BICUBIC)  # of the same size: as it is

    def _crop(self, image: Image.Image, rng: random.Random) -> Image.Image:
        if min(image.size) <= self.min_size:
            return image
        smallest = self.min_size / min(image.size)  # one bound for both axes, as the checkpoints were trained
        height, width = (
            round(side * max(smallest, rng.uniform(*self.crop_ratio))) for side in (image.height, image.width)
        )
        return _center(image, width, height)

    def _padded(self, side: int) -> int:
        side = max(side, self.min_size)
        return -(-side // self.patch_size) * self.patch_size


def _center(image: Image.Image, width: int, height: int) -> Image.Image:
    """Cut or pad (black) around the centre; a half pixel is rounded as torchvision's center_crop does."""
    pad_left, pad_top = max(width - image.width, 0) // 2, max(height - image.height, 0) // 2
    padded = max(width, image.width), max(height, image.height)
    left, top = round((padded[0] - width) / 2.0), round((padded[1] - height) / 2.0)
    offset = (left - pad_left, top - pad_top)
    return image.crop((*offset, offset[0] + width, offset[1] + height))  # outside the picture crop() gives black
