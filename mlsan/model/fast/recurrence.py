"""DialogueRNN's two loops over turns, with their derivatives written out.

Autograd would keep dozens of small tensors per turn and add up each recurrent weight's gradient
turn by turn. Written out, a turn is a few small products, and a weight's gradient is one large
product after the loop.

Places are ordered by step (`packing.Direction`): in each step the longest dialogue comes first, so
that the dialogues that have not ended are always the first `counts[t]`.
"""

from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlsan.model.fast.products import stacked_linear


def gru(
    gi: Float[Tensor, "stream dialogue gates"],
    gh: Float[Tensor, "stream dialogue gates"],
    h: Float[Tensor, "stream dialogue feature"],
    gates: Float[Tensor, "stream dialogue gates"],
) -> Float[Tensor, "stream dialogue feature"]:
    """New state from the products of input (gi) and state (gh); writes r, z, n into `gates`."""
    d = h.shape[-1]
    rz, n = gates[..., : 2 * d], gates[..., 2 * d :]
    torch.add(gi[..., : 2 * d], gh[..., : 2 * d], out=rz).sigmoid_()
    torch.addcmul(gi[..., 2 * d :], rz[..., :d], gh[..., 2 * d :], out=n).tanh_()
    return torch.lerp(n, h, rz[..., d:])


def gru_backward(
    grad: Float[Tensor, "stream dialogue feature"],
    gates: Float[Tensor, "stream dialogue gates"],
    gh_n: Float[Tensor, "stream dialogue feature"],
    h: Float[Tensor, "stream dialogue feature"],
    dgi: Float[Tensor, "stream dialogue gates"],
    dgh: Float[Tensor, "stream dialogue gates"],
) -> Float[Tensor, "stream dialogue feature"]:
    """The gradient of h along the direct path; writes those of gi and gh into `dgi` and `dgh`.

    `grad` is the new state's gradient and `gh_n` the state's product for gate n.
    """
    r, z, n = gates.chunk(3, -1)
    dr, dz, dn = dgi.chunk(3, -1)
    torch.mul(grad * (1 - z), 1 - n * n, out=dn)
    torch.mul(grad * (h - n), z * (1 - z), out=dz)
    torch.mul(dn * gh_n, r * (1 - r), out=dr)
    dgh.copy_(dgi)
    dgh[..., dn.shape[-1] * 2 :].mul_(r)
    return grad * z


def _steps(counts: tuple[int, ...]) -> list[tuple[int, slice]]:
    """For each turn, how many dialogues have not ended, and their places."""
    ends = accumulate(counts)
    return [(n, slice(end - n, end)) for n, end in zip(counts, ends, strict=True)]


class _OutputStates(torch.autograd.Function):
    """See `output_states`."""

    @staticmethod
    def forward(ctx, gi, weight, bias, counts):
        streams, places, d3 = gi.shape
        d = d3 // 3
        state = gi.new_zeros(streams, counts[0], d)
        before, after, gh_n = (gi.new_empty(streams, places, d) for _ in range(3))
        gates = torch.empty_like(gi)
        for n, at in _steps(counts):
            state = state[:, :n]
            gh = stacked_linear(state, weight, bias)
            before[:, at] = state
            state = gru(gi[:, at], gh, state, gates[:, at])
            after[:, at] = state
            gh_n[:, at] = gh[..., 2 * d :]
        ctx.save_for_backward(before, gates, gh_n, weight)
        ctx.counts = counts
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        before, gates, gh_n, weight = ctx.saved_tensors
        dgi, dgh = torch.empty_like(gates), torch.empty_like(gates)
        carried = grad.new_zeros(grad.shape[0], ctx.counts[0], grad.shape[2])
        for n, at in reversed(_steps(ctx.counts)):
            total = grad[:, at] + carried[:, :n]
            direct = gru_backward(
                total, gates[:, at], gh_n[:, at], before[:, at], dgi[:, at], dgh[:, at]
            )
            back = stacked_linear(dgh[:, at], weight.transpose(1, 2))
            torch.add(direct, back, out=carried[:, :n])
        return dgi, stacked_linear(dgh.transpose(1, 2), before.transpose(1, 2)), dgh.sum(1), None


