"""DialogueRNN's two loops over turns, with their derivatives written out.

Autograd would keep dozens of small tensors per turn and add up each recurrent weight's gradient
turn by turn. Written out, a turn is a few operations on blocks that stay in the processor's cache,
and each weight's gradient is one product for all turns after the loop (`cells`).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlsan.model.fast.arrays import arrays, rows, sigmoid_, silent
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


class _OutputStates(torch.autograd.Function):
    """See `output_states`."""

    @staticmethod
    @silent
    def forward(ctx, gi, weight, bias, keep, counts):
        streams, places, d = *gi.shape[:2], gi.shape[2] // 3
        kept = room(gi, places, streams, d)
        states = gi.new_empty(places, streams, d)
        product = gi.new_empty(counts[0], streams, 3 * d)
        by_h = weight.transpose(1, 2).contiguous()
        keeps = () if keep is None else (keep.transpose(0, 1),)
        xp, (own, w, b, new, product, *others) = arrays(
            gi.transpose(0, 1), by_h, bias, states, product, *kept, *keeps
        )
        cells, keeps = Cells(xp, *others[:4]), others[4:]
        old = xp.zeros_like(new[: counts[0]])
        for at in turns_of(counts):
            h = cells.h[at]
            h[...] = old[: len(h)]
            old = new[at]
            cells.update(at, own[at], None, multiply(xp, h, w, product), b, old)
            for k in keeps:
                old *= k[at]
        ctx.save_for_backward(weight, keep, *kept)
        ctx.counts = counts
        return states.transpose(0, 1)

    @staticmethod
    @once_differentiable
    @silent
    def backward(ctx, grad):
        weight, keep, *kept = ctx.saved_tensors
        h, (streams, places, d) = kept[0], grad.shape
        slopes = grad.new_empty(streams, places, 4 * d).transpose(0, 1)
        carried = grad.new_zeros(ctx.counts[0], streams, d)
        keeps = () if keep is None else (keep.transpose(0, 1),)
        xp, (above, w, all_gates, carried, *others) = arrays(
            grad.transpose(0, 1), turned(weight), slopes, carried, *kept, *keeps
        )
        cells, keeps = Cells(xp, *others[:4]), others[4:]
        product = xp.empty_like(carried)
        for at in reversed(turns_of(ctx.counts)):
            now, gates = carried[: at.stop - at.start], all_gates[at]
            now += above[at]
            for k in keeps:
                now *= k[at]
            now[...] = cells.slopes(at, now, gates)
            now += multiply(xp, gates[..., : 3 * d], w, product)
        dgi, dgh = by_input(slopes)
        dweight = turned_back(weight_gradient(dgh, h))
        return dgi, dweight, dgh[..., :d].sum(1), None, None


class _SpeakerStates(torch.autograd.Function):
    """Global state, context and speaker states; see `speaker_states`.

    The cells of g and of q are 2S cells side by side: the first S update g from (q, g), the last S
    update q from (c, q). Attention has no query, so that
    c_{t+1} = c_t + share (g_t - c_t) with share = sigmoid(a_t - L_t) and
    L_{t+1} = log(exp L_t + exp a_t), which needs no history and cannot overflow.
    """

    @staticmethod
    @silent
    def forward(ctx, gi, weight_x, weight_h, bias, attend, previous, counts):
        (streams, d), places, most = attend.shape, gi.shape[1], counts[0]
        kept = room(gi, places, 2 * streams, d)
        inputs = torch.empty_like(kept[0])  # q and c
        shares = gi.new_empty(places, streams)
        # g and q after each place; the last row is that of a speaker who has not spoken yet.
        states = gi.new_empty(places + 1, 2 * streams, d)
        states[places:] = 0
        inputs[:most, streams:] = 0
        total = gi.new_full((most, streams), -torch.inf)
        products = gi.new_empty(2, most, 2 * streams, 3 * d)
        by_x, by_h = (w.transpose(1, 2).contiguous() for w in (weight_x, weight_h))
        xp, (own, wx, wh, b, w, last, x, new, share, total, of_x, of_h, *kept_) = arrays(
            *(gi.transpose(0, 1), by_x, by_h, bias, attend, rows_of_q(previous)),
            *(inputs, states, shares, total, *products, *kept),
        )
        cells = Cells(xp, *kept_)
        table = new.reshape(-1, d)
        turns = turns_of(counts)
        old_g = new[places:, :streams]
        for at, later in zip(turns, [*turns[1:], None], strict=True):
            x_t, h, n = x[at], cells.h[at], at.stop - at.start
            q = rows(table, last[at].reshape(-1)).reshape(n, streams, d)
            x_t[:, :streams], h[:, streams:] = q, q
            h[:, :streams] = old_g[:n]
            recurring, gh = multiply(xp, x_t, wx, of_x), multiply(xp, h, wh, of_h)
            cells.update(at, own[at], recurring, gh, b, new[at])
            old_g = new[at][:, :streams]
            if later is not None:
                m = later.stop - later.start  # the others have ended
                a = xp.einsum("psf,sf->ps", old_g[:m], w)
                now, c = share[at][:m], x_t[:m, streams:]
                xp.subtract(a, total[:m], out=now)
                sigmoid_(now)
                away = old_g[:m] - c
                away *= now[..., None]
                xp.add(c, away, out=x[later][:, streams:])
                total = xp.logaddexp(total[:m], a)
        ctx.save_for_backward(weight_x, weight_h, attend, previous, inputs, states, shares, *kept)
        ctx.counts = counts
        return states[:places, streams:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    @silent
    def backward(ctx, grad):
        weight_x, weight_h, attend, previous, inputs, states, shares, *kept = ctx.saved_tensors
        (streams, places, d), most, h = grad.shape, ctx.counts[0], kept[0]
        slopes = grad.new_empty(2 * streams, places, 4 * d).transpose(0, 1)
        # What reading q at each place adds to the gradient of the state that was read.
        read = grad.new_zeros(places + 1, streams, d)
        da = grad.new_zeros(places, streams)
        # What later turns add to the gradients of g, c and the total.
        carried, total = grad.new_zeros(2, most, streams, d), grad.new_zeros(most, streams)
        products = grad.new_empty(2, most, 2 * streams, d)
        xp, (above, wx, wh, w, next_q, x, new, share, all_gates, of_q, da_, *others) = arrays(
            *(grad.transpose(0, 1), weight_x, turned(weight_h), attend, following(previous)),
            *(inputs, states, shares, slopes, read, da, *carried, total, *products, *kept),
        )
        all_dg, all_dc, total, of_x, of_h, *kept_ = others
        cells = Cells(xp, *kept_)
        table = of_q.reshape(-1, d)
        m = 0  # dialogues that have a later turn
        for at in reversed(turns_of(ctx.counts)):
            n, gates = at.stop - at.start, all_gates[at]
            dg, dc = all_dg[:n], all_dc[:n]
            if m:
                now, dc_m, total_m, da_t = share[at][:m], dc[:m], total[:m], da_[at][:m]
                away = new[at][:m, :streams] - x[at][:m, streams:]
                dshare = xp.einsum("psf,psf->ps", away, dc_m)
                dshare *= now * (1 - now)
                xp.multiply(total_m, now, out=da_t)
                da_t += dshare
                total_m -= da_t
                by_share = dc_m * now[..., None]
                dc_m -= by_share
                by_share += da_t[..., None] * w
                dg[:m] += by_share
            dnew = xp.empty_like(x[at])
            q = rows(table, next_q[at].reshape(-1)).reshape(n, streams, d)
            dnew[:, :streams] = dg
            xp.add(above[at], q, out=dnew[:, streams:])
            dh = cells.slopes(at, dnew, gates)
            dx = multiply(xp, gates[..., d:], wx, of_x)
            dh += multiply(xp, gates[..., : 3 * d], wh, of_h)
            xp.add(dx[:, :streams], dh[:, streams:], out=of_q[at])
            dc += dx[:, streams:]
            dg[...] = dh[:, :streams]
            m = n
        dgi, dgh = by_input(slopes)
        dattend = torch.einsum("ps,psf->sf", da, states[:places, :streams])
        dweight_x = weight_gradient(dgi, inputs)
        dweight_h = turned_back(weight_gradient(dgh, h))
        return dgi, dweight_x, dweight_h, dgh[..., :d].sum(1), dattend, None, None


def output_states(
    gi: Float[Tensor, "stream place gates"],
    weight: Float[Tensor, "stream gates feature"],
    bias: Float[Tensor, "stream feature"],
    counts: tuple[int, ...],
    keep: Float[Tensor, "stream place feature"] | None = None,
) -> Float[Tensor, "stream place feature"]:
    """e_t = k_t GRU_e(q_t, e_{t-1}), e_{-1} = 0.

    `gi` holds the input's part of the gates and all biases but `bias`, that of the state's part of
    n, which r multiplies (`cells.joined`). `keep` holds k, by which dropout multiplies each new
    state; None for 1.
    """
    with torch.autocast(gi.device.type, enabled=False):
        return _OutputStates.apply(gi.to(weight.dtype), weight, bias, keep, counts)


def speaker_states(
    gi: Float[Tensor, "cell place gates"],
    weight_x: Float[Tensor, "cell gates feature"],
    weight_h: Float[Tensor, "cell gates feature"],
    bias: Float[Tensor, "cell feature"],
    attend: Float[Tensor, "stream feature"],
    previous: Int[Tensor, "stream place"],
    counts: tuple[int, ...],
) -> Float[Tensor, "stream place feature"]:
    """The speaker's state q after each utterance.

        g_t = GRU_g([u_t; q_s], g_{t-1}),  c_t = sum_{j<t} softmax_j(w g_j) g_j,
        q_s <- GRU_p([u_t; c_t], q_s)

    The S cells of g come first, then those of q. `gi` holds u's part of the gates and all biases
    but `bias`, that of the state's part of n, which r multiplies (`cells.joined`); `weight_x` acts
    on q_s (for g) and c (for q). q_s before its update is the state after s last spoke, at place
    `previous` (one past the last if never); the other speakers' states do not change.
    """
    with torch.autocast(gi.device.type, enabled=False):
        gi, weight_x = gi.to(weight_x.dtype), weight_x.contiguous()
        return _SpeakerStates.apply(gi, weight_x, weight_h, bias, attend, previous, counts)
