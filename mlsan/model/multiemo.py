"""MultiEMO (Shi and Huang, ACL 2023), the backbone of ML-SAN."""

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mlsan.corpus.types import Batch
from mlsan.model.fast.context import DialogueRNN
from mlsan.model.fast.fusion import Fusion
from mlsan.model.fast.packing import Layout
from mlsan.model.interface import EmotionModel, Features, ModelSettings, Output, Sizes


class MultiEMOSettings(ModelSettings):
    """MultiEMO's sizes, as published for MELD."""

    name: str = "MultiEMO"
    d: int = Field(256, gt=0, description="width of every stream")
    heads: int = Field(4, gt=0)
    layers: int = Field(2, gt=0, description="L: cross-attention layers per stack")
    feedforward: int = Field(1024, gt=0)
    classifier: int = Field(512, gt=0, description="hidden width of the emotion classifier")
    dropout: float = Field(0.0, ge=0, lt=1)
    bidirectional: bool = Field(False, description="DialogueRNN also runs backwards (IEMOCAP)")
    text_context: bool = Field(False, description="text passes through DialogueRNN (IEMOCAP)")
    mask_padding: bool = Field(True, description="False: queries attend to padding, as published")

    @model_validator(mode="after")
    def _heads_divide_d(self) -> "MultiEMOSettings":
        if self.d % self.heads:
            raise ValueError(f"d={self.d} must be a multiple of heads={self.heads}")
        return self


class MultiEMO(EmotionModel):
    """Projection, DialogueRNN, cross-attention stacks, classifier.

    `sizes` gives the features' sizes; those of `settings.modalities` are used.
    The three speaker hooks do nothing here.
    """

    Settings = MultiEMOSettings

    def __init__(self, settings: MultiEMOSettings, sizes: Sizes):
        # The recurrence keeps states by utterance, so that `parties` need not be known to it.
        super().__init__()
        self.settings = settings
        self.modalities = sizes.used(settings)
        d = settings.d
        self.spoken = tuple(m for m in self.modalities if m != "text" or settings.text_context)
        self.project = nn.ModuleDict({m: nn.Linear(sizes.features[m], d) for m in self.modalities})
        self.context = (
            DialogueRNN(len(self.spoken), d, settings.bidirectional, settings.dropout)
            if self.spoken
            else None
        )
        self.fusion = Fusion(
            len(self.modalities),
            settings.layers,
            d,
            settings.heads,
            settings.feedforward,
            settings.dropout,
        )
        self.join = nn.Linear(len(self.modalities) * d, d)
        self.classify = nn.Sequential(
            nn.Linear(d, settings.classifier),
            nn.ReLU(),
            nn.Linear(settings.classifier, sizes.classes),
            nn.Dropout(settings.dropout),
        )

    def forward(self, batch: Batch) -> Output:
        settings = self.settings
        layout = Layout.of(
            batch.mask,
            batch.party,
            batch.length,
            mask_padding=settings.mask_padding,
            bidirectional=settings.bidirectional,
        )
        speaker = layout.rows(batch.speaker)
        raw = {m: layout.rows(batch.feature[m]) for m in self.modalities}
        calibrated = self.calibrate(raw, speaker, layout, "raw")
        x = {m: self.project[m](calibrated[m]) for m in self.modalities}
        x = self.calibrate(x, speaker, layout, "projected")
        if getattr(settings, "film_site", "raw") == "projected":
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
