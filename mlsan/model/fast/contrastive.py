"""The SWFC loss over all pairs, with its derivative written out."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from mlsan.model.fast.products import product


def swfc(
    z: Float[Tensor, "utterance feature"],
    label: Int[Tensor, "utterance"],
    weight: Float[Tensor, "utterance"],
    tau: float,
    gamma: float,
) -> Float[Tensor, ""]:
    """`losses.swfc`, with one weight per utterance."""
    with torch.autocast(z.device.type, enabled=False):
        return _SWFC.apply(normalize(z, dim=-1), label, weight, tau, gamma)


class _SWFC(torch.autograd.Function):
    """Loss and gradient in one pass, over blocks of rows that fit in the processor's cache.

    With a_ij = d loss / d log p_ij, the gradient of the similarity z^_i z^_j / tau is
    a_ij - p_ij sum_k a_ik, which flows to both z^_i and z^_j.
    """

    @staticmethod
    def forward(ctx, unit, label, weight, tau, gamma):
        count = len(unit)
        loss = unit.new_zeros(())
        gradient = torch.zeros_like(unit) if ctx.needs_input_grad[0] else None
        warm = unit / tau
        # One block on a GPU, where few launches matter more than the cache.
        rows = 128 if unit.device.type == "cpu" else count
        for start in range(0, count, rows):
            at = slice(start, start + rows)
            log_p = product(warm[at], unit)
            log_p.diagonal(start).fill_(torch.finfo(unit.dtype).min)
            log_p = log_p.log_softmax(1)
            p = log_p.exp() if gradient is not None else None
            # The diagonal must add nothing.
            log_p.diagonal(start).zero_()
            # The floor keeps (1 - p)^(gamma - 1) finite at p = 1, where log p = 0.
            rest = torch.expm1(log_p).neg_().clamp_min_(torch.finfo(unit.dtype).tiny)
            power = rest ** (gamma - 1)
            same = label[at, None] == label
            positives = (same.sum(1, keepdim=True) - 1).clamp_min(1)
            positive = same * (-weight[at, None] / (count * positives))
            positive.diagonal(start).zero_()
            focal = rest.mul_(power).mul_(positive)
            loss += torch.dot(focal.view(-1), log_p.view(-1))
            if gradient is None:
                continue
            slope = log_p.mul_(p).mul_(power).mul_(positive)
            a = focal.sub_(slope, alpha=gamma)
            by_similarity = a.addcmul_(p, a.sum(1, keepdim=True), value=-1)
            gradient[at] += product(by_similarity, unit.T)
            gradient += product(by_similarity.T, unit[at].T)
        if gradient is not None:
            gradient /= tau
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None, None, None
