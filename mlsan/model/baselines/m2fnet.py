"""M2FNet (Chudasama et al., CVPR Workshops 2022): text that attends by audio and visual."""

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from mlsan.corpus.types import Batch
from mlsan.model.fast.attention import attend
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.packing import Packing
from mlsan.model.fast.stacked import StackedLayerNorm, StackedLinear
from mlsan.model.interface import EmotionModel, ModelSettings, Output, Sizes


class M2FNetSettings(ModelSettings):
    """M2FNet's sizes, which are not the authors': see `M2FNet`."""

    name: str = "M2FNet"
    d: int = Field(512, gt=0, description="width of every stream")
    heads: int = Field(8, gt=0)
    layers: int = Field(6, gt=0, description="encoder layers per modality")
    feedforward: int = Field(2048, gt=0, description="hidden width in an encoder layer")
    fusions: int = Field(5, gt=0, description="fusion attention modules, one after the other")
    hidden: int = Field(512, gt=0, description="width of z")
    dropout: float = Field(0.4, ge=0, lt=1, description="in the encoders and on z")

    @model_validator(mode="after")
    def _heads_divide_d(self) -> "M2FNetSettings":
        if self.d % self.heads:
            raise ValueError(f"d={self.d} must be a multiple of heads={self.heads}")
        return self


class M2FNet(EmotionModel):
    """Encode each modality, fuse the others into text, classify all streams side by side.

    Each modality is projected to d features, which pass through encoder layers with a skip
    connection around each: x <- x + EncoderLayer(x). Text then passes through the `FusionAttention`
    modules; the other streams stay as they are. A hidden layer with ReLU reads all streams side by
    side and gives z; dropout, a linear layer and softmax follow. Without text, the first modality
    takes its place, and a single modality is not fused. The model ignores the speaker.

    The authors published no code. The layers are those that two public reimplementations have in
    common, and so are the 8 heads. One of them gives d, `layers` and the batch size, the other
    dropout, learning rate and epochs; `fusions` and the weight decay are ours. Both were written
    for MELD. Further choices of ours: features are projected before the encoders, so that they may
    have any width; padding is masked everywhere; attention weights have no dropout; no fusion
    module shares weights. The paper's feature extractors are left out: the features are given.
    """

    Settings = M2FNetSettings

    def __init__(self, settings: M2FNetSettings, sizes: Sizes):
        super().__init__()
        d, heads = settings.d, settings.heads
        self.modalities = sizes.used(settings)
        streams = len(self.modalities)
        self.project = nn.ModuleDict({m: nn.Linear(sizes.features[m], d) for m in self.modalities})
        self.encode = nn.ModuleList(
            EncoderLayer(streams, d, heads, settings.feedforward, settings.dropout)
            for _ in range(settings.layers)
        )
        fusions = settings.fusions if streams > 1 else 0
        self.fuse = nn.ModuleList(FusionAttention(streams - 1, d, heads) for _ in range(fusions))
        self.hidden = nn.Linear(streams * d, settings.hidden)
        self.classify = nn.Sequential(
            nn.Dropout(settings.dropout), nn.Linear(settings.hidden, sizes.classes)
        )

    def forward(self, batch: Batch) -> Output:
        packing = Packing.of(batch, mask_padding=True, bidirectional=False)
        raw = {m: packing.rows(batch.feature[m]) for m in self.modalities}
        x = torch.stack([self.project[m](raw[m]) for m in self.modalities])
        for layer in self.encode:
            x = x + layer(x, packing)
        main, others = x[0], x[1:]
        for layer in self.fuse:
            main = layer(main, others, packing)
        z = torch.relu(self.hidden(torch.cat([main, *others], -1)))
        return Output(
            logits=self.classify(z),
            z=z,
            fused={},
            stages={"raw": raw, "context": dict(zip(self.modalities, x, strict=True))},
        )


class Attention(nn.Module):
    """Multi-head attention within a dialogue, for all streams side by side."""

    def __init__(self, streams: int, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key = StackedLinear(streams, d, d), StackedLinear(streams, d, d)
        self.value, self.output = StackedLinear(streams, d, d), StackedLinear(streams, d, d)

    def forward(
        self,
        query: Float[Tensor, "stream utterance feature"],
        key: Float[Tensor, "stream utterance feature"],
        value: Float[Tensor, "stream utterance feature"],
        packing: Packing,
    ) -> Float[Tensor, "stream utterance feature"]:
        key_value = torch.cat([self.key(key), self.value(value)], -1)
        return self.output(attend(self.query(query), key_value, self.heads, packing))


class EncoderLayer(nn.Module):
    """A transformer encoder layer: x <- LN(x + MHA(x, x, x)), then x <- LN(x + W2 ReLU(W1 x))."""

    def __init__(self, streams: int, d: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.attention = Attention(streams, d, heads)
        self.norm = StackedLayerNorm(streams, d)
        self.expand = StackedLinear(streams, d, feedforward)
        self.contract = StackedLinear(streams, feedforward, d)
        self.last_norm = StackedLayerNorm(streams, d)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "stream utterance feature"], packing: Packing
    ) -> Float[Tensor, "stream utterance feature"]:
        x = self.norm(x + self.dropout(self.attention(x, x, x, packing)))
        wide = self.dropout(torch.relu(self.expand(x)))
        return self.last_norm(x + self.dropout(self.contract(wide)))


class FusionAttention(nn.Module):
    """x <- W [MHA(x, P, x) for each partner P; x] + b: partners are keys, x query and value."""

    def __init__(self, partners: int, d: int, heads: int):
        super().__init__()
        self.attention = Attention(partners, d, heads)
        self.join = nn.Linear((partners + 1) * d, d)

    def forward(
        self,
        x: Float[Tensor, "utterance feature"],
        partners: Float[Tensor, "partner utterance feature"],
        packing: Packing,
    ) -> Float[Tensor, "utterance feature"]:
        own = x.expand(partners.shape)
        return self.join(torch.cat([*self.attention(own, partners, own, packing), x], -1))
