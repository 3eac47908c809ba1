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
# **Produces.** Table A0 (`table0_corpora`) and Fig. 1, drawn from data (`fig1_heterogeneity`).
#
# **Needs.** Corpora: the simulated ones, which need no files, or feature files on disk (`CORPUS=multiemo DATA=DIR`).
#
# **Time.** smoke: seconds · small: under a minute · paper: some minutes, for the probes on 2,280 features.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - say what a dialogue, an utterance, a role, an identity and an unknown speaker are, and how a batch holds them;
# - write down how the simulated corpora are made, equation by equation, and find each equation in the code;
# - measure how much of a feature is due to the speaker, remove it without labels, and say what that gains.
#
# **Prerequisites.** NumPy and pandas; what a linear classifier and an F1 score are. No knowledge of emotion recognition. Sections 1 and 2 of [notebook 0](00_from_scratch.ipynb) explain the task and its score.
#
# **Your time.** 45 minutes, and another 45 for the exercises.
#
# Where you read **Predict**, write down an answer before you go on: the cell below gives the number.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("01_data", globals())

# %% [markdown]
# ## Two benchmarks, one layout
#
# Research on emotion in conversations mostly uses two benchmarks. MELD is taken from the series *Friends*: many short scenes with many speakers, six of whom do most of the talking. IEMOCAP has ten actors, who talk in pairs in five sessions; its dialogues are long. Each utterance has features of up to three *modalities*: text, audio (the voice) and visual (the face).
#
# By default this project uses simulated corpora with the sizes and emotions of these two, called *sim-meld* and *sim-iemocap*. A corpus *declares* its emotions, and how many *roles*, or places in one dialogue, its speakers can have. A label is the number of an emotion:

# %%
for corpus in study.corpora.values():
    declared = corpus.declaration
    print(f"{corpus.name}, up to {len(declared.roles)} roles:", dict(enumerate(declared.emotions)))

# %% [markdown]
# Real and simulated corpora are read from the same layout on disk, that of MultiEMO, the paper's baseline: four pickles with the speakers, the labels and one block of features for each dialogue and modality. (Opening a pickle can run code, so the reader accepts numbers, containers and arrays and rejects everything else by name.)
#
# A corpus has three parts: *train*; *dev* (validation), on which settings and the best epoch are chosen; and *test*. **Predict:** in which of the two corpora does the test set consist of speakers who never speak in training?

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown, display

from mlsan.report.nb01_data import corpora_table

table0 = corpora_table(study.corpora)
display(Markdown(study.save_table(table0, "table0_corpora", note=study.caveats)))

# %% [markdown]
# The row "utterances of unseen speakers" answers this for the corpora at hand. In words:

# %% tags=["nbval-ignore-output"]
from mlsan.report import lessons
from mlsan.report.nb01_data import strangers_text

lessons.listed(strangers_text(study.corpora))

# %% [markdown]
# In IEMOCAP two of the ten actors are in the test session only, so the speaker of **every** test utterance is a *stranger*: unseen in training. The simulated corpus modelled on it is made in the same way. What a model learned about individual speakers does not help there. Keep this in mind for all results on it.
#
# Check that the splits share no dialogue, that every label has a name, and who speaks in IEMOCAP's test set:

# %%
import numpy as np

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
# Each utterance has a *role* (its speaker's place in this dialogue; the files call it party) and, if the corpus names its speakers, an *identity*, which is the same in all dialogues. The published MELD files contain only the role: role 0 is whoever speaks first, a different person in each scene. ML-SAN adapts to people, so the difference matters. The paper does not say which of the two it uses.

# %% tags=["nbval-ignore-output"]
import pandas as pd

from mlsan.corpus.standardised import speaker_names

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
# A model receives the speaker as an integer, the index of an embedding. `SpeakerCode` numbers the speakers of the training set, here by their roles. Entry 0 is the *unknown* speaker, shared by everyone who is rare or absent in training. A batch has the axes [turn, dialogue] and is padded to its longest dialogue; padding has label −1. The assertions say the same in code:

