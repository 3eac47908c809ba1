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
# # Exercises 6 · Looking inside
#
# They belong to [notebook 6](../06_qualitative.ipynb) and take about an hour. You need numpy. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np

from mlsan.corpus.standardised import speaker_names
from mlsan.evaluation import Stages
from mlsan.evaluation.neutrality import calibration_maps, chance_level, style_recovery
from mlsan.study import open_study

# %% [markdown]
# ## 1. What a probe scores by chance
#
# "The probe names the speaker with a weighted F1 of 14 %" means nothing without the score of a probe that reads no features. It has two strategies: always name the commonest class of training, or name classes at random, as often as they occur in training. Write the expected weighted F1 of each, taking precision and recall at their expectations, and return the better one. Predict which is better for nine equally frequent speakers, and which for MELD's emotions.


# %% tags=["solution"]
def chance(train, test):
    """The better of the two, in percent, from the classes of train and test utterances."""
    ### BEGIN SOLUTION
    classes = np.unique(np.concatenate([train, test]))
    guess = np.array([np.mean(train == c) for c in classes])
    share = np.array([np.mean(test == c) for c in classes])
    # Of the class that is always named, the recall is 1 and the precision its share.
    named = share[guess.argmax()]
    always = named * 2 * named / (1 + named)
    # At random, the recall of a class is how often it is guessed; the precision is its share.
    at_random = np.sum(share * 2 * guess * share / (guess + share))
    return 100 * max(always, at_random)
    ### END SOLUTION


# %% tags=["mistake"]
# The accuracy of naming the commonest class is not its weighted F1.
def chance(train, test):
    classes, counts = np.unique(train, return_counts=True)
    return 100 * np.mean(test == classes[counts.argmax()])


# %% tags=["check"]
nine = np.repeat(np.arange(9), 10)
assert abs(chance(nine, nine) - 100 / 9) < 1e-9, (
    f"of nine equal classes, guessing at random scores 11.11, not {chance(nine, nine):.2f}"
)
meld = np.repeat(np.arange(7), [1256, 281, 50, 208, 402, 68, 345])
assert abs(chance(meld, meld) - 31.27) < 0.01, (
    f"always saying neutral should score 31.27 on MELD, not {chance(meld, meld):.2f}: a class "
    "with share s has F1 2 s / (1 + s) and weight s"
)
generator = np.random.default_rng(0)
for _ in range(20):
    train, test = (generator.choice(5, size=50, p=generator.dirichlet(np.ones(5))) for _ in "ab")
    found, expected = chance(train, test), chance_level(train, test)
    assert abs(found - expected) < 1e-9, (
        f"where train and test differ, chance should be {expected:.2f}, not {found:.2f}: guesses "
        "follow the training shares, support those of test"
    )
print("1: correct")

# %% [markdown] tags=["answer"]
# For nine equal speakers guessing at random is better (11.1 against 2.2), for MELD's emotions always saying neutral (31.3 against 29.2). Accuracy would be 48.1 for MELD: a score has to be compared with chance in the same metric.

# %% [markdown]
# ## 2. The bound of Eq. 2
#
# In a simulation each utterance also exists without style. How close can γ and β of one speaker take the raw features $x$ to these, $y$? Write the scale and shift of each feature that minimise $\sum_t (\gamma x_t + \beta - y_t)^2$ over the speaker's utterances.


# %% tags=["solution"]
def best_scale_and_shift(x, y):
    """γ and β of each feature, from arrays [utterance, feature] of one speaker."""
    ### BEGIN SOLUTION
    away = x - x.mean(axis=0)
    gamma = (away * (y - y.mean(axis=0))).sum(axis=0) / (away**2).sum(axis=0)
    return gamma, y.mean(axis=0) - gamma * x.mean(axis=0)
    ### END SOLUTION


# %% tags=["mistake"]
# Matches mean and standard deviation. Least squares also asks how well x and y agree.
def best_scale_and_shift(x, y):
    gamma = y.std(axis=0) / x.std(axis=0)
    return gamma, y.mean(axis=0) - gamma * x.mean(axis=0)


# %% tags=["check"]
study = open_study("06_qualitative", profile="smoke")
corpus, oracle = study.corpora["MELD"], study.oracle("MELD").train


