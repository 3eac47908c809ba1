"""Attention on the CPU against PyTorch's, in buckets with spare cells."""

import pytest
import torch
from synthetic import LENGTHS, batch
from torch.nn.functional import scaled_dot_product_attention

from mlsan.model.fast import packing
from mlsan.model.fast.attention import attend
from mlsan.model.fast.packing import Packing

HEADS = 2


def by_dialogue(query, key_value, extent):
    """Dialogue by dialogue; `extent` counts each dialogue's keys."""
    attended = []
    keys_and_values = key_value.split(extent, 1)
    for q, kv in zip(query.split(list(LENGTHS), 1), keys_and_values, strict=True):
        heads = (x.unflatten(2, (HEADS, -1)).transpose(1, 2) for x in (q, *kv.chunk(2, -1)))
        attended.append(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    return torch.cat(attended, 1)


@pytest.mark.parametrize("slack", [0, 10**6])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_attention_and_its_derivative(mask_padding, slack, monkeypatch):
    monkeypatch.setitem(packing.SLACK, "cpu", slack)
    packed = Packing.of(batch(), mask_padding, bidirectional=False)
    assert (len(packed.buckets) == 1) == (slack > 0)
    extent = LENGTHS if mask_padding else [max(LENGTHS)] * len(LENGTHS)
    generator = torch.Generator().manual_seed(0)
    query, key_value = (
        torch.randn(3, n, d, generator=generator, dtype=torch.float64, requires_grad=True)
        for n, d in ((sum(LENGTHS), 4), (sum(extent), 8))
    )
    found = attend(query, key_value, HEADS, packed)
    expected = by_dialogue(query, key_value, list(extent))
    torch.testing.assert_close(found, expected)
    inputs = (query, key_value)
    torch.testing.assert_close(
        torch.autograd.grad(found.sin().sum(), inputs),
        torch.autograd.grad(expected.sin().sum(), inputs),
    )
