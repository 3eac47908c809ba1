"""What every model takes and returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor, nn

from mlsan.corpus.style import Population
from mlsan.vocabulary import MODALITIES, Frozen, Modality

# By modality. The second axis has no name because raw features differ in size.
Features = dict[Modality, Float[Tensor, "utterance _"]]
Styles = dict[Modality, Float[Tensor, "utterance 2 _"]]


class ModelSettings(Frozen):
    """The settings that all models share; a model adds its own in a subclass."""

    name: str
    modalities: tuple[Modality, ...] = MODALITIES

    @property
    def styled(self) -> tuple[Modality, ...]:
        """The modalities of which the model reads the speaker's style: here none."""
        return ()

    @model_validator(mode="after")
    def _modalities_in_order(self) -> "ModelSettings":
        if not self.modalities:
            raise ValueError("modalities is empty: name at least one of text, audio, visual")
        check_order("modalities", self.modalities)
        return self


def check_order(field: str, given: tuple[Modality, ...]) -> None:
    """Raise ValueError unless `given` lists modalities once each, in the order of `MODALITIES`."""
    if list(given) != [m for m in MODALITIES if m in given]:
        raise ValueError(f"{field}={given} must list {MODALITIES} in this order, once each")


@dataclass(frozen=True)
class Sizes:
    """The sizes of the data that a model is built for."""

    features: Mapping[Modality, int]
    """Features per utterance, by modality."""
    roles: int
    """Roles in a dialogue."""
    classes: int
    """Emotions."""
    speakers: int
    """Entries of the speaker table, the unknown speaker (0) included."""

    def used(self, settings: ModelSettings) -> tuple[Modality, ...]:
        """The modalities that both the settings and the corpus have; ValueError if none."""
        used = tuple(m for m in MODALITIES if m in self.features and m in settings.modalities)
        if not used:
            raise ValueError(
                f"no modality left: the corpus has {tuple(self.features)}, the settings have "
                f"modalities={settings.modalities}; name at least one that the corpus has"
            )
        return used


@dataclass(frozen=True)
class Output:
    """What a model computes for each utterance, dialogue after dialogue."""

    logits: Float[Tensor, "utterance class"]
    z: Float[Tensor, "utterance feature"]
    """The joint representation that SWFC shapes."""
    fused: Features
    """Each modality's stream after fusion, for Soft-HGR; empty without fusion."""
    stages: dict[str, Features]
    """raw, calibrated (after FiLM), context (after DialogueRNN), gated (after Eq. 3)."""
    speaker_logits: Float[Tensor, "utterance speaker"] | None = None
    """Of the speaker head (Eq. 4); None if it is off."""
    adversary_logits: Float[Tensor, "utterance speaker"] | None = None
    """Of the head with reversed gradient on the calibrated features; None if it is off."""


class EmotionModel(nn.Module):
    """A model of the emotions in a dialogue: `forward(batch)` returns an `Output`.

    It is built from (settings, sizes), where `settings` is an instance of its `Settings`.
    """

    Settings: type[ModelSettings] = ModelSettings

    @classmethod
    def from_seed(cls, settings: ModelSettings, sizes: Sizes, seed: int) -> "EmotionModel":
        """A model with weights drawn from `seed`; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls(settings, sizes)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The parameters and their learning rates, as an optimiser takes them: here all alike."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def start_from(self, population: Mapping[Modality, Population]) -> None:
        """Take what training speakers show of the `styled` modalities; here none are read."""

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss to minimise and its speaker terms by name: here L_ERC, and none."""
        return erc, {}
