"""Train what lies behind the frozen backbone first, on statistics that are computed once.

An hour of fine-tuning on two CPU cores sees each view once; the projection and the heads learn nearly all they can from
a few thousand views that are gone through many times, in minutes.
"""

from collections.abc import Iterator

import torch

from nano.heads import Heads, Targets, losses, total


def cache(encoder, batches: Iterator[tuple[torch.Tensor, Targets]], views: int) -> list[tuple[torch.Tensor, Targets]]:
    """(statistics float16 [B, N, S], Targets) of so many views."""
    cached, seen = [], 0
    with torch.no_grad():
        while seen < views:
            pixels, targets = next(batches)
            normal = encoder.normalize(pixels).contiguous(memory_format=torch.channels_last)
            cached.append((encoder.statistics(normal).half(), targets))
            seen += len(pixels)
    return cached


def head_start(encoder, heads: Heads, cached: list[tuple[torch.Tensor, Targets]], epochs: int, lr: float = 1e-3) -> None:
    """Set the encoder's offset, scale and projection, and the heads."""
    found = torch.cat([statistics.flatten(0, 1).float() for statistics, _ in cached[:64]])
    encoder.offset.copy_(found.mean(0))
    encoder.scale.copy_(1 / found.std(0).clamp(min=1e-3))
    parameters = [*encoder.projection.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    steps = epochs * len(cached)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        sums: dict[str, float] = {}
        for index in torch.randperm(len(cached)).tolist():
            statistics, targets = cached[index]
            parts = losses(heads(encoder.tokens(statistics.float())), targets)
            optimizer.zero_grad(set_to_none=True)
            total(parts).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 2.0)
            optimizer.step()
            schedule.step()
            for name, loss in parts.items():
                sums[name] = sums.get(name, 0) + loss.item() / len(cached)
        print(f"head start {epoch + 1} of {epochs}:", {name: round(value, 3) for name, value in sums.items()}, flush=True)
