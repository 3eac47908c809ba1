"""A model around another one: what the entries of `mlsan.model.WRAPPERS` share.

A wrapper knows the model inside by what all models have: `modalities`, `Output`, and a module
`classify` that takes z to the logits.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int
from pydantic import Field, SerializeAsAny, model_validator
from torch import Tensor, nn

from mlsan.corpus.style import Population
from mlsan.corpus.types import Batch
from mlsan.model import model_class
from mlsan.model.interface import EmotionModel, ModelSettings, Output, Sizes
from mlsan.vocabulary import Modality


class WrapperSettings(ModelSettings):
    """The settings of the model inside, under `base`; a wrapper adds its own in a subclass."""

    base: SerializeAsAny[ModelSettings] = Field(description="the model inside")

    @property
    def styled(self) -> tuple[Modality, ...]:
        """The modalities of which the model inside reads the speaker's style."""
        return self.base.styled

    @model_validator(mode="after")
    def _base_fits(self) -> "WrapperSettings":
        if isinstance(self.base, WrapperSettings):
            raise ValueError(f"base={self.base.name!r} is a wrapper itself: name a model")
        if self.modalities != self.base.modalities:
            raise ValueError(
                f"modalities={self.modalities} must be those of the base, {self.base.modalities}"
            )
        return self


class Wrapper(EmotionModel):
    """The model inside as it is; subclasses change what goes in, or add to what comes out.

    The model inside is created first: one seed gives it the weights that it has alone.
    """

    Settings = WrapperSettings

    def __init__(self, settings: WrapperSettings, sizes: Sizes):
        super().__init__()
        self.settings = settings
        self.base = model_class(settings.base.name)(settings.base, sizes)
        self.modalities = self.base.modalities

    def forward(self, batch: Batch) -> Output:
        return self.base(batch)

    def rates(self) -> list[tuple[nn.Module, float]]:
        """Parts that learn at their own rate, relative to the other parameters': here none."""
        return []

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Those of the model inside, one for each of `rates`, and one for what is left."""
        groups = self.base.parameter_groups(lr)
        groups += [{"params": list(p.parameters()), "lr": lr * rate} for p, rate in self.rates()]
        grouped = {parameter for group in groups for parameter in group["params"]}
        rest = [parameter for parameter in self.parameters() if parameter not in grouped]
        return [*groups, {"params": rest, "lr": lr}] if rest else groups

    def start_from(self, population: Mapping[Modality, Population]) -> None:
        """Give the model inside what it reads."""
        own = self.settings.base.styled
        self.base.start_from({m: x for m, x in population.items() if m in own})

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss of the model inside."""
        return self.base.total_loss(erc, output, speaker)


def linears(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of a model's classifier, in order: the first reads z."""
    return [layer for layer in model.classify.modules() if isinstance(layer, nn.Linear)]
