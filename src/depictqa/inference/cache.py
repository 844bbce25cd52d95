"""Keys and values of a batch of rows, with room to grow: a token is written in place, and nothing is copied for it.

Knows nothing of prompts or answers; `session` decides which row is where.
"""

from collections.abc import Sequence

import torch
from transformers import Cache

from depictqa.model.fusion import send

LEAST_ROOM = 64  # columns that a block has to spare when it is new
GROWTH = 1.25  # blocks grow by this factor, so that a token costs a constant amount of copying on average
ALIGNMENT = 8  # the columns of a mask: CUDA kernels copy masks of other widths in every layer


class KVCache:
    """The cache of rows of any lengths. A token's column is its position: rows are neither padded nor moved.

    Columns that a row does not use hold zeros or older values, never NaN, which no mask would keep out.

    Attributes:
        layers: (keys, values) of each layer, each [rows, heads, columns, d]; empty until the first token is written.
    """

    def __init__(self):
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def layer(self, number: int, like: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, with at least so many rows and columns.

        Args:
            like: keys or values of any length, for the other sizes, the dtype and the device.
        """
        if number == len(self.layers):
            empty = like.new_empty(0, like.shape[1], 0, like.shape[3])
            self.layers.append((empty, empty))
        keys, values = self.layers[number]
        if keys.shape[0] < rows or keys.shape[2] < columns:
            keys, values = self.layers[number] = _grown(keys, rows, columns), _grown(values, rows, columns)
        return keys, values

    def copy(self, source: "KVCache", source_row: int, rows: Sequence[int], length: int, columns: int = 0) -> None:
        """Give rows the first `length` tokens of a row of another cache, or of this one.

        Args:
            columns: how many tokens the rows will have soon, so that they need no more room then.
        """
        for number, blocks in enumerate(source.layers):
            for mine, others in zip(
                self.layer(number, blocks[0], max(rows) + 1, max(length, columns)), blocks, strict=True
            ):
                mine[list(rows), :, :length] = others[source_row, :, :length]

    def prefix(self, row: int, length: int) -> "KVCache":
        """The first `length` tokens of a row, in a cache of their own that has no room to spare."""
        prefix = KVCache()
        prefix.layers = [
            (keys[row : row + 1, :, :length].clone(), values[row : row + 1, :, :length].clone())
            for keys, values in self.layers
        ]
        return prefix

    def move(self, source_row: int, row: int) -> None:
        """Put a row in the place of another, and leave its own place empty."""
        for blocks in self.layers:
            for block in blocks:
                if source_row != row:
                    block[row] = block[source_row]
                block[source_row] = 0


def _grown(block: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    old_rows, heads, old_columns, d = block.shape
    rows = old_rows if rows <= old_rows else max(rows, int(old_rows * GROWTH))
    columns = old_columns if columns <= old_columns else max(columns + LEAST_ROOM, int(columns * GROWTH))
    new = block.new_zeros(rows, heads, columns, d)
    new[:old_rows, :, :old_columns] = block
    return new


class Pass(Cache):
    """What attention layers write to and read from in one forward pass: some rows of a `KVCache`.

    Args:
        rows: b rows of the cache.
        starts: tokens that each of them has already.
        counts: tokens that each of them gets; fewer than the most are padded on the right.
        window: tokens back that a token sees, itself included; None: all.

    Attributes:
        position_ids: [b, T].
        mask: [b or 1, 1, T, columns], True where a query sees a key; None where plain causal attention does.
    """

    def __init__(
        self,
        cache: KVCache,
        rows: Sequence[int],
        starts: Sequence[int],
        counts: Sequence[int],
        device: torch.device,
        window: int | None = None,
    ):
        super().__init__(layers=[])
        self._cache, self._most_rows = cache, max(rows) + 1
        self.length, self.width = max(counts), max(map(sum, zip(starts, counts, strict=True)))
        are_even = len(set(starts)) == 1
        self.position_ids = send([[start + step for step in range(self.length)] for start in starts], device)
        self.mask = None
        if not are_even or (starts[0] > 0 and self.length > 1):
            self.width = -(-self.width // ALIGNMENT) * ALIGNMENT
            queries = (self.position_ids[:1] if are_even else self.position_ids)[:, None, :, None]
            keys = torch.arange(self.width, device=device)
            self.mask = keys <= queries
            if window is not None:
                self.mask &= keys > queries - window
        are_consecutive = list(rows) == list(range(rows[0], rows[0] + len(rows)))
        self._rows = slice(rows[0], rows[0] + len(rows)) if are_consecutive else send(list(rows), device)
        if are_even:
            self._place = (self._rows, slice(None), slice(starts[0], starts[0] + self.length))
        else:  # the first free column takes all padding
            columns = [
                [start + min(step, count) for step in range(self.length)] for start, count in zip(starts, counts)
            ]
            self._place = (send(list(rows), device)[:, None], slice(None), send(columns, device))

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args, **kwargs):
        """Write the pass's keys and values [b, heads, T, d]; those of all tokens of its rows, [b, heads, columns, d]."""
        blocks = self._cache.layer(layer_idx, key_states, self._most_rows, self.width + 1)
        for block, states in zip(blocks, (key_states, value_states), strict=True):
            block[self._place] = states if isinstance(self._place[2], slice) else states.transpose(1, 2)
        if self.width == self.length:  # nothing precedes: attention is faster over what lies in one piece
            return key_states, value_states
        keys, values = (block[self._rows, :, : self.width] for block in blocks)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.width - self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.width, 0
