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
# # 8 · Audit: how much of the score is in the features?
#
# **Question.** Published text features come from a language model that was itself trained on emotions in these corpora. How much of a model's score is already in these features?
#
# **Produces.** No files: three small tables, shown only here.
#
# **Needs.** A corpus with text features, and the finished runs of Table 1 if there are any; it trains none. Optionally `emoberta-train.json` in the data folder: `utterance-ordered-MELD_IEMOCAP.json` of [tae898/erc](https://github.com/tae898/erc).
#
# **Time.** smoke: seconds · small: seconds, about a minute for `meld-text` · paper: some minutes.

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

import numpy as np
import pandas as pd

from mlsan.corpus import catalogue
from mlsan.evaluation import score_predictions
from mlsan.evaluation.audit import EMOBERTA_LIST, read_emoberta_list, text_audit
from mlsan.report.nb08_audit import by_exposure, duplicates, probe_and_models
from mlsan.report.tables import TEXT_PROBE

# %% [markdown]
# ## A linear probe against the whole model
#
# The probe is a logistic regression on the text features of one utterance: no context, no speaker, no audio, no video. Its score is what the features contain without any model of the conversation. A model's contribution is its difference to the probe.
#
# **Predict:** on MELD, ML-SAN's published weighted F1 is 67.73. What would a linear probe on the published text features score?

# %%
probed = {
    benchmark: text_audit(corpus)
    for benchmark, corpus in study.corpora.items()
    if "text" in corpus.sizes
}
missing = sorted(set(study.corpora) - set(probed))
print(f"no text features: {missing}" if missing else "all corpora have text features")

# %% tags=["nbval-ignore-output"]
runs = study.finished(study.plan("main"))
print(f"{len(runs)} finished runs of Table 1")
against = probe_and_models(probed, runs) if probed else pd.DataFrame()
against.round(2)

# %%
for benchmark, audit in probed.items():
    row = against[(against["benchmark"] == benchmark) & (against["system"] == TEXT_PROBE)].iloc[0]
    assert row["above probe"] == 0
    label = audit["label"].to_numpy()
    constant = np.full_like(label, np.bincount(label).argmax())
    assert row["wf1"] > score_predictions(label, constant)["wf1"]
    print(f"{benchmark}: the probe beats the most frequent emotion")

# %% [markdown]
# If the probe is close to the models, the table ranks text features more than models. On simulated corpora, how much the text reveals is a setting of the simulator, so this difference is not a finding there.
#
# ## The same words in training and in test
#
# *"Yeah."*, *"Hey!"*, *"Oh my God!"*: short lines recur. If the features are computed one utterance at a time, the same words have the same features. Features computed with context, as EmoBERTa's can be, differ even for the same words.

# %% tags=["nbval-ignore-output"]
repeated = pd.DataFrame({name: duplicates(audit) for name, audit in probed.items()}).T
repeated.round(1)

# %%
for name, audit in probed.items():
    assert (audit["duplicate"] | ~audit["same_label"]).all()
    corpus = study.corpora[name]
    train = {row.tobytes() for d in corpus.train for row in d.feature["text"]}
    again = [row.tobytes() in train for d in corpus.test for row in d.feature["text"]]
    assert again == audit["duplicate"].tolist()
print("the repeated texts are those whose features also occur in training")

# %% [markdown]
# ## Did the feature extractor train on the test set?
#
# One public EmoBERTa was trained on a mixture of MELD and IEMOCAP that did not hold out the official test split: its list of training dialogues contains 249 of MELD's 280 test dialogues. Whether the published features come from this model is not known. If they do, the probe should score higher on the 249 dialogues than on the 31 others.

# %% tags=["nbval-ignore-output"]
folder = Path(DATA) if DATA else catalogue.DATA / CORPUS
seen = read_emoberta_list(folder / EMOBERTA_LIST)
real = "MELD" in probed and not study.corpora["MELD"].simulated
exposure = by_exposure(probed["MELD"], seen) if seen and real else None
if exposure is None:
    print(f"skipped: this needs MELD's own dialogues and {EMOBERTA_LIST} in the data folder")
exposure if exposure is None else exposure.round(1)

# %% [markdown]
# With 31 dialogues on one side, a difference of a few points is noise. Features that were computed without labels, such as those of `meld-text`, show how large the difference can be by chance.
#
# ## What we learned
#
# - A score depends on the features and the model together; the probe shows what the features contribute.
# - Repeated lines link training and test; they can be counted and left out.
# - The training list of a feature extractor is part of the protocol. If it is unknown, say so next to the score.
#
# ## Exercises
#
# 1. Fit the probe on audio and on visual features instead of text. Which modality would you drop first?
# 2. Leave the repeated test utterances out of Table 1. Does the ranking of the systems change?
# 3. How many dialogues would the smaller side need for a difference of 3 points to be significant? Draw 31 of the 280 at random, a thousand times.
#
# <details><summary>Solutions</summary>
#
# 1. `emotion_probe(corpus, ("audio",))` of `mlsan.evaluation.heterogeneity`; compare it with `("visual",)`.
# 2. `study.result(run).predictions` has one row per test utterance in the order of the audit: keep those where `audit["duplicate"]` is false and score them with `mlsan.evaluation.score_predictions`.
# 3. The standard deviation of the thousand scores is the effect of chance on 31 dialogues; it falls with the square root of their number.
#
# </details>
