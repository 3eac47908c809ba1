"""DialogueRNN without listener updates, for all modalities and directions at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlsan.model.fast.packing import Layout, Move, Walk
from mlsan.model.fast.products import stacked_linear
from mlsan.model.fast.recurrence import parties, reader
from mlsan.model.fast.stacked import StackedGRUCell, StackedLinear, uniform_


class DialogueRNN(nn.Module):
    """Context of each utterance, by modality: who said what before (and, backwards, after).

    A stream is one modality in one direction; streams are ordered direction by direction. For
    each stream and turn t with speaker s, all states 0 at the start:

        g_t = GRU_g([u_t; q_s], g_{t-1})            global state, q_s before its update
        c_t = sum_{j<t} softmax_j(w g_j) g_j         context
        q_s <- GRU_p([u_t; c_t], q_s)                the speaker's state; others keep theirs
        e_t = GRU_e(q_s, e_{t-1})                    output

    Two directions are joined by a linear layer, 2d to d. The output passes ReLU.
    """

    def __init__(self, modalities: int, d: int, bidirectional: bool, dropout: float):
        super().__init__()
        streams = modalities * (2 if bidirectional else 1)
        self.g = StackedGRUCell(streams, 2 * d, d)
        self.p = StackedGRUCell(streams, 2 * d, d)
        self.e = StackedGRUCell(streams, d, d)
        self.attend = nn.Parameter(uniform_(torch.empty(streams, d), d))
        self.join = StackedLinear(modalities, 2 * d, d) if bidirectional else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, u: Float[Tensor, "modality row feature"], layout: Layout
    ) -> Float[Tensor, "modality row feature"]:
        """Rows in, rows out."""
        q = self._party_states(u, layout)
        if layout.tour is None:
            e = self._read(q, layout.walks[0].counts, slice(None)).split(len(u))
            ways = [Move(w.rows, w.places).back(x) for x, w in zip(e, layout.walks, strict=True)]
        else:
            ways = self._read_with_padding(q, layout)
        if self.join is None:
            return torch.relu(self.dropout(ways[0]))
        return torch.relu(self.dropout(self.join(torch.cat(ways, -1))))

    def _party_states(
        self, u: Float[Tensor, "modality row feature"], layout: Layout
    ) -> Float[Tensor, "stream place feature"]:
        """The speaker's q after each utterance, all walks side by side."""
        modalities, _, d = u.shape
        x = torch.cat([_take(u, w) for w in layout.walks])
        previous = torch.stack([w.previous for w in layout.walks])
        g, p = self.g, self.p
        # The utterance's part of both cells' gates does not recur: one product for all turns.
        weight_ih = torch.cat([g.weight_ih, p.weight_ih])
        bias_ih = torch.cat([g.bias_ih, p.bias_ih])
        return parties(
            stacked_linear(x.repeat(2, 1, 1), weight_ih[..., :d], bias_ih),
            weight_ih[..., d:],
            torch.cat([g.weight_hh, p.weight_hh]),
            torch.cat([g.bias_hh, p.bias_hh]),
            self.attend,
            previous.repeat_interleave(modalities, 0),
            layout.walks[0].counts,
        )

    def _read(
        self, q: Float[Tensor, "stream place feature"], counts: tuple[int, ...], streams: slice
    ) -> Float[Tensor, "stream place feature"]:
        """e after each utterance, by some of the streams."""
        e = self.e
        gi = stacked_linear(q, e.weight_ih[streams], e.bias_ih[streams])
        return reader(gi, e.weight_hh[streams], e.bias_hh[streams], counts)

    def _read_with_padding(
        self, q: Float[Tensor, "stream place feature"], layout: Layout
    ) -> list[Float[Tensor, "modality row feature"]]:
        """As published: forward, e goes on over padding; backward, it is 0 there."""
        tour, modalities = layout.tour, len(q) // len(layout.walks)
        forward, *backward = q.split(modalities)
        silent = q.new_zeros(modalities, 1, q.shape[2])
        heard = torch.cat([forward, silent], 1).index_select(1, tour.heard)
        ways = [tour.move.back(self._read(heard, tour.counts, slice(modalities)))]
        for x, walk in zip(backward, layout.walks[1:], strict=True):
            e = self._read(x, walk.counts, slice(modalities, None))
            ways.append(torch.zeros_like(ways[0]).index_copy(1, walk.rows, e))
        return ways


def _take(x: Float[Tensor, "modality row feature"], walk: Walk) -> Tensor:
    """Rows in the walk's order; [modality, place, feature]."""
    if walk.places is None:
        return x.index_select(1, walk.rows)
    return Move(walk.rows, walk.places)(x)
