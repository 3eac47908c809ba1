"""Classifier-guided gradient modulation, CGGM (Guo et al., NeurIPS 2024), around a model.

A classifier on each modality's encoded features shows how much the modality improves from step to
step. The encoder of one that improves fast gets a smaller gradient, and the model's last layer is
drawn towards those of the classifiers. In evaluation the model is the one inside.

With d_m the change since the last step in the batch accuracy of modality m's classifier, W_m that
classifier's last weight, W the model's, and M modalities:

    B_m = sum_{k != m} d_k / sum_k d_k                          how much the others improve
    gradient of encoder m: times rho B_m                        magnitude
    L_gm = 1/M sum_m (|B_m| - B_m cos(W_m, W))                  direction
    L = L_base + lambda L_gm + sum_m CE(classifier_m, label)

The classifiers read the features without sending a gradient back.

This follows the published code (zrguo/CGGM): the paper speaks of the directions of gradients, the
code takes the cosine of the weights. Departures from the code:

- An encoder is all that leads to the encoded features; the code leaves out the first projection.
- B_m is kept in [0, 1], where it lies if all modalities improve. The code bounds the norm of the
  gradient instead (.8); B_m itself grows without limit as the changes cancel.
- L_gm belongs to this step, in the code to the step before.
- A classifier has one hidden layer; the code's starts with a transformer. The classifiers share
  the model's optimiser; as in the code's settings they learn at half of the model's rate.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from mlsan.corpus.batch import pack
from mlsan.corpus.types import Batch
from mlsan.model.interface import Features, Output, Sizes
from mlsan.model.multiemo import MultiEMO
from mlsan.model.wrapper import Wrapper, WrapperSettings, linears
from mlsan.vocabulary import Modality

TINY = 1e-8  # as published, added to the sum of the changes


class CGGMSettings(WrapperSettings):
    """As published for IEMOCAP."""

    name: str = "+ CGGM"
    magnitude: bool = Field(True, description="scale the encoders' gradients")
    rho: float = Field(1.3, gt=0, description="scale of the encoders' gradients")
    lam: float = Field(0.2, ge=0, description="weight of L_gm")
    classifier_rate: float = Field(
        0.5, gt=0, description="learning rate of the classifiers, relative to the model's"
    )


@dataclass(frozen=True, kw_only=True)
class GuidedOutput(Output):
    """An output in training, with what CGGM adds to the loss."""

    inside: Output
    """That of the model inside, which may have fields of its own."""
    classifiers: Float[Tensor, ""]
    """Sum of the classifiers' cross-entropies."""
    direction: Float[Tensor, ""]
    """L_gm."""


class CGGM(Wrapper):
    """A model that has encoders by modality, trained with CGGM.

    The encoded features are what MultiEMO's fusion reads, and in other models what each of their
    linear layers `project[modality]` gives. Raises ValueError for a model without such layers: it
    reads all modalities side by side from the start. With one modality there is nothing to
    balance, and no gradient is scaled.
    """

    Settings = CGGMSettings

    def __init__(self, settings: CGGMSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        layers = getattr(self.base, "project", None)
        if not isinstance(layers, nn.ModuleDict):
            raise ValueError(
                f"{settings.base.name} has no encoders by modality, which CGGM modulates: "
                "take a model that has, such as MultiEMO or MMGCN"
            )
        hidden, classes = linears(self.base)[-1].in_features, sizes.classes
        self.classifiers = nn.ModuleDict(
            {
                m: nn.Sequential(
                    nn.Linear(layers[m].out_features, hidden),
                    nn.ReLU(),
                    nn.Linear(hidden, classes),
                )
                for m in self.modalities
            }
        )
        self.magnitude = settings.magnitude and len(self.modalities) > 1
        self.register_buffer("accuracy", torch.zeros(len(self.modalities)))

    def rates(self) -> list[tuple[nn.Module, float]]:
        """The classifiers learn at a rate of their own."""
        return [(self.classifiers, self.settings.classifier_rate)]

    def forward(self, batch: Batch) -> Output:
        """In training it reads `batch.label`, which in evaluation it does not."""
        if not self.training:
            return self.base(batch)
        share: dict[Modality, Float[Tensor, ""]] = {}
        with self.encoded(batch, share) as features:
            output = self.base(batch)
        label = pack(batch.label, batch.mask)
        logits = {m: layer(features[m].detach()) for m, layer in self.classifiers.items()}
        accuracy = torch.stack([(x.argmax(-1) == label).to(self.accuracy) for x in logits.values()])
        accuracy = accuracy.mean(1)
        b = balance(accuracy - self.accuracy)
        self.accuracy.copy_(accuracy)
        share |= dict(zip(logits, b.unbind(), strict=True))
        learned = torch.stack([cross_entropy(x, label) for x in logits.values()]).sum()
        own = {field.name: getattr(output, field.name) for field in fields(Output)}
        return GuidedOutput(**own, inside=output, classifiers=learned, direction=self.direction(b))

    @contextmanager
    def encoded(self, batch: Batch, share: dict[Modality, Float[Tensor, ""]]) -> Iterator[Features]:
        """Collect the encoded features, utterance by utterance, while the model inside runs.

        In the backward pass, modality m's gradient is scaled by rho times `share[m]`.
        """
        features: Features = {}

        def scaled(grad: Tensor, modality: Modality) -> Tensor:
            return grad * (self.settings.rho * share[modality]).to(grad)

        def modulate(x: Tensor, modality: Modality) -> Tensor:
            # A tensor of its own, whose gradient is that of this path alone.
            x = x.view_as(x)
            if self.magnitude and x.requires_grad:
                x.register_hook(lambda grad: scaled(grad, modality))
            return x

        def before_fusion(module: nn.Module, arguments: tuple) -> tuple:
            h, packing, *rest = arguments
            parts = [modulate(x, m) for m, x in zip(self.modalities, h.unbind(), strict=True)]
            features.update(packing.utterances_of(dict(zip(self.modalities, parts, strict=True))))
            return torch.stack(parts), packing, *rest

        def after_projection(modality: Modality):
            def hook(module: nn.Module, arguments: tuple, x: Tensor) -> Tensor:
                x = modulate(x, modality)
                features[modality] = x[batch.mask.T] if x.ndim == 3 else x
                return x

            return hook

        if isinstance(self.base, MultiEMO):
            handles = [self.base.fusion.register_forward_pre_hook(before_fusion)]
        else:
            layers = self.base.project.items()
            handles = [layer.register_forward_hook(after_projection(m)) for m, layer in layers]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()

    def direction(self, b: Float[Tensor, "modality"]) -> Float[Tensor, ""]:
        """L_gm. It has a gradient for the model's last layer alone."""
        own = linears(self.base)[-1].weight.flatten()
        weights = [layer[-1].weight.detach().flatten() for layer in self.classifiers.values()]
        return (b.abs() - b * cosine_similarity(torch.stack(weights), own, dim=-1)).mean()

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """L; in evaluation the loss of the model inside, so that dev losses compare."""
        if not isinstance(output, GuidedOutput):
            return self.base.total_loss(erc, output, speaker)
        loss, parts = self.base.total_loss(erc, output.inside, speaker)
        loss = loss + self.settings.lam * output.direction + output.classifiers
        return loss, parts | {"direction": output.direction, "classifiers": output.classifiers}


def balance(change: Float[Tensor, "modality"]) -> Float[Tensor, "modality"]:
    """B of each modality, from the changes of the classifiers' accuracies; kept in [0, 1]."""
    total = change.sum()
    return ((total - change) / (total + TINY)).clamp(0, 1)
