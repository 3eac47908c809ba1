"""The SWFC loss over all pairs, with its derivative written out."""

from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from mlsan.model.fast.arrays import on_host
from mlsan.model.fast.products import product

ROWS = 128  # of a block on the CPU: its pairs fit in the processor's cache


def swfc(
    z: Float[Tensor, "utterance feature"],
    label: Int[Tensor, "utterance"],
    weight: Float[Tensor, "utterance"],
    tau: float,
    gamma: float,
) -> Float[Tensor, ""]:
    """`losses.swfc`, with one weight per utterance."""
    with torch.autocast(z.device.type, enabled=False):
        unit = normalize(z, dim=-1)
        if not on_host(z):
            everything = slice(0, len(z))
            return _SWFC.apply(unit, label, weight, tau, gamma, [(everything, everything)])
        # With utterances in the order of their labels, the positives of each are in one block.
        order = label.argsort(stable=True)
        blocks = _blocks(torch.bincount(label).tolist())
        return _SWFC.apply(unit[order], label[order], weight[order], tau, gamma, blocks)


def _blocks(counts: list[int]) -> list[tuple[slice, slice]]:
    """Rows, and the columns of their labels; `counts` are the utterances of each label, in order.

    A label with many utterances has several blocks of rows, and rare labels share one.
    """
    groups: list[range] = []
    for end, count in zip(accumulate(counts), counts, strict=True):
        start = end - count
        if groups and end - groups[-1].start <= ROWS:
            start = groups.pop().start
        groups.append(range(start, end))
    return [
        (slice(row, min(row + ROWS, group.stop)), slice(group.start, group.stop))
        for group in groups
        for row in group[::ROWS]
    ]


class _SWFC(torch.autograd.Function):
    """Loss and gradient in one pass over blocks of rows, with the columns of their positives.

    With a_ij = d loss / d log p_ij, the gradient of the similarity z^_i z^_j / tau is
    a_ij - p_ij sum_k a_ik, which flows to both z^_i and z^_j.
    """

    @staticmethod
    def forward(ctx, unit, label, weight, tau, gamma, blocks):
        count = len(unit)
        loss = unit.new_zeros(())
        gradient = torch.zeros_like(unit) if ctx.needs_input_grad[0] else None
        warm = unit / tau
        for at, near in blocks:
            log_p = product(warm[at], unit)
            log_p.diagonal(at.start).fill_(torch.finfo(unit.dtype).min)
            log_p = log_p.log_softmax(1)
            p = log_p.exp() if gradient is not None else None
            # The diagonal must add nothing.
            log_p.diagonal(at.start).zero_()
            log_p = log_p[:, near].contiguous()
            # The floor keeps (1 - p)^(gamma - 1) finite at p = 1, where log p = 0.
            rest = torch.expm1(log_p).neg_().clamp_min_(torch.finfo(unit.dtype).tiny)
            power = rest ** (gamma - 1)
            same = label[at, None] == label[near]
            positives = (same.sum(1, keepdim=True) - 1).clamp_min(1)
            positive = same * (-weight[at, None] / (count * positives))
            positive.diagonal(at.start - near.start).zero_()
            focal = rest.mul_(power).mul_(positive)
            loss += torch.dot(focal.view(-1), log_p.view(-1))
            if gradient is None:
                continue
            slope = log_p.mul_(p[:, near]).mul_(power).mul_(positive)
            a = focal.sub_(slope, alpha=gamma)
            by_similarity = p.mul_(-a.sum(1, keepdim=True))
            by_similarity[:, near] += a
            gradient[at] += product(by_similarity, unit.T)
            gradient += product(by_similarity.T, unit[at].T)
        if gradient is not None:
            gradient /= tau
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None, None, None, None
