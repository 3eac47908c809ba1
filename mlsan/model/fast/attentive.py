"""The main loop of the published DialogueRNN, with its derivative written out.

`recurrence` has that of MultiEMO's variant, whose attention needs no history and whose states no
dropout, and says why derivatives are written out and in which order places are.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlsan.model.fast.products import multiply, stacked_linear
from mlsan.model.fast.recurrence import Gates, biased, following, slopes_of, turned, turned_back


class _AttentiveStates(torch.autograd.Function):
    """See `attentive_states`.

    The cells of g and of q are one stacked cell with 2S streams: the first S update g from
    (q, g), the last S update q from (c, q). Attention is a product per dialogue and stream, so
    that its tensors have these two axes first.
    """

    @staticmethod
    def forward(ctx, gi, weight_x, weight_h, bias_h, query, keep, previous, counts):
        streams, places, d = query.shape
        turns, most = len(counts), counts[0]
        # What the cells read at each place: q and c as inputs, g and q as states.
        read = gi.new_empty(4, streams, places, d)
        # The gates' parts from what the cells read; inputs and states side by side.
        parts = gi.new_empty(4 * streams, places, 3 * d)
        weight = torch.cat([weight_x, weight_h]).transpose(1, 2).contiguous()
        gates = Gates(*parts.chunk(2), bias_h, counts)
        # q after each place; the last row is the state of a speaker who has not spoken yet.
        q = gi.new_zeros(streams, places + 1, d)
        table = q.view(-1, d)
        past = gi.new_empty(most, streams, turns, d)
        query = query.transpose(0, 1).contiguous()
        shares = []
        # g and the new q after the last step.
        state = gi.new_zeros(2 * streams, most, d)
        steps = zip(
            counts,
            read[::3].split(counts, 2),
            read[1].split(counts, 1),
            read[2].split(counts, 1),
            read.flatten(0, 1).split(counts, 1),
            read[2:].flatten(0, 1).split(counts, 1),
            parts.split(counts, 1),
            parts[: 2 * streams].split(counts, 1),
            biased(gi, bias_h).split(counts, 1),
            keep.split(counts, 1),
            q[:, :places].split(counts, 1),
            query.split(counts),
            previous.t().flatten().split([streams * n for n in counts]),
            strict=True,
        )
        for t, (n, of_q, of_c, of_g, x, h, part, gate, own, kept, q_now, asks, last) in enumerate(
            steps
        ):
            state = state[:, :n]
            g, new_q = state.chunk(2)
            of_q.copy_(table.index_select(0, last).view(n, streams, d).transpose(0, 1))
            of_g.copy_(g)
            if t:
                before = past[:n].flatten(0, 1)[:, :t]
                score, c = before.new_empty(n * streams, t, 1), before.new_empty(n * streams, 1, d)
                multiply(before, asks.view(-1, d, 1), out=score)
                share = score.softmax(1)
                multiply(share.transpose(1, 2), before, out=c)
                of_c.copy_(c.view(n, streams, d).transpose(0, 1))
                shares.append(share)
            else:
                of_c.zero_()
            multiply(x, weight, out=part)
            gate.add_(own)
            gates.update(t, h, state)
            state.mul_(kept)
            q_now.copy_(new_q)
            past[:n, :, t].copy_(g.transpose(0, 1))
        ctx.save_for_backward(read, parts, past, query, keep, weight_x, weight_h, previous, *shares)
        ctx.counts = counts
        return q[:, :places]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        read, parts, past, query, keep, weight_x, weight_h, previous, *shares = ctx.saved_tensors
        counts, (streams, places, d) = ctx.counts, grad.shape
        x, h = read.flatten(0, 1).chunk(2)
        gates, gh = parts.chunk(2)
        slopes = slopes_of(gates, gh, h)
        flat = slopes.flatten(2)
        dgh, dgi = flat[..., : 3 * d], flat[..., d : 4 * d]
        weight_h = turned(weight_h)
        # What reading q at each place adds to the gradient of the state that was read.
        spoken = grad.new_zeros(streams, places + 1, d)
        table = spoken.view(-1, d)
        dpast, dquery = torch.zeros_like(past), torch.zeros_like(query)
        # The gradients of g and of the new q, and of what the cells read as inputs and as states.
        dnew = grad.new_zeros(2 * streams, counts[0], d)
        dx, dh = grad.new_empty(2, 2 * streams, counts[0], d)
        steps = zip(
            range(len(counts)),
            counts,
            following(previous).t().flatten().split([streams * n for n in counts]),
            *(v.split(counts, 1) for v in (slopes, dgh, dgi, flat[..., 4 * d :])),
            *(v.split(counts, 1) for v in (grad, keep, spoken[:, :places])),
            *(v.split(counts) for v in (query, dquery)),
            strict=True,
        )
        for t, n, next_q, slope, gh_t, gi_t, direct, above, kept, of_q, asks, dasks in reversed(
            list(steps)
        ):
            now = dnew[:, :n]
            g_now, q_now = now.chunk(2)
            later = table.index_select(0, next_q).view(n, streams, d)
            torch.add(above, later.transpose(0, 1), out=q_now)
            g_now.add_(dpast[:n, :, t].transpose(0, 1))
            now.mul_(kept)
            slope.mul_(now.unsqueeze(2))
            multiply(gi_t, weight_x, out=dx[:, :n])
            multiply(gh_t, weight_h, out=dh[:, :n])
            dx_q, dx_c = dx[:, :n].chunk(2)
            dh_g, dh_q = direct.add_(dh[:, :n]).chunk(2)
            torch.add(dx_q, dh_q, out=of_q)
            g_now.copy_(dh_g)
            if t:
                before, share = past[:n].flatten(0, 1)[:, :t], shares[t - 1]
                dc, asks = (v.reshape(-1, 1, d) for v in (dx_c.transpose(0, 1), asks))
                dscore = torch.empty_like(share)
                multiply(before, dc.transpose(1, 2), out=dscore)
                dscore.mul_(share)
                dscore.addcmul_(share, dscore.sum(1, keepdim=True), value=-1)
                # Many small outer products: faster one number at a time.
                dbefore = dpast[:n].flatten(0, 1)[:, :t]
                dbefore.addcmul_(share, dc).addcmul_(dscore, asks)
                multiply(dscore.transpose(1, 2), before, out=dasks.view(-1, 1, d))
        dweight_x = stacked_linear(dgi.transpose(1, 2), x.transpose(1, 2))
        dweight_h = turned_back(stacked_linear(dgh.transpose(1, 2), h.transpose(1, 2)))
        dbias_h = turned_back(dgh.sum(1))
        return dgi, dweight_x, dweight_h, dbias_h, dquery.transpose(0, 1), None, None, None


def attentive_states(
    gi: Float[Tensor, "cell place gates"],
    weight_x: Float[Tensor, "cell gates feature"],
    weight_h: Float[Tensor, "cell gates feature"],
    bias_h: Float[Tensor, "cell gates"],
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
    streams, places = previous.shape
    flat = previous + torch.arange(streams, device=previous.device)[:, None] * (places + 1)
    with torch.autocast(gi.device.type, enabled=False):
        gi, query, keep = (x.to(weight_x.dtype) for x in (gi, query, keep))
        weight_x = weight_x.contiguous()
        return _AttentiveStates.apply(gi, weight_x, weight_h, bias_h, query, keep, flat, counts)
