"""MultiEMO (ACL 2023) and, on top of it, ML-SAN (Eq. 1-4)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mlsan.config import MODALITIES, Modality, ModelConfig
from mlsan.corpus.types import Batch
from mlsan.model.dialogue_rnn import DialogueRNN
from mlsan.model.fusion import Fusion
from mlsan.model.inferred import InferredFiLM
from mlsan.model.layout import Layout
from mlsan.model.speaker import Adversary, FiLM, Gate

# Raw features differ in size by modality, hence the nameless axis.
Features = dict[Modality, Float[Tensor, "utterance _"]]


@dataclass(frozen=True)
class Output:
    """What a model says of each real utterance, dialogue after dialogue (the order of `pack`)."""

    logits: Float[Tensor, "utterance class"]
    z: Float[Tensor, "utterance feature"]
    """The joint representation that SWFC shapes."""
    fused: Features
    """Each modality's stream after fusion, for SoftHGR."""
    stages: dict[str, Features]
    """raw, calibrated (after FiLM), context (after DialogueRNN), gated (after Eq. 3)."""
    speaker_logits: Float[Tensor, "utterance speaker"] | None = None
    """Auxiliary head (Eq. 4); None where it is off."""
    adversary_logits: Float[Tensor, "utterance speaker"] | None = None
    """The head on the calibrated features whose gradient is reversed; None where it is off."""


def used_modalities(config: ModelConfig, sizes: Mapping[Modality, int]) -> tuple[Modality, ...]:
    """Those that the config asks for and the corpus has; ValueError where there is none."""
    used = tuple(m for m in MODALITIES if m in sizes and m in config.modalities)
    if not used:
        raise ValueError(
            f"no modality left: the corpus has {tuple(sizes)}, the config asks for "
            f"{config.modalities}"
        )
    return used


class MultiEMO(nn.Module):
    """Projection, DialogueRNN, cross-attention stacks, classifier.

    `sizes` gives the features' sizes; those of `config.modalities` that it names are used.
    The three speaker hooks do nothing here.
    """

    def __init__(
        self, config: ModelConfig, sizes: Mapping[Modality, int], parties: int, classes: int
    ):
        # The recurrence keeps states by utterance, so that `parties` need not be known to it.
        super().__init__()
        self.config = config
        self.modalities = used_modalities(config, sizes)
        d = config.d
        self.spoken = tuple(m for m in self.modalities if m != "text" or config.text_context)
        self.project = nn.ModuleDict({m: nn.Linear(sizes[m], d) for m in self.modalities})
        self.context = (
            DialogueRNN(len(self.spoken), d, config.bidirectional, config.dropout)
            if self.spoken
            else None
        )
        self.fusion = Fusion(
            len(self.modalities),
            config.layers,
            d,
            config.heads,
            config.feedforward,
            config.dropout,
        )
        self.join = nn.Linear(len(self.modalities) * d, d)
        self.classify = nn.Sequential(
            nn.Linear(d, config.classifier),
            nn.ReLU(),
            nn.Linear(config.classifier, classes),
            nn.Dropout(config.dropout),
        )

    def forward(self, batch: Batch) -> Output:
        config = self.config
        layout = Layout.of(
            batch.mask,
            batch.party,
            batch.length,
            mask_padding=config.mask_padding,
            bidirectional=config.bidirectional,
        )
        speaker = layout.rows(batch.speaker)
        raw = {m: layout.rows(batch.feature[m]) for m in self.modalities}
        calibrated = self.calibrate(raw, speaker, layout, "raw")
        x = {m: self.project[m](calibrated[m]) for m in self.modalities}
        x = self.calibrate(x, speaker, layout, "projected")
        if config.film_site == "projected":
            calibrated = x
        context = x
        if self.context is not None:
            spoken = self.context(torch.stack([x[m] for m in self.spoken]), layout)
            context = x | dict(zip(self.spoken, spoken.unbind(), strict=True))
        streams = torch.stack([context[m] for m in self.modalities])
        gated = self.weigh(streams, speaker)
        fused = self.fusion(gated, layout)
        joined = torch.cat(fused.unbind(), -1)
        z = self.join(joined)
        stages = {"raw": raw, "calibrated": calibrated, "context": context}
        stages["gated"] = self._by_modality(gated)
        kept = {
            stage: {m: layout.utterances(x[m]) for m in self.modalities}
            for stage, x in stages.items()
        }
        return Output(
            logits=self.classify(z),
            z=z,
            fused=self._by_modality(fused),
            stages=kept,
            speaker_logits=self.identify(z, joined),
            adversary_logits=self.oppose(kept["calibrated"]),
        )

    def _by_modality(self, x: Float[Tensor, "modality utterance feature"]) -> Features:
        return dict(zip(self.modalities, x.unbind(), strict=True))

    def calibrate(
        self, x: Features, speaker: Int[Tensor, "row"], layout: Layout, site: str
    ) -> Features:
        """Input-level hook, called at both sites ("raw", "projected")."""
        return x

    def weigh(
        self, h: Float[Tensor, "modality row feature"], speaker: Int[Tensor, "row"]
    ) -> Float[Tensor, "modality row feature"]:
        """Interaction-level hook."""
        return h

    def identify(
        self, z: Float[Tensor, "utterance feature"], joined: Float[Tensor, "utterance features"]
    ) -> Float[Tensor, "utterance speaker"] | None:
        """Output-level hook."""
        return None

    def oppose(self, calibrated: Features) -> Float[Tensor, "utterance speaker"] | None:
        """Hook on the calibrated features."""
        return None


