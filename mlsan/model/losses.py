"""MultiEMO's three losses and their sum with ML-SAN's speaker term (Eq. 4)."""

from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, normalize

from mlsan.config import LossConfig
from mlsan.model.network import Output
from mlsan.model.products import product
from mlsan.model.speaker import known_cross_entropy


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


def emotion_cross_entropy(
    config: LossConfig,
    logits: Float[Tensor, "utterance class"],
    label: Int[Tensor, "utterance"],
) -> Float[Tensor, ""]:
    """Cross-entropy, by class weight where the config has some, or in the focal form.

    The focal loss is the mean of (1 - p)^gamma (-log p) w_y, p the true emotion's probability
    (Lin et al., ICCV 2017).
    """
    weight = logits.new_tensor(config.class_weight) if config.class_weight else None
    if config.emotion != "focal":
        return cross_entropy(logits, label, weight)
    surprise = cross_entropy(logits, label, reduction="none")
    focal = (1 - torch.exp(-surprise)) ** config.gamma * surprise
    return (focal if weight is None else focal * weight[label]).mean()


def total_loss(
    config: LossConfig,
    output: Output,
    label: Int[Tensor, "utterance"],
    speaker: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """L_total = L_ERC + lambda L_spk (Eq. 4) and its parts swfc, hgr, ce and spk, unweighted.

    L_ERC is MultiEMO's mix, or cross-entropy alone. A part that has no say is 0. `speaker` is
    the true speaker, also where its identity was dropped on the way in. With an adversary its
    loss `adv` is added with the same lambda.
    """
    zero = output.logits.new_zeros(())
    parts = dict.fromkeys(("swfc", "hgr", "ce", "spk", "adv"), zero)
    parts["ce"] = loss = emotion_cross_entropy(config, output.logits, label)
    if config.emotion == "multiemo":
        parts["swfc"] = swfc(output.z, label, class_weight, config.tau, config.gamma)
        parts["hgr"] = soft_hgr(list(output.fused.values()))
        loss = config.swfc * parts["swfc"] + config.hgr * parts["hgr"] + config.ce * parts["ce"]
    if output.speaker_logits is not None:
        parts["spk"] = known_cross_entropy(output.speaker_logits, speaker)
        loss = loss + config.lam * parts["spk"]
    if output.adversary_logits is not None:
        parts["adv"] = known_cross_entropy(output.adversary_logits, speaker)
        loss = loss + config.lam * parts["adv"]
    return loss, parts
