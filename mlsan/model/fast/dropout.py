"""Dropout from few random bits, because drawing them takes most of its time on the CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """PyTorch's dropout, with p rounded to a multiple of 2^-16."""

    def forward(self, x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        if not self.training or self.p == 0:
            return super().forward(x)
        return x * draw(x, self.p)


def draw(like: Float[Tensor, "*any"], p: float) -> Float[Tensor, "*any"]:
    """0 with probability p, otherwise 1 / (1 - p), in the shape of `like`.

    64 random bits serve four entries.
    """
    dropped = min(round(p * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device)
    levels = bits.random_(-(2**63), None).view(torch.int16)[: like.numel()]
    kept = (levels >= dropped - LEVELS // 2).view(like.shape)
    return kept.to(like.dtype).mul_(LEVELS / (LEVELS - dropped))
