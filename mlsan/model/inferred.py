"""FiLM without a speaker table: gamma and beta from what a dialogue shows of its speaker.

Not in the paper. It serves speakers that training never saw, whose entry in a table stands for
nobody in particular.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

HIDDEN = 64  # of the network that may correct the closed form
START = 3.0  # utterances that the population counts for at first


def voice_statistics(
    x: Float[Tensor, "row feature"], voice: Int[Tensor, "row"], past: bool
) -> tuple[Float[Tensor, "row 1"], Float[Tensor, "row feature"], Float[Tensor, "row feature"]]:
    """For each row: how many rows its voice has, their mean, and their summed squared deviations.

    A voice is one speaker in one dialogue. With `past` only the voice's rows up to and including
    the row itself count. Rows of a voice must come in the order of their turns.
    """
    order = voice.argsort(stable=True)
    ordered = voice[order]
    first = torch.searchsorted(ordered, ordered)
    last = torch.searchsorted(ordered, ordered, right=True) - 1
    # Sums run over all voices before they are told apart, which single precision would not bear.
    wide = x[order].double()
    moments = torch.cat([torch.ones_like(wide[:, :1]), wide, wide.square()], 1)
    sums = moments.cumsum(0)
    until = torch.arange(len(ordered), device=x.device) if past else last
    total = (sums[until] - sums[first] + moments[first])[order.argsort()]
    count, mean = total[:, :1], total[:, 1 : 1 + x.shape[1]] / total[:, :1]
    scatter = total[:, 1 + x.shape[1] :] - count * mean.square()
    return count.to(x.dtype), mean.to(x.dtype), scatter.clamp_min(0).to(x.dtype)


class InferredFiLM(nn.Module):
    """Eq. 2 with gamma = 1/sigma and beta = -mu/sigma of the speaker's own utterances.

    `shrink` draws both towards the population's mu_0 and sigma_0 as an empirical Bayes estimate
    does, by strengths k and l, in utterances, that are learned for each feature:

        mu = (n mu^ + k mu_0) / (n + k),
        sigma^2 = (sum of squared deviations + l sigma_0^2) / (n - 1 + l)

    Without it this is plain standardisation by speaker (sigma is sigma_0 for a lone utterance).
    `past` looks at utterances so far only. `residual` lets a small network on the same statistics
    correct gamma and beta; it starts by correcting nothing. mu_0 and sigma_0 are running averages
    over the utterances trained on.
    """

    def __init__(self, features: int, shrink: bool, past: bool, residual: bool):
        super().__init__()
        self.past = past
        self.population = nn.BatchNorm1d(features, affine=False, momentum=None)
        self.strength = nn.Parameter(torch.full((2, features), START).log()) if shrink else None
        self.correct = None
        if residual:
            self.correct = nn.Sequential(
                nn.Linear(2 * features + 1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * features)
            )
            nn.init.zeros_(self.correct[-1].weight)
            nn.init.zeros_(self.correct[-1].bias)

    def scale_shift(
        self,
        x: Float[Tensor, "row feature"],
        voice: Int[Tensor, "row"],
        padding: Tensor | None = None,
    ) -> tuple[Float[Tensor, "row feature"], Float[Tensor, "row feature"]]:
        """gamma and beta of each row; they are equal for all rows of a voice unless `past`."""
        if self.training and len(x) > 1:
            self.population(x.detach() if padding is None else x.detach()[~padding])
        mean_0, var_0 = self.population.running_mean, self.population.running_var
        var_0 = var_0.clamp_min(self.population.eps)
        n, mean, scatter = voice_statistics(x, voice, self.past)
        if self.strength is None:
            var = torch.where(n > 1, scatter / (n - 1).clamp_min(1), var_0)
            # A feature that a speaker never moves is left at its usual size.
            var = torch.where(var > self.population.eps * var_0, var, var_0)
        else:
            k, strength = self.strength.exp()
            mean = (n * mean + k * mean_0) / (n + k)
            var = (scatter + strength * var_0) / (n - 1 + strength)
        gamma = var.rsqrt()
        beta = -mean * gamma
        if self.correct is None:
            return gamma, beta
        seen = [(mean - mean_0) * var_0.rsqrt(), (var / var_0).log() / 2, n.log()]
        scale, shift = self.correct(torch.cat(seen, 1)).chunk(2, 1)
        return gamma * (1 + scale), beta * (1 + scale) + shift

    def forward(
        self,
        x: Float[Tensor, "row feature"],
        voice: Int[Tensor, "row"],
        padding: Tensor | None = None,
    ) -> Float[Tensor, "row feature"]:
        gamma, beta = self.scale_shift(x, voice, padding)
        return torch.addcmul(beta, gamma, x)
