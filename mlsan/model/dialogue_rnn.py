"""DialogueRNN without listener updates, for all modalities and directions at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlsan.model.layers import StackedGRUCell, StackedLinear, uniform_
from mlsan.model.layout import Layout, rearrange
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
        self.directions = 2 if bidirectional else 1
        streams = modalities * self.directions
        self.g = StackedGRUCell(streams, 2 * d, d)
        self.p = StackedGRUCell(streams, 2 * d, d)
        self.e = StackedGRUCell(streams, d, d)
        self.attend = nn.Parameter(uniform_(torch.empty(streams, d), d))
        self.join = StackedLinear(modalities, 2 * d, d) if bidirectional else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, u: Float[Tensor, "modality utterance feature"], layout: Layout
    ) -> Float[Tensor, "modality utterance feature"]:
        """Rows in, rows out."""
        modalities, _, d = u.shape
        walks = layout.walks
        u = torch.cat([rearrange(u, w.rows, w.places) for w in walks])
        previous = torch.stack([w.previous for w in walks]).repeat_interleave(modalities, 0)
        padding = layout.padding
        if padding is not None:
            padding = torch.stack([padding[w.rows] for w in walks])
            padding = padding.repeat_interleave(modalities, 0)

        # The utterance's part of both cells' gates does not recur: one product for all turns.
        weight_ih = torch.cat([self.g.weight_ih, self.p.weight_ih])
        bias_ih = torch.cat([self.g.bias_ih, self.p.bias_ih]).unsqueeze(1)
        gi = torch.baddbmm(bias_ih, u.repeat(2, 1, 1), weight_ih[..., :d].transpose(1, 2))
        q = parties(
            gi,
            weight_ih[..., d:],
            torch.cat([self.g.weight_hh, self.p.weight_hh]),
            torch.cat([self.g.bias_hh, self.p.bias_hh]),
            self.attend,
            previous,
            padding,
            layout.counts,
        )
        e = self.e
        gi = torch.baddbmm(e.bias_ih.unsqueeze(1), q, e.weight_ih.transpose(1, 2))
        out = reader(gi, e.weight_hh, e.bias_hh, layout.counts)

        ways = [
            rearrange(x, w.places, w.rows)
            for x, w in zip(out.chunk(self.directions), walks, strict=True)
        ]
        if self.join is None:
            return torch.relu(self.dropout(ways[0]))
        if layout.padding is not None:
            # As published: turned back into reading order, the backward copy is 0 on padding.
            ways[1] = ways[1].masked_fill(layout.padding.unsqueeze(1), 0)
        return torch.relu(self.dropout(self.join(torch.cat(ways, -1))))
