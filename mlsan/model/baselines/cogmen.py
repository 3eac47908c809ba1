"""COGMEN (Joshi et al., NAACL 2022): a transformer for the dialogue, a graph for nearby turns."""

import math

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import batch_norm, leaky_relu

from mlsan.model.baselines.common import Buckets, JointModel, Turns
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.grouped import grouped_product
from mlsan.model.interface import ModelSettings, Sizes

# The encoder's number of heads is the first of these that divides its width, otherwise 1.
HEADS = range(7, 15)


class COGMENSettings(ModelSettings):
    """COGMEN's sizes, the defaults of the published script."""

    name: str = "COGMEN"
    hidden: int = Field(100, gt=0, description="width of the graph layers' output and of z")
    layers: int = Field(2, gt=0, description="of the transformer encoder")
    feedforward: int = Field(2048, gt=0, description="hidden width in an encoder layer")
    window: int = Field(5, gt=0, description="neighbours on either side")
    graph_heads: int = Field(1, gt=0, description="of the graph transformer, `hidden` wide each")
    dropout: float = Field(0.5, ge=0, lt=1, description="in the encoder and on z")


class COGMEN(JointModel):
    """Transformer encoder, relational graph layer, graph transformer, a hidden layer, softmax.

    The encoder is as wide as its input, all modalities side by side, and has no positions. With g
    its output as `hidden` features and N_i the turns at most `window` from i, i included:

        h_i = W_0 g_i + b + sum_r mean_{j in N_i, r} W_r g_j     r = (role j, role i, j >= i)
        u_i = U_0 h_i + sum_{j in N_i} a_ij U h_j        a_ij = softmax_j(q_i k_j / sqrt(hidden))

    The hidden layer reads LeakyReLU(BatchNorm(u)). In training, an utterance thus depends a little
    on its batch.

    Departures from the published code: padding is masked in the encoder, which there attends to
    it; a batch of one utterance is normalised with the running statistics, an error there; weights
    that the code never reads are left out. The relational layer is `RelationalConv`, because
    `RGCNConv` takes time for each of MELD's 162 relations, most of which a batch lacks.
    """

    Settings = COGMENSettings

    def __init__(self, settings: COGMENSettings, sizes: Sizes):
        # Imported here, because it takes most of a second that runs of other models can save.
        from torch_geometric.nn import TransformerConv

        super().__init__(settings, sizes)
        hidden, heads = settings.hidden, settings.graph_heads
        self.roles, self.window = sizes.roles, settings.window
        layer = nn.TransformerEncoderLayer(
            self.inputs,
            next((n for n in HEADS if self.inputs % n == 0), 1),
            settings.feedforward,
            settings.dropout,
            batch_first=True,
        )
        for name in ("dropout", "dropout1", "dropout2"):
            setattr(layer, name, Dropout(settings.dropout))
        self.context = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.narrow = nn.Linear(self.inputs, hidden)
        self.relational = RelationalConv(hidden, hidden, 2 * sizes.roles**2)
        self.attend = TransformerConv(hidden, hidden, heads)
        self.normalise = BatchNorm(hidden * heads)
        self.add_head(hidden * heads, hidden, sizes.classes, settings.dropout)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        g = self.narrow(Buckets.of(turns).each(self.attend_all, turns.rows(x)))
        edge = edges(turns.length, self.window).to(g.device)
        kind = relations(turns.rows(role.unsqueeze(-1)).squeeze(-1), edge, self.roles)
        h = self.relational(g, edge, kind)
        u = leaky_relu(self.normalise(self.attend(h, edge)))
        return turns.grid(u)

    def attend_all(
        self, x: Float[Tensor, "dialogue turn inputs"], turns: Turns
    ) -> Float[Tensor, "dialogue turn inputs"]:
        """The transformer encoder, in which padding is masked."""
        return self.context(x, src_key_padding_mask=~turns.mask)


class RelationalConv(nn.Module):
    """x'_i = W_0 x_i + b + sum_r mean_j W_r x_j, the mean over i's neighbours j by relation r.

    The same as torch_geometric's `RGCNConv`, but with one product per relation that occurs.
    """

    def __init__(self, inputs: int, outputs: int, relations: int):
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(relations, inputs, outputs).uniform_(-bound, bound))
        self.root = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(
        self,
        x: Float[Tensor, "utterance inputs"],
        edge: Int[Tensor, "2 edge"],
        relation: Int[Tensor, "edge"],
    ) -> Float[Tensor, "utterance outputs"]:
        source, target = edge
        # A group is all edges of one relation to one target; groups are in the order of relations.
        group, member, size = torch.unique(
            relation * len(x) + target, return_inverse=True, return_counts=True
        )
        mean = x.new_zeros(len(group), x.shape[1]).index_add(0, member, x.index_select(0, source))
        mean = mean / size.unsqueeze(1)
        kind, target = group // len(x), group % len(x)
        sizes = torch.bincount(kind, minlength=len(self.weight)).tolist()
        message = grouped_product(mean, self.weight, sizes)
        out = x @ self.root + self.bias
        return out.index_add(0, target, message.to(out.dtype))


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes its running statistics for a single row, in training too."""

    def forward(self, x: Float[Tensor, "utterance feature"]) -> Float[Tensor, "utterance feature"]:
        if len(x) > 1:
            return super().forward(x)
        return batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def edges(length: Int[Tensor, "dialogue"], window: int) -> Int[Tensor, "2 edge"]:
    """Sources and targets, as rows: all pairs of a dialogue's turns at most `window` apart."""
    dialogue = torch.repeat_interleave(torch.arange(len(length)), length)
    source = torch.arange(len(dialogue)).unsqueeze(1)
    target = source + torch.arange(-window, window + 1)
    inside = (target >= 0) & (target < len(dialogue))
    inside &= dialogue[source] == dialogue[target.clamp(0, len(dialogue) - 1)]
    return torch.stack([source.expand_as(target)[inside], target[inside]])


def relations(
    role: Int[Tensor, "utterance"], edge: Int[Tensor, "2 edge"], roles: int
) -> Int[Tensor, "edge"]:
    """The type of each edge, as a number: the roles at its source and target, and their order."""
    source, target = edge
    pair = role[source].long() * roles + role[target].long()
    return 2 * pair + (source >= target).long()
