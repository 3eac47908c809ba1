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
# # 1 · Data: whose voice is this?
#
# **Question.** What does a conversation look like to a model, and how much do speakers differ in the way they show the same emotion?
#
# **Produces.** Table 0 (`table0_corpora`) and Fig. 1 as data (`fig1_heterogeneity`).
#
# **Needs.** A corpus: the embedded simulated one, or feature files on disk (`CORPUS=multiemo DATA=DIR`).
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
from mlsan.evaluation.heterogeneity import (
    emotion_plane,
    emotion_probe,
    leading_speakers,
    repetition,
    speaker_gap,
    speaker_names,
    standardise_by_speaker,
    training_features,
)
from mlsan.report import use_style
from mlsan.report.figures import heterogeneity
from mlsan.report.tables import corpora_table
from mlsan.vocabulary import EMOTIONS, PARTIES

use_style()

# %% [markdown]
# ## Two benchmarks, one layout
#
# MELD is cut from the series *Friends*: many short scenes, many speakers, six of whom do most of the talking. IEMOCAP is ten actors in pairs, five sessions, long dialogues. Published feature files number the emotions like this:

# %%
for benchmark, emotions in EMOTIONS.items():
    print(f"{benchmark}, up to {PARTIES[benchmark]} parties:", dict(enumerate(emotions)))

# %% [markdown]
# Both are read from the same on-disk layout, MultiEMO's: four pickles with speakers, labels and one block of features for each dialogue and modality. Pickles can run code when they are opened, so ours are read by an unpickler that knows numbers, containers and arrays and refuses the rest by name.
#
# **Predict:** in which of the two corpora will the test set be full of strangers, people who never speak in training?

# %% tags=["nbval-ignore-output"]
table0 = corpora_table(study.corpora)
display(Markdown(study.save_table(table0, "table0_corpora", note=study.caveats)))

# %% [markdown]
# IEMOCAP's test session has two actors of its own: **every** test utterance comes from somebody the model has never met. Whatever a model learned about a speaker by name is of no use there. Keep this in mind for every IEMOCAP number that follows.
#
# Check that the splits share no dialogue, and that every label has a name:

# %%
for benchmark, corpus in study.corpora.items():
    ids = [d.id for d in corpus.train + corpus.dev + corpus.test]
    assert len(ids) == len(set(ids)), f"{benchmark}: a dialogue is in two splits"
    labels = np.concatenate([d.label for d in corpus.train + corpus.dev + corpus.test])
    assert set(labels) <= set(range(len(EMOTIONS[benchmark])))
    assert all(np.isfinite(x).all() for d in corpus.test for x in d.feature.values())
print("splits are disjoint, labels are named, features are finite")

# %% [markdown]
# ## One conversation
#
# Each utterance has a *party* (its speaker's place in this dialogue), and, where the corpus names its speakers, an *identity*. The published MELD files carry only the party: party 0 is whoever speaks first, another person in each scene. ML-SAN's premise is about people, so the difference matters; it is one of the options that the paper leaves open.

# %% tags=["nbval-ignore-output"]
corpus = next(iter(study.corpora.values()))
dialogue = next(d for d in corpus.dev if len(d) >= 6)
pd.DataFrame(
    {
        "party": dialogue.party,
        "speaker": speaker_names(corpus, dialogue),
        "emotion": np.array(EMOTIONS[corpus.benchmark])[dialogue.label],
    }
).head(8)

# %% [markdown]
# A model is told of a speaker by an integer. Entry 0 is the *unknown* speaker, shared by all who are rare or absent in training.

# %%
code = SpeakerCode.fit("role", corpus, min_utterances=1, seed=0)
batch = collate(corpus.dev[:3], code.encode(corpus.dev[:3]))
turns, dialogues = batch.mask.shape
assert turns == max(map(len, corpus.dev[:3]))
assert dialogues == 3
assert (batch.label[~batch.mask] == -1).all()
assert (batch.speaker[batch.mask] == batch.party[batch.mask] + 1).all()
print("a batch is padded to its longest dialogue; padding has label -1, roles start at entry 1")

# %% [markdown]
# ## How long does an emotion last?
#
# If a speaker's next emotion is often the last one, context helps. The table compares how often an emotion repeats with how often it would if turns were shuffled.


