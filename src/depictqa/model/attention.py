"""Causal attention for training on a CPU: block by block of queries, by matrix products.

PyTorch's own kernel for CPUs computes the probabilities again in the backward pass, and its products reach a fraction
of the rate of a plain product. Here the probabilities are kept (half of [T, T] a head and layer), and a block of
queries meets only the keys before its end. Everything else, a GPU, a mask, inference, goes to PyTorch's kernel.
"""

import functools

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "causal_blocks"  # as `attn_implementation`
BLOCK = 128  # queries at a time
LEAST_LENGTH = 2 * BLOCK  # of a sequence, for blocks to save anything


class CausalBlocks(torch.autograd.Function):
    """softmax(query key^T + causal mask) value, of [N, T, head size] each; `query` is scaled already."""

    @staticmethod
    def forward(ctx, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        keys = key.transpose(1, 2)  # [N, head size, T]
        out, kept = torch.empty_like(query), []
        for begin, end in _blocks(query.shape[1]):
            scores = query[:, begin:end] @ keys[..., :end]  # [N, block, keys so far]
            scores[..., begin:].masked_fill_(_later(end - begin), float("-inf"))
            kept.append(scores.softmax(-1))
            out[:, begin:end] = kept[-1] @ value[:, :end]
        ctx.save_for_backward(query, key, value, out, *kept)
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query, key, value, out, *kept = ctx.saved_tensors
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        drift = (grad * out).sum(-1, keepdim=True)  # [N, T, 1]: what a softmax's gradient loses to its normalisation
        values = value.transpose(1, 2)
        for (begin, end), probabilities in zip(_blocks(query.shape[1]), kept, strict=True):
            here = grad[:, begin:end]
            grad_scores = (here @ values[..., :end]).sub_(drift[:, begin:end]).mul_(probabilities)
            grad_query[:, begin:end] = grad_scores @ key[:, :end]
            grad_key[:, :end].baddbmm_(grad_scores.transpose(1, 2), query[:, begin:end])
            grad_value[:, :end].baddbmm_(probabilities.transpose(1, 2), here)
        return grad_query, grad_key, grad_value


def causal_blocks(module, query, key, value, attention_mask=None, scaling=None, dropout=0.0, **kwargs):
    """transformers' interface of an attention: query [B, heads, T, size] and fewer heads of key and value.

    Returns:
        [B, T, heads, size], and None for the probabilities.
    """
    by_kernel = attention_mask is not None or dropout or not query.requires_grad or query.device.type != "cpu"
    if by_kernel or query.shape[2] < LEAST_LENGTH:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    shared = query.shape[1] // key.shape[1]  # query heads of a key head
    key, value = (states.repeat_interleave(shared, 1).flatten(0, 1) for states in (key, value))  # [B * heads, T, size]
    out = CausalBlocks.apply((query * scaling).flatten(0, 1), key, value)
    return out.unflatten(0, query.shape[:2]).transpose(1, 2), None


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(begin, min(begin + BLOCK, length)) for begin in range(0, length, BLOCK)]


@functools.cache
def _later(length: int) -> torch.Tensor:
    """[length, length], True where a key is behind its query."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


AttentionInterface.register(NAME, causal_blocks)
AttentionMaskInterface.register(NAME, sdpa_mask)
