"""MultiEMO (Shi and Huang, ACL 2023), the backbone of ML-SAN."""

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mlsan.corpus.types import Batch
from mlsan.model.fast.context import DialogueRNN
from mlsan.model.fast.fusion import Fusion
from mlsan.model.fast.packing import Packing
from mlsan.model.interface import EmotionModel, Features, ModelSettings, Output, Sizes, Styles


class MultiEMOSettings(ModelSettings):
    """MultiEMO's sizes, as published for MELD."""

    name: str = "MultiEMO"
    d: int = Field(256, gt=0, description="width of every stream")
    heads: int = Field(4, gt=0)
    layers: int = Field(2, gt=0, description="L: cross-attention layers per modality")
    feedforward: int = Field(1024, gt=0, description="hidden width in a cross-attention layer")
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
    """Project each modality, add its dialogue's context, fuse the modalities, classify.

    The same steps as plain loops are `mlsan.model.reference.multiemo`. ML-SAN overrides
    `project_features`, `gate_context` and `speaker_heads`, one for each of its three levels.
    Raises ValueError if the settings and `sizes` have no modality in common.
    """

    Settings = MultiEMOSettings

    def __init__(self, settings: MultiEMOSettings, sizes: Sizes):
        super().__init__()
        self.settings = settings
        self.modalities = sizes.used(settings)
        # The modalities that pass through DialogueRNN.
        self.spoken = tuple(m for m in self.modalities if m != "text" or settings.text_context)
        d, streams = settings.d, len(self.modalities)
        self.project = nn.ModuleDict({m: nn.Linear(sizes.features[m], d) for m in self.modalities})
        self.context = (
            DialogueRNN(len(self.spoken), d, settings.bidirectional, settings.dropout)
            if self.spoken
            else None
        )
        self.fusion = Fusion(
            streams, settings.layers, d, settings.heads, settings.feedforward, settings.dropout
        )
        self.join = nn.Linear(streams * d, d)
        self.classify = nn.Sequential(
            nn.Linear(d, settings.classifier),
            nn.ReLU(),
            nn.Linear(settings.classifier, sizes.classes),
            nn.Dropout(settings.dropout),
        )

    def forward(self, batch: Batch) -> Output:
        # A row is one utterance; in the published form (mask_padding=False) also a padded turn.
        packing = Packing.of(batch, self.settings.mask_padding, self.settings.bidirectional)
        raw = {m: packing.rows(batch.feature[m]) for m in self.modalities}
        speaker = packing.rows(batch.speaker)
        style = {m: packing.rows(x) for m, x in batch.style.items()}

        projected, calibrated = self.project_features(raw, speaker, style, packing)
        context = self.add_context(projected, packing)
        gated = self.gate_context(context, speaker)
        fused = self.fusion(gated, packing)
        joined = torch.cat(fused.unbind(), -1)
        z = self.join(joined)

        stages = {
            "raw": raw,
            "calibrated": calibrated,
            "context": self._by_modality(context),
            "gated": self._by_modality(gated),
        }
        stages = {stage: packing.utterances_of(x) for stage, x in stages.items()}
        return Output(
            logits=self.classify(z),
            z=z,
            fused=self._by_modality(fused),
            stages=stages,
            **self.speaker_heads(z, joined, stages["calibrated"]),
        )

    def project_features(
        self, raw: Features, speaker: Int[Tensor, "row"], style: Styles, packing: Packing
    ) -> tuple[Features, Features]:
        """Each modality as d features, and the features that count as calibrated (here raw)."""
        return {m: self.project[m](raw[m]) for m in self.modalities}, raw

    def add_context(self, x: Features, packing: Packing) -> Float[Tensor, "modality row feature"]:
        """DialogueRNN on the modalities that use it; the others stay as they are."""
        if self.context is not None:
            spoken = self.context(torch.stack([x[m] for m in self.spoken]), packing)
            x = x | dict(zip(self.spoken, spoken.unbind(), strict=True))
        return torch.stack([x[m] for m in self.modalities])

    def gate_context(
        self, h: Float[Tensor, "modality row feature"], speaker: Int[Tensor, "row"]
    ) -> Float[Tensor, "modality row feature"]:
        """The context features that fusion reads: here all of them, as they are."""
        return h

    def speaker_heads(
        self,
        z: Float[Tensor, "utterance feature"],
        joined: Float[Tensor, "utterance features"],
        calibrated: Features,
    ) -> dict[str, Float[Tensor, "utterance speaker"]]:
        """Speaker logits by the name of their field in `Output`: here none.

        `joined` holds the fused streams side by side.
        """
        return {}

    def _by_modality(self, x: Float[Tensor, "modality row feature"]) -> Features:
        return dict(zip(self.modalities, x.unbind(), strict=True))