# %% tags=["nbval-ignore-output"]
pd.DataFrame({name: repetition(corpus) for name, corpus in study.corpora.items()}).T.round(3)

# %% [markdown]
# ## How much does style hide?
#
# A linear probe reads emotions off the features alone, with no context and no speaker. On simulated corpora the true style of each speaker is known and can be undone exactly (*oracle*); on any corpus, style can be undone roughly by standardising each speaker's own features: Eq. 2 with $\gamma = 1/\sigma$ and $\beta = -\mu/\sigma$.
#
# **Predict:** which of the three columns will be highest, and by how much?

# %% tags=["nbval-ignore-output"]
rows = {}
for benchmark, corpus in study.corpora.items():
    every = corpus.modalities
    row = {"text alone": emotion_probe(corpus, ("text",)), "all, raw": emotion_probe(corpus, every)}
    row["all, standardised by speaker"] = emotion_probe(corpus, every, standardise_by_speaker)
    if corpus.simulated:
        row["all, oracle"] = emotion_probe(study.oracle(benchmark), every)
    rows[benchmark] = row
probes = pd.DataFrame(rows).T.round(1)
probes

# %% tags=["nbval-ignore-output"]
if study.simulated and PROFILE != "smoke":
    gain = probes["all, oracle"] - probes["all, raw"]
    assert (gain > 4).all(), f"style should cost a linear probe several points, found {gain}"
    print("undoing style exactly is worth", gain.round(1).to_dict(), "points of W-F1")
else:
    print("no oracle to compare with at this size or on this corpus")

# %% [markdown]
# ## Fig. 1 as data
#
# The paper opens with a drawing of an introvert and an extrovert. Here are two real (or simulated) people instead: the two who speak most, their most frequent emotions, in the plane that separates emotions best. Lines join the same emotion of the two.

# %% tags=["nbval-ignore-output"]
benchmark, corpus = next(iter(study.corpora.items()))
modality = next(m for m in ("audio", "visual", "text") if m in corpus.modalities)
raw = training_features(corpus, modality)
speaker = np.array([name for d in corpus.train for name in speaker_names(corpus, d)])
spaces = {f"raw {modality}": raw, "standardised by speaker": standardise_by_speaker(raw, speaker)}
if corpus.simulated:
    spaces["style undone exactly"] = training_features(study.oracle(benchmark), modality)
plane = emotion_plane(spaces, corpus, leading_speakers(corpus, 2))
gap = speaker_gap(plane)
figure1 = heterogeneity(plane, gap)

# %% tags=["nbval-ignore-output"]
note = f"{benchmark}, {modality} features."
display(Markdown(study.save_figure(figure1, plane, "fig1_heterogeneity", note=note)))

# %% tags=["nbval-ignore-output"]
calibrated = gap.drop(f"raw {modality}")
assert (calibrated < gap[f"raw {modality}"]).all() or PROFILE == "smoke" or not study.simulated
print("distance of the two speakers' same emotions:", gap.round(2).to_dict())

# %% [markdown]
# ## What we learned
#
# - A corpus is dialogues of labelled utterances with a speaker each; one reader takes all of them.
# - *Role* and *identity* are different things, and IEMOCAP's test speakers are all unknown.
# - The tables above say how much of the emotion a straight line can read, and what undoing style adds *on this corpus*. On simulated data that is so by construction; on real data it is a finding.
#
# ## Exercises
#
# 1. Which emotion has the fewest test utterances, and by how many points can weighted F1 change if all of them are missed?
# 2. Standardisation needs no labels, so it can be applied to the test speakers. Why is it nevertheless no use to a speaker with one utterance?
# 3. Give each speaker the *mean* only (β, no γ). How much of the gain is left?
#
# <details><summary>Solutions</summary>
#
# 1. Read the smallest `label` row of Table 0. Weighted F1 weighs a class by its support, so missing a class with share $s$ costs at most $100\,s$ points: for fear in MELD, 50 of 2,610 utterances, under 2 points. This is why weighted F1 hides the tail.
# 2. With one utterance $\mu$ is that utterance: standardising maps it to zero and its emotion is gone. A speaker with few utterances should be shrunk towards the population.
# 3. `emotion_probe(corpus, every, lambda x, s: x - pd.DataFrame(x).groupby(s).transform("mean").to_numpy())`
#
# </details>
