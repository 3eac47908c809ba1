"""ML-SAN's three parts around any model of Table 1: calibrate, gate, speaker head.

In ML-SAN the parts sit inside MultiEMO. Here they sit around a model, at the places that every
model has:

- `FiLM` (Eq. 1-2) calibrates the raw audio and visual features before the model reads them, as in
  ML-SAN, with the same start from the speaker's statistics and the same enrolment of strangers.
- `SpeakerGate` (Eq. 3) scales z, which the model's classifier reads. ML-SAN gates each modality's
  context features before fusion; models that read all modalities side by side have none.
- The speaker head (Eq. 4) reads the gated z, as in ML-SAN.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor, nn

from mlsan.corpus.style import Population
from mlsan.corpus.types import Batch
from mlsan.model.baselines.common import Turns
from mlsan.model.interface import Output, Sizes
from mlsan.model.mlsan import FiLM, SpeakerGate, SpeakerParts, speaker_loss
from mlsan.model.wrapper import Wrapper, WrapperSettings, linears
from mlsan.vocabulary import Modality


class AdaptedSettings(SpeakerParts, WrapperSettings):
    """Which parts are on, and the model inside."""

    name: str = "+ speaker"

    @model_validator(mode="after")
    def _base_has_no_parts(self) -> "AdaptedSettings":
        if isinstance(self.base, SpeakerParts):
            raise ValueError("ML-SAN has the three parts itself: take MultiEMO as the base")
        return self


class Adapted(Wrapper):
    """A model with FiLM, speaker gate and speaker head, each on or off.

        x~_m = FiLM_m(x_m)                      (Eq. 1-2), m audio and visual
        z    = base(x~) up to its classifier
        z'   = sigmoid(W e_s + b) * z           (Eq. 3)
        logits = classify(z'),  speaker logits = U z' + c
        L = L_base + lambda L_spk               (Eq. 4)

    With FiLM at the identity, an open gate and lambda 0 it is the model inside, number for number.
    """

    Settings = AdaptedSettings

    def __init__(self, settings: AdaptedSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        width, e_s = linears(self.base)[0].in_features, settings.speaker_dim
        calibrated = [m for m in settings.film_modalities if m in self.modalities]
        self.embedding = self.film = self.gate = self.speaker_head = None
        if settings.film or settings.gate:
            self.embedding = nn.Embedding(sizes.speakers, e_s)
        if settings.film:
            start = settings.film_start
            self.film = nn.ModuleDict({m: FiLM(e_s, sizes.features[m], start) for m in calibrated})
        if settings.gate:
            self.gate = SpeakerGate(1, e_s, width, False, settings.gate_start)
        if settings.aux:
            self.speaker_head = nn.Linear(width, sizes.speakers)

    def forward(self, batch: Batch) -> Output:
        turns = Turns.of(batch)
        raw = {m: turns.rows(batch.feature[m].transpose(0, 1)) for m in self.modalities}
        speaker = turns.rows(batch.speaker.T.unsqueeze(-1)).squeeze(-1)
        read: list[Tensor] = []

        def gated(classify: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            (z,) = arguments
            if self.gate is not None:
                z = self.gate(z.unsqueeze(0), self.embedding(speaker)).squeeze(0)
            read.append(z)
            return (z,)

        handle = self.base.classify.register_forward_pre_hook(gated)
        try:
            output = self.base(self.calibrated(batch))
        finally:
            handle.remove()
        (z,) = read
        return replace(
            output,
            z=z,
            stages=output.stages | {"raw": raw, "calibrated": output.stages["raw"]},
            speaker_logits=None if self.speaker_head is None else self.speaker_head(z),
        )

    def calibrated(self, batch: Batch) -> Batch:
        """The batch with Eq. 1-2 applied to its audio and visual features, padding excepted."""
        if self.film is None:
            return batch
        e = self.embedding(batch.speaker).flatten(0, 1)
        changed = {}
        for m, film in self.film.items():
            x = batch.feature[m]
            style = batch.style.get(m) if m in self.settings.styled else None
            style = None if style is None else style.flatten(0, 1)
            after = film(x.flatten(0, 1), e, style).view_as(x)
            changed[m] = torch.where(batch.mask.unsqueeze(-1), after, x)
        return replace(batch, feature=batch.feature | changed)

    def rates(self) -> list[tuple[nn.Module, float]]:
        """FiLM learns more slowly, so that what it calibrates stays near its start."""
        return [] if self.film is None else [(self.film, self.settings.film_rate)]

    def start_from(self, population: Mapping[Modality, Population]) -> None:
        """Start each FiLM from what the training speakers show of its modality."""
        for modality, values in population.items():
            self.film[modality].start_from(values)

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """L + lambda L_spk (Eq. 4), with L that of the model inside, and L_spk beside its terms.

        `speaker` is the true speaker, even where the input hides the identity.
        """
        loss, parts = self.base.total_loss(erc, output, speaker)
        if output.speaker_logits is None:
            return loss, parts
        spk = speaker_loss(output.speaker_logits, speaker)
        return loss + self.settings.lam * spk, parts | {"spk": spk}
