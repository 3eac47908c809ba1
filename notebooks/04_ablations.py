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
# # 4 · Ablations: what is each part worth?
#
# **Question.** If one of FiLM, gate and auxiliary loss is left out, how much of ML-SAN's score goes with it?
#
# **Produces.** Table 2 (`table2_ablation`).
#
# **Needs.** The corpus of notebook 1. Trains ML-SAN and its three one-out variants over all seeds, or reuses finished runs.
#
# **Time.** smoke: seconds · small: 2–4 minutes on two cores the first time · paper: a GPU is advised.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")

# %%
from mlsan.study import check_parameters, open_study

check_parameters(globals())
study = open_study("04_ablations", PROFILE, CORPUS, DATA, JOBS)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.report import SYSTEM, use_style
from mlsan.report.paper import TABLE1, TABLE2, TABLE2_DELTA
from mlsan.report.tables import ablation_table

use_style()

# %% [markdown]
# ## What the paper prints
#
# The paper leaves out one part at a time and reports the drop. Check its arithmetic first:

# %%
for system, deltas in TABLE2_DELTA.items():
    for benchmark, printed in deltas.items():
        drop = TABLE2[system][benchmark].mean - TABLE2["ML-SAN"][benchmark].mean
        assert np.isclose(drop, printed, atol=0.011), (system, benchmark, drop, printed)
print("the printed differences are the differences of the printed scores")

# %% [markdown]
# Now compare each ablation with the plain baseline. **Predict:** ML-SAN with two of its three parts should be at least as good as MultiEMO with none. Is it, in the paper?

# %%
base = {b: TABLE1["MultiEMO"][b].mean for b in ("MELD", "IEMOCAP")}
gains = pd.DataFrame(
    {s: {b: TABLE2[s][b].mean - base[b] for b in base} for s in TABLE2 if s != "ML-SAN"}
).T.round(2)
assert (gains["IEMOCAP"] < 0).all()
assert (gains["MELD"] > 0).all()
gains

# %% [markdown]
# On IEMOCAP every ablation falls *below* MultiEMO: any two parts together hurt, all three together help. Parts that only work as a set are possible, but one-out ablations cannot show it; for that one needs all eight on/off cells (exercise 1).
#
# ## Our runs

# %% tags=["nbval-ignore-output"]
table = study.sweep(study.plan("ablation"))
table[["benchmark", "system", "speaker", "seed", "status", "test_wf1"]].round(2)

# %% [markdown]
# ## Table 2
#
# Δ is paired by seed: the variant minus the full model under the same seed, the same initial backbone and the same order of dialogues. The interval is Student's, over seeds.

# %% tags=["nbval-ignore-output"]
table2 = ablation_table(table)
text = study.save_table(table2, "table2_ablation", table["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
figure, axes = plt.subplots(1, len(study.corpora), figsize=(7, 2), squeeze=False)
for axis, (benchmark, part) in zip(axes[0], table.groupby("benchmark", sort=False), strict=True):
    for place, (system, runs) in enumerate(part.groupby("system", sort=False)):
        axis.plot(runs["test_wf1"], [place] * len(runs), "o", color=SYSTEM[system], alpha=0.7)
        axis.plot(runs["test_wf1"].mean(), place, "|", markersize=16, color="black")
    axis.set_yticks(range(part["system"].nunique()), part["system"].unique())
    axis.invert_yaxis()
    axis.set(title=benchmark, xlabel="W-F1 (%), one dot a seed")

# %% tags=["nbval-ignore-output"]
out = table2.data[table2.data["system"] != "ML-SAN"]
needed = out[out["delta_high"] < 0]
harmful = out[out["delta_low"] > 0]
assert len(out) == 3 * len(study.corpora)
names = {
    word: ", ".join(part["system"] + " on " + part["benchmark"]) or "none"
    for word, part in (("lower than the full model", needed), ("higher", harmful))
}
display(
    Markdown("\n".join(f"- Intervals wholly {word}: {which}." for word, which in names.items()))
)

# %% [markdown]
# ## What we learned
#
# - The list above says which parts, left out alone, change the score by more than seeds do. Where it says "none", this experiment cannot tell the part's worth from noise, and neither could a table without intervals.
# - A drop in a one-out table is a part's worth *given the other two*.
#
# ## Exercises
#
# 1. Run all $2^3$ cells on one benchmark and estimate the main effect of FiLM: the mean over the four pairs of cells that differ in FiLM only.
# 2. Three seeds, standard deviation $s$: how large must the mean paired difference be for a 95 % interval that excludes 0?
# 3. The paper's standard deviations are 0.03 to 0.13. Compare with ours. What would make ours larger?
#
# <details><summary>Solutions</summary>
#
# 1. `study.sweep([study.config("MELD", "ML-SAN", s, film=f, gate=g, aux=a) for s in study.seeds for f in (True, False) for g in (True, False) for a in (True, False)])`, then `groupby("film")["test_wf1"].mean()`.
# 2. $t_{0.975,2}\,s/\sqrt3 = 4.30\,s/1.73 = 2.48\,s$.
# 3. Smaller test sets, fewer training dialogues, and selection on dev instead of on test: the maximum over epochs of the test score varies less than the test score of an epoch that something else chose.
#
# </details>
