"""DialogueGCN (Ghosal et al., EMNLP 2019): a graph of nearby turns with edges typed by speaker.

The published code (declare-lab/conv-emotion) is not the paper's equations, so that the model has
two forms (`DialogueGCNSettings.form`). With the same weights, form "code" gives the outputs of the
published code for each dialogue alone, to rounding. In a batch they differ: the published code runs
its LSTM over padding, so that a prediction depends on the rest of the batch (by up to 0.04 in
log-probability in the tests). Here dialogues are packed, and it does not.

A second implementation in the same repository (DialogueGCN-mianzhang) scores edges as in the paper,
sends messages as in form "code", and has no attention over the dialogue.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from mlsan.model.baselines.common import BiLSTM, Buckets, DialogueAttention, JointModel, Turns
from mlsan.model.fast.stacked import uniform_
from mlsan.model.interface import ModelSettings, Sizes

LSTM_LAYERS = 2


class DialogueGCNSettings(ModelSettings):
    """DialogueGCN's sizes, as published for IEMOCAP."""

    name: str = "DialogueGCN"
    d: int = Field(100, gt=0, description="width of one direction of the LSTM")
    hidden: int = Field(100, gt=0, description="width of h1, h2 and z")
    window: int = Field(10, gt=0, description="neighbours on either side")
    bases: int = Field(30, gt=0, description="matrices that each relation's weight mixes")
    dropout: float = Field(0.4, ge=0, lt=1, description="between the LSTM's layers and after z")
    form: Literal["paper", "code"] = Field("paper", description="the equations, or the code")
    turns: int = Field(110, gt=0, description="of the longest dialogue, for form code alone")


