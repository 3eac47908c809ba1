"""The fast path of large products agrees with the usual one."""

import pytest
import torch
from synthetic import batch, build, settings

from mlsan.model.fast import products


def single(x):
    return torch.randn(*x, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(products, "LARGE", 0)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("view", ["whole", "part", "turned"])
def test_large_products_and_their_slopes(everything_is_large, view, biased):
    x, bias = single((2, 5, 4)), single((2, 3)) if biased else None
    weight = {
        "whole": lambda: single((2, 3, 4)),
        "part": lambda: single((2, 3, 9))[..., :4],
        "turned": lambda: single((2, 4, 3)).transpose(1, 2),
    }[view]()
    inputs = (x, weight, bias) if biased else (x, weight)
    plain = x @ weight.transpose(1, 2) + (bias[:, None] if biased else 0)
    fast = products.stacked_linear(x, weight, bias)
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(
        torch.autograd.grad(fast.square().sum(), inputs),
        torch.autograd.grad(plain.square().sum(), inputs),
    )


def test_the_whole_model_agrees(monkeypatch):
    model = build(settings("IEMOCAP")).float()
    b = batch(dtype=torch.float32)

    def run():
        model.zero_grad()
        output = model(b)
        (output.logits.square().sum() + output.speaker_logits.square().sum()).backward()
        return output.logits, [p.grad for p in model.parameters()]

    plain = run()
    monkeypatch.setattr(products, "LARGE", 0)
    torch.testing.assert_close(run(), plain, rtol=1e-4, atol=1e-5)
