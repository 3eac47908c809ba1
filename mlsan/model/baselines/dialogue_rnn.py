"""DialogueRNN (Majumder et al., AAAI 2019): a state per speaker, and attention to the past.

With the same weights, the outputs are those of the published code (declare-lab/conv-emotion,
DialogueRNN), padded or not, to rounding.

MultiEMO's context encoder (`mlsan.model.fast.context`) is a variant whose attention has no query
and whose states have no dropout. Its fast form relies on both, so this model has its own.
"""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from mlsan.model.baselines.common import Buckets, DialogueAttention, JointModel, Turns
from mlsan.model.fast.attentive import attentive_states
from mlsan.model.fast.cells import joined
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.packing import directions
from mlsan.model.fast.products import stacked_linear
from mlsan.model.fast.recurrence import output_states
from mlsan.model.fast.stacked import StackedGRUCell, uniform_
from mlsan.model.interface import ModelSettings, Sizes

# As in the published code: after each cell, and before the last layer.
CELL_DROPOUT = HEAD_DROPOUT = 0.1


class DialogueRNNSettings(ModelSettings):
    """DialogueRNN's sizes, as published for MELD."""

    name: str = "DialogueRNN"
    d: int = Field(150, gt=0, description="D_g = D_p: global and speaker states")
    hidden: int = Field(100, gt=0, description="D_e = D_h: output state; z has twice as many")
    dropout: float = Field(0.25, ge=0, lt=1, description="on E")


class DialogueRNNClassifier(JointModel):
    """`SpeakerRNN` in both directions, attention over the dialogue, a hidden layer, softmax.

    E = dropout([e forward; e backward])
    E~_t = sum_j softmax_j((W E_t + b) E_j) E_j
    z = ReLU(Linear(E~))
    """

    Settings = DialogueRNNSettings

    def __init__(self, settings: DialogueRNNSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        out = settings.hidden
        self.context = SpeakerRNN(2, self.inputs, settings.d, out, CELL_DROPOUT)
        self.dropout = Dropout(settings.dropout)
        self.attend = DialogueAttention(2 * out)
        self.add_head(2 * out, 2 * out, sizes.classes, HEAD_DROPOUT)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        u = turns.rows(x)
        orders = directions(turns.length.numpy(), role.T, turns.mask.T)
        e = self.context(
            torch.stack([u.index_select(0, order.rows) for order in orders]),
            torch.stack([order.previous for order in orders]),
            orders[0].counts,
        )
        e = [x.index_select(0, order.places) for x, order in zip(e, orders, strict=True)]
        e = self.dropout(torch.cat(e, -1))
        return turns.grid(Buckets.of(turns).each(self.attend, e))


class SpeakerRNN(nn.Module):
    """The recurrence, for several streams at once, each with its own weights.

    At turn t with utterance u_t and speaker s, and all states 0 at the start:

        g_t = GRU_g([u_t; q_s], g_{t-1})                          global, q_s before its update
        c_t = sum_{j<t} softmax_j(u_t W g_j) g_j, c_0 = 0          context
        q_s <- GRU_p([u_t; c_t], q_s)                             other speakers keep theirs
        e_t = GRU_e(q_s, e_{t-1})                                 output, q_s after its update

    Every new state passes through dropout.
    """

    def __init__(self, streams: int, inputs: int, d: int, outputs: int, dropout: float):
        super().__init__()
        self.g = StackedGRUCell(streams, inputs + d, d)
        self.p = StackedGRUCell(streams, inputs + d, d)
        self.e = StackedGRUCell(streams, d, outputs)
        self.query = nn.Parameter(uniform_(torch.empty(streams, d, inputs), inputs))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        u: Float[Tensor, "stream place inputs"],
        previous: Int[Tensor, "stream place"],
        counts: tuple[int, ...],
    ) -> Float[Tensor, "stream place outputs"]:
        """The utterances are in the order of a `Direction`, which has `previous` and `counts`."""
        (streams, places, inputs), d = u.shape, self.query.shape[1]
        g, p, e = self.g, self.p, self.e
        # The utterance's part does not recur: one product for all turns.
        weight = torch.cat([g.weight_ih[..., :inputs], p.weight_ih[..., :inputs], self.query], 1)
        g_by_u, p_by_u, query = stacked_linear(u, weight).split((3 * d, 3 * d, d), -1)
        biases = (g.bias_ih, p.bias_ih), (g.bias_hh, p.bias_hh)
        bias, bias_n = joined(*map(torch.cat, biases))
        q = attentive_states(
            torch.cat([g_by_u, p_by_u]) + bias.unsqueeze(1),
            torch.cat([g.weight_ih, p.weight_ih])[..., inputs:],
            torch.cat([g.weight_hh, p.weight_hh]),
            bias_n,
            query,
            self.dropout(u.new_ones(2 * streams, places, d)),
            previous,
            counts,
        )
        bias, bias_n = joined(e.bias_ih, e.bias_hh)
        return output_states(
            stacked_linear(q, e.weight_ih, bias),
            e.weight_hh,
            bias_n,
            counts,
            self.dropout(u.new_ones(streams, places, e.weight_hh.shape[2])),
        )
