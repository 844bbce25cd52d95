"""Causal attention by blocks equals PyTorch's, in its numbers and its gradients."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from depictqa.model import attention
from depictqa.model.attention import causal_blocks


def draw(length: int, key_heads: int = 4) -> list[torch.Tensor]:
    torch.manual_seed(length)
    return [torch.randn(2, heads, length, 8, dtype=torch.double).requires_grad_() for heads in (4, key_heads, key_heads)]


@pytest.mark.parametrize("length, key_heads", [(256, 4), (300, 4), (301, 2), (513, 1)])
def test_it_equals_pytorchs(length, key_heads):
    states = draw(length, key_heads)
    ours, _ = causal_blocks(None, *states, scaling=0.3)
    expected = F.scaled_dot_product_attention(*states, is_causal=True, scale=0.3, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * weight).sum(), states)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weight).sum(), states))


@pytest.mark.parametrize("case", ["short", "masked", "no gradient"])
def test_other_cases_are_left_to_pytorch(case, monkeypatch):
    monkeypatch.setattr(attention, "CausalBlocks", None)
    states = draw(attention.LEAST_LENGTH - (case == "short"))
    mask = torch.rand(2, 1, len(states[0][0, 0]), len(states[0][0, 0])) < 0.5 if case == "masked" else None
    with torch.set_grad_enabled(case != "no gradient"):
        states = [state * 1 for state in states]
        module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
        ours, _ = causal_blocks(module, *states, attention_mask=mask, scaling=0.3)
    expected = F.scaled_dot_product_attention(*states, attn_mask=mask, is_causal=mask is None, scale=0.3)
    torch.testing.assert_close(ours, expected.transpose(1, 2), equal_nan=True)
