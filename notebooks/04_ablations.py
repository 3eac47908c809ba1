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
# # 4 · Ablations: what does each part contribute?
#
# **Question.** What does each of FiLM, gate and auxiliary loss contribute, alone and together with the others, and is it the *speaker* that helps?
#
# **Produces.** Table 2 (`table2_ablation`), Table 2 with all cells and controls (`table2_factorial`), Fig. 13 (`fig13_ablation`) and Fig. 14 (`fig14_effects`).
#
# **Needs.** The corpus of notebook 1. Trains all eight on/off cells and the controls with a few seeds (profile *paper*: all seeds), or reuses finished runs.
#
# **Time.** smoke: seconds · small: 4 to 5 minutes on two cores the first time · paper: a GPU is recommended.

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
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.evaluation.counts import gathered
from mlsan.report import use_style
from mlsan.report.nb04_ablations import (
    ablation_figure,
    ablation_points,
    ablation_table,
    effects_figure,
    factorial_table,
)
from mlsan.report.paper import TABLE1, TABLE2, TABLE2_DELTA

use_style()

# %% [markdown]
# ## What the paper reports
#
# The paper leaves out one part at a time and reports the drop. Check its arithmetic first:

# %%
for system, deltas in TABLE2_DELTA.items():
    for benchmark, printed in deltas.items():
        drop = TABLE2[system][benchmark].mean - TABLE2["ML-SAN"][benchmark].mean
        assert np.isclose(drop, printed, atol=0.011), (system, benchmark, drop, printed)
print("the printed differences are the differences of the printed scores")

# %% [markdown]
# Now compare each ablation with the plain baseline. **Predict:** in the paper, is ML-SAN with two of its three parts at least as good as MultiEMO, which has none?

# %%
base = {b: TABLE1["MultiEMO"][b].mean for b in ("MELD", "IEMOCAP")}
gains = pd.DataFrame(
    {s: {b: TABLE2[s][b].mean - base[b] for b in base} for s in TABLE2 if s != "ML-SAN"}
).T.round(2)
assert (gains["IEMOCAP"] < 0).all()
assert (gains["MELD"] > 0).all()
gains

# %% [markdown]
# On IEMOCAP every ablation scores *below* MultiEMO: any two parts together hurt, all three together help. It is possible that the parts work only as a set, but leaving out one part at a time cannot show this. It takes all eight on/off cells.
#
# ## Our runs

# %% tags=["nbval-ignore-output"]
cells = study.sweep(study.plan("ablation"))
cells[["corpus", "system", "speaker", "seed", "status", "test_wf1"]].round(2)

# %%
failed = (cells["status"] == "failed").sum()
for corpus, part in cells.groupby("corpus", sort=False):
    assert len(part[["film", "gate", "aux"]].drop_duplicates()) == 8
    print(f"{corpus}: 8 cells: {', '.join(part['system'].unique())}")
print(f"{failed} runs failed")

# %% [markdown]
# ## Table 2
#
# Δ is paired: the variant minus the full model with the same seeds, the same initial backbones and the same test dialogues. The interval is that of every table.
#
# Where test speakers are strangers, what a part contributes depends on what is known about them. Table 2 is evaluated with strangers *enrolled* from all of their unlabelled test utterances; the table with all cells has the same runs with strangers not enrolled as well. Cells without FiLM read no styles, so enrolment does not change them.

