"""The main loop of the published DialogueRNN, with its derivative written out.

`recurrence` has that of MultiEMO's variant, whose attention needs no history and whose states no
dropout, and says why derivatives are written out.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlsan.model.fast.arrays import arrays, rows, silent, softmax_
from mlsan.model.fast.cells import (
    Cells,
    by_input,
    following,
    multiply,
    room,
    rows_of_q,
    turned,
    turned_back,
    turns_of,
    weight_gradient,
)


class _AttentiveStates(torch.autograd.Function):
    """See `attentive_states`.

    The cells of g and of q are 2S cells side by side: the first S update g from (q, g), the last S
    update q from (c, q). Attention is a product per dialogue and stream.
    """

    @staticmethod
    @silent
    def forward(ctx, gi, weight_x, weight_h, bias, query, keep, previous, counts):
        (streams, places, d), turns, most = query.shape, len(counts), counts[0]
        kept = room(gi, places, 2 * streams, d)
        inputs = torch.empty_like(kept[0])  # q and c
        shares = gi.new_empty(places, streams, turns)
        # g and q after each place; the last row is that of a speaker who has not spoken yet.
        states = gi.new_empty(places + 1, 2 * streams, d)
        states[places:] = 0
        inputs[:most, streams:] = 0
        past = gi.new_empty(most, streams, turns, d)
        products = gi.new_empty(2, most, 2 * streams, 3 * d)
        by_x, by_h = (w.transpose(1, 2).contiguous() for w in (weight_x, weight_h))
        xp, (own, wx, wh, b, asked, k, last, x, new, share, g, of_x, of_h, *kept_) = arrays(
            *(gi.transpose(0, 1), by_x, by_h, bias, query.transpose(0, 1), keep.transpose(0, 1)),
            *(rows_of_q(previous), inputs, states, shares, past, *products, *kept),
        )
        cells = Cells(xp, *kept_)
        table = new.reshape(-1, d)
        old_g = new[places:, :streams]
        for t, at in enumerate(turns_of(counts)):
            x_t, h, n = x[at], cells.h[at], at.stop - at.start
            if t:
                before, now = g[:n, :, :t], share[at][..., :t]
                now[...] = xp.matmul(before, asked[at][..., None])[..., 0]
                softmax_(now)
                x_t[:, streams:] = xp.matmul(now[:, :, None], before)[:, :, 0]
            q = rows(table, last[at].reshape(-1)).reshape(n, streams, d)
            x_t[:, :streams], h[:, streams:] = q, q
            h[:, :streams] = old_g[:n]
            recurring, gh = multiply(xp, x_t, wx, of_x), multiply(xp, h, wh, of_h)
            cells.update(at, own[at], recurring, gh, b, new[at])
            new[at] *= k[at]
            old_g = new[at][:, :streams]
            g[:n, :, t] = old_g
        ctx.save_for_backward(
            weight_x, weight_h, query, keep, previous, inputs, shares, past, *kept
        )
        ctx.counts = counts
        return states[:places, streams:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    @silent
    def backward(ctx, grad):
        weight_x, weight_h, query, keep, previous, inputs, shares, past, *kept = ctx.saved_tensors
        (streams, places, d), most, h = grad.shape, ctx.counts[0], kept[0]
        slopes = grad.new_empty(2 * streams, places, 4 * d).transpose(0, 1)
        # What reading q at each place adds to the gradient of the state that was read.
        read = grad.new_zeros(places + 1, streams, d)
        # What later turns add to the gradients of g, as a state and by attention.
        carried, dpast = grad.new_zeros(most, streams, d), torch.zeros_like(past)
        dquery = grad.new_zeros(places, streams, d)
        products = grad.new_empty(2, most, 2 * streams, d)
        xp, (above, wx, wh, asked, k, next_q, share, g, all_gates, of_q, all_dg, *others) = arrays(
            *(grad.transpose(0, 1), weight_x, turned(weight_h), query.transpose(0, 1)),
            *(keep.transpose(0, 1), following(previous), shares, past, slopes, read, carried),
            *(dpast, dquery, *products, *kept),
        )
        dg_past, dasked, of_x, of_h, *kept_ = others
        cells = Cells(xp, *kept_)
        table = of_q.reshape(-1, d)
        for t, at in reversed(list(enumerate(turns_of(ctx.counts)))):
            n, gates = at.stop - at.start, all_gates[at]
            dg = all_dg[:n]
            dnew = xp.empty_like(cells.h[at])
            q = rows(table, next_q[at].reshape(-1)).reshape(n, streams, d)
            xp.add(dg, dg_past[:n, :, t], out=dnew[:, :streams])
            xp.add(above[at], q, out=dnew[:, streams:])
            dnew *= k[at]
            dh = cells.slopes(at, dnew, gates)
            dx = multiply(xp, gates[..., d:], wx, of_x)
            dh += multiply(xp, gates[..., : 3 * d], wh, of_h)
            xp.add(dx[:, :streams], dh[:, streams:], out=of_q[at])
            dg[...] = dh[:, :streams]
            if t:
                before, now, dc = g[:n, :, :t], share[at][..., :t], dx[:, streams:]
                dscore = xp.matmul(before, dc[..., None])[..., 0]
                dscore -= xp.einsum("pst,pst->ps", dscore, now)[..., None]
                dscore *= now
                dbefore = dg_past[:n, :, :t]
                dbefore += now[..., None] * dc[:, :, None]
                dbefore += dscore[..., None] * asked[at][:, :, None]
                dasked[at] = xp.matmul(dscore[:, :, None], before)[:, :, 0]
        dgi, dgh = by_input(slopes)
        dweight_x = weight_gradient(dgi, inputs)
        dweight_h = turned_back(weight_gradient(dgh, h))
        dbias = dgh[..., :d].sum(1)
        return dgi, dweight_x, dweight_h, dbias, dquery.transpose(0, 1), None, None, None


def attentive_states(
    gi: Float[Tensor, "cell place gates"],
    weight_x: Float[Tensor, "cell gates feature"],
    weight_h: Float[Tensor, "cell gates feature"],
    bias: Float[Tensor, "cell feature"],
    query: Float[Tensor, "stream place feature"],
    keep: Float[Tensor, "cell place feature"],
    previous: Int[Tensor, "stream place"],
    counts: tuple[int, ...],
) -> Float[Tensor, "stream place feature"]:
    """The speaker's state q after each utterance.

        g_t = k_t GRU_g([u_t; q_s], g_{t-1}),  c_t = sum_{j<t} softmax_j(query_t g_j) g_j,
        q_s <- k'_t GRU_p([u_t; c_t], q_s)

    As `recurrence.speaker_states`, with a query at each place, and with `keep` (k of g, then k' of
    q), by which dropout multiplies each new state.
    """
    with torch.autocast(gi.device.type, enabled=False):
        gi, query, keep = (x.to(weight_x.dtype) for x in (gi, query, keep))
        weight_x = weight_x.contiguous()
        return _AttentiveStates.apply(gi, weight_x, weight_h, bias, query, keep, previous, counts)
