"""DialogueRNN's two loops over turns, with their derivatives written out.

Autograd would keep dozens of small tensors per turn and add up each recurrent weight's gradient
turn by turn. Written out, a turn is a few operations on views that are made before the loop.
Everything that does not recur, above all the weights' gradients, is one large operation for all
turns before or after it.

Places are ordered by step (`packing.Direction`): in each step the longest dialogue comes first, so
that the dialogues that have not ended are always the first `counts[t]`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlsan.model.fast.products import multiply, stacked_linear


def _tanh_(x: Tensor) -> Tensor:
    """tanh in place. PyTorch's own takes several times as long on the CPU."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def biased(gi: Float[Tensor, "cell place gates"], bias: Float[Tensor, "cell gates"]) -> Tensor:
    """gi with the state's bias of r and z; that of n is added to `gh`, because r multiplies it."""
    d = gi.shape[2] // 3
    return gi + torch.cat([bias[:, : 2 * d], bias.new_zeros(len(bias), d)], 1).unsqueeze(1)


class Gates:
    """The gates r, z, n of GRU cells, [cell, place, 3 d], turn by turn.

    `gi` and `gh`, the parts that come from the input and from the state, are overwritten: gi by
    the gates. gi has the state's bias already, but for n (`biased`).
    """

    def __init__(self, gi: Tensor, gh: Tensor, bias: Tensor, counts: tuple[int, ...]):
        d = gi.shape[2] // 3
        self.bias = bias[:, 2 * d :].unsqueeze(1)
        rz, n = gi.split((2 * d, d), 2)
        parts = (rz, gh[..., : 2 * d], rz[..., :d], rz[..., d:], n, gh[..., 2 * d :])
        self.steps = list(zip(*(x.split(counts, 1) for x in parts), strict=True))

    def update(self, t: int, h: Tensor, out: Tensor) -> None:
        """Write turn t's new states into `out`; h are the old ones."""
        rz, h_rz, r, z, n, h_n = self.steps[t]
        rz.add_(h_rz).sigmoid_()
        _tanh_(n.addcmul_(r, h_n.add_(self.bias)))
        torch.lerp(n, h, z, out=out)


def slopes_of(
    gates: Float[Tensor, "cell place gates"],
    gh: Float[Tensor, "cell place gates"],
    h: Float[Tensor, "cell place feature"],
) -> Float[Tensor, "cell place 5 feature"]:
    """Derivatives with respect to gh_n, gi_r, gi_z, gi_n and h, per unit of the new state's.

    gh has the same derivatives as gi but for n, so that the first three are those of gh, in the
    order n, r, z, and the next three those of gi.
    """
    (r, z, n), gh_n = gates.chunk(3, 2), gh[..., 2 * h.shape[2] :]
    slopes = h.new_empty(*h.shape[:2], 5, h.shape[2])
    dgh_n, dr, dz, dn, dh = slopes.unbind(2)
    dh.copy_(z)
    rest = 1 - z
    torch.addcmul(rest, rest, n * n, value=-1, out=dn)
    torch.mul(dn, r, out=dgh_n)
    torch.mul(dgh_n, gh_n * (1 - r), out=dr)
    torch.mul(h - n, rest.mul_(z), out=dz)
    return slopes


