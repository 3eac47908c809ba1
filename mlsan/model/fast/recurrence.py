"""DialogueRNN's two loops over turns, with their derivatives written out.

Autograd would keep dozens of small tensors per turn and add up each recurrent weight's gradient
turn by turn. Written out, a turn is a few operations on blocks that stay in the processor's cache,
and each weight's gradient is one product for all turns after the loop.

Places are ordered by step (`packing.Direction`): in each step the longest dialogue comes first, so
that the dialogues that have not ended are always the first `counts[t]`. Inside the loops memory is
ordered by place, so that a turn is one block, [place, cell, feature].
"""

from itertools import accumulate, pairwise
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlsan.model.fast.arrays import Array, arrays, rows, sigmoid_
from mlsan.model.fast.products import stacked_linear

Counts = tuple[int, ...]


def _turns(counts: Counts) -> list[slice]:
    """The places of each turn."""
    return [slice(*ends) for ends in pairwise([0, *accumulate(counts)])]


def _multiply(xp: ModuleType, x: Array, weight: Array, out: Array) -> Array:
    """x[:, c] weight[c] of each cell c, written into the first rows of `out`."""
    out = out[: len(x)]
    xp.matmul(x.swapaxes(0, 1), weight, out=out.swapaxes(0, 1))
    return out


class _Cells:
    """The GRU cells of a loop, side by side: what they keep of each turn, [place, cell, feature].

    r, z = sigmoid(gi + gh), n = tanh(gi + r gh), h' = n + z (h - n)

    gi comes from the input and gh from the state h.
    """

    def __init__(self, xp: ModuleType, h: Array, rz: Array, n: Array, hn: Array):
        self.xp, self.h, self.rz, self.n, self.hn = xp, h, rz, n, hn
        self.d = h.shape[2]

    @staticmethod
    def room(like: Tensor, places: int, cells: int, d: int) -> list[Tensor]:
        """For h, the gates r and z, the gate n, and gh's part of n."""
        return [like.new_empty(cells, places, d).transpose(0, 1)] + [like.new_empty(places, cells, size) for size in (2 * d, d, d)]

    def update(self, at: slice, own: Array, gi: Array | None, gh: Array, bias: Array, out: Array):
        """Write the new states of one turn into `out`.

        gi is `own` and what recurs of it. `bias` is that of gh in n; `own` has all others.
        """
        xp, d, h, rz, n, hn = self.xp, self.d, self.h[at], self.rz[at], self.n[at], self.hn[at]
        xp.add(own[..., : 2 * d], gh[..., : 2 * d], out=rz)
        xp.add(gh[..., 2 * d :], bias, out=hn)
        if gi is not None:
            rz += gi[..., : 2 * d]
        sigmoid_(rz)
        xp.multiply(rz[..., :d], hn, out=n)
        n += own[..., 2 * d :]
        if gi is not None:
            n += gi[..., 2 * d :]
        xp.tanh(n, out=n)
        xp.subtract(h, n, out=out)
        out *= rz[..., d:]
        out += n

    def slopes(self, at: slice, above: Array, gates: Array) -> Array:
        """Write one turn's gradients of the gates, given those of the new states.

        `gates` gets those of gh_n, gi_r, gi_z and gi_n side by side. gi and gh differ only in n:
        the first three are the gradients of gh (in the order n, r, z), the last three those of gi.
        Returns the gradient of h but for what flows through gh.
        """
        xp, d, h, n, hn = self.xp, self.d, self.h[at], self.n[at], self.hn[at]
        r, z = self.rz[at][..., :d], self.rz[at][..., d:]
        dhn, dr, dz, dn = (gates[..., i * d : (i + 1) * d] for i in range(4))
        direct = above * z
        rest = above - direct
        slope = n * n
        slope *= rest
        xp.subtract(rest, slope, out=dn)
        xp.multiply(dn, r, out=dhn)
        xp.multiply(dhn, hn, out=slope)
        xp.multiply(slope, r, out=dr)
        xp.subtract(slope, dr, out=dr)
        xp.subtract(h, n, out=slope)
        slope *= z
        xp.multiply(slope, rest, out=dz)
        return direct


