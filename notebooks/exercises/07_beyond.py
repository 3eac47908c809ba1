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
# # Exercises 7 · Strangers
#
# They belong to [notebook 7](../07_beyond.ipynb) and take about an hour. You need numpy and PyTorch. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np
import torch

from mlsan.corpus import drop_modalities
from mlsan.corpus.style import Population
from mlsan.corpus.types import Batch

# %% [markdown]
# ## 1. Shrink a mean
#
# A stranger has said $n$ utterances. Their mean $\bar x$ says where the speaker's features lie, with variance $w/n$; the population says $\mu_0$, with variance $b$ between speakers. Write the weighted mean of the two, each weighted by the inverse of its variance. For $n = 0$ it is $\mu_0$.


# %% tags=["solution"]
def shrunk_mean(x, mu_0, b, w):
    """A speaker's mean from x [utterance, feature]; mu_0, b and w are [feature]."""
    ### BEGIN SOLUTION
    n = len(x)
    if n == 0:
        return mu_0
    k = n * b / (n * b + w)
    return mu_0 + k * (x.mean(axis=0) - mu_0)
    ### END SOLUTION


# %% tags=["mistake"]
# Shrinks by the same factor whatever n is.
def shrunk_mean(x, mu_0, b, w):
    if len(x) == 0:
        return mu_0
    return mu_0 + b / (b + w) * (x.mean(axis=0) - mu_0)


# %% tags=["check"]
generator = np.random.default_rng(0)
own = generator.normal(0, [0.2, 1.0, 3.0], size=(30, 3))
training = np.concatenate([m + generator.normal(size=(20, 3)) for m in own])
population = Population.fit(training, np.repeat([f"speaker {i}" for i in range(30)], 20))
known = population.mu_0, population.b, population.w
for n in (0, 1, 5, 100):
    x = 2 + generator.normal(size=(n, 3))
    found, expected = shrunk_mean(x, *known), population.style(x)[0]
    assert np.isfinite(found).all(), f"from {n} utterances the mean is not finite"
    assert np.abs(found - expected).max() < 1e-9, (
        f"from {n} utterances the mean should be {expected.round(3)}, not {found.round(3)}: "
        "weight the speaker's mean by n / w and the population's by 1 / b"
    )
print("1: correct")

# %% [markdown] tags=["answer"]
# With $k = n b / (n b + w)$ the estimate is $\mu_0 + k\,(\bar x - \mu_0)$. One utterance moves a feature in which speakers differ a lot nearly all the way, and a feature in which they hardly differ nearly not at all. `mlsan.corpus.style` estimates $\mu_0$, $b$ and $w$ from the training speakers, and shrinks $\log \sigma^2$ in the same way.

# %% [markdown]
# ## 2. The enrolment curve
#
# How much enrolment is enough? Imagine many strangers whose true means are normal with variance $b$ around 0, and enrol each with $n$ utterances that scatter with variance $w$ around their speaker's mean. Write the root mean squared error of two estimates of the strangers' means: the plain mean (for $n = 0$: 0), and the one shrunk by $k = n b / (n b + w)$. Predict at which $n$ the shrunk mean's squared error is half of what it is without enrolment.


# %% tags=["solution"]
def enrolment_errors(n, b, w, strangers, generator):
    """Errors of the plain and of the shrunk mean of n utterances of each of many strangers."""
    ### BEGIN SOLUTION
    truth = generator.normal(0, np.sqrt(b), size=strangers)
    said = truth[:, None] + generator.normal(0, np.sqrt(w), size=(strangers, n))
    plain = said.mean(axis=1) if n else np.zeros(strangers)
    shrunk = n * b / (n * b + w) * plain
    return tuple(np.sqrt(np.mean((found - truth) ** 2)) for found in (plain, shrunk))
    ### END SOLUTION