def turned(weight: Float[Tensor, "cell gates *rest"]) -> Float[Tensor, "cell gates *rest"]:
    """Gates r, z, n in the order n, r, z of `slopes_of`."""
    return weight.roll(weight.shape[1] // 3, 1)


def turned_back(x: Float[Tensor, "cell gates *rest"]) -> Float[Tensor, "cell gates *rest"]:
    return x.roll(-(x.shape[1] // 3), 1)


class _OutputStates(torch.autograd.Function):
    """See `output_states`."""

    @staticmethod
    def forward(ctx, gi, weight, bias, counts, keep):
        streams, places, d3 = gi.shape
        gi, gh = biased(gi, bias), torch.empty_like(gi)
        gates = Gates(gi, gh, bias, counts)
        before, after = (gi.new_empty(streams, places, d3 // 3) for _ in range(2))
        weight_ = weight.transpose(1, 2).contiguous()
        kept = None if keep is None else keep.split(counts, 1)
        state = gi.new_zeros(streams, counts[0], d3 // 3)
        steps = zip(*(x.split(counts, 1) for x in (before, gh, after)), strict=True)
        for t, (h, product, out) in enumerate(steps):
            h.copy_(state[:, : counts[t]])
            multiply(h, weight_, out=product)
            gates.update(t, h, out)
            if keep is not None:
                out.mul_(kept[t])
            state = out
        ctx.save_for_backward(before, gi, gh, weight, keep)
        ctx.counts = counts
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        before, gates, gh, weight, keep = ctx.saved_tensors
        counts, (streams, _, d) = ctx.counts, grad.shape
        slopes = slopes_of(gates, gh, before)
        flat = slopes.flatten(2)
        dgh, dgi = flat[..., : 3 * d], flat[..., d : 4 * d]
        weight = turned(weight)
        carried = grad.new_zeros(streams, counts[0], d)
        parts = (slopes, dgh, flat[..., 4 * d :], grad)
        kept = counts if keep is None else keep.split(counts, 1)
        steps = zip(counts, kept, *(x.split(counts, 1) for x in parts), strict=True)
        for n, kept_t, slope, gh_t, direct, above in reversed(list(steps)):
            now = carried[:, :n].add_(above)
            if keep is not None:
                now.mul_(kept_t)
            slope.mul_(now.unsqueeze(2))
            multiply(gh_t, weight, out=now)
            now.add_(direct)
        dweight = stacked_linear(dgh.transpose(1, 2), before.transpose(1, 2))
        return dgi, turned_back(dweight), turned_back(dgh.sum(1)), None, None


class _SpeakerStates(torch.autograd.Function):
    """Global state, context and speaker states; see `speaker_states`.

    The cells of g and of q are one stacked cell with 2S streams: the first S update g from
    (q, g), the last S update q from (c, q). Attention has no query, so that
    c_{t+1} = c_t + share (g_t - c_t) with share = sigmoid(a_t - L_t) and
    L_{t+1} = log(exp L_t + exp a_t), which needs no history and cannot overflow.
    """

    @staticmethod
    def forward(ctx, gi, weight_x, weight_h, bias_h, attend, previous, counts):
        streams, (places, d) = len(attend), (gi.shape[1], attend.shape[1])
        # What the cells read at each place: q and c as inputs, g and q as states.
        read = gi.new_empty(4, streams, places, d)
        # The gates' parts from what the cells read; inputs and states side by side.
        parts = gi.new_empty(4 * streams, places, 3 * d)
        weight = torch.cat([weight_x, weight_h]).transpose(1, 2).contiguous()
        gates = Gates(*parts.chunk(2), bias_h, counts)
        # q after each place; the last row is the state of a speaker who has not spoken yet.
        q = gi.new_zeros(streams, places + 1, d)
        table = q.view(-1, d)
        shares = gi.new_empty(streams, places)
        # c, g and the new q after the last step.
        state = gi.new_zeros(3 * streams, counts[0], d)
        states = {n: state[:, :n] for n in set(counts)}
        total = gi.new_full((streams, counts[0]), -torch.inf)
        attend_ = attend.unsqueeze(2)
        steps = zip(
            read[::3].split(counts, 2),
            read[1:3].flatten(0, 1).split(counts, 1),
            read.flatten(0, 1).split(counts, 1),
            read[2:].flatten(0, 1).split(counts, 1),
            parts.split(counts, 1),
            parts[: 2 * streams].split(counts, 1),
            biased(gi, bias_h).split(counts, 1),
            q[:, :places].split(counts, 1),
            shares.split(counts, 1),
            previous.t().flatten().split([streams * n for n in counts]),
            strict=True,
        )
        for t, (of_speaker, of_c_and_g, x, h, part, gate, own, q_now, share, last) in enumerate(
            steps
        ):
            n = counts[t]
            state, total = states[n], total[:, :n]
            c, g, new_q = state.chunk(3)
            of_speaker.copy_(table.index_select(0, last).view(n, streams, d).transpose(0, 1))
            of_c_and_g.copy_(state[: 2 * streams])
            multiply(x, weight, out=part)
            gate.add_(own)
            gates.update(t, h, state[streams:])
            q_now.copy_(new_q)
            a = torch.bmm(g, attend_).squeeze(2)
            torch.sub(a, total, out=share).sigmoid_()
            c.lerp_(g, share.unsqueeze(2))
            total = torch.logaddexp(total, a)
        ctx.save_for_backward(read, parts, shares, weight_x, weight_h, attend, previous)
        ctx.counts = counts
        return q[:, :places]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        read, parts, shares, weight_x, weight_h, attend, previous = ctx.saved_tensors
        counts, (streams, places, d) = ctx.counts, grad.shape
        x, h = read.flatten(0, 1).chunk(2)
        gates, gh = parts.chunk(2)
        slopes = slopes_of(gates, gh, h)
        _, z, new = gates[:streams].chunk(3, 2)
        # Recomputing g after each turn from the gates is cheaper than storing it.
        g = torch.lerp(new, h[:streams], z)
        away = g - x[streams:]
        share_slope = shares * (1 - shares)
        flat = slopes.flatten(2)
        dgh, dgi = flat[..., : 3 * d], flat[..., d : 4 * d]
        weight_h, attend_ = turned(weight_h), attend.unsqueeze(1)
        # What reading q at each place adds to the gradient of the state that was read.
        spoken = grad.new_zeros(streams, places + 1, d)
        table = spoken.view(-1, d)
        da = torch.empty_like(shares)
        # The gradients of g and of the new q.
        dnew = grad.new_zeros(2 * streams, counts[0], d)
        dc = grad.new_zeros(streams, counts[0], d)
        dtotal = grad.new_zeros(streams, counts[0])
        # The gradients of what the cells read, as inputs and as states.
        dx, dh = grad.new_empty(2, 2 * streams, counts[0], d)
        steps = zip(
            counts,
            following(previous).t().flatten().split([streams * n for n in counts]),
            *(v.split(counts, 1) for v in (slopes, dgh, dgi, flat[..., 4 * d :])),
            *(v.split(counts, 1) for v in (grad, away, shares, share_slope)),
            *(v.split(counts, 1) for v in (da, spoken[:, :places])),
            strict=True,
        )
        for (
            n,
            next_q,
            slope,
            gh_t,
            gi_t,
            direct,
            above,
            away_t,
            share,
            slope_t,
            da_t,
            of_q,
        ) in reversed(list(steps)):
            now, c_now, total_now = dnew[:, :n], dc[:, :n], dtotal[:, :n]
            g_now, q_now = now.chunk(2)
            later = table.index_select(0, next_q).view(n, streams, d)
            torch.add(above, later.transpose(0, 1), out=q_now)
            dshare = (away_t * c_now).sum(2).mul_(slope_t)
            torch.addcmul(dshare, total_now, share, out=da_t)
            total_now.sub_(da_t)
            by_share = c_now * share.unsqueeze(2)
            g_now.add_(by_share).addcmul_(da_t.unsqueeze(2), attend_)
            slope.mul_(now.unsqueeze(2))
            multiply(gi_t, weight_x, out=dx[:, :n])
            multiply(gh_t, weight_h, out=dh[:, :n])
            dx_q, dx_c = dx[:, :n].chunk(2)
            dh_g, dh_q = direct.add_(dh[:, :n]).chunk(2)
            torch.add(dx_q, dh_q, out=of_q)
            c_now.add_(dx_c).sub_(by_share)
            g_now.copy_(dh_g)
        dattend = torch.bmm(da.unsqueeze(1), g).squeeze(1)
        dweight_x = stacked_linear(dgi.transpose(1, 2), x.transpose(1, 2))
        dweight_h = turned_back(stacked_linear(dgh.transpose(1, 2), h.transpose(1, 2)))
        return dgi, dweight_x, dweight_h, turned_back(dgh.sum(1)), dattend, None, None


def following(previous: Int[Tensor, "stream place"]) -> Int[Tensor, "stream place"]:
    """The place that reads each place's q next; the last row of its stream if there is none.

    As in `previous`, places count on from stream to stream, with one more row in each.
    """
    streams, places = previous.shape
    none = torch.arange(1, streams + 1, device=previous.device)[:, None] * (places + 1) - 1
    following = none.repeat(1, places + 1).flatten()
    here = torch.arange(places, device=previous.device) + none - places
    following[previous.flatten()] = here.flatten()
    return following.view(streams, places + 1)[:, :places]


def output_states(
    gi: Float[Tensor, "stream place gates"],
    weight: Float[Tensor, "stream gates feature"],
    bias: Float[Tensor, "stream gates"],
    counts: tuple[int, ...],
    keep: Float[Tensor, "stream place feature"] | None = None,
) -> Float[Tensor, "stream place feature"]:
    """e_t = k_t GRU_e(q_t, e_{t-1}), e_{-1} = 0; `gi` holds the input's part of the gates.

    `keep` holds k, by which dropout multiplies each new state; None for 1.
    """
    with torch.autocast(gi.device.type, enabled=False):
        return _OutputStates.apply(gi.to(weight.dtype), weight, bias, counts, keep)


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
