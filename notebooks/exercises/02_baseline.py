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
# # Exercises 2 · The baseline
#
# They belong to [notebook 2](../02_baseline.ipynb) and take about an hour. You need PyTorch. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import torch

from mlsan.model import reference
from mlsan.model.losses import class_weights, soft_hgr, swfc

generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1. Attention that ignores padding
#
# In a batch, short dialogues are padded. Write one head of attention, $\mathrm{softmax}(q k^\top / \sqrt{d})\,v$, in which no query attends to padding. The check adds padding to a dialogue and compares: an output must not depend on who else is in the batch.


# %% tags=["solution"]
def attend(query, key, value, real):
    """Attention from query [turn, d] to key and value [other, d].

    `real` [other] is False where a key is padding.
    """
    ### BEGIN SOLUTION
    score = query @ key.T / query.shape[1] ** 0.5
    score = score.masked_fill(~real, float("-inf"))
    return torch.softmax(score, dim=1) @ value
    ### END SOLUTION


# %% tags=["mistake"]
# A score of 0 is not a weight of 0: padding still gets exp(0) of the softmax.
def attend(query, key, value, real):
    score = query @ key.T / query.shape[1] ** 0.5
    return torch.softmax(score * real, dim=1) @ value


# %% tags=["check"]
d = 8
x, other = torch.randn(2, 5, d, generator=generator)
same = {"weight": torch.eye(d), "bias": torch.zeros(d)}
parts = [f"attention_heads.0.{part}_matrix" for part in ("query", "key", "value")]
state = {f"a.{p}.{kind}": w for p in (*parts, "projection_matrix") for kind, w in same.items()}
expected = reference.attention(state, "a", x, other, heads=1)
found = attend(x, other, other, torch.ones(5, dtype=torch.bool))
assert found.shape == (5, d), f"one output per query is expected, not shape {tuple(found.shape)}"
assert torch.allclose(found, expected, atol=1e-5), (
    "without padding the output differs from the definition: is the score divided by sqrt(d), and "
    "the softmax taken over the keys?"
)
padded = torch.cat([other, torch.randn(3, d, generator=generator)])
found = attend(x, padded, padded, torch.arange(8) < 5)
assert torch.allclose(found, expected, atol=1e-5), (
    "three padded keys change the output: give them a score of minus infinity, so that their "
    "weight is 0"
)
print("1: correct")

# %% [markdown] tags=["answer"]
# The published code leaves padding unmasked (`mask_padding=False`): a padded turn still gets a part of the softmax. The prediction for an utterance then depends on the longest dialogue of its batch. To see what this does to a score, train `study.sweep([study.config("MELD", "MultiEMO", s, mask_padding=False) for s in study.seeds])` and compare seed by seed.

# %% [markdown]
# ## 2. The SWFC term of one utterance
#
# Write what utterance $i$ adds to the sample-weighted focal contrastive loss: $-w_{y_i}$ times the mean, over the other utterances $j$ with the label of $i$, of $(1 - p_{ij})^\gamma \log p_{ij}$, where $p_{ij}$ is the softmax over all $j \ne i$ of $\cos(z_i, z_j) / \tau$. An utterance whose label nobody else has adds 0.


# %% tags=["solution"]
def swfc_term(i, z, label, weight, tau, gamma):
    """The term of utterance i; z is [utterance, feature], weight is [class]."""
    ### BEGIN SOLUTION
    unit = z / z.norm(dim=1, keepdim=True)
    others = torch.arange(len(z)) != i
    log_p = torch.log_softmax(unit[others] @ unit[i] / tau, dim=0)
    positive = label[others] == label[i]
    if not positive.any():
        return z.new_zeros(())
    focal = (1 - log_p.exp()) ** gamma * log_p
    return -weight[label[i]] * focal[positive].mean()
    ### END SOLUTION