# %% tags=["mistake"]
# Takes variances for standard deviations.
def enrolment_errors(n, b, w, strangers, generator):
    truth = generator.normal(0, b, size=strangers)
    said = truth[:, None] + generator.normal(0, w, size=(strangers, n))
    plain = said.mean(axis=1) if n else np.zeros(strangers)
    shrunk = n * b / (n * b + w) * plain
    return tuple(np.sqrt(np.mean((found - truth) ** 2)) for found in (plain, shrunk))


# %% tags=["check"]
b, w = 0.25, 1.0
generator = np.random.default_rng(0)
for n in (0, 1, 2, 4, 10, 30):
    plain, shrunk = enrolment_errors(n, b, w, 20_000, generator)
    right = np.sqrt(w / n) if n else np.sqrt(b), np.sqrt(b * w / (n * b + w))
    for what, found, expected in zip(("plain", "shrunk"), (plain, shrunk), right, strict=True):
        assert abs(found / expected - 1) < 0.03, (
            f"with {n} utterances the {what} mean's error should be about {expected:.3f}, not "
            f"{found:.3f}"
        )
    print(f"{n:3} utterances: plain {plain:.2f}, shrunk {shrunk:.2f}")
print("2: correct")

# %% [markdown] tags=["answer"]
# The shrunk mean's squared error is $b w / (n b + w)$: half of $b$ at $n = w / b$, here 4. Below that number the plain mean is *worse than no enrolment at all*, so a system that standardises by few utterances harms the speaker. Shrinking is never worse than the population, if $b$ and $w$ are right and the utterances are a random sample; those of one dialogue, in one mood, are not.

# %% [markdown]
# ## 3. Modality dropout that leaves something
#
# To be ready for a missing microphone, training sets each modality of each dialogue to zero with probability `rate`. Write which ones are kept, given one uniform number in [0, 1) for each. A dialogue whose modalities would all be dropped keeps the one with the largest number.


# %% tags=["solution"]
def kept(drawn, rate):
    """Whether each is kept, from an array [modality, dialogue] of uniform numbers."""
    ### BEGIN SOLUTION
    return (drawn >= rate) | (drawn == drawn.max(axis=0))
    ### END SOLUTION


# %% tags=["mistake"]
# Keeps each with probability `rate`, and sometimes keeps nothing.
def kept(drawn, rate):
    return drawn < rate


# %% tags=["check"]
drawn = np.array([[0.9, 0.1, 0.3], [0.6, 0.2, 0.8]])
found = np.asarray(kept(drawn, 0.5))
assert found.shape == (2, 3), f"one value per modality and dialogue is expected, not {found.shape}"
assert found[:, 0].all(), "both numbers of the first dialogue are above the rate: keep both"
assert found[:, 1].tolist() == [False, True], (
    "both numbers of the second dialogue are below the rate: keep the modality with the larger"
)
assert found[:, 2].tolist() == [False, True], "of the third dialogue keep the second modality only"
modalities, dialogues = ("text", "audio", "visual"), 400
ones, zeros = torch.ones(1, dialogues), torch.zeros(1, dialogues, dtype=torch.long)
features = {m: torch.ones(1, dialogues, 1) for m in modalities}
batch = Batch(features, zeros, zeros, zeros, ones.bool(), (1,) * dialogues)
theirs = drop_modalities(batch, 0.7, torch.Generator().manual_seed(1)).feature
numbers = torch.rand(3, dialogues, generator=torch.Generator().manual_seed(1)).numpy()
for m, mine in zip(modalities, np.asarray(kept(numbers, 0.7)), strict=True):
    away = np.sum(mine != theirs[m][0, :, 0].bool().numpy())
    assert away == 0, f"{m} differs from mlsan's in {away} of {dialogues} dialogues"
print("3: correct")

# %% [markdown] tags=["answer"]
# One number per dialogue and modality stands for a missing device; one per utterance would be a loose contact. With a rate of 0.7 and three modalities, a third of the dialogues ($0.7^3$) would lose everything, and the model would train on nothing but their labels.
