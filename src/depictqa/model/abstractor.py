"""The abstractor: a fixed number of learned queries reads any number of patch tokens."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class Abstractor(nn.Module):
    """A post-norm transformer decoder over learned queries.

    Attribute names are the file format of released checkpoints (`abstractor.abstractor.layers.N.*`).

    Args:
        hidden_size: width of the patch tokens and of the queries.
        num_query: tokens that come out, whatever goes in.
        num_layers, nhead, dim_feedforward, dropout: of the decoder.
        add_pos_emd: add a sine code of their places to the patches, which otherwise carry only CLIP's.
    """

    def __init__(
        self,
        hidden_size: int,
        num_query: int,
        num_layers: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        add_pos_emd: bool = False,
    ):
        super().__init__()
        self.add_pos_emd = add_pos_emd
        self.query_embeds = nn.Parameter(torch.empty(num_query, 1, hidden_size))
        nn.init.normal_(self.query_embeds, std=hidden_size**-0.5)
        layer = nn.TransformerDecoderLayer(hidden_size, nhead, dim_feedforward, dropout, batch_first=True)
        self.abstractor = nn.TransformerDecoder(layer, num_layers)
        for parameter in self.abstractor.parameters():  # TransformerDecoder copies one layer: draw each anew
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, patches: torch.Tensor, padding_mask: torch.Tensor | None = None, grids: Sequence[tuple[int, int]] = ()
    ) -> torch.Tensor:
        """Read patches [B, N, C] into [B, num_query, C].

        Args:
            padding_mask: [B, N], True at patches that do not exist.
            grids: rows and columns of each picture's patches; the position code needs them.
        """
        if self.add_pos_emd:
            codes = [sine_code(*grid, patches.shape[2]) for grid in grids]
            patches = patches + nn.utils.rnn.pad_sequence(codes, batch_first=True).to(patches)
        queries = self.query_embeds.transpose(0, 1).expand(len(patches), -1, -1)  # [B, Q, C]
        return self.abstractor(queries, patches, memory_key_padding_mask=padding_mask)


def sine_code(height: int, width: int, size: int) -> torch.Tensor:
    """The position code of a grid, [height * width, size]: half of it for the row, half for the column.

    As in DETR (Carion et al., 2020): a place is its number from 1, scaled so that the last one is at 2 pi.
    """
    half = size // 2
    frequency = 10000 ** -(2 * (torch.arange(half) // 2) / half)  # pairs: a sine and a cosine each

    def code(count: int) -> torch.Tensor:
        place = torch.arange(1, count + 1) / (count + 1e-6) * 2 * math.pi
        angle = place[:, None] * frequency  # [count, half]
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)

    rows = code(height)[:, None].expand(-1, width, -1)
    columns = code(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