class MLSAN(MultiEMO):
    """MultiEMO with calibration by FiLM, gating by speaker and a speaker head, each on or off.

    `speakers` counts the entries of the speaker code, unknown (0) included. The backbone is made
    first, so that the same seed gives it the same weights whichever parts are on.
    """

    def __init__(
        self,
        config: ModelConfig,
        sizes: Mapping[Modality, int],
        parties: int,
        classes: int,
        speakers: int,
    ):
        super().__init__(config, sizes, parties, classes)
        d = config.d
        self.speaker = self.film = self.gates = self.name = self.adversary = None
        self.infers = config.speaker in ("inferred", "standardised")
        if config.gate or (config.film and not self.infers):
            self.speaker = nn.Embedding(speakers, config.speaker_dim)
        width = sizes if config.film_site == "raw" else dict.fromkeys(sizes, d)
        calibrated = [m for m in config.film_modalities if m in self.modalities]
        if config.film:
            self.film = nn.ModuleDict({m: self._film(width[m]) for m in calibrated})
        if config.gate:
            context = config.gate_input == "speaker+context"
            self.gates = Gate(len(self.modalities), config.speaker_dim, d, context)
        if config.aux:
            inputs = d if config.aux_input == "z" else d * len(self.modalities)
            self.name = nn.Linear(inputs, speakers)
        if config.film and config.adversary and calibrated:
            self.adversary = Adversary(sum(width[m] for m in calibrated), speakers)

    def _film(self, features: int) -> FiLM | InferredFiLM:
        config = self.config
        if not self.infers:
            return FiLM(config.speaker_dim, features, config.film_form == "residual")
        return InferredFiLM(
            features,
            shrink=config.speaker == "inferred",
            past=config.infer_from == "past",
            residual=config.infer_residual,
        )

    def calibrate(
        self, x: Features, speaker: Int[Tensor, "row"], layout: Layout, site: str
    ) -> Features:
        """Eq. 1-2 on `film_modalities`. Padding stays what it was."""
        if self.film is None or site != self.config.film_site:
            return x
        if self.infers:
            done = {m: film(x[m], layout.voice, layout.padding) for m, film in self.film.items()}
        else:
            e = self.speaker(speaker)
            done = {m: film(x[m], e) for m, film in self.film.items()}
        if layout.padding is not None:
            padding = layout.padding.unsqueeze(1)
            done = {m: torch.where(padding, x[m], y) for m, y in done.items()}
        return x | done

    def weigh(
        self, h: Float[Tensor, "modality row feature"], speaker: Int[Tensor, "row"]
    ) -> Float[Tensor, "modality row feature"]:
        """Eq. 3, on every modality there is."""
        return h if self.gates is None else self.gates(h, self.speaker(speaker))

    def identify(
        self, z: Float[Tensor, "utterance feature"], joined: Float[Tensor, "utterance features"]
    ) -> Float[Tensor, "utterance speaker"] | None:
        """The head of Eq. 4, on z or on the fused streams side by side."""
        if self.name is None:
            return None
        return self.name(z if self.config.aux_input == "z" else joined)

    def oppose(self, calibrated: Features) -> Float[Tensor, "utterance speaker"] | None:
        """The adversary, on the modalities that FiLM calibrates."""
        if self.adversary is None:
            return None
        return self.adversary(torch.cat([calibrated[m] for m in self.film], -1))

    def calibration(
        self, speaker: Int[Tensor, "speaker"], modality: Modality
    ) -> tuple[Float[Tensor, "speaker feature"], Float[Tensor, "speaker feature"]]:
        """gamma and beta of Eq. 1 for these speakers.

        Raises ValueError where there is no FiLM, or none that depends on the speaker alone.
        """
        if self.film is None or modality not in self.film:
            raise ValueError(f"this model has no FiLM on {modality}")
        if self.infers:
            raise ValueError("this model infers calibration from each dialogue: no table of it")
        return self.film[modality].scale_shift(self.speaker(speaker))

    def gate(
        self, speaker: Int[Tensor, "speaker"], modality: Modality
    ) -> Float[Tensor, "speaker feature"]:
        """g of Eq. 3 for these speakers, in (0, 1); raises ValueError where there is no gate.

        With `gate_input="speaker+context"` this is the gate at context 0.
        """
        if self.gates is None or modality not in self.modalities:
            raise ValueError(f"this model has no gate on {modality}")
        return self.gates.weights(self.speaker(speaker))[self.modalities.index(modality)]
