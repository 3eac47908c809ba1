"""A control that is not in the paper: an adversary that teaches FiLM to hide the speaker."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Adversary(nn.Module):
    """A linear speaker head whose gradient is reversed on its way back to the features.

    The head learns to recognise the speaker; the calibrated features learn to prevent it (Ganin
    and Lempitsky, ICML 2015).
    """

    def __init__(self, features: int, speakers: int):
        super().__init__()
        # Normalised, because the features could otherwise defeat the head by growing.
        self.head = nn.Sequential(
            nn.LayerNorm(features, elementwise_affine=False), nn.Linear(features, speakers)
        )

    def forward(self, x: Float[Tensor, "utterance feature"]) -> Float[Tensor, "utterance speaker"]:
        return self.head(_ReverseGradient.apply(x))


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -grad
