"""Fast layers of the baselines against readable forms, with their gradients."""

import math

import pytest
import torch
from synthetic import LENGTHS, batch

from mlsan.model.fast import attention, packing
from mlsan.model.fast.dropout import Dropout, draw
from mlsan.model.fast.grouped import grouped_product
from mlsan.model.fast.packing import Packing

HEADS = 2


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def check_same(found, expected, inputs):
    """Outputs and gradients agree."""
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.sin().sum(), inputs),
        torch.autograd.grad(expected.sin().sum(), inputs),
    )


@pytest.mark.parametrize("p", [0.15, 0.4, 0.5])
def test_dropout_keeps_the_share_and_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(400_000)
    kept = Dropout(p)(x)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)
    deviation = math.sqrt(p * (1 - p) / len(x))
    assert (kept == 0).float().mean().item() == pytest.approx(p, abs=5 * deviation)
    neighbours = (kept[:-1] == 0) & (kept[1:] == 0)
    assert neighbours.float().mean().item() == pytest.approx(p * p, abs=10 * deviation)


def test_dropout_follows_the_seed_and_acts_in_training_only():
    x, layer = random(5, 7), Dropout(0.5)
    torch.manual_seed(0)
    first, second = layer(x), layer(x)
    torch.manual_seed(0)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5)])
def test_dropout_of_any_shape(shape):
    assert draw(torch.zeros(shape), 0.5).shape == shape


@pytest.mark.parametrize("slack", [0, 10**6])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_attention_with_dropout_of_its_weights(dropout, slack, monkeypatch):
    monkeypatch.setitem(packing.SLACK, "cpu", slack)
    packed = Packing.of(batch(), mask_padding=True, bidirectional=False)
    drawn = []

    def recorded(like, p):
        drawn.append(draw(like, p))
        return drawn[-1]

    monkeypatch.setattr(attention, "draw", recorded)
    streams, d = 3, 4
    query, key_value = random(streams, sum(LENGTHS), d), random(streams, sum(LENGTHS), 2 * d)
    found = attention.attend(query, key_value, HEADS, packed, dropout)
    assert len(drawn) == (len(packed.buckets) if dropout else 0)

    # Dialogues lie in buckets, the longest first; weights have keys before queries.
    parts = [x.split(LENGTHS, 1) for x in (query, *key_value.chunk(2, -1))]
    order = sorted(range(len(LENGTHS)), key=lambda i: -LENGTHS[i])
    expected = [None] * len(LENGTHS)
    for number, bucket in enumerate(packed.buckets):
        size = streams, bucket.dialogues, HEADS, bucket.turns, bucket.turns
        kept = drawn[number].view(size) if dropout else torch.ones(size, dtype=query.dtype)
        for place in range(bucket.dialogues):
            i = order.pop(0)
            n = LENGTHS[i]
            q, k, v = (x[i].unflatten(2, (HEADS, -1)).transpose(1, 2) for x in parts)
            weight = (q @ k.transpose(2, 3) / math.sqrt(d / HEADS)).softmax(-1)
            weight = weight * kept[:, place, :, :n, :n].transpose(2, 3)
            expected[i] = (weight @ v).transpose(1, 2).flatten(2)
    check_same(found, torch.cat(expected, 1), (query, key_value))


def test_products_of_groups():
    sizes, weight = [2, 0, 3, 1], random(4, 5, 3)
    x = random(sum(sizes), 5)
    expected = [part @ w for part, w in zip(x.split(sizes), weight, strict=True)]
    check_same(grouped_product(x, weight, sizes), torch.cat(expected), (x, weight))
