"""What a vision encoder brings: `normalize`, `num_tokens` and features. One subclass a file; `build.ENCODERS` lists them."""

from collections.abc import Sequence

import torch
from torch import nn


class VisionEncoder(nn.Module):
    """A frozen encoder of images of any size.

    A subclass sets `patch_size`, `feature_size` and, where they are not CLIP's, `mean` and `std`, and implements `encode`.

    Attributes:
        patch_size: edge of a patch, pixels; images come padded to multiples of it.
        feature_size: C, width of a token.
        mean, std: per channel, of values in [0, 1].
    """

    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    patch_size: int
    feature_size: int

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def normalize(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [..., 3, H, W] -> normalised [..., 3, H, W] in the encoder's dtype, computed in float32."""
        mean, std = (torch.tensor(values, device=image.device).view(3, 1, 1) for values in (self.mean, self.std))
        return ((image.float() / 255 - mean) / std).to(self.dtype)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tokens of an image."""
        return height // self.patch_size, width // self.patch_size

    def num_tokens(self, height: int, width: int) -> int:
        rows, columns = self.grid(height, width)
        return rows * columns

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised images of one size [b, 3, H, W] -> tokens [b, N, C], row by row."""
        raise NotImplementedError

    def forward(self, images: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode normalised images of any sizes.

        Args:
            images: B tensors [3, H, W], H and W multiples of the patch size.

        Returns:
            features: [B, N, C] with N the largest number of tokens.
            padding_mask: [B, N], True behind the tokens of smaller images; None where there is no padding.
        """
        tokens: list[torch.Tensor] = [torch.empty(0)] * len(images)
        for size in {image.shape for image in images}:
            same = [index for index, image in enumerate(images) if image.shape == size]
            for index, features in zip(same, self.encode(torch.stack([images[i] for i in same])), strict=True):
                tokens[index] = features  # [N_i, C]
        features = nn.utils.rnn.pad_sequence(tokens, batch_first=True)  # [B, N, C]
        return features, padding_mask([len(one) for one in tokens], features.device)


def padding_mask(lengths: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """[B, longest], True where a sequence is padded on the right; None where no sequence is."""
    if min(lengths) == max(lengths):
        return None
    steps = torch.arange(max(lengths), device=device)
    return steps[None] >= torch.tensor(lengths).to(device, non_blocking=True)[:, None]
