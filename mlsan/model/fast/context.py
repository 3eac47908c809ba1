"""DialogueRNN without listener updates, for all modalities and directions at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlsan.model.fast.cells import joined
from mlsan.model.fast.packing import Direction, Move, Packing
from mlsan.model.fast.products import stacked_linear
from mlsan.model.fast.recurrence import output_states, speaker_states
from mlsan.model.fast.stacked import StackedGRUCell, StackedLinear, uniform_


class DialogueRNN(nn.Module):
    """The context of each utterance: who said what before (and, backwards, after).

    A stream is one modality in one direction; streams are ordered direction by direction. In each
    stream, at turn t with speaker s and all states 0 at the start:

        g_t = GRU_g([u_t; q_s], g_{t-1})            global state, q_s before its update
        c_t = sum_{j<t} softmax_j(w g_j) g_j         context
        q_s <- GRU_p([u_t; c_t], q_s)                the speaker's state; the others keep theirs
        e_t = GRU_e(q_s, e_{t-1})                    output

    A linear layer, 2d to d, joins two directions. The output passes through ReLU.
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
        self, u: Float[Tensor, "modality row feature"], packing: Packing
    ) -> Float[Tensor, "modality row feature"]:
        directions = packing.directions
        q = self._speaker_states(u, packing)
        if packing.padded is None:
            e = self._outputs(q, directions[0].counts, slice(None)).split(len(u))
            both = [Move(d.rows, d.places).back(x) for x, d in zip(e, directions, strict=True)]
        else:
            both = self._outputs_with_padding(q, packing)
        if self.join is None:
            return torch.relu(self.dropout(both[0]))
        return torch.relu(self.dropout(self.join(torch.cat(both, -1))))

    def _speaker_states(
        self, u: Float[Tensor, "modality row feature"], packing: Packing
    ) -> Float[Tensor, "stream place feature"]:
        """The speaker's q after each utterance, all directions side by side."""
        modalities, _, d = u.shape
        x = torch.cat([_ordered(u, direction) for direction in packing.directions])
        previous = torch.stack([direction.previous for direction in packing.directions])
        g, p = self.g, self.p
        # The utterance's part of both cells' gates does not recur: one product for all turns.
        weight_ih = torch.cat([g.weight_ih, p.weight_ih])
        bias, bias_n = joined(
            *(torch.cat(b) for b in ((g.bias_ih, p.bias_ih), (g.bias_hh, p.bias_hh)))
        )
        return speaker_states(
            stacked_linear(x.repeat(2, 1, 1), weight_ih[..., :d], bias),
            weight_ih[..., d:],
            torch.cat([g.weight_hh, p.weight_hh]),
            bias_n,
            self.attend,
            previous.repeat_interleave(modalities, 0),
            packing.directions[0].counts,
        )

    def _outputs(
        self, q: Float[Tensor, "stream place feature"], counts: tuple[int, ...], streams: slice
    ) -> Float[Tensor, "stream place feature"]:
        """e after each utterance, in some of the streams."""
        e = self.e
        bias, bias_n = joined(e.bias_ih[streams], e.bias_hh[streams])
        gi = stacked_linear(q, e.weight_ih[streams], bias)
        return output_states(gi, e.weight_hh[streams], bias_n, counts)

    def _outputs_with_padding(
        self, q: Float[Tensor, "stream place feature"], packing: Packing
    ) -> list[Float[Tensor, "modality row feature"]]:
        """As published: forward, e runs on over padding; backward, it is 0 there."""
        padded, modalities = packing.padded, len(q) // len(packing.directions)
        forward, *backward = q.split(modalities)
        never_spoke = q.new_zeros(modalities, 1, q.shape[2])
        states = torch.cat([forward, never_spoke], 1).index_select(1, padded.state)
        both = [padded.move.back(self._outputs(states, padded.counts, slice(modalities)))]
        for x, direction in zip(backward, packing.directions[1:], strict=True):
            e = self._outputs(x, direction.counts, slice(modalities, None))
            both.append(torch.zeros_like(both[0]).index_copy(1, direction.rows, e))
        return both


def _ordered(x: Float[Tensor, "modality row feature"], direction: Direction) -> Tensor:
    """Rows in a direction's order; [modality, place, feature]."""
    if direction.places is None:
        return x.index_select(1, direction.rows)
    return Move(direction.rows, direction.places)(x)
