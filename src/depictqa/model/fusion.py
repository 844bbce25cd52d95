"""One sequence out of text and images: embeddings, mask, positions and training labels that fit each other."""

import operator
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
    def needed(self) -> list[int]:
        """Positions that something is learned from: those that later ones see, and those that predict a target."""
        predicts = [label != IGNORE for label in self.labels[1:]] + [False]
        return [place for place, kept in enumerate(map(operator.or_, self.visible, predicts)) if kept]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class FusedBatch:
    inputs_embeds: torch.Tensor  # [B, T, D]
    attention_mask: torch.Tensor  # [B, T], 1 = visible
    position_ids: torch.Tensor  # [B, T]
    labels: (
        torch.Tensor
    )  # [B, T], IGNORE where nothing is learned; on the CPU, to be searched without waiting for a GPU


def collate(samples: Sequence[Fused], embed_tokens: nn.Embedding, padding_side: str) -> FusedBatch:
    """Embed and pad samples of any lengths. Padding is masked, and positions do not count it.

    Args:
        padding_side: "left" to generate, "right" to train.
    """
    device, dtype = embed_tokens.weight.device, embed_tokens.weight.dtype
    text_ids = [
        token for sample in samples for segment in sample.segments if isinstance(segment, list) for token in segment
    ]
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


@dataclass
class TrainingBatch:
    """A batch of which nothing is left that training does not need."""

    inputs_embeds: torch.Tensor  # [B, T, D], padded on the right
    position_ids: torch.Tensor  # [B, T]
    mask: torch.Tensor  # [B, T], all ones: a query sees every key before it; or [B, 1, T, T], True where it sees a key
    rows: torch.Tensor  # [targets of the batch]: sample of each target; this and the two below on the CPU
    places: torch.Tensor  # [targets of the batch]: what predicts it, along T
    targets: torch.Tensor  # [targets of the batch]: token ids


def for_training(samples: Sequence[Fused], batch: FusedBatch) -> TrainingBatch:
    """Leave out the tokens that are hidden from all others: attention is then the plain causal one, which is fast.

    Positions stay as they were. Only a hidden token that a target follows needs a mask. Padding needs none: on the
    right, it is behind everything that is learned.

    Args:
        batch: of the samples, padded on the right.
    """
    needed = [sample.needed for sample in samples]
    length, device = max(map(len, needed)), batch.inputs_embeds.device
    index = torch.tensor([places + [0] * (length - len(places)) for places in needed])  # [B, T], on the CPU
    filler = torch.arange(length) >= torch.tensor([[len(places)] for places in needed])  # [B, T]
    labels = nn.functional.pad(batch.labels[:, 1:], (0, 1), value=IGNORE)  # position t predicts token t + 1
    labels = labels.gather(1, index).masked_fill(filler, IGNORE)
    rows, places = (labels != IGNORE).nonzero(as_tuple=True)
    mask = batch.attention_mask.new_ones(index.shape)  # without one, transformers takes gaps in positions for packing
    if any(not sample.visible[place] for sample, kept in zip(samples, needed, strict=True) for place in kept):
        earlier = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        mask = earlier & batch.attention_mask.bool().gather(1, index.to(device))[:, None, None]
    position_ids = index.to(device, non_blocking=True)
    starts = torch.arange(len(samples), device=device)[:, None] * batch.inputs_embeds.shape[1]
    flat = (starts + position_ids).flatten()
    inputs_embeds = batch.inputs_embeds.flatten(0, 1).index_select(0, flat).unflatten(0, index.shape)
    return TrainingBatch(inputs_embeds, position_ids, mask, rows, places, labels[rows, places])


def send(values: list, device: torch.device) -> torch.Tensor:
    """Numbers to a tensor on `device`, without waiting for what the device is at."""
    return torch.tensor(values).to(device, non_blocking=True)