# %% tags=["mistake"]
# Contrasts an utterance with itself too, the most similar of all.
def swfc_term(i, z, label, weight, tau, gamma):
    unit = z / z.norm(dim=1, keepdim=True)
    log_p = torch.log_softmax(unit @ unit[i] / tau, dim=0)
    positive = (label == label[i]) & (torch.arange(len(z)) != i)
    if not positive.any():
        return z.new_zeros(())
    return -weight[label[i]] * ((1 - log_p.exp()) ** gamma * log_p)[positive].mean()


# %% tags=["check"]
z = torch.randn(9, 4, generator=generator)
label = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 3])
weight = class_weights(torch.bincount(label), alpha=1.2)
alone = swfc_term(7, z, label, weight, 1.4, 2.0)
assert alone == 0, f"utterance 7 is the only one with its label: its term should be 0, not {alone}"
larger = swfc_term(0, 10 * z, label, weight, 1.4, 2.0)
assert torch.isclose(larger, swfc_term(0, z, label, weight, 1.4, 2.0), atol=1e-5), (
    "the term should not depend on the length of z: divide z by its norm"
)
for gamma in (0.0, 2.0):
    found = sum(swfc_term(i, z, label, weight, 1.4, gamma) for i in range(9)) / 9
    expected = swfc(z, label, weight, 1.4, gamma)
    assert torch.isclose(found, expected, atol=1e-5), (
        f"with gamma = {gamma:g} the mean of all terms should be {expected:.4f}, not {found:.4f}: "
        "does the softmax leave out j = i, and is the mean over positives only?"
    )
print("2: correct")

# %% [markdown] tags=["answer"]
# Without the focal factor (γ = 0) every positive has the same weight. With γ = 2 a pair that is already similar, so with a large $p_{ij}$, is weighted by $(1 - p_{ij})^2$ and pulls less, and the loss attends to pairs that are far apart. `emotion="cross-entropy"` in `study.config` trains without SWFC and Soft-HGR.

# %% [markdown]
# ## 3. Soft-HGR by its definition
#
# Write Soft-HGR for two streams of fused features, as published: $s = \frac1N \sum_i x_i^\top y_i - \frac{1}{2N} \mathrm{tr}(\mathrm{cov} X\, \mathrm{cov} Y)$ and the loss is $-s/N$. Note what "cov" is in the published code: the $N \times N$ covariance *between utterances*, with each utterance centred over its $d$ features (`torch.cov` of `[utterance, feature]`). The definition of Soft-HGR has the $d \times d$ covariance between features.


# %% tags=["solution"]
def soft_hgr_of_two(x, y):
    """The loss of two streams [utterance, feature]."""
    ### BEGIN SOLUTION
    inner = (x * y).sum(dim=1).mean()
    trace = torch.trace(torch.cov(x) @ torch.cov(y))
    return -(inner - trace / (2 * len(x))) / len(x)
    ### END SOLUTION


# %% tags=["mistake"]
# The covariance between features, as in the definition, is not what the published code takes.
def soft_hgr_of_two(x, y):
    trace = torch.trace(torch.cov(x.T) @ torch.cov(y.T))
    return -((x * y).sum(dim=1).mean() - trace / (2 * len(x))) / len(x)


# %% tags=["check"]
x, y = torch.randn(2, 6, 4, generator=generator)
found, expected = soft_hgr_of_two(x, y), soft_hgr([x, y])
assert found.shape == (), f"the loss should be one number, not of shape {tuple(found.shape)}"
assert torch.isclose(found, expected, atol=1e-5), (
    f"the loss should be {expected:.4f}, not {found:.4f}: is cov N x N, between utterances?"
)
apart = soft_hgr_of_two(0.1 * x, -0.1 * x)
assert apart > soft_hgr_of_two(0.1 * x, 0.1 * x), "streams that agree should have the lower loss"
print("3: correct")

# %% [markdown] tags=["answer"]
# The first part rewards streams that agree, the second keeps them from growing: it is quadratic in each stream. `mlsan.model.losses.soft_hgr` computes the same without an $N \times N$ matrix, because $\mathrm{tr}(\mathrm{cov} X\, \mathrm{cov} Y) = \lVert X_c^\top Y_c \rVert^2 / (d - 1)^2$ with each row of $X_c$ and $Y_c$ centred.
