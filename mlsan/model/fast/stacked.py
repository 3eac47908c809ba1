"""Layers that run streams of equal shape (modalities, directions) as one batched product."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlsan.model.fast.products import stacked_linear


def uniform_(parameter: Tensor, fan_in: int) -> Tensor:
    """PyTorch's default for linear and recurrent layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    return nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)


class StackedLinear(nn.Module):
    """`y[s] = x[s] W[s]^T + b[s]` for each stream s."""

    def __init__(self, streams: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(uniform_(torch.empty(streams, outputs, inputs), inputs))
        self.bias = nn.Parameter(uniform_(torch.empty(streams, outputs), inputs))

    def forward(
        self, x: Float[Tensor, "stream utterance inputs"]
    ) -> Float[Tensor, "stream utterance outputs"]:
        return stacked_linear(x, self.weight, self.bias)


class StackedLayerNorm(nn.Module):
    """Layer normalisation with a separate gain and shift for each stream."""

    def __init__(self, streams: int, d: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, d))
        self.bias = nn.Parameter(torch.zeros(streams, d))

    def forward(
        self, x: Float[Tensor, "stream utterance feature"]
    ) -> Float[Tensor, "stream utterance feature"]:
        x = nn.functional.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias.unsqueeze(1), x, self.weight.unsqueeze(1))


class StackedGRUCell(nn.Module):
    """The parameters of one GRU cell per stream, in PyTorch's layout (gates r, z, n)."""

    def __init__(self, streams: int, inputs: int, d: int):
        super().__init__()
        self.weight_ih = nn.Parameter(uniform_(torch.empty(streams, 3 * d, inputs), d))
        self.weight_hh = nn.Parameter(uniform_(torch.empty(streams, 3 * d, d), d))
        self.bias_ih = nn.Parameter(uniform_(torch.empty(streams, 3 * d), d))
        self.bias_hh = nn.Parameter(uniform_(torch.empty(streams, 3 * d), d))
