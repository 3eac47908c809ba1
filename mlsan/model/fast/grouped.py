"""Products of groups of rows, each group with its own matrix."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def grouped_product(
    x: Float[Tensor, "row inputs"],
    weight: Float[Tensor, "group inputs outputs"],
    sizes: Sequence[int],
) -> Float[Tensor, "row outputs"]:
    """`x[r] weight[g]` for each row r of each group g.

    `sizes` counts the rows of each group; rows are in the order of groups.
    """
    return _Grouped.apply(x, weight.to(x.dtype), sizes)


class _Grouped(torch.autograd.Function):
    """One node of the graph, because there may be more than a hundred small groups."""

    @staticmethod
    def forward(ctx, x, weight, sizes):
        ctx.save_for_backward(x, weight)
        ctx.sizes = sizes
        out = x.new_empty(len(x), weight.shape[2])
        for rows, w, y in zip(x.split(sizes), weight, out.split(sizes), strict=True):
            if len(rows):
                torch.mm(rows, w, out=y)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        parts = (y.split(ctx.sizes) for y in (x, grad, dx))
        for rows, above, below, w, dw in zip(*parts, weight, dweight, strict=True):
            if len(rows):
                torch.mm(above, w.T, out=below)
                torch.mm(rows.T, above, out=dw)
        return dx, dweight, None
