# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 3 · ML-SAN
#
# They belong to [notebook 3](../03_mlsan.ipynb) and take about an hour. You need PyTorch. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np
import torch
from torch import nn

from mlsan.corpus.style import Population
from mlsan.model import mlsan
from mlsan.vocabulary import UNKNOWN

generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1. FiLM's start from statistics
#
# Before training, γ and β of Eq. 1 should take the features of a speaker with mean $\mu_s$ and standard deviation $\sigma_s$ to the population's mean $\mu_0$ and standard deviation $\sigma_0$. Solve $\gamma x + \beta$ for these two conditions and write γ₀ and β₀. What do they become for a speaker who is like the population?


# %% tags=["solution"]
def film_start(mu, sigma, mu_0, sigma_0):
    """γ₀ and β₀ of each feature; mu and sigma are [speaker, feature], the others [feature]."""
    ### BEGIN SOLUTION
    gamma = sigma_0 / sigma
    return gamma, mu_0 - gamma * mu
    ### END SOLUTION


# %% tags=["mistake"]
# Shifts by the difference of the means, although γ has already scaled the speaker's mean.
def film_start(mu, sigma, mu_0, sigma_0):
    return sigma_0 / sigma, mu_0 - mu


# %% tags=["check"]
mu, mu_0 = torch.randn(3, 4, generator=generator), torch.randn(4, generator=generator)
sigma, sigma_0 = 0.5 + torch.rand(3, 4, generator=generator), torch.tensor([1.0, 2.0, 0.5, 1.0])
gamma, beta = film_start(mu, sigma, mu_0, sigma_0)
assert torch.allclose(gamma * mu + beta, mu_0.expand(3, 4), atol=1e-5), (
    "γ₀ μ_s + β₀ should be μ_0: β₀ has to undo γ₀ μ_s, not μ_s"
)
one_up = gamma * (mu + sigma) + beta
assert torch.allclose(one_up, (mu_0 + sigma_0).expand(3, 4), atol=1e-5), (
    "one standard deviation of the speaker should become one of the population: γ₀ = σ_0 / σ_s"
)
film = mlsan.FiLM(speaker_dim=2, features=4, start="statistics")
nothing = np.zeros(4)
film.start_from(
    Population(mu_0.numpy(), nothing, nothing, 2 * np.log(sigma_0.numpy()), nothing, nothing)
)
expected = film.scale_shift(torch.randn(3, 2, generator=generator), torch.stack([mu, sigma], 1))
for name, mine, theirs in zip("γβ", (gamma, beta), expected, strict=True):
    assert torch.allclose(mine, theirs, atol=1e-5), f"{name} differs from mlsan's untrained FiLM"
print("1: correct")

# %% [markdown] tags=["answer"]
# For a speaker like the population γ₀ = 1 and β₀ = 0: the identity. `mlsan.model.mlsan.FiLM` adds to them what Eq. 1 learns, $W e_s + b$, which starts at zero; it therefore starts calibrated, also for speakers whom training has never seen, and training learns only the departure. `film_start="zero"` in `study.config` trains the same model from the identity.

# %% [markdown]
# ## 2. A gate that starts open
#
# Write the speaker gate of Eq. 3 for one modality, $h' = \sigma(W e_s + b) \odot h$, as a module. It should start open: each gate is $\sigma(3) = .953$ for every speaker, whatever the embedding. And it must be able to learn. Predict which of the gradients of $W$, $b$ and $e_s$ are zero in the first step.


# %% tags=["solution"]
class Gate(nn.Module):
    """Scale d context features by speaker; called with h [utterance, d] and e [utterance, e]."""

    def __init__(self, speaker_dim, d):
        super().__init__()
        ### BEGIN SOLUTION
        self.by_speaker = nn.Linear(speaker_dim, d)
        nn.init.zeros_(self.by_speaker.weight)
        nn.init.constant_(self.by_speaker.bias, 3.0)
        ### END SOLUTION

    def forward(self, h, e):
        ### BEGIN SOLUTION
        return torch.sigmoid(self.by_speaker(e)) * h
        ### END SOLUTION


# %% tags=["mistake"]
# A linear layer's usual start: half open, with different noise for each speaker.
class Gate(nn.Module):
    def __init__(self, speaker_dim, d):
        super().__init__()
        self.by_speaker = nn.Linear(speaker_dim, d)

    def forward(self, h, e):
        return torch.sigmoid(self.by_speaker(e)) * h


