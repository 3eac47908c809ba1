"""SDT (Ma et al., TMM 2023): transformers within and between modalities, and self-distillation.

Departures from the public code (butterfliesss/SDT), with which outputs, losses and gradients agree
to rounding otherwise:

- Dropout of an encoder's input is drawn once per modality, not once per encoder that reads it.
- Layer normalisation adds 1e-5 to the variance, not 1e-6.
- Any number of roles and of turns, and one, two or three modalities.
"""

import math

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from mlsan.corpus.types import Batch
from mlsan.model.baselines.common import LabelledOutput
from mlsan.model.fast.attention import attend
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.packing import Packing
from mlsan.model.fast.stacked import StackedLayerNorm, StackedLinear, uniform_
from mlsan.model.interface import EmotionModel, ModelSettings, Sizes


class SDTSettings(ModelSettings):
    """SDT's sizes, as published for IEMOCAP."""

    name: str = "SDT"
    d: int = Field(1024, gt=0, description="width of every stream")
    heads: int = Field(8, gt=0)
    dropout: float = Field(0.5, ge=0, lt=1, description="in the encoders and the students")
    temperature: float = Field(1.0, gt=0, description="of self-distillation; 8 for MELD")
    trained_gates: bool = Field(True, description="False (MELD): the matrix G is 1")
    class_weight: tuple[float, ...] = Field((), description="in the students' cross-entropy")

    @model_validator(mode="after")
    def _heads_divide_d(self) -> "SDTSettings":
        if self.d % self.heads or self.d % 2:
            raise ValueError(f"d={self.d} must be even and a multiple of heads={self.heads}")
        return self


class SDT(EmotionModel):
    """Encode each modality with every modality, gate and join; the whole teaches each modality.

    From x_m = W_m u_m + position + role and the encoders' results h_mk (see `Encoders`),

        H_m = V_m [h_mk for all k] + b_m
        z = sum over m of softmax_m(U H_m) * H_m        softmax and product feature by feature

    A linear layer classifies z, and a student of its own each H_m.
    """

    Settings = SDTSettings

    def __init__(self, settings: SDTSettings, sizes: Sizes):
        super().__init__()
        self.settings, d = settings, settings.d
        self.modalities = sizes.used(settings)
        count = len(self.modalities)
        self.project = nn.ModuleDict(
            {m: nn.Linear(sizes.features[m], d, bias=False) for m in self.modalities}
        )
        self.role = nn.Embedding(sizes.roles, d)
        self.dropout = Dropout(settings.dropout)
        self.encode = Encoders(count, settings)
        self.join = StackedLinear(count, count * d, d)
        self.gate = nn.Linear(d, d, bias=False)
        self.classify = nn.Linear(d, sizes.classes)
        self.student = StackedLinear(count, d, sizes.classes)

    def forward(self, batch: Batch) -> LabelledOutput:
        packing = Packing.of(batch, mask_padding=True, bidirectional=False)
        raw = {m: packing.rows(batch.feature[m]) for m in self.modalities}
        turn = (packing.present // len(batch.length)).to(self.role.weight.dtype)
        role = packing.rows(batch.party).long()
        place = position(turn, self.settings.d) + self.role(role)
        x = self.dropout(torch.stack([self.project[m](u) + place for m, u in raw.items()]))
        h = self.join(self.encode(x, packing))
        z = (self.gate(h).softmax(0) * h).sum(0)
        single = self.student(self.dropout(torch.relu(h)))
        streams = dict(zip(self.modalities, h.unbind(), strict=True))
        return LabelledOutput(
            logits=self.classify(z),
            z=z,
            fused=streams,
            stages={"raw": raw, "context": streams},
            label=packing.rows(batch.label).long(),
            single=dict(zip(self.modalities, single.unbind(), strict=True)),
        )

    def total_loss(
        self, erc: Float[Tensor, ""], output: LabelledOutput, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """L_ERC + sum over m of CE(student m) + KL(whole || student m), softened by temperature.

        As in the public code, the divergence also trains the whole.
        """
        tau, weight = self.settings.temperature, self.settings.class_weight
        weight = erc.new_tensor(weight) if weight else None
        whole = (output.logits / tau).softmax(-1)
        students = distillation = erc.new_zeros(())
        for logits in output.single.values():
            students = students + cross_entropy(logits, output.label, weight)
            softened = (logits / tau).log_softmax(-1)
            distillation = distillation + kl_div(softened, whole, reduction="batchmean")
        return erc + students + distillation, {"students": students, "distillation": distillation}


class Encoders(nn.Module):
    """For each modality m, one transformer layer per modality k, in which m attends to k.

        a = x_m + W MHA(x_m, x_k, x_k)
        h = a + W_2 GELU(W_1 LN(a))
        h_mk = sigmoid(G h) * h

    All of them run side by side, as streams in the order of (m, k). W_1 keeps the width d, and
    GELU is its approximation by tanh.
    """

    def __init__(self, modalities: int, settings: SDTSettings):
        super().__init__()
        d, streams = settings.d, modalities**2
        self.modalities, self.heads = modalities, settings.heads
        self.query = StackedLinear(streams, d, d)
        self.key_value = StackedLinear(streams, d, 2 * d)
        self.output = StackedLinear(streams, d, d)
        self.norm = StackedLayerNorm(streams, d)
        self.expand = StackedLinear(streams, d, d)
        self.contract = StackedLinear(streams, d, d)
        self.dropout = Dropout(settings.dropout)
        self.gate = (
            nn.Parameter(uniform_(torch.empty(streams, d, d), d))
            if settings.trained_gates
            else None
        )

    def forward(
        self, x: Float[Tensor, "modality utterance feature"], packing: Packing
    ) -> Float[Tensor, "modality utterance features"]:
        """The results side by side, those of modality m in row m."""
        m = x.repeat_interleave(self.modalities, 0)
        k = x.repeat(self.modalities, 1, 1)
        dropout = self.dropout.p if self.training else 0.0
        seen = attend(self.query(m), self.key_value(k), self.heads, packing, dropout)
        a = m + self.dropout(self.output(seen))
        wide = nn.functional.gelu(self.expand(self.norm(a)), approximate="tanh")
        h = a + self.dropout(self.contract(self.dropout(wide)))
        if self.gate is None:
            h = nn.functional.silu(h)  # sigmoid(h) * h
        else:
            h = torch.sigmoid(h @ self.gate.transpose(1, 2)) * h
        return h.unflatten(0, (self.modalities, -1)).transpose(1, 2).flatten(2)


def position(turn: Float[Tensor, "utterance"], d: int) -> Float[Tensor, "utterance d"]:
    """Feature 2i is sin(turn / 10000^(2i / d)), feature 2i + 1 the cosine."""
    step = torch.arange(0, d, 2, dtype=turn.dtype, device=turn.device)
    angle = turn.unsqueeze(-1) * (step * (-math.log(10000.0) / d)).exp()
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
