"""DialogueRNN without listener updates, for all modalities and directions at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlsan.model.layers import StackedGRUCell, StackedLinear, uniform_
from mlsan.model.layout import Layout, Move, Walk
from mlsan.model.products import stacked_linear
from mlsan.model.recurrence import parties, reader


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
        walks, modalities = layout.walks, len(u)
        if all(w.counts == walks[0].counts for w in walks):
            ways = self._run(u, walks, slice(None))
        else:
            ways = [
                self._run(u, (w,), slice(i * modalities, (i + 1) * modalities))[0]
                for i, w in enumerate(walks)
            ]
        if self.join is None:
            return torch.relu(self.dropout(ways[0]))
        return torch.relu(self.dropout(self.join(torch.cat(ways, -1))))

    def _run(
        self, u: Float[Tensor, "modality row feature"], walks: tuple[Walk, ...], streams: slice
    ) -> list[Float[Tensor, "modality row feature"]]:
        """Walks of equal course, side by side; rows that a walk leaves out are 0."""
        modalities, rows, d = u.shape
        x = torch.cat([_take(u, w) for w in walks])
        previous = torch.stack([w.previous for w in walks]).repeat_interleave(modalities, 0)
        g, p, e = (cell.parameters_of(streams) for cell in (self.g, self.p, self.e))

        # The utterance's part of both cells' gates does not recur: one product for all turns.
        weight_ih = torch.cat([g.weight_ih, p.weight_ih])
        bias_ih = torch.cat([g.bias_ih, p.bias_ih])
        gi = stacked_linear(x.repeat(2, 1, 1), weight_ih[..., :d], bias_ih)
        q = parties(
            gi,
            weight_ih[..., d:],
            torch.cat([g.weight_hh, p.weight_hh]),
            torch.cat([g.bias_hh, p.bias_hh]),
            self.attend[streams],
            previous,
            walks[0].padding,
            walks[0].counts,
        )
        gi = stacked_linear(q, e.weight_ih, e.bias_ih)
        out = reader(gi, e.weight_hh, e.bias_hh, walks[0].counts)
        return [_put(x, w, rows) for x, w in zip(out.split(modalities), walks, strict=True)]


def _take(x: Float[Tensor, "modality row feature"], walk: Walk) -> Tensor:
    """Rows in the walk's order; [modality, place, feature]."""
    if walk.places is None:
        return x.index_select(1, walk.rows)
    return Move(walk.rows, walk.places)(x)


def _put(x: Float[Tensor, "modality place feature"], walk: Walk, rows: int) -> Tensor:
    """Back to rows; [modality, row, feature]."""
    if walk.places is None:
        return x.new_zeros(len(x), rows, x.shape[2]).index_copy(1, walk.rows, x)
    return Move(walk.rows, walk.places).back(x)
