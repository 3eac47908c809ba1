"""Multimodal fusion: a stack of cross-attention layers per modality, all run side by side."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlsan.model.fast.attention import attend
from mlsan.model.fast.packing import Packing
from mlsan.model.fast.stacked import StackedLayerNorm, StackedLinear


def partners(streams: int) -> list[list[int]]:
    """For each cross-attention of a layer, the stream that each stream attends to.

    A stream attends to the others in the order text, audio, visual: text to audio, then visual;
    audio to text, then visual; visual to text, then audio. With two modalities each attends to
    the other, once; a single stream attends to itself.
    """
    if streams == 1:
        return [[0]]
    others = [[p for p in range(streams) if p != s] for s in range(streams)]
    return [list(column) for column in zip(*others, strict=True)]


class CrossAttention(nn.Module):
    """Multi-head attention of each stream to its partner; scale 1/sqrt(d/heads), with biases."""

    def __init__(self, streams: int, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = StackedLinear(streams, d, d)
        self.key_value = StackedLinear(streams, d, 2 * d)
        self.output = StackedLinear(streams, d, d)

    def forward(
        self,
        x: Float[Tensor, "stream utterance feature"],
        partner: Float[Tensor, "stream key feature"],
        packing: Packing,
    ) -> Float[Tensor, "stream utterance feature"]:
        attended = attend(self.query(x), self.key_value(partner), self.heads, packing)
        return self.output(attended)


class FusionLayer(nn.Module):
    """x <- LN(x + MHA(x, P, P)) for each partner P in turn, then x <- LN(x + W2 ReLU(W1 x))."""

    def __init__(self, streams: int, d: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        attentions = len(partners(streams))
        self.attention = nn.ModuleList(CrossAttention(streams, d, heads) for _ in range(attentions))
        self.norm = nn.ModuleList(StackedLayerNorm(streams, d) for _ in range(attentions))
        self.expand = StackedLinear(streams, d, feedforward)
        self.contract = StackedLinear(streams, feedforward, d)
        self.last_norm = StackedLayerNorm(streams, d)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "stream utterance feature"],
        partner: list[Float[Tensor, "stream key feature"]],
        packing: Packing,
    ) -> Float[Tensor, "stream utterance feature"]:
        for attention, norm, other in zip(self.attention, self.norm, partner, strict=True):
            x = norm(x + self.dropout(attention(x, other, packing)))
        wide = self.contract(torch.relu(self.expand(x)))
        # Dropout twice, as published: in the feed-forward block and again before the sum.
        return self.last_norm(x + self.dropout(self.dropout(wide)))


class Fusion(nn.Module):
    """L layers; in every layer the partners are the unfused streams."""

    def __init__(
        self, streams: int, layers: int, d: int, heads: int, feedforward: int, dropout: float
    ):
        super().__init__()
        self.partners = partners(streams)
        self.layers = nn.ModuleList(
            FusionLayer(streams, d, heads, feedforward, dropout) for _ in range(layers)
        )

    def forward(
        self, x: Float[Tensor, "stream row feature"], packing: Packing
    ) -> Float[Tensor, "stream utterance feature"]:
        """From rows, which are the keys, to utterances, which are the queries."""
        partner = [torch.stack([x[p] for p in column]) for column in self.partners]
        x = packing.utterances(x, 1)
        for layer in self.layers:
            x = layer(x, partner, packing)
        return x
