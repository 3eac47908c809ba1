"""The hand-written derivatives, against finite differences."""

import torch

from mlsan.model.fast.attentive import attentive_states
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
