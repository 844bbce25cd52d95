"""Dropout drops its share, keeps the mean, and passes gradients where it passed values."""

import pytest
import torch

from depictqa.model.dropout import Dropout
from depictqa.model.llm import add_lora


@pytest.mark.parametrize("p, dtype", [(0.1, torch.float32), (0.25, torch.bfloat16)])
def test_share_mean_and_gradient(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(7, 11, 1001, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=0.005)
    assert y.double().mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())


def test_the_seed_decides_and_inference_drops_nothing():
    x, dropout = torch.randn(3, 500), Dropout(0.1)
    draws = [(torch.manual_seed(seed), dropout(x))[1] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert dropout.eval()(x) is x or torch.equal(dropout(x), x)


def test_lora_has_it(tiny_model):
    model, _ = tiny_model("base")
    llm = add_lora(model.llm.unload(), 2, 2, 0.1, ["q_proj"])
    assert sum(isinstance(module, Dropout) for module in llm.modules()) == llm.config.num_hidden_layers
