"""L_ERC: MultiEMO's three losses and their mix, or cross-entropy or focal loss alone."""

from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, normalize

from mlsan.model.fast.products import product
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
    class_weight: tuple[float, ...] = Field((), description="by label; empty: all equal")


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
    """w_c = (sum n / n_c)^alpha, scaled to sum to 1; 0 for a class without any utterance."""
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
    """Sample-weighted focal contrastive loss, over all pairs.

    With z^ = z/|z|: p_ij = softmax over j != i of z^_i z^_j / tau;
    l_i = mean over the positives j (same label, j != i) of log p_ij (1 - p_ij)^gamma;
    loss = -mean_i w_{y_i} l_i. An utterance without a positive adds 0.
    """
    with torch.autocast(z.device.type, enabled=False):
        return _SWFC.apply(normalize(z, dim=-1), label, class_weight[label], tau, gamma)


class _SWFC(torch.autograd.Function):
    """Loss and slope in one go, over blocks of rows that stay in the processor's cache.

    With a_ij = d loss / d log p_ij, the slope by the similarity z^_i z^_j / tau is
    a_ij - p_ij sum_k a_ik, and both z^_i and z^_j get it.
    """

    @staticmethod
    def forward(ctx, unit, label, weight, tau, gamma):
        count = len(unit)
        loss = unit.new_zeros(())
        slope = torch.zeros_like(unit)
        # On a GPU one block: there, few launches matter more than cache.
        rows = 128 if unit.device.type == "cpu" else count
        for start in range(0, count, rows):
            at = slice(start, start + rows)
            log_p = product(unit[at], unit).div_(tau)
            log_p.diagonal(start).fill_(torch.finfo(unit.dtype).min)
            log_p = log_p.log_softmax(1)
            p = log_p.exp()
            # The diagonal is to add nothing.
            log_p.diagonal(start).zero_()
            # The floor keeps (1 - p)^(gamma - 1) finite at p = 1, where log p = 0.
            rest = torch.expm1(log_p).neg_().clamp_min_(torch.finfo(unit.dtype).tiny)
            power = rest ** (gamma - 1)
            same = label[at, None] == label
            positives = (same.sum(1, keepdim=True) - 1).clamp_min(1)
            positive = same * (-weight[at, None] / (count * positives))
            positive.diagonal(start).zero_()
            focal = rest.mul_(power)
            loss += (focal * log_p * positive).sum()
            a = focal.addcmul_(p * log_p, power, value=-gamma).mul_(positive)
            by_similarity = a.addcmul_(p, a.sum(1, keepdim=True), value=-1).div_(tau)
            slope[at] += product(by_similarity, unit.T)
            slope += product(by_similarity.T, unit[at].T)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None, None, None


def soft_hgr(fused: list[Float[Tensor, "utterance feature"]]) -> Float[Tensor, ""]:
    """Soft-HGR over all pairs of streams (one stream: 0); small where streams agree.

    For X, Y: mean_i x_i y_i - tr(cov X cov Y) / 2N, and the loss is minus their sum over N.
    The covariance is between utterances, as published: N x N, rows centred over the features.
    Its trace is |X_c^T Y_c|^2 / (d - 1)^2, which needs no N x N matrix.
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
    """Mean of (1 - p)^gamma (-log p) w_y, p the true emotion's probability (Lin et al., 2017)."""
    surprise = cross_entropy(logits, label, reduction="none")
    loss = (1 - torch.exp(-surprise)) ** gamma * surprise
    return (loss if class_weight is None else loss * class_weight[label]).mean()


def emotion_loss(
    settings: LossSettings,
    output: Output,
    label: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """L_ERC and its parts, unweighted. `class_weight` is SWFC's."""
    if isinstance(settings, MultiEMOLoss):
        parts = {
            "swfc": swfc(output.z, label, class_weight, settings.tau, settings.gamma),
            "hgr": soft_hgr(list(output.fused.values())),
            "ce": cross_entropy(output.logits, label),
        }
        loss = settings.swfc * parts["swfc"] + settings.hgr * parts["hgr"]
        return loss + settings.ce * parts["ce"], parts
    given = settings.class_weight
    weight = output.logits.new_tensor(given) if given else None
    if isinstance(settings, FocalLoss):
        loss = focal(output.logits, label, settings.gamma, weight)
    else:
        loss = cross_entropy(output.logits, label, weight)
    return loss, {"ce": loss}
