"""DialogueRNN (Majumder et al., AAAI 2019): a state per speaker, and attention to the past.

With the same weights, the outputs are those of the published code (declare-lab/conv-emotion,
DialogueRNN), padded or not, to rounding.

MultiEMO's context encoder (`mlsan.model.fast.context`) is a variant whose attention has no query
and whose states have no dropout. Its fast form relies on both, so this model does not share it.
"""

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from mlsan.model.baselines.common import DialogueAttention, JointModel, Turns, reversal, reverse
from mlsan.model.fast.products import stacked_linear
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
        self.roles = sizes.roles
        self.context = SpeakerRNN(2, self.inputs, settings.d, out, CELL_DROPOUT)
        self.dropout = nn.Dropout(settings.dropout)
        self.attend = DialogueAttention(2 * out)
        self.add_head(2 * out, 2 * out, sizes.classes, HEAD_DROPOUT)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        cells = reversal(turns)
        speaks = one_hot(role.long(), self.roles).bool()
        e = self.context(
            torch.stack([x, reverse(x, cells)]), torch.stack([speaks, reverse(speaks, cells)])
        )
        e = torch.cat([e[0], reverse(e[1], cells)], -1)
        return self.attend(self.dropout(e), turns)


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
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        u: Float[Tensor, "stream dialogue turn inputs"],
        speaks: Bool[Tensor, "stream dialogue turn role"],
    ) -> Float[Tensor, "stream dialogue turn outputs"]:
        """`speaks` marks each turn's speaker. What follows a dialogue's end does not affect it."""
        streams, dialogues, _, inputs = u.shape
        g_cell, p_cell, e_cell = self.g, self.p, self.e
        d = self.query.shape[1]
        # The utterance's part does not recur: one product for all turns.
        weight = torch.cat(
            [g_cell.weight_ih[..., :inputs], p_cell.weight_ih[..., :inputs], self.query], 1
        )
        by_u = stacked_linear(u.flatten(1, 2), weight).unflatten(1, u.shape[1:3])
        g_by_q, p_by_c = g_cell.weight_ih[..., inputs:], p_cell.weight_ih[..., inputs:]

        g = c = by_u.new_zeros(streams, dialogues, d)
        e = by_u.new_zeros(streams, dialogues, e_cell.bias_hh.shape[1] // 3)
        q = by_u.new_zeros(*speaks.shape[:2], speaks.shape[3], d)
        past = by_u.new_zeros(streams, dialogues, 0, d)
        out = []
        for of_turn, speaker in zip(by_u.unbind(2), speaks.unsqueeze(-1).unbind(2), strict=True):
            g_by_u, p_by_u, query = of_turn.split((3 * d, 3 * d, d), -1)
            if out:
                share = (past @ query.unsqueeze(-1)).softmax(2)
                c = (share * past).sum(2)
            own = (q * speaker).sum(2)
            g = self._step(g_cell, g_by_u + stacked_linear(own, g_by_q, g_cell.bias_ih), g)
            new = self._step(p_cell, p_by_u + stacked_linear(c, p_by_c, p_cell.bias_ih), own)
            q = torch.where(speaker, new.unsqueeze(2), q)
            e = self._step(e_cell, stacked_linear(new, e_cell.weight_ih, e_cell.bias_ih), e)
            past = torch.cat([past, g.unsqueeze(2)], 2)
            out.append(e)
        return torch.stack(out, 2)

    def _step(
        self,
        cell: StackedGRUCell,
        gi: Float[Tensor, "stream dialogue gates"],
        h: Float[Tensor, "stream dialogue feature"],
    ) -> Float[Tensor, "stream dialogue feature"]:
        """The new state from the input's product and the old state."""
        d = h.shape[-1]
        gh = stacked_linear(h, cell.weight_hh, cell.bias_hh)
        r, z = (gi[..., : 2 * d] + gh[..., : 2 * d]).sigmoid().chunk(2, -1)
        n = torch.tanh(gi[..., 2 * d :] + r * gh[..., 2 * d :])
        return self.dropout(n + z * (h - n))