class DialogueGCN(JointModel):
    """BiLSTM, two graph layers, attention over the dialogue, a hidden layer, softmax.

    With g the LSTM's output and N_i the turns at most `window` from i, i included:

        a_ij = softmax over j in N_i of g_i W g_j
        h1_i = W_0 g_i + b + sum_{j in N_i} a_ij W_r g_j        r = (speaker i, speaker j, i < j)
        h2_i = U_0 h1_i + c + sum_{j in N_i} U h1_j

    Attention reads [g; h2]. Each of the 2 roles^2 relations mixes its weight from `bases` matrices.
    This is form "paper". In form "code",

        a_ij = softmax over j in N_i of w_i g_j                       w_i for the i-th turn
        h1_i = W_0 g_i + b + sum_{j in N_i} a_ji W_r g_j        r = (speaker j, speaker i, j < i)

    The weights of the messages that a turn sends sum to 1, not of those that it receives. The
    attention's scores pass through tanh, and the initial W_r are sqrt(bases * 2 d) times smaller
    (77 times at the published sizes). A dialogue of more than `turns` turns raises ValueError.
    With the same weights, log-probabilities of the two forms differ by up to 0.07 in the tests.
    """

    Settings = DialogueGCNSettings

    def __init__(self, settings: DialogueGCNSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        wide, narrow = 2 * settings.d, settings.hidden
        self.roles, self.window = sizes.roles, settings.window
        self.code = settings.form == "code"
        self.context = BiLSTM(self.inputs, settings.d, LSTM_LAYERS, settings.dropout)
        self.edge = nn.Linear(wide, settings.turns if self.code else wide, bias=False)
        self.relational = RelationalConv(wide, narrow, 2 * sizes.roles**2, settings.bases)
        if self.code:
            for parameter in self.relational.parameters():
                uniform_(parameter, settings.bases * wide)
        self.own = nn.Linear(narrow, narrow)
        self.near = nn.Linear(narrow, narrow, bias=False)
        self.attend = (BoundedAttention if self.code else DialogueAttention)(wide + narrow)
        self.add_head(wide + narrow, narrow, sizes.classes, settings.dropout)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        g = turns.rows(self.context(x, turns))
        who = turns.rows(role.unsqueeze(-1)).squeeze(-1)
        return turns.grid(Buckets.of(turns).each(self.graph, g, who))

    def graph(
        self,
        g: Float[Tensor, "dialogue turn feature"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        """The layers after the LSTM: both graph layers and attention."""
        near = neighbours(turns.mask, self.window)
        weight = self.edge_scores(g).masked_fill(~near, -torch.inf).softmax(-1)
        relation = relations(role, self.roles)
        if self.code:
            weight, relation = weight.transpose(1, 2), relation.transpose(1, 2)
        h = self.relational(g, weight, relation)
        h = self.own(h) + near.to(h.dtype) @ self.near(h)
        return self.attend(torch.cat([g, h], -1), turns)

    def edge_scores(
        self, g: Float[Tensor, "dialogue turn feature"]
    ) -> Float[Tensor, "dialogue turn turn"]:
        """The score of edge (i, j) before the softmax over j: g_i W g_j, or w_i g_j."""
        if not self.code:
            return g @ self.edge(g).transpose(1, 2)
        turns, limit = g.shape[1], self.edge.out_features
        if turns > limit:
            raise ValueError(
                f"a dialogue has {turns} turns, but form='code' has weights for turns={limit}: "
                f"set turns={turns} or form='paper'"
            )
        return self.edge(g)[..., :turns].transpose(1, 2)


class BoundedAttention(DialogueAttention):
    """`DialogueAttention` with the hyperbolic tangent of its scores."""

    def forward(
        self, x: Float[Tensor, "dialogue turn feature"], turns: Turns
    ) -> Float[Tensor, "dialogue turn feature"]:
        score = torch.tanh(self.query(x) @ x.transpose(1, 2))
        return score.masked_fill(~turns.mask.unsqueeze(1), -torch.inf).softmax(-1) @ x


class RelationalConv(nn.Module):
    """x'_i = W_0 x_i + b + sum_j weight_ij W_r x_j with r = relation_ij, W_r = sum_k mix_rk V_k."""

    def __init__(self, inputs: int, outputs: int, relations: int, bases: int):
        super().__init__()
        self.own = nn.Linear(inputs, outputs)
        self.basis = nn.Parameter(uniform_(torch.empty(bases, outputs, inputs), inputs))
        self.mix = nn.Parameter(uniform_(torch.empty(relations, bases), bases))

    def forward(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        weight: Float[Tensor, "dialogue turn turn"],
        relation: Int[Tensor, "dialogue turn turn"],
    ) -> Float[Tensor, "dialogue turn outputs"]:
        basis, mix = self.basis, self.mix
        if len(mix) < len(basis):
            # The relations' own matrices are fewer: they are the basis, and each edge has one.
            basis = torch.tensordot(mix, basis, 1)
            mix = torch.eye(len(mix), dtype=mix.dtype, device=mix.device)
        # One product per basis matrix, so that an edge needs only its few mixing weights.
        message = linear(x, basis.flatten(0, 1)).unflatten(-1, basis.shape[:2])
        mixed = weight.unsqueeze(-1) * embedding(relation, mix)
        return self.own(x) + mixed.flatten(2) @ message.flatten(1, 2)


def neighbours(
    mask: Bool[Tensor, "dialogue turn"], window: int
) -> Bool[Tensor, "dialogue turn turn"]:
    """True at (i, j) for utterances at most `window` turns apart, and at every (i, i).

    Padding is its own only neighbour, which keeps its attention finite.
    """
    turn = torch.arange(mask.shape[1], device=mask.device)
    distance = (turn.unsqueeze(1) - turn).abs()
    return (distance <= window) & mask.unsqueeze(1) & mask.unsqueeze(2) | (distance == 0)


def relations(role: Int[Tensor, "dialogue turn"], roles: int) -> Int[Tensor, "dialogue turn turn"]:
    """The type of edge (i, j), as a number: the roles at i and j, and whether i < j."""
    turn = torch.arange(role.shape[1], device=role.device)
    earlier = (turn.unsqueeze(1) < turn).long()
    pair = role.long().unsqueeze(2) * roles + role.long().unsqueeze(1)
    return 2 * pair + earlier