# %%
from mlsan.corpus import SpeakerCode, collate

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
# ## How simulated conversations are made
#
# `CORPUS=sim`, the default, draws conversations whose truth is known. This takes two steps. The first decides which emotion is felt. Let $y'_s$ be the last emotion of speaker $s$, $y_{t-1}$ that of the turn before, and $\pi$ the frequencies of the emotions; each dialogue draws a mood from $\pi$. Then turn $t$ has the emotion
#
# $$y_t = \begin{cases} y'_s & \text{with probability } \iota_s \text{ (inertia)} \\ y_{t-1} & \text{otherwise, with probability } \kappa \text{ (contagion)} \\ \text{the dialogue's mood} & \text{otherwise, with probability } \mu \\ \text{one drawn from } \pi & \text{otherwise.} \end{cases}$$

# %%
from mlsan.corpus.simulate.conversations import emotions

lessons.definition(emotions)

# %% [markdown]
# The second step decides how the emotion is shown. In each modality $m$ an utterance has a few latent channels $z$: the prototype $p_y$ of its emotion, times the utterance's intensity $a$, plus unit normal noise $\eta$. Voice and face show these channels in the *style* of speaker $s$, with a gain $g$ and a shift $c$; text shows $z$ as it is. A matrix $\Lambda$ mixes the channels into features, and noise $\varepsilon$ is added:
#
# $$z = a\,p_y + \eta, \qquad x = (g_{sm} \odot z + c_{sm})\,\Lambda_m + \varepsilon$$
#
# The *heterogeneity* $h$ sets how differently speakers express themselves. It replaces the gain by $g^h$ and the shift by $h\,c$: at $h = 0$ everybody is alike, and the corpora here have $h = 1$.

# %%
from mlsan.corpus.simulate.expression import express_in, style

lessons.definition(express_in, style)

# %% [markdown]
# **By hand.** A speaker with $g = 4$ and $c = 1$ shows $z = \frac12$ as $4 \cdot \frac12 + 1 = 3$. **Predict** what is shown at $h = \frac12$, where gain and shift are $4^{1/2}$ and $\frac12$. And what is left of the features of a whole corpus after subtracting the first term of $x$?

# %%
halfway = 4**0.5 * 0.5 + 0.5 * 1
assert (4 * 0.5 + 1, halfway) == (3, 1.5)
if study.simulated:
    truth = study.truth(next(iter(study.corpora)))
    voice = truth.expression["audio"]
    left = voice.feature - truth.shown("audio") @ voice.loading
    assert abs(left.std() - 0.3 * 0.5) < 0.01, "noise 0.5, in features measured in units of 0.3"
    print(f"at h = 1/2: {halfway}; left of the voice: noise of standard deviation {left.std():.2f}")
else:
    print(f"at h = 1/2: {halfway}; real corpora have no equation")

# %% [markdown]
# **Drag it.** Two simulated speakers are sad and angry, in the two channels of the voice in which these emotions differ most. In JupyterLab, run the cell and drag the slider; elsewhere you see the picture for $h = 1$. **Predict** how many utterances the best straight line gets wrong at $h = 1$, how many when each speaker is standardised, and below which $h$ standardising gains nothing.

# %%
from ipywidgets import FloatSlider

from mlsan.report.explore import Explorer
from mlsan.report.sliders import heterogeneity

Explorer(heterogeneity, h=FloatSlider(1, min=0, max=1, step=0.1, description="heterogeneity h"))

# %% [markdown]
# ## How long does an emotion last?
#
# If speakers tend to repeat their last emotion, the turns before an utterance help to recognise it. The table compares how often a speaker's next emotion is the same with how often it would be the same by chance, given how frequent the emotions are. **Predict** in which of the two corpora emotions last longer.

# %% tags=["nbval-ignore-output"]
from mlsan.evaluation.heterogeneity import repetition

repeated = pd.DataFrame({corpus.name: repetition(corpus) for corpus in study.corpora.values()}).T
repeated.round(3)

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb01_data import repetition_findings

if study.simulated:
    assert (repeated["same emotion again"] > repeated["by chance"]).all()
lessons.listed(repetition_findings(repeated))

