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
# # Exercises 9 · Real voices
#
# They belong to [notebook 9](../09_voices.ipynb) and take about an hour. You need numpy. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np

from mlsan.corpus.nemo.protocols import FOLDS, scaling, splits
from mlsan.corpus.nemo.recordings import recordings
from mlsan.corpus.standardised import standardise_by_speaker
from mlsan.corpus.style import Population
from mlsan.evaluation import Stages, score_predictions
from mlsan.evaluation.probes import STRENGTH, probe_predictions
from mlsan.evaluation.voices import PITCH, pitch_and_level

voices = recordings()
FOLD = "nEMO-unseen-2"  # its two test actors are strangers
part = splits(FOLD)
mean, sd = scaling(FOLD)
features = ((voices.features - mean) / sd).astype(float)
population = Population.fit(features[part["train"]], voices.speaker[part["train"]])

# %% [markdown]
# ## 1. Calibration in Hz
#
# The model sees pitch standardised: $x = (p - m)/s$, with $p$ in semitones above 27.5 Hz, where 12 semitones double the frequency. Write the pitch in Hz of an utterance after calibration $\gamma x + \beta$. Then say in a sentence what β alone does to a pitch in Hz.


# %% tags=["solution"]
def calibrated_hertz(x, gamma, beta, m, s):
    """Pitch in Hz of standardised pitches x after γ x + β; m and s are in semitones."""
    ### BEGIN SOLUTION
    semitones = (gamma * x + beta) * s + m
    return 27.5 * 2 ** (semitones / 12)
    ### END SOLUTION


# %% tags=["mistake"]
# Calibrates the Hz; the model calibrates what it sees, which is standardised semitones.
def calibrated_hertz(x, gamma, beta, m, s):
    return gamma * 27.5 * 2 ** ((x * s + m) / 12) + beta


# %% tags=["check"]
a4 = calibrated_hertz(np.array([0.0]), 1.0, 0.0, 48.0, 5.0)[0]
assert abs(a4 - 440) < 1e-6, f"48 semitones above 27.5 Hz are 440 Hz, not {a4:.1f}"
up = calibrated_hertz(np.array([0.0]), 1.0, 2.4, 48.0, 5.0)[0]
assert abs(up - 880) < 1e-6, (
    f"β = 2.4 with s = 5 is 12 semitones, an octave up: 880 Hz, not {up:.1f}. γ and β act on the "
    "standardised semitones"
)
place = voices.names.tolist().index(PITCH)
for actor in np.unique(voices.speaker[part["test"]]):
    x = features[voices.speaker == actor]
    mu, sigma = population.style(x)
    gamma = population.sigma_0 / sigma
    beta = population.mu_0 - gamma * mu
    label, none = np.zeros(len(x), dtype=int), np.zeros((len(x), 1))
    at = {"raw": {"audio": x}, "calibrated": {"audio": gamma * x + beta}}
    seen = Stages(label, label, np.full(len(x), actor), none, none, at)
    table = pitch_and_level(seen, voices.names, mean, sd)
    medians = table.groupby("stage")["pitch"].median()
    expected = table.loc[table["stage"] == "calibrated", "pitch"].to_numpy()
    found = calibrated_hertz(x[:, place], gamma[place], beta[place], mean[place], sd[place])
    assert np.abs(found / expected - 1).max() < 1e-4, f"the pitches of {actor} differ from mlsan's"
    print(f"{actor}: median {medians['raw']:.0f} Hz before, {medians['calibrated']:.0f} Hz after")
print("1: correct")

# %% [markdown] tags=["answer"]
# β alone *multiplies* a pitch by $2^{\beta s/12}$, because it shifts a logarithm. That suits voices: a smaller larynx raises all pitches by about the same factor, and a melody keeps its intervals.

# %% [markdown]
# ## 2. Enrol a real stranger
#
# How far is the style that $n$ utterances of a stranger give from the style of all of them? Draw $n$ of the rows without replacement, estimate the style with `population.style(rows)`, which returns μ and σ, and take the root mean square over features of the difference of μ to `target`. Return its mean over `draws` draws. The check also enrols from neutral utterances only, as in a short greeting. Predict which error does not go away.


