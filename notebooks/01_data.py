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
# # 1 · Data: who is speaking?
#
# **Question.** What does a conversation look like to a model, and how differently do speakers express the same emotion?
#
# **Produces.** Table 0 (`table0_corpora`) and Fig. 1, drawn from data (`fig1_heterogeneity`).
#
# **Needs.** A corpus: the simulated one, which needs no files, or feature files on disk (`CORPUS=multiemo DATA=DIR`).
#
# **Time.** smoke: seconds · small: under a minute · paper: some minutes, for the probes on 2,280 features.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import check_parameters, open_study

check_parameters(globals())
study = open_study("01_data", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.corpus import SpeakerCode, collate
from mlsan.corpus.standardised import speaker_names, standardise_by_speaker
from mlsan.evaluation.heterogeneity import (
    emotion_plane,
    emotion_probe,
    leading_speakers,
    repetition,
    speaker_gap,
    speaker_probe,
    training_features,
    variance_shares,
)
from mlsan.report import use_style
from mlsan.report.nb01_data import corpora_table, heterogeneity_figure

use_style()

# %% [markdown]
# ## Two benchmarks, one layout
#
# MELD is taken from the series *Friends*: many short scenes with many speakers, six of whom do most of the talking. IEMOCAP has ten actors, who talk in pairs in five sessions; its dialogues are long. A corpus *declares* its emotions and roles; those of MELD and IEMOCAP are built in, in the order of the published feature files. A label is the number of an emotion:

# %%
for corpus in study.corpora.values():
    declared = corpus.declaration
    print(f"{corpus.name}, up to {len(declared.roles)} roles:", dict(enumerate(declared.emotions)))

# %% [markdown]
# Both corpora are read from the same layout on disk, MultiEMO's: four pickles, with the speakers, the labels and one block of features for each dialogue and modality. Opening a pickle can run code, so these files are read by an unpickler that accepts numbers, containers and arrays and rejects everything else by name.
#
# **Predict:** in which of the two corpora does the test set consist of speakers who never speak in training?

# %% tags=["nbval-ignore-output"]
table0 = corpora_table(study.corpora)
display(Markdown(study.save_table(table0, "table0_corpora", note=study.caveats)))

# %% [markdown]
# IEMOCAP's test session has two actors of its own, so the speaker of **every** test utterance is unseen. Whatever a model learned about individual speakers does not help there. Keep this in mind for all IEMOCAP results that follow.
#
# Check that the splits share no dialogue, that every label has a name, and who speaks in IEMOCAP's test set:

# %%
for corpus in study.corpora.values():
    ids = [d.id for d in corpus.train + corpus.dev + corpus.test]
    assert len(ids) == len(set(ids)), f"{corpus.name}: a dialogue is in two splits"
    labels = np.concatenate([d.label for d in corpus.train + corpus.dev + corpus.test])
    assert set(labels) <= set(range(len(corpus.declaration.emotions)))
    assert all(np.isfinite(x).all() for d in corpus.test for x in d.feature.values())
print("splits are disjoint, labels are named, features are finite")

# %%
for benchmark, corpus in study.corpora.items():
    trained = {name for d in corpus.train for name in d.speaker or ()}
    tested = {name for d in corpus.test for name in d.speaker or () if name}
    if benchmark == "IEMOCAP":
        assert not tested & trained, f"{corpus.name}: a test speaker also speaks in training"
        print(f"{corpus.name}: no test speaker speaks in training")

# %% [markdown]
# ## One conversation
#
# Each utterance has a *role* (its speaker's place in this dialogue; the files call it party) and, if the corpus names its speakers, an *identity*. The published MELD files contain only the role: role 0 is whoever speaks first, a different person in each scene. ML-SAN's premise is about people, so the difference matters. The paper leaves it open which of the two it uses.

# %% tags=["nbval-ignore-output"]
corpus = next(iter(study.corpora.values()))
dialogue = next((d for d in corpus.dev if len(d) >= 6), corpus.dev[0])
pd.DataFrame(
    {
        "role": dialogue.party,
        "speaker": speaker_names(corpus, dialogue),
        "emotion": np.array(corpus.declaration.emotions)[dialogue.label],
    }
).head(8)

# %% [markdown]
# A model receives the speaker as an integer. Entry 0 is the *unknown* speaker, shared by everyone who is rare or absent in training. A batch is padded to its longest dialogue; padding has label −1:

# %%
code = SpeakerCode.fit("role", corpus, min_utterances=1, seed=0)
few = corpus.dev[:3]
batch = collate(few, code.encode(few))
turns, dialogues = batch.mask.shape
assert turns == max(map(len, few))
assert dialogues == len(few)
assert (batch.label[~batch.mask] == -1).all()
assert (batch.speaker[batch.mask] == batch.party[batch.mask] + 1).all()
print(f"entries of the speaker code: {code.size}, of which 0 is {code.names[0]!r}")

# %% [markdown]
# ## How long does an emotion last?
#
# If speakers tend to repeat their last emotion, context helps. The table compares how often an emotion is repeated with how often it would be repeated if the turns were shuffled.

# %% tags=["nbval-ignore-output"]
repeated = pd.DataFrame({corpus.name: repetition(corpus) for corpus in study.corpora.values()}).T
repeated.round(3)

# %%
for name, shares in repeated.iterrows():
    more = shares["same emotion again"] > shares["by chance"]
    print(f"{name}: emotions repeat more often than by chance: {more}")

# %% [markdown]
# ## How much do styles obscure emotion?
#
# A linear probe predicts the emotion from the features of one utterance, without context and without the speaker. On simulated corpora the true style of each speaker is known and can be removed exactly (*oracle*). On any corpus it can be removed approximately by standardising each speaker's own features. This is Eq. 2 with $\gamma = 1/\sigma$ and $\beta = -\mu/\sigma$.
#
# **Predict:** which column will be highest, and by how much?

# %% tags=["nbval-ignore-output"]
rows = {}
for benchmark, corpus in study.corpora.items():
    every = corpus.modalities
    row = {"text alone": emotion_probe(corpus, ("text",))} if "text" in every else {}
    row["all, raw"] = emotion_probe(corpus, every)
    row["all, standardised by speaker"] = emotion_probe(corpus, every, standardise_by_speaker)
    if corpus.simulated:
        row["all, oracle"] = emotion_probe(study.oracle(benchmark), every)
    rows[corpus.name] = row
probes = pd.DataFrame(rows).T.round(1)
probes

# %% tags=["nbval-ignore-output"]
if study.simulated and PROFILE != "smoke":
    gain = probes["all, oracle"] - probes["all, raw"]
    assert (gain > 4).all(), f"removing style should gain a linear probe several points: {gain}"
    print("removing style exactly gains", gain.round(1).to_dict(), "points of W-F1")
else:
    print("skipped: real corpora have no oracle, and profile smoke is too small for the comparison")

# %% [markdown]
# ## How different are speakers, here and in real voices?
#
# How much of a feature's variance is due to who speaks, and how much to the emotion? Median over features, in percent. The row of nEMO is for comparison with real voices: nine actors, six emotions (Christop, LREC-COLING 2024), the eGeMAPSv02 functionals of openSMILE, measured by this project.

# %% tags=["nbval-ignore-output"]
shares = {
    (corpus.name, m): variance_shares(corpus, m)
    for corpus in study.corpora.values()
    for m in corpus.modalities
}
shares["nEMO (real voices)", "audio"] = (17.8, 6.2)
pd.DataFrame(shares, index=["speaker", "emotion"]).T.round(1)

# %% [markdown]
# If features are to be "unrelated to the speaker", a linear probe must not be able to name the speaker. It names the nine who speak most, from audio and visual features: fitted on their training dialogues, scored on their dev dialogues (weighted F1). On nEMO, where it names nine actors, chance is .11. **Predict** what standardising each speaker's features leaves of it.

# %% tags=["nbval-ignore-output"]
named = {}
for benchmark, corpus in study.corpora.items():
    styled = [m for m in ("audio", "visual") if m in corpus.sizes] or list(corpus.modalities)
    row = {"raw": speaker_probe(corpus, styled)}
    row["standardised by speaker"] = speaker_probe(corpus, styled, standardise_by_speaker)
    if corpus.simulated:
        row["oracle"] = speaker_probe(study.oracle(benchmark), styled)
    named[corpus.name] = row
named["nEMO (real voices)"] = {"raw": 96, "standardised by speaker": 5}
recognised = pd.DataFrame(named).T
recognised.round(1)

# %%
mine = recognised.loc[list(study.names.values())]
assert (mine["raw"] > mine["standardised by speaker"]).all()
print("standardising by speaker makes the speaker harder to name:", list(mine.index))

# %% [markdown]
# ## Fig. 1 from data
#
# The paper opens with a drawing of an introvert and an extrovert. This figure shows two speakers of the corpus instead: the two with the most utterances, and their most frequent emotions, in the plane that best separates emotions. The large marks are what matters: a speaker's mean of an emotion. Lines join the same emotion of the two speakers.

# %% tags=["nbval-ignore-output"]
benchmark, corpus = next(iter(study.corpora.items()))
modality = next(m for m in ("audio", "visual", "text") if m in corpus.modalities)
raw = training_features(corpus, modality)
speaker = np.array([name for d in corpus.train for name in speaker_names(corpus, d)])
spaces = {f"raw {modality}": raw, "standardised by speaker": standardise_by_speaker(raw, speaker)}
if corpus.simulated:
    spaces["style removed exactly"] = training_features(study.oracle(benchmark), modality)
plane = emotion_plane(spaces, corpus, leading_speakers(corpus, 2))
gap = speaker_gap(plane)
figure1 = heterogeneity_figure(plane, gap, corpus.declaration.emotions)

# %% tags=["nbval-ignore-output"]
note = f"{corpus.name}, {modality} features."
display(Markdown(study.save_figure(figure1, plane, "fig1_heterogeneity", note=note)))

# %% tags=["nbval-ignore-output"]
calibrated = gap.drop(f"raw {modality}")
assert (calibrated < gap[f"raw {modality}"]).all() or PROFILE == "smoke" or not study.simulated
print("distance between the two speakers' means of the same emotion:", gap.round(2).to_dict())

# %%
print("panels:", list(gap.index))
print("speakers:", plane["speaker"].nunique(), "- emotions:", plane["emotion"].nunique())

# %% [markdown]
# ## What we learned
#
# - A corpus is a set of dialogues; each utterance has a label and a speaker. One reader reads all corpora.
# - *Role* and *identity* are different, and all of IEMOCAP's test speakers are unseen in training.
# - The tables above show how much of the emotion a linear probe predicts, and what removing style adds *on this corpus*. On simulated data this holds by construction; on real data it is a finding.
# - Standardising each speaker's features needs no labels and no training, and it removes the speaker for a linear probe. Any speaker-adaptive model has to be compared with it; Table 1 does so.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/01_data.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **Weighted F1 by hand.** Write weighted F1: for each class that occurs in `label`, $F_1 = 2\,TP / (\text{support} + \text{predicted})$; the mean of these, weighted by support, in percent. Then predict: a classifier is right about all 2,610 test utterances of MELD, except that it calls the 50 fear utterances neutral. Fear is 1.92 % of the utterances. How many points are lost?
#
# 2. **Calibration in closed form.** Standardising a speaker's features is Eq. 2, $\tilde x = \gamma x + \beta$, with $\gamma = 1/\sigma$ and $\beta = -\mu/\sigma$. Write γ and β of one speaker from that speaker's utterances, using the sample standard deviation (n − 1). A single utterance has no standard deviation, and a feature may never change: take σ = 1 for both. Before you run the check: what becomes of a speaker with a single utterance?
#
# 3. **How much of a feature is the speaker?** The share of a feature's variance that a grouping explains is $\eta^2 = \sum_g n_g (\bar x_g - \bar x)^2 / \sum_i (x_i - \bar x)^2$. Write it for each feature. The check applies it to nEMO's 4,481 real recordings: first to the speakers, then to the emotions, then to the speakers after subtracting each speaker's mean. Predict the third number.
#
# <details><summary>Solutions</summary>
#
# 1. It costs 2.85 points, more than fear's share of 1.92 %: neutral gains 50 false positives, so its F1 falls to 98.05 %, and neutral has 48 % of the weight. If all utterances of a class with share $s$ are called by the name of a class with share $t$, and all else is right, the loss is $100\,s\,(1 + t/(s + 2t))$ points: between $100\,s$ and $150\,s$. Either way it is small for a rare class, so weighted F1 says little about rare classes.
#
#    ```python
#    def weighted_f1(label, predicted):
#        """Weighted F1 in percent, from two arrays of class numbers."""
#        total = 0.0
#        for c in np.unique(label):
#            right = np.sum((label == c) & (predicted == c))
#            support, called = np.sum(label == c), np.sum(predicted == c)
#            total += support * 2 * right / (support + called)
#        return 100 * total / len(label)
#    ```
#
# 2. With one utterance, μ is that utterance: calibration maps it to zero and removes its emotion together with the style. The statistics of a speaker with few utterances should be shrunk towards those of the population; exercise 1 of notebook 7 does so.
#
#    ```python
#    def scale_and_shift(x):
#        """γ and β of each feature, from an array [utterance, feature] of one speaker."""
#        mu = x.mean(axis=0)
#        sigma = x.std(axis=0, ddof=1) if len(x) > 1 else np.ones_like(mu)
#        gamma = 1 / np.where(sigma > 1e-6, sigma, 1)
#        return gamma, -mu * gamma
#    ```
#
# 3. The median feature owes 17.8 % of its variance to the speaker and 6.2 % to the emotion, and nothing to the speaker once each speaker's mean is subtracted: β alone removes all that η² measures. It does not make speakers alike. Their standard deviations still differ, and so does what an emotion does to each of them.
#
#    ```python
#    def explained(x, group):
#        """η² of each feature; x is [utterance, feature], group names each utterance's group."""
#        away = x - x.mean(axis=0)
#        between = np.zeros(x.shape[1])
#        for name in np.unique(group):
#            rows = away[group == name]
#            between += len(rows) * rows.mean(axis=0) ** 2
#        return between / (away**2).sum(axis=0)
#    ```
#
# </details>