# %% [markdown]
# ## How much do styles obscure emotion?
#
# A *linear probe* is a linear classifier on fixed features. It shows what can be read off them without a network. Here it predicts the emotion from the features of one utterance, without context, and in four ways:
#
# - from text alone;
# - from all modalities, *raw*;
# - with each speaker's audio and visual features *standardised* to mean 0 and standard deviation 1. This removes the style approximately. It is the calibration of the paper's Eq. 2, $\tilde x = \gamma \odot x + \beta$, with $\gamma = 1/\sigma$ and $\beta = -\mu/\sigma$, and needs no labels;
# - with the style removed exactly (*oracle*), where it is known because the corpus is simulated.
#
# Scores are weighted F1 (W-F1) in percent: the F1 of each emotion, weighted by its share of the labels (exercise 1). **Predict:** which of the four is highest, and by how much?

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb01_data import probe_counts, probe_scores

probes = {}
for benchmark, corpus in study.corpora.items():
    oracle = study.oracle(benchmark) if corpus.simulated else None
    probes[corpus.name] = probe_counts(corpus, oracle)
scores = probe_scores(probes)
scores.round(1)

# %% [markdown]
# In words. Each statement comes with a difference and its 95 % interval from resampling the test dialogues (a bootstrap). It *holds* if the whole interval agrees with it, *does not hold* if none of it does, and is *undecided* otherwise:

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb01_data import probe_findings

if study.simulated and study.profile != "smoke":
    gain = scores["all, oracle"] - scores["all, raw"]
    assert (gain > 4).all(), f"removing style should gain a linear probe several points: {gain}"
lessons.listed(probe_findings(probes))

# %% [markdown]
# ## How different are speakers, here and in real voices?
#
# Is the simulation anything like real people? The comparison is nEMO (Christop, LREC-COLING 2024): recordings of nine actors in six emotions, each described by 88 acoustic features that the program openSMILE computes (the set eGeMAPSv02).
#
# The share of a feature's variance that a grouping explains is called $\eta^2$ (eta squared, exercise 3). The table has its median over features in percent, grouped by speaker and by emotion, for the nine speakers who talk most. **Predict:** in the voice, does the speaker or the emotion explain more, and how many times as much?

# %% tags=["nbval-ignore-output"]
from mlsan.corpus import open_corpora
from mlsan.evaluation.heterogeneity import variance_shares
from mlsan.report.nb01_data import REAL

nemo = open_corpora("nemo", "smoke", None, study.source.cache)["nEMO-seen"]
found = {
    (corpus.name, m): variance_shares(corpus, m)
    for corpus in study.corpora.values()
    for m in corpus.modalities
}
found[REAL, "audio"] = variance_shares(nemo, "audio")
explained = pd.DataFrame(found, index=["speaker", "emotion"]).T
explained.round(1)

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb01_data import variance_findings

lessons.listed(variance_findings(explained))

# %% [markdown]
# The simulation was matched to nEMO in these shares. Its text has no style, so there the speaker explains almost nothing.
#
# The paper wants features that are unrelated to the speaker. Then a linear probe could not recognise the speaker in them. Here a probe for the speaker reads the audio and visual features of the same nine speakers. It is fitted on their training dialogues and scored on their dev dialogues, in W-F1. Guessing one of nine equally frequent speakers at random scores about 11, and naming always the same one about 2. **Predict** the score from raw features, and the score after standardising each speaker's features.

# %% tags=["nbval-ignore-output"]
from mlsan.corpus.standardised import standardise_by_speaker
from mlsan.evaluation.heterogeneity import speaker_probe

named = {}
for benchmark, corpus in study.corpora.items():
    styled = [m for m in ("audio", "visual") if m in corpus.sizes] or list(corpus.modalities)
    row = {"raw": speaker_probe(corpus, styled)}
    row["standardised by speaker"] = speaker_probe(corpus, styled, standardise_by_speaker)
    if corpus.simulated:
        row["oracle"] = speaker_probe(study.oracle(benchmark), styled)
    named[corpus.name] = row