# %% tags=["solution"]
def distance(x, target, n, draws, generator):
    """Mean distance of μ from n of the rows of x [utterance, feature] to target [feature]."""
    ### BEGIN SOLUTION
    found = []
    for _ in range(draws):
        rows = generator.choice(len(x), n, replace=False)
        mu, _ = population.style(x[rows])
        found.append(np.sqrt(np.mean((mu - target) ** 2)))
    return np.mean(found)
    ### END SOLUTION


# %% tags=["mistake"]
# Takes the first n utterances every time, so nothing is averaged.
def distance(x, target, n, draws, generator):
    mu, _ = population.style(x[:n])
    return np.sqrt(np.mean((mu - target) ** 2))


# %% tags=["check"]
actor = np.unique(voices.speaker[part["test"]])[0]
mine = features[voices.speaker == actor]
neutral = features[(voices.speaker == actor) & (voices.emotion == "neutral")]
target, _ = population.style(mine)
generator = np.random.default_rng(0)
curve = {n: distance(mine, target, n, 50, generator) for n in (0, 1, 3, 10, 30, len(mine))}
nobody = np.sqrt(np.mean((population.mu_0 - target) ** 2))
assert abs(curve[0] - nobody) < 1e-9, (
    f"from no utterance the style is the population's, {nobody:.3f} away, not {curve[0]:.3f}"
)
assert curve[len(mine)] < 1e-6, "all utterances should give the target itself, at a distance of 0"
for n, expected in {1: 0.52, 3: 0.40, 10: 0.25, 30: 0.14}.items():
    assert abs(curve[n] - expected) < 0.03, (
        f"{n} utterances should be about {expected} away, not {curve[n]:.2f}: draw other rows each "
        "time, and take the mean over features of the squares before the root"
    )
    limited = distance(neutral, target, n, 50, generator)
    print(f"{n:3} utterances: mixed {curve[n]:.2f}, neutral only {limited:.2f}")
print(f"2: correct. Nothing is known at {nobody:.2f}")

# %% [markdown] tags=["answer"]
# From mixed utterances the distance goes to zero. From neutral ones it stays: the mean of neutral speech is not the mean of speech, and more of it does not help. An enrolment should be as varied as what follows, or be compared with the population's *neutral* mean, which needs a label.

# %% [markdown]
# ## 3. How much of the gain is gender?
#
# Standardising by speaker helps a probe to recognise the emotions of strangers. Perhaps gender is enough? Write the weighted F1 of a probe that is given a grouping of all utterances, or None: for each of the five folds standardise the features within each group (`standardise_by_speaker(x, group)`; no labels are used), fit on the fold's training utterances and predict its test utterances (`probe_predictions(x, emotion, tested, STRENGTH)`); score all folds' predictions together.


# %% tags=["solution"]
def probe_by(group):
    """Weighted F1 over all five folds' test utterances; group names each utterance's group."""
    ### BEGIN SOLUTION
    x = voices.features if group is None else standardise_by_speaker(voices.features, group)
    truth, predicted = [], []
    for fold in FOLDS:
        train, test = splits(fold)["train"], splits(fold)["test"]
        predicted.append(probe_predictions(x[train], voices.emotion[train], x[test], STRENGTH))
        truth.append(voices.emotion[test])
    return score_predictions(np.concatenate(truth), np.concatenate(predicted))["wf1"]
    ### END SOLUTION


# %% tags=["mistake"]
# Fits on the test actors too, so nobody is a stranger.
def probe_by(group):
    x = voices.features if group is None else standardise_by_speaker(voices.features, group)
    predicted = probe_predictions(x, voices.emotion, x, STRENGTH)
    return score_predictions(voices.emotion, predicted)["wf1"]


# %% tags=["check"]
groups = {"nothing": None, "gender": voices.gender, "speaker": voices.speaker}
found = {name: probe_by(group) for name, group in groups.items()}
expected = {"nothing": 40.6, "gender": 44.4, "speaker": 59.6}
for name, score in found.items():
    assert abs(score - expected[name]) < 1, (
        f"standardised by {name}, the probe should score about {expected[name]}, not {score:.1f}: "
        "is it fitted on each fold's training utterances and scored on its test utterances?"
    )
print("3: correct.", {name: round(score, 1) for name, score in found.items()})

# %% [markdown] tags=["answer"]
# Only a fifth of it: gender takes the probe from 40.6 to 44.4, the speaker's own statistics to 59.6. Voices of one gender still differ a lot. Standardising by speaker needs no labels, but it needs the stranger's utterances before the first prediction.
