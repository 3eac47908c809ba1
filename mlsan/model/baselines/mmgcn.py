"""MMGCN (Hu et al., ACL 2021): one deep graph over all modalities of a dialogue.

With the same weights, the outputs are those of the published code (hujingwen6666/MMGCN) for each
dialogue alone, to rounding, and dropout acts at the same places. What differs:

- The published code runs its LSTM over padding, so that a prediction depends on the rest of the
  batch (by up to 0.03 in log-probability in the tests). Here dialogues are packed, and it does not.
- The published focal loss, used for MELD, is the mean over utterances and classes of
  (1 - y log p)^2.5 (-log p), with y 1 for the true class and 0 for the others. `losses.focal` is
  that of Lin et al. (2017), which has 1 - p in place of 1 - y log p and only the true class.
"""

import math

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from mlsan.corpus.types import Batch
from mlsan.model.baselines.common import BiLSTM, Buckets, Turns
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.stacked import uniform_
from mlsan.model.interface import EmotionModel, ModelSettings, Output, Sizes

LSTM_LAYERS = 2
# The share of H_0 in every layer, and how fast the layers' own weights fade with depth.
START_SHARE, FADE = 0.1, 0.5
# Below 1, where the derivative of arccos is infinite.
COSINE_SCALE = 0.99999


class MMGCNSettings(ModelSettings):
    """MMGCN's sizes, as published."""

    name: str = "MMGCN"
    d: int = Field(200, gt=0, description="width of n, and of both directions of the LSTM together")
    hidden: int = Field(100, gt=0, description="width of H")
    layers: int = Field(64, gt=0, description="of the graph; the published code always uses 64")
    dropout: float = Field(
        0.4, ge=0, lt=1, description="in the LSTM, on n, on the input of each layer, on H and on z"
    )

    @model_validator(mode="after")
    def _d_is_even(self) -> "MMGCNSettings":
        if self.d % 2:
            raise ValueError(
                f"d={self.d} must be even: each direction of the BiLSTM has half of it"
            )
        return self


class MMGCN(EmotionModel):
    """A graph with one node per modality of each utterance, for one, two or three modalities.

    Nodes n: a linear layer to d per modality; text then passes through a BiLSTM, and only text
    gets a speaker embedding added. H = `DeepGraph`(n) over `adjacency`. z = [n; H] of all
    modalities, then dropout, ReLU, a linear layer and softmax. Except in `adjacency`, n stands for
    dropout(n).
    """

    Settings = MMGCNSettings

    def __init__(self, settings: MMGCNSettings, sizes: Sizes):
        super().__init__()
        d, hidden = settings.d, settings.hidden
        self.modalities = sizes.used(settings)
        self.project = nn.ModuleDict({m: nn.Linear(sizes.features[m], d) for m in self.modalities})
        if "text" in self.modalities:
            self.context = BiLSTM(d, d // 2, LSTM_LAYERS, settings.dropout)
            self.speaker = nn.Embedding(sizes.roles, d)
        self.graph = DeepGraph(d, hidden, settings.layers, settings.dropout)
        self.dropout = Dropout(settings.dropout)
        self.classify = nn.Sequential(
            Dropout(settings.dropout),
            nn.ReLU(),
            nn.Linear(len(self.modalities) * (d + hidden), sizes.classes),
        )

    def forward(self, batch: Batch) -> Output:
        turns = Turns.of(batch)
        raw = {m: turns.rows(batch.feature[m].transpose(0, 1)) for m in self.modalities}
        n = {m: self.project[m](x) for m, x in raw.items()}
        if "text" in n:
            context = self.context(turns.grid(n["text"]), turns)
            n["text"] = turns.rows(context + self.speaker(batch.party.T))
        nodes = torch.stack(list(n.values()), 1)
        own = self.dropout(nodes)
        graph = Buckets.of(turns).each(self.over_dialogues, nodes, own)
        z = torch.cat([own, graph], -1).flatten(1)
        return Output(
            logits=self.classify(z),
            z=z,
            fused={},
            stages={"raw": raw, "context": dict(zip(n, graph.unbind(1), strict=True))},
        )

    def over_dialogues(
        self,
        nodes: Float[Tensor, "dialogue turn modality feature"],
        own: Float[Tensor, "dialogue turn modality feature"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn modality hidden"]:
        """H, from n for the edges and dropout(n) for the nodes."""
        nodes, own = (x.transpose(1, 2).flatten(1, 2) for x in (nodes, own))
        h = self.graph(own, adjacency(nodes, turns.mask))
        return h.unflatten(1, (len(self.modalities), -1)).transpose(1, 2)


class DeepGraph(nn.Module):
    """Graph convolutions that keep a share of H_0; their own weights fade with depth.

    H starts as H_0 = ReLU(Linear(n)). In layer l = 1, 2, ..., M = A H, theta = ln(.5 / l + 1) and

        H <- ReLU(theta [M; H_0] W_l + (1 - theta) (.9 M + .1 H_0))

    Dropout acts on each layer's H, but not on H_0 beside it, and on the last H.
    """

    def __init__(self, inputs: int, d: int, layers: int, dropout: float):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.start = nn.Linear(inputs, d)
        self.weight = nn.Parameter(uniform_(torch.empty(layers, 2 * d, d), d))

    def forward(
        self,
        x: Float[Tensor, "dialogue node inputs"],
        a: Float[Tensor, "dialogue node node"],
    ) -> Float[Tensor, "dialogue node feature"]:
        h = h0 = torch.relu(self.start(x))
        # Both terms are linear in [M; H_0], so a layer is one matrix in two halves.
        one = torch.eye(h.shape[-1], dtype=self.weight.dtype, device=h.device)
        keep = torch.cat([(1 - START_SHARE) * one, START_SHARE * one])
        layer = torch.arange(1, len(self.weight) + 1, dtype=one.dtype, device=h.device)
        theta = torch.log(FADE / layer + 1).view(-1, 1, 1)
        by_m, by_h0 = torch.lerp(keep, self.weight, theta).chunk(2, 1)
        for w, start in zip(by_m, torch.einsum("dnf,lfo->ldno", h0, by_h0), strict=True):
            h = torch.relu(start + (a @ self.dropout(h)) @ w)
        return self.dropout(h)


def adjacency(
    nodes: Float[Tensor, "dialogue node feature"], mask: Bool[Tensor, "dialogue turn"]
) -> Float[Tensor, "dialogue node node"]:
    """D^-1/2 A D^-1/2, where A_ij = 1 - arccos(.99999 cos(n_i, n_j)) / pi on the graph's edges.

    Nodes are ordered modality by modality. Edges join all utterances within a modality (each also
    with itself) and all modalities of one utterance; padding has none.
    """
    number = torch.arange(nodes.shape[1], device=nodes.device)
    modality, turn = number // mask.shape[1], number % mask.shape[1]
    edge = (modality.unsqueeze(1) == modality) | (turn.unsqueeze(1) == turn)
    real = mask[:, turn]
    edge = edge & real.unsqueeze(1) & real.unsqueeze(2)
    # In half precision .99999 would round to 1.
    with torch.autocast(nodes.device.type, enabled=False):
        unit = normalize(nodes.to(torch.promote_types(nodes.dtype, torch.float32)), dim=-1)
        angle = torch.acos(COSINE_SCALE * (unit @ unit.transpose(1, 2)))
        weight = torch.where(edge, 1 - angle / math.pi, 0.0)
        scale = torch.where(real, weight.sum(-1), 1.0).rsqrt()
        return scale.unsqueeze(2) * weight * scale.unsqueeze(1)
