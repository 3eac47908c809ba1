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
# `make exercises` writes them as a notebook, `exercises/08_audit.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **The same words in training.** "Yeah." occurs in training and in test, with the very same text features. Write which test utterances have a row that is, bit for bit, a row of training. There are 10,000 × 2,600 pairs in MELD with hundreds of features each, so do not compare all pairs.
#
# 2. **The linear probe itself.** A probe is a logistic regression. Write the objective that scikit-learn minimises for weights $W$, offsets $b$ and strength $C$: $\frac12 \lVert W \rVert^2 + C \sum_i -\log p_i$, where $p_i$ is the probability, by the softmax of $W x_i + b$, of the true class. The offsets are not penalised. The code below minimises it.
#
# 3. **How large must a test set be?** MELD has 280 test dialogues, IEMOCAP 31. Write the standard deviation of a system's weighted F1 over test sets of `size` dialogues, drawn with replacement from the given ones. Predict by what factor it grows from 280 to 31 dialogues.
#
# <details><summary>Solutions</summary>
#
# 1. A set of the rows' bytes makes it one look-up per test utterance. A repeated utterance is not a mistake of the corpus, people do say "Yeah."; but a model can remember its label, so report the score without repeated utterances too: the rows of `study.result(run).predictions` whose split is test are in the order of `text_audit`.
#
#    ```python
#    def occurs_in_training(train, test):
#        """Whether each row of test [utterance, feature] is a row of train."""
#        known = {row.tobytes() for row in train}
#        return np.array([row.tobytes() in known for row in test])
#    ```
#
# 2. $C$ multiplies a *sum*, so the same $C$ penalises less in a larger corpus. The probe has no context and no speaker: what it scores was in the features before any model of conversation was trained.
#
#    ```python
#    def objective(weight, bias, x, y, strength):
#        """One number, from weight [class, feature], bias [class], x [utterance, feature] and y."""
#        logits = x @ weight.T + bias
#        return 0.5 * weight.square().sum() + strength * torch.nn.functional.cross_entropy(
#            logits, y, reduction="sum"
#        )
#    ```
#
# 3. By $\sqrt{280/31} = 3.0$: it falls with the square root of the number of dialogues. For a single system 1.96 of these standard deviations are half of a 95 % interval. A difference of two systems varies less, since both are tested on the same dialogues (exercise 1 of notebook 4).
#
#    ```python
#    def spread(counts, size, times, generator):
#        """Standard deviation of the score; counts are [dialogue, true, predicted]."""
#        scores = []
#        for _ in range(times):
#            drawn = generator.integers(len(counts), size=size)
#            scores.append(weighted_f1(counts[drawn].sum(axis=0)))
#        return np.std(scores)
#    ```
#
# </details>
