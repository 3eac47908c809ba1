"""GRU cells side by side, turn by turn, forward and back: what the loops over turns share.

Places are ordered by step (`packing.Direction`): in each step the longest dialogue comes first, so
that the dialogues that have not ended are always the first `counts[t]`. In the loops a turn is a
block of places, [place, cell, feature], that stays in the processor's cache.
"""

from itertools import accumulate, pairwise
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mlsan.model.fast.arrays import Array, sigmoid_
from mlsan.model.fast.products import stacked_linear


def turns_of(counts: tuple[int, ...]) -> list[slice]:
    """The places of each turn."""
    return [slice(*ends) for ends in pairwise([0, *accumulate(counts)])]


def multiply(xp: ModuleType, x: Array, weight: Array, out: Array) -> Array:
    """x[:, c] weight[c] of each cell c, written into the first rows of `out`."""
    out = out[: len(x)]
    xp.matmul(x.swapaxes(0, 1), weight, out=out.swapaxes(0, 1))
    return out


def room(like: Tensor, places: int, cells: int, d: int) -> list[Tensor]:
    """What `Cells` keeps of each place: h, the gates r and z, the gate n, and gh's part of n."""
    # h is multiplied by weights, the others are not: each has the order that is faster.
    h = like.new_empty(cells, places, d).transpose(0, 1)
    return [h, *(like.new_empty(places, cells, size) for size in (2 * d, d, d))]


class Cells:
    """The GRU cells of a loop, and what they keep of each place (`room`).

        r, z = sigmoid(gi + gh), n = tanh(gi + r gh), h' = n + z (h - n)

    gi comes from the input and gh from the state h.
    """

    def __init__(self, xp: ModuleType, h: Array, rz: Array, n: Array, hn: Array):
        self.xp, self.h, self.rz, self.n, self.hn = xp, h, rz, n, hn
        self.d = h.shape[2]

    def update(
        self, at: slice, own: Array, recurring: Array | None, gh: Array, bias: Array, out: Array
    ) -> None:
        """Write the new states of one turn into `out`.

        gi is `own` and, if the input recurs, `recurring`. `bias` is that of gh in n; `own` has all
        others.
        """
        xp, d, h, rz, n, hn = self.xp, self.d, self.h[at], self.rz[at], self.n[at], self.hn[at]
        xp.add(own[..., : 2 * d], gh[..., : 2 * d], out=rz)
        if recurring is not None:
            rz += recurring[..., : 2 * d]
        sigmoid_(rz)
        xp.add(gh[..., 2 * d :], bias, out=hn)
        xp.multiply(rz[..., :d], hn, out=n)
        n += own[..., 2 * d :]
        if recurring is not None:
            n += recurring[..., 2 * d :]
        xp.tanh(n, out=n)
        xp.subtract(h, n, out=out)
        out *= rz[..., d:]
        out += n

    def slopes(self, at: slice, above: Array, gates: Array) -> Array:
        """Write one turn's gradients of the gates, given those of the new states.

        `gates` gets those of gh_n, gi_r, gi_z and gi_n side by side (see `by_input`). Returns the
        gradient of h but for what flows through gh.
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


def by_input(
    slopes: Float[Tensor, "place cell slopes"],
) -> tuple[Float[Tensor, "cell place gates"], Float[Tensor, "cell place gates"]]:
    """The gradients of gi (r, z, n) and of gh (in the order n, r, z), from those of all places.

    The two differ only in n, so that each is three of the four that `Cells.slopes` writes.
    """
    d = slopes.shape[2] // 4
    slopes = slopes.transpose(0, 1)
    return slopes[..., d:], slopes[..., : 3 * d]


def weight_gradient(
    gates: Float[Tensor, "cell place gates"], x: Float[Tensor, "place cell feature"]
) -> Float[Tensor, "cell gates feature"]:
    """The gradient of a weight that multiplies x."""
    return stacked_linear(gates.transpose(1, 2), x.permute(1, 2, 0))


def turned(weight: Float[Tensor, "cell gates *rest"]) -> Float[Tensor, "cell gates *rest"]:
    """Gates r, z, n in the order n, r, z."""
    return weight.roll(weight.shape[1] // 3, 1)


def turned_back(x: Float[Tensor, "cell gates *rest"]) -> Float[Tensor, "cell gates *rest"]:
    """Gates n, r, z in the order r, z, n."""
    return x.roll(-(x.shape[1] // 3), 1)


def joined(
    bias_ih: Float[Tensor, "cell gates"], bias_hh: Float[Tensor, "cell gates"]
) -> tuple[Float[Tensor, "cell gates"], Float[Tensor, "cell feature"]]:
    """One bias of the gates in `own`, and that of gh in n alone, which r multiplies."""
    d = bias_hh.shape[1] // 3
    r_and_z, n = bias_hh.split((2 * d, d), 1)
    return bias_ih + torch.nn.functional.pad(r_and_z, (0, d)), n


def rows_of_q(previous: Int[Tensor, "stream place"]) -> Int[Tensor, "place stream"]:
    """The row of each place's `previous` in a table [place, 2 stream] of g and q."""
    streams = len(previous)
    stream = torch.arange(streams, 2 * streams, device=previous.device)
    return previous.t() * (2 * streams) + stream


def following(previous: Int[Tensor, "stream place"]) -> Int[Tensor, "place stream"]:
    """The row, in a table [place, stream], of the place that reads each place's q next.

    If there is none, it is a row of one more place after the others.
    """
    streams, places = previous.shape
    device = previous.device
    here = torch.arange(places, device=device).unsqueeze(1).expand(-1, streams)
    found = torch.full((places + 1, streams), places, device=device).scatter_(0, previous.t(), here)
    return found[:places] * streams + torch.arange(streams, device=device)
