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
# # Exercises 1 · Data
#
# They belong to [notebook 1](../01_data.ipynb) and take about an hour. You need numpy. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np

from mlsan.corpus.nemo.recordings import recordings
from mlsan.corpus.standardised import standardise_by_speaker
from mlsan.evaluation import score_predictions

# Test utterances of MELD by emotion.
MELD_TEST = {
    "neutral": 1256,
    "surprise": 281,
    "fear": 50,
    "sadness": 208,
    "joy": 402,
    "disgust": 68,
    "anger": 345,
}

# %% [markdown]
# ## 1. Weighted F1 by hand
#
# Write weighted F1: for each class that occurs in `label`, $F_1 = 2\,TP / (\text{support} + \text{predicted})$; the mean of these, weighted by support, in percent. Then predict: a classifier is right about all 2,610 test utterances of MELD, except that it calls the 50 fear utterances neutral. Fear is 1.92 % of the utterances. How many points are lost?


# %% tags=["solution"]
def weighted_f1(label, predicted):
    """Weighted F1 in percent, from two arrays of class numbers."""
    ### BEGIN SOLUTION
    total = 0.0
    for c in np.unique(label):
        right = np.sum((label == c) & (predicted == c))
        support, called = np.sum(label == c), np.sum(predicted == c)
        total += support * 2 * right / (support + called)
    return 100 * total / len(label)
    ### END SOLUTION


# %% tags=["mistake"]
# The plain mean over classes is macro F1.
def weighted_f1(label, predicted):
    scores = []
    for c in np.unique(label):
        right = np.sum((label == c) & (predicted == c))
        scores.append(2 * right / (np.sum(label == c) + np.sum(predicted == c)))
    return 100 * np.mean(scores)


# %% tags=["check"]
label = np.repeat(np.arange(7), list(MELD_TEST.values()))
assert abs(weighted_f1(label, label) - 100) < 1e-9, "a perfect prediction should score 100"
guess = np.random.default_rng(0).permutation(label)
found, expected = weighted_f1(label, guess), score_predictions(label, guess)["wf1"]
assert abs(found - expected) < 1e-9, (
    f"a shuffled prediction should score {expected:.2f}, not {found:.2f}: "
    "is each class weighted by its support?"
)
fearless = np.where(label == 2, 0, label)
loss = 100 - weighted_f1(label, fearless)
assert abs(loss - 2.855) < 0.001, f"missing fear should cost 2.855 points, not {loss:.3f}"
print(f"1: correct. Calling fear neutral costs {loss:.2f} points")

# %% [markdown] tags=["answer"]
# It costs 2.85 points, more than fear's share of 1.92 %: neutral gains 50 false positives, so its F1 falls to 98.05 %, and neutral has 48 % of the weight. If all utterances of a class with share $s$ are called by the name of a class with share $t$, and all else is right, the loss is $100\,s\,(1 + t/(s + 2t))$ points: between $100\,s$ and $150\,s$. Either way it is small for a rare class, so weighted F1 says little about rare classes.

# %% [markdown]
# ## 2. Calibration in closed form
#
# Standardising a speaker's features is Eq. 2, $\tilde x = \gamma x + \beta$, with $\gamma = 1/\sigma$ and $\beta = -\mu/\sigma$. Write γ and β of one speaker from that speaker's utterances, using the sample standard deviation (n − 1). A single utterance has no standard deviation, and a feature may never change: take σ = 1 for both. Before you run the check: what becomes of a speaker with a single utterance?


# %% tags=["solution"]
def scale_and_shift(x):
    """γ and β of each feature, from an array [utterance, feature] of one speaker."""
    ### BEGIN SOLUTION
    mu = x.mean(axis=0)
    sigma = x.std(axis=0, ddof=1) if len(x) > 1 else np.ones_like(mu)
    gamma = 1 / np.where(sigma > 1e-6, sigma, 1)
    return gamma, -mu * gamma
    ### END SOLUTION