# %% tags=["nbval-ignore-output"]
plan = study.plan("ablation", "controls")
enrolled = study.reader(plan, "all")
one_out = cells[cells["system"].isin(TABLE2)]
table2 = ablation_table(one_out, gathered(one_out, enrolled, study.emotions))
text = study.save_table(table2, "table2_ablation", one_out, study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
all_cells = gathered(cells, enrolled, study.emotions)
scores = study.labelled(ablation_points(all_cells))
figure13 = ablation_figure(scores)

# %% tags=["nbval-ignore-output"]
display(Markdown(study.save_figure(figure13, scores, "fig13_ablation", cells, study.caveats)))

# %% tags=["nbval-ignore-output"]
out = table2.data[table2.data["system"] != "ML-SAN"]
lower, higher = out[out["delta_high"] < 0], out[out["delta_low"] > 0]
for word, part in (("below", lower), ("above", higher)):
    names = ", ".join(part["system"] + " on " + part["corpus"]) or "none"
    print(f"Δ {word} zero, interval excludes zero: {names}")

# %%
full = table2.data[table2.data["system"] == "ML-SAN"].set_index("benchmark")["wf1_mean"]
difference = out["wf1_mean"] - out["benchmark"].map(full)
assert len(out) == 3 * len(study.corpora)
assert np.allclose(difference, out["delta"].astype(float))
print("Δ is the difference of the means, for", ", ".join(out["system"].unique()))

# %% [markdown]
# ## All eight cells, and controls
#
# With every combination trained, the **main effect** of a part is its mean effect over the four pairs of cells that differ in this part alone. An interaction is how much more a part adds when another part is on.
#
# The controls test whether it matters *who* is speaking, for the statistics that FiLM starts from as well as for the embedding. `role` is the speaker's place in the dialogue, `shuffled` assigns the speakers to utterances at random, so that all statistics are nearly the same, and `constant` gives all utterances the same speaker. **Predict:** if shuffled does as well as identity, where does a gain come from?

# %% tags=["nbval-ignore-output"]
controls = study.sweep(study.plan("controls"))
runs = pd.concat([cells, controls]).drop_duplicates("run")
keys = ["film", "gate", "aux", "speaker"]
counts = gathered(runs, enrolled, study.emotions, keys)
strange = [name for name, who in study.strangers.items() if who]
alone = gathered(cells[cells["benchmark"].isin(strange)], study.predictions, study.emotions, keys)
factorial = factorial_table(counts, alone)
by = ["benchmark", "system", "speaker"]
text = study.save_table(factorial, "table2_factorial", runs, study.caveats, by)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
design = study.labelled(factorial.data)
effects = design[design["kind"] == "effect"]
figure14 = effects_figure(effects)

# %% tags=["nbval-ignore-output"]
drawn = effects[["corpus", "system", "delta", "low", "high", "seeds"]]
display(Markdown(study.save_figure(figure14, drawn, "fig14_effects", cells, study.caveats)))

# %% tags=["nbval-ignore-output"]
clear = effects[(effects["low"] > 0) | (effects["high"] < 0)]
lines = [
    f"- {row.corpus}: {row.system} {row.delta:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    for row in clear.itertuples()
]
display(Markdown("Effects whose interval excludes zero:\n\n" + ("\n".join(lines) or "- none")))

# %% tags=["nbval-ignore-output"]
control = design[design["kind"] == "control"]
lines = []
for row in control.itertuples():
    word = "includes" if row.low <= 0 <= row.high else "excludes"
    default = counts[row.benchmark][True, True, True, row.reference.split()[-1]]
    kind = counts[row.benchmark][True, True, True, row.system.split()[-1]]
    base = counts[row.benchmark][False, False, False, ""].scores().mean()
    gain, left = (found.scores().mean() - base for found in (default, kind))
    lines.append(
        f"- {row.corpus}: {row.system} minus {row.reference.split()[-1]} is {row.delta:+.2f} "
        f"[{row.low:+.2f}, {row.high:+.2f}]; the interval {word} zero. Of ML-SAN's {gain:+.2f} to "
        f"MultiEMO, {left:+.2f} is left."
    )
display(Markdown("\n".join(lines)))

# %%
for corpus, part in design.groupby("corpus", sort=False):
    kinds = part["kind"].value_counts()
    assert kinds["effect"] == 2**3 - 1
    compared = part.loc[part["kind"] == "control", "system"].tolist()
    print(f"{corpus}: {kinds['effect']} effects; controls: {compared}")

# %% [markdown]
# ## What we learned
#
# - A drop in a table that leaves out one part at a time is that part's contribution *given the other two*. The effects above average over all settings of the other parts.
# - Where the interval between `shuffled` or `constant` and the true speaker includes zero, there is no evidence that ML-SAN uses who speaks; a gain or loss can come from capacity or regularisation. The lines above show where this is so.
# - Where a list says "none", this many seeds are too few to separate the contribution of a part from noise.
#
# ## Exercises
#
# 1. Recompute the main effect of FiLM by hand from `cells`: `groupby(["benchmark", "film"])["test_wf1"].mean()`. Why is its interval narrower than that of a single cell's difference?
# 2. With three seeds and standard deviation $s$, how large must the mean paired difference be for a Student 95 % interval that excludes zero?
# 3. The paper's standard deviations are 0.03 to 0.13. Compare them with ours. What would make ours larger?
#
# <details><summary>Solutions</summary>
#
# 1. It is the difference of the two means. It averages over four pairs of cells, so the noise that the cells do not share averages out.
# 2. $t_{0.975,2}\,s/\sqrt3 = 4.30\,s/1.73 = 2.48\,s$.
# 3. Smaller test sets, fewer training dialogues, and selection on dev instead of test: the maximum of the test score over epochs varies less than the test score of an epoch that was selected otherwise.
#
# </details>