flat = speaker_probe(nemo, ("audio",), standardise_by_speaker)
named[REAL] = {"raw": speaker_probe(nemo, ("audio",)), "standardised by speaker": flat}
recognised = pd.DataFrame(named).T
recognised.round(1)

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb01_data import speaker_findings

assert (recognised["raw"] > recognised["standardised by speaker"]).all()
lessons.listed(speaker_findings(recognised))

# %% [markdown]
# ## Fig. 1 from data
#
# The paper opens with a drawing of an introvert and an extrovert. This figure shows two speakers of the corpus instead: the two with the most utterances, and their most frequent emotions. The axes are linear discriminants, the two directions that best separate emotions; their unit is a standard deviation within an emotion (sd). The large marks are what matters: a speaker's mean of an emotion. Lines join the same emotion of the two speakers. **Predict:** does calibration bring the two speakers' means of an emotion nearer to each other, and by how much?

# %% tags=["nbval-ignore-output"]
from mlsan.evaluation.heterogeneity import training_features

benchmark, corpus = next(iter(study.corpora.items()))
modality = next(m for m in ("audio", "visual", "text") if m in corpus.modalities)
raw = training_features(corpus, modality)
speaker = np.array([name for d in corpus.train for name in speaker_names(corpus, d)])
spaces = {f"raw {modality}": raw, "standardised by speaker": standardise_by_speaker(raw, speaker)}
if corpus.simulated:
    spaces["style removed exactly"] = training_features(study.oracle(benchmark), modality)

# %% tags=["nbval-ignore-output"]
from mlsan.evaluation.heterogeneity import emotion_plane, leading_speakers, speaker_gap
from mlsan.report.nb01_data import heterogeneity_figure

plane = emotion_plane(spaces, corpus, leading_speakers(corpus, 2))
gap = speaker_gap(plane)
figure1 = heterogeneity_figure(plane, gap, corpus.declaration.emotions)

# %% tags=["nbval-ignore-output"]
note = f"{corpus.name}, {modality} features."
display(Markdown(study.save_figure(figure1, plane, "fig1_heterogeneity", note=note)))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb01_data import gap_findings

calibrated = gap.drop(f"raw {modality}")
assert (
    (calibrated < gap[f"raw {modality}"]).all() or study.profile == "smoke" or not study.simulated
)
lessons.listed(gap_findings(gap, corpus.name))

# %% [markdown]
# ## What we learned
#
# - A corpus is a set of dialogues; each utterance has a label and a speaker. *Role* and *identity* are different: a role is a place in one dialogue, an identity is a person.
# - The findings above say how many points a linear probe gains when the style is removed. On simulated data the oracle gains by construction, because the style is $g z + c$; on real data any gain is a finding.
# - Standardising each speaker's features needs no labels and no training, and afterwards a linear probe can hardly recognise the speaker. Any speaker-adaptive model has to be compared with it; Table 1 in notebook 3 does so.
#
# ## What would change our mind
#
# - *Style obscures emotion.* If standardising by speaker gained nothing on features in which the speaker has a large share, style and emotion would lie in different directions, and nothing would be left for FiLM to do.
# - *A scale and a shift are enough.* If a probe with a hidden layer still recognised the speaker in standardised features, the speaker would be removed for linear classifiers only. Notebook 6 looks at this.
# - *The simulation is like real voices.* It was matched to nEMO in the variance that speakers and emotions explain, and its gains differ more than nEMO's. A corpus in which speakers differ in what they express, rather than in gain and shift, would need other methods.
#
# ## Further reading
#
# - Poria et al., *MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations*, ACL 2019.
# - Busso et al., *IEMOCAP: Interactive Emotional Dyadic Motion Capture Database*, Language Resources and Evaluation 42, 2008.
# - Christop, *nEMO: Dataset of Emotional Speech in Polish*, LREC-COLING 2024.
# - Eyben et al., *The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective Computing*, IEEE Transactions on Affective Computing 7(2), 2016.
# - Busso, Mariooryad, Metallinou and Narayanan, *Iterative Feature Normalization Scheme for Automatic Emotion Detection from Speech*, IEEE Transactions on Affective Computing 4(4), 2013.
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
