"""Dropout whose random numbers are drawn faster on a CPU: 16 bits of each, four at a time."""

import torch
from torch import nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """`nn.Dropout`, with p rounded to 1 / LEVELS on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        return _Dropout.apply(x, self.p)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, p: float) -> torch.Tensor:
        dropped = round(p * LEVELS)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        ctx.keep = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        ctx.scale = LEVELS / (LEVELS - dropped)
        return (x * ctx.scale).mul_(ctx.keep)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (grad * ctx.scale).mul_(ctx.keep), None
