"""Matrix products on the CPU.

PyTorch computes float32 products with MKL, which leaves the widest vector units of AMD processors
unused. oneDNN, which PyTorch also ships, uses them: for large products it is faster there and no
slower elsewhere. Its linear layer is reached through the operator that PyTorch's compiler calls;
if that operator is missing or the product is small, the usual product is used. The products of a
single turn are in `cells`.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# From this many multiplications on, oneDNN repays preparing a kernel for a new shape.
LARGE = 100_000_000


def stacked_linear(
    x: Float[Tensor, "stream row inputs"],
    weight: Float[Tensor, "stream outputs inputs"],
    bias: Float[Tensor, "stream outputs"] | None = None,
) -> Float[Tensor, "stream row outputs"]:
    """`x[s] weight[s]^T + bias[s]` for each stream s."""
    if _large(x, weight):
        return _Large.apply(x, weight, bias)
    if bias is None:
        return torch.bmm(x, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def product(
    x: Float[Tensor, "row inputs"], weight: Float[Tensor, "outputs inputs"]
) -> Float[Tensor, "row outputs"]:
    """`x weight^T`."""
    return stacked_linear(x.unsqueeze(0), weight.unsqueeze(0)).squeeze(0)


def _large(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.shape[1] * weight[0].numel() >= LARGE
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # oneDNN would fall back to a slow loop for a weight that is a slice of a larger one.
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Large(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None
        out = x.new_empty(*x.shape[:2], weight.shape[1])
        for s in range(len(x)):
            out[s] = _linear(x[s], weight[s], bias[s] if ctx.bias else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dweight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        for s in range(len(x)):
            if dx is not None:
                dx[s] = _linear(grad[s], weight[s].T)
            if dweight is not None:
                dweight[s] = _linear(grad[s].T, x[s].T)
        return dx, dweight, grad.sum(1) if ctx.bias else None