# %% tags=["mistake"]
# β = -μ would be right if the mean were subtracted before scaling.
def scale_and_shift(x):
    mu = x.mean(axis=0)
    sigma = x.std(axis=0, ddof=1) if len(x) > 1 else np.ones_like(mu)
    return 1 / np.where(sigma > 1e-6, sigma, 1), -mu


# %% tags=["check"]
x = np.random.default_rng(1).normal(3, 2, size=(40, 4))
x[:, 3] = 5.0
for rows, whose in ((x, "40 utterances"), (x[:1], "one utterance")):
    gamma, beta = scale_and_shift(rows)
    assert np.isfinite(gamma).all(), f"γ of {whose} is not finite: is σ = 0 or undefined?"
    assert np.isfinite(beta).all(), f"β of {whose} is not finite"
    found = gamma * rows + beta
    assert np.abs(found.mean(axis=0)).max() < 1e-6, (
        f"the calibrated features of {whose} should have mean 0: β is -γ μ"
    )
    expected = standardise_by_speaker(rows, np.full(len(rows), "Eve"))
    assert np.abs(found - expected).max() < 1e-5, (
        f"γ x + β of {whose} differs from standardising: is σ the sample standard deviation (n - 1)?"
    )
print("2: correct")

# %% [markdown] tags=["answer"]
# With one utterance, μ is that utterance: calibration maps it to zero and removes its emotion together with the style. The statistics of a speaker with few utterances should be shrunk towards those of the population; exercise 1 of notebook 7 does so.

# %% [markdown]
# ## 3. How much of a feature is the speaker?
#
# The share of a feature's variance that a grouping explains is $\eta^2 = \sum_g n_g (\bar x_g - \bar x)^2 / \sum_i (x_i - \bar x)^2$. Write it for each feature. The check applies it to nEMO's 4,481 real recordings: first to the speakers, then to the emotions, then to the speakers after subtracting each speaker's mean. Predict the third number.


# %% tags=["solution"]
def explained(x, group):
    """η² of each feature; x is [utterance, feature], group names each utterance's group."""
    ### BEGIN SOLUTION
    away = x - x.mean(axis=0)
    between = np.zeros(x.shape[1])
    for name in np.unique(group):
        rows = away[group == name]
        between += len(rows) * rows.mean(axis=0) ** 2
    return between / (away**2).sum(axis=0)
    ### END SOLUTION


# %% tags=["mistake"]
# Without n_g, a small group counts as much as a large one.
def explained(x, group):
    away = x - x.mean(axis=0)
    means = [away[group == name].mean(axis=0) for name in np.unique(group)]
    return np.square(means).sum(axis=0) / (away**2).sum(axis=0)


# %% tags=["check"]
voices = recordings()
x = voices.features.astype(float)
share = 100 * explained(x, voices.speaker)
assert share.shape == (88,), f"one number per feature is expected, not shape {share.shape}"
assert share.max() <= 100, (
    f"a share of {share.max():.0f} % is impossible: divide by all the variance"
)
by_speaker, by_emotion = np.median(share), np.median(100 * explained(x, voices.emotion))
assert abs(by_speaker - 17.84) < 0.01, (
    f"the speaker should explain 17.84 % of the median feature, not {by_speaker:.2f}: "
    "does each group count as often as it has utterances?"
)
assert abs(by_emotion - 6.18) < 0.01, f"the emotion should explain 6.18 %, not {by_emotion:.2f}"
centred = x.copy()
for name in np.unique(voices.speaker):
    centred[voices.speaker == name] -= x[voices.speaker == name].mean(axis=0)
left = 100 * explained(centred, voices.speaker).max()
assert left < 1e-6, f"without the speakers' means nothing should be left, not {left:.2f} %"
print(f"3: correct. Speaker {by_speaker:.1f} %, emotion {by_emotion:.1f} %, centred {left:.1f} %")

# %% [markdown] tags=["answer"]
# The median feature owes 17.8 % of its variance to the speaker and 6.2 % to the emotion, and nothing to the speaker once each speaker's mean is subtracted: β alone removes all that η² measures. It does not make speakers alike. Their standard deviations still differ, and so does what an emotion does to each of them.
