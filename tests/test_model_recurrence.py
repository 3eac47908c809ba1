"""The hand-written derivatives, against finite differences."""

import torch

from mlsan.model.fast.recurrence import output_states, speaker_states


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


def test_speaker_states():
    # Two streams, two dialogues of 4 and 2 turns; places (t, b): 00 01 10 11 20 30.
    previous = torch.tensor([[6, 6, 6, 1, 0, 4], [6, 6, 0, 6, 2, 6]])
    shapes = (4, 6, 9), (4, 9, 3), (4, 9, 3), (4, 3), (2, 3)
    assert torch.autograd.gradcheck(
        lambda *x: speaker_states(*x, previous, (2, 2, 1, 1)), inputs(*shapes)
    )


def test_attention_over_the_past_cannot_overflow():
    gi, weight_x, weight_h, bias, attend = inputs((2, 3, 9), (2, 9, 3), (2, 9, 3), (2, 3), (1, 3))
    previous = torch.tensor([[3, 0, 1]])
    q = speaker_states(gi, weight_x, weight_h, bias, attend * 1e6, previous, (1, 1, 1))
    grads = torch.autograd.grad(q.sum(), (gi, weight_x, weight_h, bias, attend))
    assert q.isfinite().all()
    assert all(g.isfinite().all() for g in grads)