# %% tags=["check"]
gate = Gate(speaker_dim=3, d=5)
h = torch.randn(6, 5, generator=generator)
e = torch.randn(6, 3, generator=generator, requires_grad=True)
share = gate(h, e) / h
assert share.shape == (6, 5), f"one gate per utterance and feature is expected, not {share.shape}"
assert torch.allclose(share, share[:1].expand(6, 5), atol=1e-5), (
    "the untrained gate differs between speakers: start W at zero"
)
assert torch.allclose(share, torch.tensor(0.9526), atol=1e-3), (
    f"the untrained gate should be sigmoid(3) = .953, not {share.mean():.3f}: start b at 3"
)
theirs = mlsan.SpeakerGate(modalities=1, speaker_dim=3, d=5, context=False, start="open")
assert torch.allclose(gate(h, e), theirs(h[None], e)[0], atol=1e-5), "differs from mlsan's gate"
gate(h, e).square().sum().backward()
slopes = [(name, p.grad) for name, p in gate.named_parameters()]
assert len(slopes) == 2, f"W and b should be the gate's parameters, not {[n for n, _ in slopes]}"
for name, slope in slopes:
    assert slope is not None, f"{name} gets no gradient, so it cannot learn"
    assert slope.abs().sum() > 0, f"the gradient of {name} is zero, so it cannot learn"
print(f"2: correct. The embedding's gradient is {e.grad.abs().max():g}")

# %% [markdown] tags=["answer"]
# Only the embedding's gradient is zero in the first step, since it is $W^\top$ times something and $W = 0$. After that step $W$ is not zero any more, and the embeddings learn as well. A gate that starts at random passes about half of every feature, with different noise for each speaker, and training first has to undo this.

# %% [markdown]
# ## 3. The speaker loss, with strangers
#
# Write $\mathcal L_{spk}$ of Eq. 4: the cross-entropy of the speaker head, averaged over the utterances of *known* speakers. Code 0 (`UNKNOWN`) is shared by everyone without an identity, so the head must not learn to recognise it. A batch may have no known speaker at all; the loss is then 0, and not NaN.


# %% tags=["solution"]
def speaker_loss(logits, speaker):
    """From logits [utterance, speaker] and the speakers' codes [utterance]."""
    ### BEGIN SOLUTION
    known = speaker != UNKNOWN
    if not known.any():
        return logits.sum() * 0
    return nn.functional.cross_entropy(logits[known], speaker[known])
    ### END SOLUTION


# %% tags=["mistake"]
# Leaves out strangers by ignore_index; the mean over none of the utterances is 0 / 0.
def speaker_loss(logits, speaker):
    return nn.functional.cross_entropy(logits, speaker, ignore_index=UNKNOWN)


# %% tags=["check"]
logits = torch.randn(6, 4, generator=generator, requires_grad=True)
speaker = torch.tensor([1, 0, 3, 3, 0, 2])
found, expected = speaker_loss(logits, speaker), mlsan.speaker_loss(logits, speaker)
assert torch.isclose(found, expected, atol=1e-5), (
    f"the loss should be {expected:.4f}, not {found:.4f}: leave out the two utterances of unknown "
    "speakers, and divide by the number of the others"
)
found.backward()
assert logits.grad[speaker == UNKNOWN].abs().max() == 0, "unknown speakers should have no gradient"
nobody = speaker_loss(logits, torch.zeros(6, dtype=torch.long))
assert torch.isfinite(nobody), f"without any known speaker the loss should be 0, not {nobody}"
assert nobody == 0, f"without any known speaker the loss should be 0, not {nobody}"
assert nobody.requires_grad, "the 0 should stay part of the graph, e.g. logits.sum() * 0"
print("3: correct")

# %% [markdown] tags=["answer"]
# `mlsan.model.mlsan.speaker_loss` sums and divides by `clamp_min(1)` instead of branching, which gives the same without waiting for the device. The total is $\mathcal L = \mathcal L_{ERC} + \lambda\,\mathcal L_{spk}$; its target is the true speaker even where training hides the identity from the input. With `speaker="role"` it is the role, which is a different person in each dialogue and cannot stand for anybody's style.
