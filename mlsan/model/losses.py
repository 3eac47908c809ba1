"""MultiEMO's three losses and their sum with ML-SAN's speaker term (Eq. 4)."""

from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mlsan.config import LossConfig
from mlsan.model.network import Output
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
    """Sample-weighted focal contrastive loss, over all pairs at once.

    With z^ = z/|z|: p_ij = softmax over j != i of z^_i z^_j / tau;
    l_i = mean over the positives j (same label, j != i) of log p_ij (1 - p_ij)^gamma;
    loss = -mean_i w_{y_i} l_i. An utterance without a positive adds 0.
    """
    unit = normalize(z, dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similar = (unit @ unit.T / tau).masked_fill(itself, -torch.inf)
    positive = (label[:, None] == label) & ~itself
    # Off the positives log p is set to 0, where the focal term and its slope are finite.
    log_p = similar.log_softmax(1).masked_fill(~positive, 0)
    # 1 - p without cancellation; the floor keeps the slope finite at p = 1 for gamma < 1.
    rest = -torch.expm1(log_p)
    focal = log_p * rest.clamp_min(torch.finfo(z.dtype).tiny) ** gamma
    each = focal.sum(1) / positive.sum(1).clamp_min(1)
    return -(class_weight[label] * each).mean()


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


def total_loss(
    config: LossConfig,
    output: Output,
    label: Int[Tensor, "utterance"],
    speaker: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """L_total = L_ERC + lambda L_spk (Eq. 4) and its parts swfc, hgr, ce and spk, unweighted.

    L_ERC is MultiEMO's mix, or cross-entropy alone. A part that has no say is 0. `speaker` is
    the true speaker, also where its identity was dropped on the way in.
    """
    zero = output.logits.new_zeros(())
    parts = {"swfc": zero, "hgr": zero, "ce": cross_entropy(output.logits, label), "spk": zero}
    loss = parts["ce"]
    if config.emotion == "multiemo":
        parts["swfc"] = swfc(output.z, label, class_weight, config.tau, config.gamma)
        parts["hgr"] = soft_hgr(list(output.fused.values()))
        loss = config.swfc * parts["swfc"] + config.hgr * parts["hgr"] + config.ce * parts["ce"]
    if output.speaker_logits is not None:
        parts["spk"] = known_cross_entropy(output.speaker_logits, speaker)
        loss = loss + config.lam * parts["spk"]
    return loss, parts