class _SpeakerStates(torch.autograd.Function):
    """Global state, context and speaker states; see `speaker_states`.

    The cells of g and of q are one stacked cell with 2S streams: the first S update g from
    (q, g), the last S update q from (c, q). Attention has no query, so that
    c_{t+1} = c_t + share (g_t - c_t) with share = sigmoid(a_t - L_t) and
    L_{t+1} = log(exp L_t + exp a_t), which needs no history and cannot overflow.
    """

    @staticmethod
    def forward(ctx, gi, weight_x, weight_h, bias_h, attend, previous, counts):
        streams2, places, d3 = gi.shape
        streams, d = streams2 // 2, d3 // 3
        # q after each place; the last row is the state of a speaker who has not spoken yet.
        q = gi.new_zeros(streams, places + 1, d)
        xs, hs, gh_n = (gi.new_empty(streams2, places, d) for _ in range(3))
        gates = torch.empty_like(gi)
        shares = gi.new_empty(streams, places)
        g = c = gi.new_zeros(streams, counts[0], d)
        total = gi.new_full((streams, counts[0]), -torch.inf)
        attend_ = attend.unsqueeze(2)
        # One flat table of states makes each turn's lookup a plain row selection.
        table = q.view(-1, d)
        for n, at in _steps(counts):
            speaker = table.index_select(0, previous[:, at].flatten()).view(streams, n, d)
            x, h = xs[:, at], hs[:, at]
            torch.cat([speaker, c[:, :n]], out=x)
            torch.cat([g[:, :n], speaker], out=h)
            gh = stacked_linear(h, weight_h, bias_h)
            new = gru(gi[:, at] + stacked_linear(x, weight_x), gh, h, gates[:, at])
            gh_n[:, at] = gh[..., 2 * d :]
            g, q[:, at] = new[:streams], new[streams:]
            a = torch.bmm(g, attend_).squeeze(2)
            total = total[:, :n]
            share = torch.sigmoid(a - total)
            c = torch.lerp(c[:, :n], g, share.unsqueeze(2))
            total = torch.logaddexp(total, a)
            shares[:, at] = share
        ctx.save_for_backward(xs, hs, gates, gh_n, shares, weight_x, weight_h, attend, previous)
        ctx.counts = counts
        return q[:, :places]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        xs, hs, gates, gh_n, shares, weight_x, weight_h, attend, previous = ctx.saved_tensors
        streams, _, d = grad.shape
        counts = ctx.counts
        dq = torch.cat([grad, grad.new_zeros(streams, 1, d)], 1)
        table = dq.view(-1, d)
        dgi, dgh = torch.empty_like(gates), torch.empty_like(gates)
        dattend = torch.zeros_like(attend)
        dg, dc = (grad.new_zeros(streams, counts[0], d) for _ in range(2))
        dtotal = grad.new_zeros(streams, counts[0])
        for n, at in reversed(_steps(counts)):
            h, share = hs[:, at], shares[:, at]
            # Recomputing g after this turn from the gates is cheaper than storing it.
            _, z, new = gates[:streams, at].chunk(3, -1)
            g = torch.lerp(new, h[:streams], z)
            c = xs[streams:, at]
            dshare = ((g - c) * dc[:, :n]).sum(2) * share * (1 - share)
            da = torch.addcmul(dshare, dtotal[:, :n], share)
            dg_now = dg[:, :n] + dc[:, :n] * share.unsqueeze(2)
            dg_now = torch.addcmul(dg_now, da.unsqueeze(2), attend.unsqueeze(1))
            dattend += torch.bmm(da.unsqueeze(1), g).squeeze(1)
            dtotal[:, :n] = dtotal[:, :n] * (1 - share) - dshare
            step_x, step_h = dgi[:, at], dgh[:, at]
            grad_new = torch.cat([dg_now, dq[:, at]])
            direct = gru_backward(grad_new, gates[:, at], gh_n[:, at], h, step_x, step_h)
            dx = stacked_linear(step_x, weight_x.transpose(1, 2))
            dh = stacked_linear(step_h, weight_h.transpose(1, 2)).add_(direct)
            dg[:, :n] = dh[:streams]
            dc[:, :n] = dc[:, :n] * (1 - share.unsqueeze(2)) + dx[streams:]
            dspeaker = dx[:streams] + dh[streams:]
            table.index_add_(0, previous[:, at].flatten(), dspeaker.view(-1, d))
        dweight_x = stacked_linear(dgi.transpose(1, 2), xs.transpose(1, 2))
        dweight_h = stacked_linear(dgh.transpose(1, 2), hs.transpose(1, 2))
        return dgi, dweight_x, dweight_h, dgh.sum(1), dattend, None, None


def output_states(
    gi: Float[Tensor, "stream place gates"],
    weight: Float[Tensor, "stream gates feature"],
    bias: Float[Tensor, "stream gates"],
    counts: tuple[int, ...],
) -> Float[Tensor, "stream place feature"]:
    """e_t = GRU_e(q_t, e_{t-1}), e_{-1} = 0; `gi` holds the input's part of the gates."""
    with torch.autocast(gi.device.type, enabled=False):
        return _OutputStates.apply(gi.to(weight.dtype), weight, bias, counts)


def speaker_states(
    gi: Float[Tensor, "cell place gates"],
    weight_x: Float[Tensor, "cell gates feature"],
    weight_h: Float[Tensor, "cell gates feature"],
    bias_h: Float[Tensor, "cell gates"],
    attend: Float[Tensor, "stream feature"],
    previous: Int[Tensor, "stream place"],
    counts: tuple[int, ...],
) -> Float[Tensor, "stream place feature"]:
    """The speaker's state q after each utterance.

        g_t = GRU_g([u_t; q_s], g_{t-1}),  c_t = sum_{j<t} softmax_j(w g_j) g_j,
        q_s <- GRU_p([u_t; c_t], q_s)

    The S cells of g come first, then those of q. `gi` holds u's part of the gates; `weight_x`
    acts on q_s (for g) and c (for q). q_s before its update is the state after s last spoke, at
    place `previous`; the other speakers' states do not change.
    """
    streams, places = previous.shape
    flat = previous + torch.arange(streams, device=previous.device)[:, None] * (places + 1)
    with torch.autocast(gi.device.type, enabled=False):
        gi, weight_x = gi.to(weight_x.dtype), weight_x.contiguous()
        return _SpeakerStates.apply(gi, weight_x, weight_h, bias_h, attend, flat, counts)
