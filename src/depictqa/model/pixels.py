"""Plain statistics of a picture's pixels, cell by cell: what convolutions trained on objects have no word for.

How its grey levels and its saturation are spread, what is clipped, how often neighbours are equal (blocks, few
colours), how much fine detail there is, and how many grey levels occur at all. All of it is counted, so there is
nothing to learn and no gradient.
"""

import torch
from torch.nn import functional as F

GREY_BINS, SATURATION_BINS = 16, 8
NUM_PIXEL_STATISTICS = GREY_BINS + SATURATION_BINS + 2 + 8 + 4 + 2 + 3
RARE = 1e-4  # a grey level that fewer pixels have than this share does not count


@torch.no_grad()
def pixel_statistics(levels: torch.Tensor, cell: int) -> torch.Tensor:
    """Statistics of each cell.

    Args:
        levels: grey levels 0..255, whole numbers of a floating dtype, [B, 3, H, W]; sides multiples of `cell`.
        cell: side of a cell, pixels.

    Returns:
        float32 [B, NUM_PIXEL_STATISTICS, H / cell, W / cell].
    """
    levels = levels.float()
    red, green, blue = levels.unbind(1)  # [B, H, W] each
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    highest, lowest = levels.amax(1), levels.amin(1)
    saturation = (highest - lowest) / (highest + 1)
    maps = [(highest - lowest) / 255, saturation]
    for channel in (red, green, blue):
        maps += [(channel <= 1).float(), (channel >= 254).float()]
    maps += [(lowest <= 1).float(), (highest >= 254).float()]
    for axis in (2, 3):
        for lag in (1, 2):
            maps.append(_equal_neighbours(levels, axis, lag))
    detail = _detail(luma)
    maps += [detail.log1p(), detail.square()]
    means = F.avg_pool2d(torch.stack(maps, dim=1), cell)  # [B, 14 + 2, rows, columns]
    means[:, -1] = means[:, -1].log1p()
    spread = [_histogram(luma / 256, GREY_BINS, cell), _histogram(saturation, SATURATION_BINS, cell)]
    occupied = _share_of_levels(levels)[..., None, None].expand(-1, -1, *means.shape[-2:])
    return torch.cat([*spread, means, occupied], dim=1)


def _equal_neighbours(levels: torch.Tensor, axis: int, lag: int) -> torch.Tensor:
    """Where all channels equal those of the pixel `lag` further along the axis, [B, H, W]; 0 at the far edge."""
    length = levels.shape[axis]
    equal = (levels.narrow(axis, lag, length - lag) == levels.narrow(axis, 0, length - lag)).all(1).float()
    return F.pad(equal, (0, lag) if axis == 3 else (0, 0, 0, lag))


def _detail(luma: torch.Tensor) -> torch.Tensor:
    """Magnitude of the Laplacian, [B, H, W]."""
    padded = F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return (4 * luma - around).abs()


def _histogram(values: torch.Tensor, bins: int, cell: int) -> torch.Tensor:
    """Values in 0..1 [B, H, W] -> the share of each bin in each cell [B, bins, rows, columns]."""
    batch, height, width = values.shape
    rows, columns = height // cell, width // cell
    of_cell = torch.arange(batch * rows * columns, device=values.device).view(batch, rows, 1, columns, 1)
    of_bin = (values * bins).long().clamp(0, bins - 1).view(batch, rows, cell, columns, cell)
    counts = torch.bincount((of_cell * bins + of_bin).flatten(), minlength=batch * rows * columns * bins)
    return counts.view(batch, rows, columns, bins).permute(0, 3, 1, 2).float() / cell**2


def _share_of_levels(levels: torch.Tensor) -> torch.Tensor:
    """Of the 256 grey levels, how many occur in each channel, [B, 3]."""
    batch, channels, height, width = levels.shape
    of_channel = torch.arange(batch * channels, device=levels.device).view(batch, channels, 1, 1)
    counts = torch.bincount(
        (of_channel * 256 + levels.long().clamp(0, 255)).flatten(), minlength=batch * channels * 256
    )
    return (counts.view(batch, channels, 256) > RARE * height * width).float().mean(-1)
