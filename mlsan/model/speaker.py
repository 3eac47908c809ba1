"""ML-SAN's three speaker-adaptive parts (Eq. 1-4), each a small module.

Speaker 0 is "unknown": one entry that all unknown speakers share. It learns because identities
are dropped to it at random in training (`drop_identities`).
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mlsan.corpus.types import Batch
from mlsan.model.layers import StackedLinear

UNKNOWN = 0


def drop_identities(batch: Batch, rate: float, generator: torch.Generator, speakers: int) -> Batch:
    """The batch with each (dialogue, speaker) turned to unknown with probability `rate`.

    A speaker is dropped for a whole dialogue, as an unknown speaker would come. `speakers` is the
    number of entries, unknown included. Numbers are drawn on the generator's device. What the
    auxiliary head has to name (Eq. 4) stays the true speaker: take its targets from the batch as
    it was before. With the entry withheld, z can only keep the speaker by way of the features.
    """
    if rate == 0:
        return batch
    dialogues = batch.speaker.shape[1]
    drawn = torch.rand(speakers, dialogues, generator=generator, device=generator.device).to(
        batch.speaker.device
    )
    dropped = (drawn < rate).gather(0, batch.speaker.long())
    return replace(batch, speaker=batch.speaker.masked_fill(dropped, UNKNOWN))


class FiLM(nn.Module):
    """Input-level calibration: one scale and one shift of each feature for each speaker.

        gamma = W_gamma e_s + b_gamma,  beta = W_beta e_s + b_beta          (Eq. 1)
        x~ = gamma * x + beta                                               (Eq. 2, "printed")
        x~ = (1 + gamma) * x + beta                                         ("residual")

    The residual form starts as the identity, with W and b zero; the printed form, which would
    start by deleting its input so, starts as any linear layer.
    """

    def __init__(self, speaker_dim: int, features: int, residual: bool):
        super().__init__()
        self.residual = residual
        self.project = nn.Linear(speaker_dim, 2 * features)
        if residual:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def scale_shift(
        self, e: Float[Tensor, "utterance speaker_dim"]
    ) -> tuple[Float[Tensor, "utterance feature"], Float[Tensor, "utterance feature"]]:
        """gamma and beta of Eq. 1."""
        return self.project(e).chunk(2, -1)

    def forward(
        self,
        x: Float[Tensor, "utterance feature"],
        e: Float[Tensor, "utterance speaker_dim"],
    ) -> Float[Tensor, "utterance feature"]:
        gamma, beta = self.scale_shift(e)
        calibrated = torch.addcmul(beta, gamma, x)
        return calibrated + x if self.residual else calibrated


class Gate(nn.Module):
    """Interaction-level gating of the context features h, all modalities at once.

    g_m = sigmoid(W_m e_s + b_m),  h'_m = g_m * h_m      (Eq. 3)

    With `context`, W_m also sees h_m itself, so that the gate can change by utterance, which
    Eq. 3 as printed cannot.
    """

    def __init__(self, modalities: int, speaker_dim: int, d: int, context: bool):
        super().__init__()
        self.by_speaker = StackedLinear(modalities, speaker_dim, d)
        self.by_context = nn.Parameter(torch.zeros(modalities, d, d)) if context else None

    def weights(
        self,
        e: Float[Tensor, "utterance speaker_dim"],
        h: Float[Tensor, "modality utterance feature"] | None = None,
    ) -> Float[Tensor, "modality utterance feature"]:
        """g of Eq. 3; without `h`, the speaker's part alone."""
        g = self.by_speaker(e.expand(len(self.by_speaker.weight), -1, -1))
        if h is not None and self.by_context is not None:
            g = torch.baddbmm(g, h, self.by_context.transpose(1, 2))
        return torch.sigmoid(g)

    def forward(
        self,
        h: Float[Tensor, "modality utterance feature"],
        e: Float[Tensor, "utterance speaker_dim"],
    ) -> Float[Tensor, "modality utterance feature"]:
        return self.weights(e, h) * h


class Adversary(nn.Module):
    """A linear speaker head on the calibrated features that teaches FiLM to hide the speaker.

    Not in the paper: a control of its claim that calibrated features are neutral. The head learns
    to name the speaker; its gradient is reversed on the way down (Ganin and Lempitsky, ICML 2015).
    """

    def __init__(self, features: int, speakers: int):
        super().__init__()
        # Normalised, for else the features could escape the head by growing.
        self.head = nn.Sequential(
            nn.LayerNorm(features, elementwise_affine=False), nn.Linear(features, speakers)
        )

    def forward(
        self, calibrated: Float[Tensor, "utterance feature"]
    ) -> Float[Tensor, "utterance speaker"]:
        return self.head(_Reverse.apply(calibrated))


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -grad


def known_cross_entropy(
    logits: Float[Tensor, "utterance speaker"], speaker: Int[Tensor, "utterance"]
) -> Float[Tensor, ""]:
    """L_spk of Eq. 4: mean over utterances of known speakers; 0 where there are none."""
    total = nn.functional.cross_entropy(logits, speaker, ignore_index=UNKNOWN, reduction="sum")
    return total / (speaker != UNKNOWN).sum().clamp_min(1)
