"""One sequence out of text and images: embeddings, mask, positions and training labels that fit each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

IGNORE = -100  # label of a position that is no training target


@dataclass
class Fused:
    """One sample's sequence, segment by segment; ids, labels and mask grow together in `add_text`.

    Segments are token ids (text) or embeddings [N, D] (an image).
    """

    segments: list[list[int] | torch.Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    visible: list[bool] = field(default_factory=list)

    def add_text(self, ids: list[int], is_target: bool = False, hidden_id: int | None = None) -> None:
        """Append text: targets or not; tokens equal to `hidden_id` are hidden from attention."""
        self.segments.append(ids)
        self.labels += ids if is_target else [IGNORE] * len(ids)
        self.visible += [token != hidden_id for token in ids]

    def add_image(self, embeds: torch.Tensor) -> None:
        """Append an image: embeddings [N, D]."""
        self.segments.append(embeds)
        self.labels += [IGNORE] * len(embeds)
        self.visible += [True] * len(embeds)

    @property
    def hides_before_end(self) -> bool:
        """Whether a token that others come after is hidden from them."""
        return not all(self.visible[:-1])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class FusedBatch:
    inputs_embeds: torch.Tensor  # [B, T, D]
    attention_mask: torch.Tensor  # [B, T], 1 = visible
    position_ids: torch.Tensor  # [B, T]
    labels: torch.Tensor  # [B, T], IGNORE where nothing is learned; on the CPU, to be searched without waiting for a GPU


def collate(samples: Sequence[Fused], embed_tokens: nn.Embedding, padding_side: str) -> FusedBatch:
    """Embed and pad samples of any lengths. Padding is masked, and positions do not count it.

    Args:
        padding_side: "left" to generate, "right" to train.
    """
    device, dtype = embed_tokens.weight.device, embed_tokens.weight.dtype
    text_ids = [token for sample in samples for segment in sample.segments if isinstance(segment, list) for token in segment]
    text_embeds = embed_tokens(send(text_ids, device))  # [all text tokens, D]
    length, used = max(map(len, samples)), 0
    rows, masks, positions, labels = [], [], [], []
    for sample in samples:
        parts = []
        for segment in sample.segments:
            if isinstance(segment, list):
                parts.append(text_embeds[used : used + len(segment)])
                used += len(segment)
            else:
                parts.append(segment.to(device, dtype))
        missing = length - len(sample)
        before, after = (missing, 0) if padding_side == "left" else (0, missing)
        rows.append(nn.functional.pad(torch.cat(parts), (0, 0, before, after)))  # [T, D]
        masks.append([0] * before + [int(v) for v in sample.visible] + [0] * after)
        positions.append([0] * before + list(range(len(sample))) + [0] * after)
        labels.append([IGNORE] * before + sample.labels + [IGNORE] * after)
    return FusedBatch(
        inputs_embeds=torch.stack(rows),
        attention_mask=send(masks, device),
        position_ids=send(positions, device),
        labels=torch.tensor(labels),
    )


def send(values: list, device: torch.device) -> torch.Tensor:
    """Numbers to a tensor on `device`, without waiting for what the device is at."""
    return torch.tensor(values).to(device, non_blocking=True)
