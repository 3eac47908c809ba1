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
# # 8 · Audit: how much of it is the features?
#
# **Question.** Published text features come from a language model that was itself trained on emotions in these corpora. How much of a model's score is already in them?
#
# **Produces.** Nothing that the paper prints: three small tables, shown here only.
#
# **Needs.** A corpus with text features, and the finished runs of Table 1, where there are any; it trains none. Optionally `emoberta-train.json` in the data folder: `utterance-ordered-MELD_IEMOCAP.json` of [tae898/erc](https://github.com/tae898/erc).
#
# **Time.** smoke: seconds · small: seconds; about a minute for `meld-text` · paper: some minutes.

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
study = open_study("08_audit", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
from pathlib import Path

import pandas as pd

from mlsan.corpus import catalogue
from mlsan.evaluation.audit import (
    EMOBERTA_LIST,
    by_exposure,
    duplicates,
    probe_and_models,
    read_emoberta_list,
    text_audit,
)

# %% [markdown]
# ## A straight line against the whole model
#
# The probe is a logistic regression on one utterance's text features: no context, no speaker, no voice, no face. Whatever it scores was there before the model began. What a model adds is its distance from the probe.
#
# **Predict:** on MELD, ML-SAN's published weighted F1 is 67.73. What would a linear probe on the published text features score?

# %%
probed = {
    benchmark: text_audit(corpus)
    for benchmark, corpus in study.corpora.items()
    if "text" in corpus.sizes
}
missing = sorted(set(study.corpora) - set(probed))
print(f"no text features: {missing}" if missing else "every corpus here has text features")

# %% tags=["nbval-ignore-output"]
runs = study.finished(study.plan("main"))
print(f"{len(runs)} finished runs of Table 1")
against = probe_and_models(probed, runs) if probed else pd.DataFrame()
against.round(2)

# %% [markdown]
# A probe near the models says that the table ranks text features more than models. On simulated corpora how much the text carries is a setting of the simulator, so there the distance is no finding.
#
# ## The same words in training and in test
#
# *"Yeah."*, *"Hey!"*, *"Oh my God!"*: short lines recur. Where the features are made utterance by utterance, the same words have the same row. Features with context, as EmoBERTa's can be, differ even for the same words.

# %% tags=["nbval-ignore-output"]
repeated = pd.DataFrame({name: duplicates(audit) for name, audit in probed.items()}).T
repeated.round(1)

# %%
for audit in probed.values():
    assert (audit["duplicate"] | ~audit["same_label"]).all()
    assert len(audit) == sum(len(part) for _, part in audit.groupby("duplicate"))
print("every repeated label belongs to a repeated text")

# %% [markdown]
# ## Had the extractor seen the test?
#
# One public EmoBERTa was trained on a mixture of MELD and IEMOCAP in which the official test split was not held out: its list of training dialogues has 249 of MELD's 280 test dialogues. Whether the published features come from that model is not known. If they do, the probe should do better on the 249 than on the 31 that were left out.

# %% tags=["nbval-ignore-output"]
folder = Path(DATA) if DATA else catalogue.DATA / CORPUS
seen = read_emoberta_list(folder / EMOBERTA_LIST)
real = "MELD" in probed and not study.corpora["MELD"].simulated
exposure = by_exposure(probed["MELD"], seen) if seen and real else None
if exposure is None:
    print(f"skipped: needs MELD's own dialogues and {EMOBERTA_LIST} in the data folder")
exposure if exposure is None else exposure.round(1)

# %% [markdown]
# With 31 dialogues on one side, a difference of a few points is noise; features that never saw a label, such as those of `meld-text`, show how large it can be by chance.
#
# ## What we learned
#
# - A score belongs to features and model together; the probe says what the features bring.
# - Repeated lines link training and test, and they can be counted and left out.
# - An extractor's training list is part of a protocol. Where it is unknown, this should be said next to the number.
#
# ## Exercises
#
# 1. Fit the probe on audio and on visual features instead of text. Which modality would you drop first?
# 2. Leave the repeated test utterances out of Table 1. Does the order of the systems change?
# 3. How many dialogues would the smaller side need for a difference of 3 points to stand out? Draw 31 of the 280 at random, a thousand times.
#
# <details><summary>Solutions</summary>
#
# 1. `emotion_probe(corpus, ("audio",))` of `mlsan.evaluation.heterogeneity`; compare it with `("visual",)`.
# 2. `study.result(run).predictions` has one row a test utterance in the audit's order: keep those where `audit["duplicate"]` is false and score them with `mlsan.evaluation.scores`.
# 3. The standard deviation of the thousand scores is what chance does to 31 dialogues; it shrinks with the square root of their number.
#
# </details>
