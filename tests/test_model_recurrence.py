"""The hand-written derivatives, against finite differences."""

import numpy as np
import pytest
import torch

from mlsan.model.fast import attentive, recurrence
from mlsan.model.fast.arrays import arrays, on_torch, rows, sigmoid_, softmax_
from mlsan.model.fast.attentive import attentive_states
from mlsan.model.fast.cells import multiply
from mlsan.model.fast.recurrence import output_states, speaker_states
from mlsan.model.reference import gru

# Two streams, two dialogues of 4 and 2 turns; places (t, b): 00 01 10 11 20 30.
PREVIOUS, COUNTS = torch.tensor([[6, 6, 6, 1, 0, 4], [6, 6, 0, 6, 2, 6]]), (2, 2, 1, 1)


def inputs(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(*s, generator=generator, dtype=torch.float64, requires_grad=True)
        for s in shapes
    ]


@pytest.mark.parametrize("chosen", [arrays, on_torch])
def test_a_turn_is_multiplied_cell_by_cell_into_the_first_rows(chosen):
    x, weight = (y.detach() for y in inputs((5, 2, 4), (2, 4, 3)))
    out = torch.full((7, 2, 3), 7.0, dtype=x.dtype)
    xp, found = chosen(x, weight, out)
    assert xp is (torch if chosen is on_torch else np)
    assert len(multiply(xp, *found)) == 5
    torch.testing.assert_close(out[:5], torch.einsum("pci,cio->pco", x, weight))
    assert (out[5:] == 7).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_numpy_and_torch_agree_on_what_they_do_not_share(shape):
    (x,) = (y.detach() for y in inputs(shape))
    for operation in (sigmoid_, softmax_):
        on_numpy = operation(x.numpy().copy())
        torch.testing.assert_close(torch.as_tensor(on_numpy), operation(x.clone()))
    table, index = x.reshape(-1, 1), torch.tensor([1, 1, 0])
    assert (rows(table.numpy(), index.numpy()) == rows(table, index).numpy()).all()


def test_the_loops_on_torch_are_those_on_numpy(monkeypatch):
    shapes = (4, 6, 9), (4, 9, 3), (4, 9, 3), (4, 3), (2, 3)
    *learnt, keep = attentive_inputs()

    def everything():
        first = inputs(*shapes)
        found = [
            (speaker_states(*first, PREVIOUS, COUNTS), first),
            (attentive_states(*learnt, keep, PREVIOUS, COUNTS), learnt),
        ]
        second = inputs((2, 6, 9), (2, 9, 3), (2, 3))
        found.append((output_states(*second, (3, 2, 1), keep[:2]), second))
        return [(y, *torch.autograd.grad(y.sin().sum(), x)) for y, x in found]

    expected = everything()
    for module in (recurrence, attentive):
        monkeypatch.setattr(module, "arrays", on_torch)
    torch.testing.assert_close(everything(), expected)


def test_output_states():
    assert torch.autograd.gradcheck(
        lambda *x: output_states(*x, (3, 2, 1)), inputs((2, 6, 9), (2, 9, 3), (2, 3))
    )


def test_output_states_with_dropout():
    keep = 2.0 * (torch.arange(36.0, dtype=torch.float64) % 4 > 0).view(2, 6, 3)
    assert torch.autograd.gradcheck(
        lambda *x: output_states(*x, (3, 2, 1), keep), inputs((2, 6, 9), (2, 9, 3), (2, 3))
    )


def test_speaker_states():
    shapes = (4, 6, 9), (4, 9, 3), (4, 9, 3), (4, 3), (2, 3)
    assert torch.autograd.gradcheck(
        lambda *x: speaker_states(*x, PREVIOUS, COUNTS), inputs(*shapes)
    )


def test_attention_over_the_past_cannot_overflow():
    gi, weight_x, weight_h, bias, attend = inputs((2, 3, 9), (2, 9, 3), (2, 9, 3), (2, 3), (1, 3))
    previous = torch.tensor([[3, 0, 1]])
    q = speaker_states(gi, weight_x, weight_h, bias, attend * 1e6, previous, (1, 1, 1))
    grads = torch.autograd.grad(q.sum(), (gi, weight_x, weight_h, bias, attend))
    assert q.isfinite().all()
    assert all(g.isfinite().all() for g in grads)


def attentive_inputs():
    keep = 2.0 * (torch.arange(72.0, dtype=torch.float64) % 4 > 0).view(4, 6, 3)
    return *inputs((4, 6, 9), (4, 9, 3), (4, 9, 3), (4, 3), (2, 6, 3)), keep


def test_attentive_states():
    *learnt, keep = attentive_inputs()
    assert torch.autograd.gradcheck(lambda *x: attentive_states(*x, keep, PREVIOUS, COUNTS), learnt)


def test_attentive_states_are_those_of_one_turn_after_another():
    gi, weight_x, weight_h, bias, query, keep = attentive_inputs()
    found = attentive_states(gi, weight_x, weight_h, bias, query, keep, PREVIOUS, COUNTS)

    def new(cell, place, x, h):
        """A GRU cell whose input is x, with a weight, and the input's part of the gates."""
        state = {
            "weight_ih": torch.cat([weight_x[cell], torch.eye(9, dtype=gi.dtype)], 1),
            "weight_hh": weight_h[cell],
            "bias_ih": gi.new_zeros(9),
            "bias_hh": torch.cat([gi.new_zeros(6), bias[cell]]),
        }
        state = {f"cell.{name}": value for name, value in state.items()}
        return keep[cell, place] * gru(state, "cell", torch.cat([x, gi[cell, place]]), h)

    zero = gi.new_zeros(3)
    for stream in range(2):
        q = {6: zero}
        for places in ((0, 2, 4, 5), (1, 3)):
            past = []
            for place in places:
                c = zero
                if past:
                    g = torch.stack(past)
                    c = (g @ query[stream, place]).softmax(0) @ g
                own = q[PREVIOUS[stream, place].item()]
                past.append(new(stream, place, own, past[-1] if past else zero))
                q[place] = new(2 + stream, place, c, own)
                torch.testing.assert_close(found[stream, place], q[place])


def test_attention_by_a_query_cannot_overflow():
    gi, weight_x, weight_h, bias, query, keep = attentive_inputs()
    q = attentive_states(gi, weight_x, weight_h, bias, query * 1e6, keep, PREVIOUS, COUNTS)
    grads = torch.autograd.grad(q.sum(), (gi, weight_x, weight_h, bias, query))
    assert q.isfinite().all()
    assert all(g.isfinite().all() for g in grads)