def audio(dialogues):
    return np.concatenate([d.feature["audio"] for d in dialogues]).astype(float)


raw, truth = audio(corpus.train), audio(oracle)
speaker = np.array([name for d in corpus.train for name in speaker_names(corpus, d)])
label = np.concatenate([d.label for d in corpus.train])
none = np.zeros((len(label), 1))
at = {stage: {"audio": raw} for stage in ("raw", "calibrated")}
seen = Stages(label, label * 0, speaker, none, none, at)
maps = calibration_maps(seen, oracle, least=10)
for name, rows in maps.groupby("speaker"):
    mine = speaker == name
    gamma, beta = best_scale_and_shift(raw[mine], truth[mine])
    found = np.square(gamma * raw[mine] + beta - truth[mine]).mean()
    away = max(
        np.abs(gamma - rows["true_scale"].to_numpy()).max(),
        np.abs(beta - rows["true_shift"].to_numpy()).max(),
    )
    assert away < 1e-3, (
        f"γ or β of {name} is up to {away:.3f} off, and leaves a mean squared error of {found:.4f}: "
        "γ is the covariance of x and y over the variance of x"
    )
r2 = style_recovery(seen, oracle, least=10).groupby("calibration")["r2"].mean()
print(f"2: correct. R² of raw features {r2['none']:.2f}, of the best calibration {r2['best']:.2f}")

# %% [markdown] tags=["answer"]
# It is linear regression, feature by feature. Its R² bounds what Eq. 2 can do for these utterances, since γ and β are the only things that it may choose; it needs $y$, so no model can compute it. What is missing to 1 is the features' noise, and features that mix two channels with different gains.

# %% [markdown]
# ## 3. Do gates differ by speaker, or only by seed?
#
# A figure of gates averaged over seeds always shows some difference between speakers. Let `gate[seed, speaker]` be a speaker's mean gate in each run. Write the standard deviation between speakers without the noise of training: take each seed's mean away; the variance of the speakers' means over $n$ seeds then is the speakers' own variance plus $r/n$, where $r$ is the variance of what is left after taking each speaker's mean away too, with $(n-1)(k-1)$ degrees of freedom for $k$ speakers. Subtract, stop at 0, and take the root.


# %% tags=["solution"]
def between_speakers(gate):
    """Standard deviation between speakers of an array [seed, speaker]."""
    ### BEGIN SOLUTION
    n, k = gate.shape
    centred = gate - gate.mean(axis=1, keepdims=True)
    mean = centred.mean(axis=0)
    noise = np.square(centred - mean).sum() / ((n - 1) * (k - 1))
    return np.sqrt(max(mean.var(ddof=1) - noise / n, 0))
    ### END SOLUTION


# %% tags=["mistake"]
# The spread of the means still contains the noise of training.
def between_speakers(gate):
    return gate.mean(axis=0).std(ddof=1)


# %% tags=["check"]
generator = np.random.default_rng(0)


def simulated(sd, seeds=3, speakers=8):
    own, level = generator.normal(0, sd, speakers), generator.normal(0, 0.05, (seeds, 1))
    return 0.9 + own + level + generator.normal(0, 0.02, (seeds, speakers))


exact = np.array([[0.80, 0.90], [0.85, 0.95]])
assert abs(between_speakers(exact) - 0.0707) < 1e-4, (
    "in every seed the second gate is .1 above the first, so nothing is noise and the standard "
    f"deviation is .0707, not {between_speakers(exact):.4f}: take each seed's mean away first"
)
for sd in (0.0, 0.02, 0.05):
    found = np.sqrt(np.mean([between_speakers(simulated(sd)) ** 2 for _ in range(400)]))
    assert abs(found - sd) < 0.006, (
        f"for speakers with a standard deviation of {sd} the estimate is {found:.3f} on average: "
        "subtract the noise that is left in a mean over seeds, r / n"
    )
print("3: correct")

# %% [markdown] tags=["answer"]
# With three seeds and noise of 0.02, speakers who are all alike seem to differ by 0.012 if the noise is not subtracted. The same correction estimates how much speakers' means differ in `mlsan.corpus.style`, where it decides how strongly the mean of a few utterances is shrunk. For real gates, apply it to `speaker_weights(r, corpus, study.model(r), speakers)` of each run `r` of ML-SAN in notebook 6.