def _turned(weight: Float[Tensor, "cell gates *rest"]) -> Float[Tensor, "cell gates *rest"]:
    """Gates r, z, n in the order n, r, z of `_Cells.slopes`."""
    return weight.roll(weight.shape[1] // 3, 1)


def _turned_back(x: Float[Tensor, "cell gates *rest"]) -> Float[Tensor, "cell gates *rest"]:
    return x.roll(-(x.shape[1] // 3), 1)


def _by_gate(
    gates: Float[Tensor, "place cell gates"],
) -> tuple[Float[Tensor, "cell place gates"], Float[Tensor, "cell place gates"]]:
    """The gradients of gi and, in the order n, r, z, of gh from those of `_Cells.slopes`."""
    d = gates.shape[2] // 4
    gates = gates.transpose(0, 1)
    return gates[..., d:], gates[..., : 3 * d]


def _weight_gradient(gates: Tensor, x: Float[Tensor, "place cell feature"]) -> Tensor:
    """The gradient of the weight that acts on x; [cell, gates, feature]."""
    return stacked_linear(gates.transpose(1, 2), x.permute(1, 2, 0))


class _OutputStates(torch.autograd.Function):
    """See `output_states`."""

    @staticmethod
    def forward(ctx, gi, weight, bias, counts):
        streams, places, d = *gi.shape[:2], gi.shape[2] // 3
        kept = _Cells.room(gi, places, streams, d)
        states = gi.new_empty(places, streams, d)
        turned = weight.transpose(1, 2).contiguous()
        product = gi.new_empty(counts[0], streams, 3 * d)
        xp, (own, w, b, new, product, *room) = arrays(
            gi.transpose(0, 1), turned, bias, states, product, *kept
        )
        cells = _Cells(xp, *room)
        old = xp.zeros_like(new[: counts[0]])
        for at in _turns(counts):
            h = cells.h[at]
            h[...] = old[: len(h)]
            cells.update(at, own[at], None, _multiply(xp, h, w, product), b, new[at])
            old = new[at]
        ctx.save_for_backward(weight, *kept)
        ctx.counts = counts
        return states.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weight, *kept = ctx.saved_tensors
        h, (streams, places, d) = kept[0], grad.shape
        slopes = grad.new_empty(places, streams, 4 * d)
        carried = grad.new_zeros(ctx.counts[0], streams, d)
        xp, (above, w, by_gate, carried, *room) = arrays(
            grad.transpose(0, 1), _turned(weight), slopes, carried, *kept
        )
        cells = _Cells(xp, *room)
        product = xp.empty_like(carried)
        for at in reversed(_turns(ctx.counts)):
            now, gates = carried[: at.stop - at.start], by_gate[at]
            now += above[at]
            now[...] = cells.slopes(at, now, gates)
            now += _multiply(xp, gates[..., : 3 * d], w, product)
        dgi, dgh = _by_gate(slopes)
        dweight = _turned_back(_weight_gradient(dgh, h))
        return dgi, dweight, dgh[..., :d].sum(1), None


class _SpeakerStates(torch.autograd.Function):
    """Global state, context and speaker states; see `speaker_states`.

    The cells of g and of q are 2S cells side by side: the first S update g from (q, g), the last S
    update q from (c, q). Attention has no query, so that
    c_{t+1} = c_t + share (g_t - c_t) with share = sigmoid(a_t - L_t) and
    L_{t+1} = log(exp L_t + exp a_t), which needs no history and cannot overflow.
    """

    @staticmethod
    def forward(ctx, gi, weight_x, weight_h, bias, attend, previous, counts):
        (streams, d), places, most = attend.shape, gi.shape[1], counts[0]
        kept = _Cells.room(gi, places, 2 * streams, d)
        inputs = gi.new_empty(2 * streams, places, d).transpose(0, 1)  # q and c
        shares = gi.new_empty(places, streams)
        # g and q after each place; the last row is that of a speaker who has not spoken yet.
        states = gi.new_empty(places + 1, 2 * streams, d)
        states[places:] = 0
        inputs[:most, streams:] = 0
        total = gi.new_full((most, streams), -torch.inf)
        by_x, by_h = (w.transpose(1, 2).contiguous() for w in (weight_x, weight_h))
        products = gi.new_empty(2, most, 2 * streams, 3 * d)
        xp, (own, wx, wh, b, w, last, x, new, share, total, of_x, of_h, *room) = arrays(
            *(gi.transpose(0, 1), by_x, by_h, bias, attend, _rows_of_q(previous)),
            *(inputs, states, shares, total, *products, *kept),
        )
        cells = _Cells(xp, *room)
        table = new.reshape(-1, d)
        turns = _turns(counts)
        old_g = new[places:, :streams]
        for at, following in zip(turns, [*turns[1:], None], strict=True):
            x_t, h, n = x[at], cells.h[at], at.stop - at.start
            q = rows(table, last[at].reshape(-1)).reshape(n, streams, d)
            x_t[:, :streams], h[:, streams:] = q, q
            h[:, :streams] = old_g[:n]
            gi_t, gh = _multiply(xp, x_t, wx, of_x), _multiply(xp, h, wh, of_h)
            cells.update(at, own[at], gi_t, gh, b, new[at])
            old_g = new[at][:, :streams]
            if following is None:
                break
            # Dialogues that end here need no further context.
            m = following.stop - following.start
            a = xp.einsum("psf,sf->ps", old_g[:m], w)
            now = share[at][:m]
            xp.subtract(a, total[:m], out=now)
            sigmoid_(now)
            c = x_t[:m, streams:]
            away = old_g[:m] - c
            away *= now[..., None]
            xp.add(c, away, out=x[following][:, streams:])
            total = xp.logaddexp(total[:m], a)
        ctx.save_for_backward(weight_x, weight_h, attend, previous, inputs, states, shares, *kept)
        ctx.counts = counts
        return states[:places, streams:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weight_x, weight_h, attend, previous, inputs, states, shares, *kept = ctx.saved_tensors
        (streams, places, d), most = grad.shape, ctx.counts[0]
        h = kept[0]
        slopes = grad.new_empty(2 * streams, places, 4 * d).transpose(0, 1)
        # What reading q at each place adds to the gradient of the state that was read.
        read = grad.new_zeros(places + 1, streams, d)
        da = grad.new_zeros(places, streams)
        # What the turns after the present one add to the gradients of g, c and the total.
        carried, total = grad.new_zeros(2, most, streams, d), grad.new_zeros(most, streams)
        products = grad.new_empty(2, most, 2 * streams, d)
        xp, (above, wx, wh, w, following, x, new, share, by_gate, of_q, da_, *rest) = arrays(
            *(grad.transpose(0, 1), weight_x, _turned(weight_h), attend, _following(previous)),
            *(inputs, states, shares, slopes, read, da, *carried, total, *products, *kept),
        )
        all_dg, all_dc, total, of_x, of_h, *room = rest
        cells = _Cells(xp, *room)
        table = of_q.reshape(-1, d)
        turns = _turns(ctx.counts)
        m = 0  # dialogues that have another turn
        for at in reversed(turns):
            n, gates = at.stop - at.start, by_gate[at]
            dg, dc = all_dg[:n], all_dc[:n]
            if m:
                now, later, left = share[at][:m, :, None], dc[:m], total[:m]
                away = new[at][:m, :streams] - x[at][:m, streams:]
                away *= later
                dshare = away.sum(2)
                dshare *= share[at][:m] * (1 - share[at][:m])
                da_t = da_[at][:m]
                xp.multiply(left, share[at][:m], out=da_t)
                da_t += dshare
                left -= da_t
                by_share = later * now
                later -= by_share
                by_share += da_t[..., None] * w
                dg[:m] += by_share
            dnew = xp.empty_like(x[at])
            dnew[:, :streams] = dg
            q = rows(table, following[at].reshape(-1)).reshape(n, streams, d)
            xp.add(above[at], q, out=dnew[:, streams:])
            dh = cells.slopes(at, dnew, gates)
            dx = _multiply(xp, gates[..., d:], wx, of_x)
            dh += _multiply(xp, gates[..., : 3 * d], wh, of_h)
            xp.add(dx[:, :streams], dh[:, streams:], out=of_q[at])
            dc += dx[:, streams:]
            dg[...] = dh[:, :streams]
            m = n
        dgi, dgh = _by_gate(slopes)
        dattend = torch.einsum("ps,psf->sf", da, states[:places, :streams])
        dweight_x = _weight_gradient(dgi, inputs)
        dweight_h = _turned_back(_weight_gradient(dgh, h))
        return dgi, dweight_x, dweight_h, dgh[..., :d].sum(1), dattend, None, None


def _rows_of_q(previous: Int[Tensor, "stream place"]) -> Int[Tensor, "place stream"]:
    """The row of each place's `previous` in the table of g and q, [place, 2 stream]."""
    streams = len(previous)
    stream = torch.arange(streams, 2 * streams, device=previous.device)
    return previous.t() * (2 * streams) + stream


def _following(previous: Int[Tensor, "stream place"]) -> Int[Tensor, "place stream"]:
    """The row, in a table [place, stream], of the place that reads each place's q next.

    It is the row of the last place, one past the others, if there is none.
    """
    streams, places = previous.shape
    stream = torch.arange(streams, device=previous.device)
    following = torch.full_like(previous.t(), places, memory_format=torch.contiguous_format)
    following = torch.cat([following, following[:1]])
    here = torch.arange(places, device=previous.device)[:, None].expand(-1, streams)
    following.scatter_(0, previous.t(), here)
    return following[:places] * streams + stream


def output_states(
    gi: Float[Tensor, "stream place gates"],
    weight: Float[Tensor, "stream gates feature"],
    bias: Float[Tensor, "stream feature"],
    counts: tuple[int, ...],
) -> Float[Tensor, "stream place feature"]:
    """e_t = GRU_e(q_t, e_{t-1}), e_{-1} = 0.

    `gi` holds the input's part of the gates and all biases but `bias`, that of the state's part of
    n, which r multiplies.
    """
    with torch.autocast(gi.device.type, enabled=False):
        return _OutputStates.apply(gi.to(weight.dtype), weight, bias, counts)


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
    but `bias`, that of the state's part of n, which r multiplies; `weight_x` acts on q_s (for g)
    and c (for q). q_s before its update is the state after s last spoke, at place `previous`
    (`place` if never); the other speakers' states do not change.
    """
    with torch.autocast(gi.device.type, enabled=False):
        gi, weight_x = gi.to(weight_x.dtype), weight_x.contiguous()
        return _SpeakerStates.apply(gi, weight_x, weight_h, bias, attend, previous, counts)
