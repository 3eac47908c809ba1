"""DialogueGCN (Ghosal et al., EMNLP 2019): a graph of nearby turns with edges typed by speaker."""

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from mlsan.model.baselines.common import BiLSTM, DialogueAttention, JointModel, Turns
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


class DialogueGCN(JointModel):
    """BiLSTM, two graph layers, attention over the dialogue, a hidden layer, softmax.

    With g the LSTM's output and N_i the turns at most `window` from i, i included:

        a_ij = softmax over j in N_i of g_i W g_j
        h1_i = W_0 g_i + b + sum_{j in N_i} a_ij W_r g_j        r = (speaker i, speaker j, i < j)
        h2_i = U_0 h1_i + c + sum_{j in N_i} U h1_j

    Attention reads [g; h2]. Each of the 2 roles^2 relations mixes its weight from `bases` matrices.
    """

    Settings = DialogueGCNSettings

    def __init__(self, settings: DialogueGCNSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        wide, narrow = 2 * settings.d, settings.hidden
        self.roles, self.window = sizes.roles, settings.window
        self.context = BiLSTM(self.inputs, settings.d, LSTM_LAYERS, settings.dropout)
        self.edge = nn.Linear(wide, wide, bias=False)
        self.relational = RelationalConv(wide, narrow, 2 * sizes.roles**2, settings.bases)
        self.own = nn.Linear(narrow, narrow)
        self.near = nn.Linear(narrow, narrow, bias=False)
        self.attend = DialogueAttention(wide + narrow)
        self.add_head(wide + narrow, narrow, sizes.classes, settings.dropout)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        g = self.context(x, turns)
        near = neighbours(turns.mask, self.window)
        score = g @ self.edge(g).transpose(1, 2)
        weight = score.masked_fill(~near, -torch.inf).softmax(-1)
        h = self.relational(g, weight, relations(role, self.roles))
        h = self.own(h) + near.to(h.dtype) @ self.near(h)
        return self.attend(torch.cat([g, h], -1), turns)


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
        # One product per basis matrix, so that an edge needs only its few mixing weights.
        message = (x @ self.basis.flatten(0, 1).T).unflatten(-1, self.basis.shape[:2])
        mixed = weight.unsqueeze(-1) * embedding(relation, self.mix)
        return self.own(x) + torch.einsum("dijk,djko->dio", mixed, message)


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
