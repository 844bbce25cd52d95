"""The abstractor: a fixed number of learned queries reads any number of patch tokens."""

import torch
from torch import nn


class Abstractor(nn.Module):
    """A post-norm transformer decoder over learned queries; patches carry no further position code.

    Attribute names are the file format of released checkpoints (`abstractor.abstractor.layers.N.*`).

    Args:
        hidden_size: width of the patch tokens and of the queries.
        num_query: tokens that come out, whatever goes in.
        num_layers, nhead, dim_feedforward, dropout: of the decoder.
    """

    def __init__(
        self, hidden_size: int, num_query: int, num_layers: int, nhead: int, dim_feedforward: int, dropout: float
    ):
        super().__init__()
        self.query_embeds = nn.Parameter(torch.empty(num_query, 1, hidden_size))
        nn.init.normal_(self.query_embeds, std=hidden_size**-0.5)
        layer = nn.TransformerDecoderLayer(hidden_size, nhead, dim_feedforward, dropout, batch_first=True)
        self.abstractor = nn.TransformerDecoder(layer, num_layers)
        for parameter in self.abstractor.parameters():  # TransformerDecoder copies one layer: draw each anew
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, patches: torch.Tensor, padding_mask: torch.Tensor | None = None) -> torch.Tensor:
        """[B, N, C] -> [B, num_query, C]; `padding_mask` [B, N] is True at patches that do not exist."""
        queries = self.query_embeds.transpose(0, 1).expand(len(patches), -1, -1)  # [B, Q, C]
        return self.abstractor(queries, patches, memory_key_padding_mask=padding_mask)
