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
# **Question.** What is each of FiLM, gate and auxiliary loss worth, alone and with the others, and is it the *speaker* that helps?
#
# **Produces.** Table 2 (`table2_ablation`) and Table 2 with all cells and controls (`table2_factorial`).
#
# **Needs.** The corpus of notebook 1. Trains all eight on/off cells and the controls over a few seeds (profile *paper*: all), or reuses finished runs.
#
# **Time.** smoke: seconds · small: 4–5 minutes on two cores the first time · paper: a GPU is advised.

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
study = open_study("04_ablations", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.evaluation.counts import gathered
from mlsan.report import SYSTEM, use_style
from mlsan.report.comparisons import factorial_table
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
# On IEMOCAP every ablation falls *below* MultiEMO: any two parts together hurt, all three together help. Parts that only work as a set are possible, but one-out ablations cannot show it; for that one needs all eight on/off cells.
#
# ## Our runs

# %% tags=["nbval-ignore-output"]
cells = study.sweep(study.plan("ablation"))
cells[["benchmark", "system", "speaker", "seed", "status", "test_wf1"]].round(2)

# %% [markdown]
# ## Table 2
#
# Δ is paired by seed: the variant minus the full model under the same seed, the same initial backbone and the same order of dialogues. The interval is Student's, over seeds.

# %% tags=["nbval-ignore-output"]
one_out = cells[cells["system"].isin(TABLE2)]
table2 = ablation_table(one_out)
text = study.save_table(table2, "table2_ablation", one_out["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
figure, axes = plt.subplots(1, len(study.corpora), figsize=(7, 2.4), squeeze=False)
for axis, (benchmark, part) in zip(axes[0], cells.groupby("benchmark", sort=False), strict=True):
    for place, (system, runs) in enumerate(part.groupby("system", sort=False)):
        axis.plot(
            runs["test_wf1"], [place] * len(runs), "o", color=SYSTEM.get(system, "0.4"), alpha=0.7
        )
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
# ## All eight cells, and controls
#
# With every combination trained, a part's **main effect** is the mean over the four pairs of cells that differ in it alone. An interaction says how much more a part adds where another is on.
#
# The controls ask whether it matters *who* is told. `role` is a place in the dialogue, `shuffled` deals the identities out to random utterances, `constant` makes everybody the same person. **Predict:** if shuffled does as well as identity, where does a gain come from?

# %% tags=["nbval-ignore-output"]
controls = study.sweep(study.plan("controls"))
runs = pd.concat([cells, controls]).drop_duplicates("run")
counts = gathered(runs, study.predictions, ["film", "gate", "aux", "speaker"])
factorial = factorial_table(counts, np.random.default_rng(0))
text = study.save_table(factorial, "table2_factorial", runs["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
effects = factorial.data[factorial.data["kind"] == "effect"]
assert (effects.groupby("benchmark").size() == 7).all()
clear = effects[(effects["low"] > 0) | (effects["high"] < 0)]
lines = [
    f"- {row.benchmark}: {row.system} {row.delta:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    for row in clear.itertuples()
]
display(Markdown("Effects whose interval excludes 0:\n\n" + ("\n".join(lines) or "- none")))

# %% tags=["nbval-ignore-output"]
told = factorial.data[factorial.data["kind"] == "control"]
lines = []
for row in told.itertuples():
    word = "cannot be told from" if row.low <= 0 <= row.high else "differs from"
    lines.append(
        f"- {row.benchmark}: {row.system} {word} {row.reference.split()[-1]}, "
        f"{row.delta:+.2f} [{row.low:+.2f}, {row.high:+.2f}]."
    )
assert len(lines) == len(told)
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## What we learned
#
# - A drop in a one-out table is a part's worth *given the other two*. The effects above are its worth over all settings of the others.
# - Where `shuffled` or `constant` cannot be told from the real speaker, what ML-SAN gains or loses is capacity or regularisation, not knowledge of who speaks. The lines above say where that is so.
# - Where the lists say "none", this many seeds cannot tell a part's worth from noise, and neither could a table without intervals.
#
# ## Exercises
#
# 1. Recompute the main effect of FiLM by hand from `cells`: `groupby(["benchmark", "film"])["test_wf1"].mean()`. Why is its interval smaller than that of a single cell's difference?
# 2. Three seeds, standard deviation $s$: how large must the mean paired difference be for a Student 95 % interval that excludes 0?
# 3. The paper's standard deviations are 0.03 to 0.13. Compare with ours. What would make ours larger?
#
# <details><summary>Solutions</summary>
#
# 1. The difference of the two means; it averages over four pairs of cells, so noise that cells do not share averages out.
# 2. $t_{0.975,2}\,s/\sqrt3 = 4.30\,s/1.73 = 2.48\,s$.
# 3. Smaller test sets, fewer training dialogues, and selection on dev instead of on test: the maximum over epochs of the test score varies less than the test score of an epoch that something else chose.
#
# </details>
