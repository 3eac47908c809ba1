"""L_ERC: MultiEMO's weighted sum of three losses, or cross-entropy or focal loss alone."""

from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mlsan.model.fast import contrastive
from mlsan.model.interface import Output
from mlsan.vocabulary import Frozen


class MultiEMOLoss(Frozen):
    """L_ERC = swfc SWFC(z) + hgr SoftHGR(fused) + ce CE(logits)."""

    emotion: Literal["multiemo"] = "multiemo"
    swfc: float = Field(0.3, ge=0)
    hgr: float = Field(0.3, ge=0)
    ce: float = Field(0.4, ge=0)
    tau: float = Field(1.4, gt=0, description="temperature of SWFC")
    gamma: float = Field(2.0, ge=0, description="focus of SWFC")
    alpha: float = Field(1.2, ge=0, description="exponent of SWFC's class weights")


class CrossEntropyLoss(Frozen):
    """L_ERC = cross-entropy."""

    emotion: Literal["cross-entropy"] = "cross-entropy"
    class_weight: tuple[float, ...] = Field((), description="one per emotion; empty: all equal")


class FocalLoss(CrossEntropyLoss):
    """L_ERC = focal loss."""

    emotion: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0, description="focus")


LossSettings = MultiEMOLoss | CrossEntropyLoss | FocalLoss
LOSSES: dict[str, type[Frozen]] = {
    "multiemo": MultiEMOLoss,
    "cross-entropy": CrossEntropyLoss,
    "focal": FocalLoss,
}


def class_weights(
    label_counts: Float[Tensor, "class"] | Int[Tensor, "class"], alpha: float
) -> Float[Tensor, "class"]:
    """w_c = (sum n / n_c)^alpha, scaled to sum to 1; 0 for a class without utterances."""
    rare = label_counts.sum() / label_counts.clamp_min(1)
    weight = torch.where(label_counts > 0, rare**alpha, 0.0)
    return normalize(weight, p=1.0, dim=0)


def swfc(
    z: Float[Tensor, "utterance feature"],
    label: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
    tau: float,
    gamma: float,
) -> Float[Tensor, ""]:
    """Sample-weighted focal contrastive loss over all pairs of utterances (Shi and Huang, 2023).

        p_ij = softmax over j != i of z^_i z^_j / tau, with z^ = z / |z|
        l_i = mean over the positives j (same label, j != i) of log p_ij (1 - p_ij)^gamma
        loss = -mean_i w_{y_i} l_i

    An utterance without a positive adds 0. Pair by pair: `reference.swfc`.
    """
    return contrastive.swfc(z, label, class_weight[label], tau, gamma)


def soft_hgr(fused: list[Float[Tensor, "utterance feature"]]) -> Float[Tensor, ""]:
    """Soft-HGR over all pairs of streams: small if streams agree, 0 for one stream.

        s(X, Y) = mean_i x_i y_i - tr(cov X cov Y) / 2N,  loss = -sum of s over pairs / N

    As published, cov is N x N, between utterances centred over their features. The trace is
    |X_c^T Y_c|^2 / (d - 1)^2, which needs no N x N matrix. As written: `reference.soft_hgr`.
    """
    count, d = fused[0].shape
    total = fused[0].new_zeros(())
    centred = [x - x.mean(1, keepdim=True) for x in fused]
    for i, j in combinations(range(len(fused)), 2):
        inner = (fused[i] * fused[j]).sum() / count
        trace = (centred[i].T @ centred[j]).square().sum() / (d - 1) ** 2
        total = total + inner - trace / (2 * count)
    return -total / count


def focal(
    logits: Float[Tensor, "utterance class"],
    label: Int[Tensor, "utterance"],
    gamma: float,
    class_weight: Float[Tensor, "class"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of -w_y (1 - p)^gamma log p, p the true emotion's probability (Lin et al., 2017)."""
    loss = cross_entropy(logits, label, reduction="none")
    loss = (1 - torch.exp(-loss)) ** gamma * loss
    return (loss if class_weight is None else loss * class_weight[label]).mean()


def emotion_loss(
    settings: LossSettings,
    output: Output,
    label: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """L_ERC and its unweighted parts, by name. `class_weight` is that of SWFC."""
    if isinstance(settings, MultiEMOLoss):
        parts = {
            "swfc": swfc(output.z, label, class_weight, settings.tau, settings.gamma),
            "hgr": soft_hgr(list(output.fused.values())),
            "ce": cross_entropy(output.logits, label),
        }
        loss = settings.swfc * parts["swfc"] + settings.hgr * parts["hgr"]
        return loss + settings.ce * parts["ce"], parts
    weight = settings.class_weight
    weight = output.logits.new_tensor(weight) if weight else None
    if isinstance(settings, FocalLoss):
        loss = focal(output.logits, label, settings.gamma, weight)
    else:
        loss = cross_entropy(output.logits, label, weight)
    return loss, {"ce": loss}
