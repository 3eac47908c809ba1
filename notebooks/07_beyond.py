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
# # 7 · Beyond the paper: unseen speakers, missing and noisy modalities
#
# **Question.** How well do identity and role work for speakers whom training never saw, and what is left of the score when a modality is missing or noisy?
#
# **Produces.** Table 5 (`table5_speakers`) and Fig. 10 (`fig10_robustness`). The paper has neither; it leaves both questions open.
#
# **Needs.** The corpus of notebook 1. Trains MultiEMO, ML-SAN with identities and with roles, and both systems with modality dropout, or reuses finished runs.
#
# **Time.** smoke: seconds · small: 2 to 3 minutes on two cores the first time · paper: a GPU is recommended.

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
study = open_study("07_beyond", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.evaluation.counts import gathered
from mlsan.evaluation.robustness import conditions, degraded_predictions
from mlsan.report import use_style
from mlsan.report.nb07_beyond import robustness_figure, robustness_table, speakers_table, way_of
from mlsan.training import MODALITY_DROPOUT

use_style()

# %% [markdown]
# ## Table 5: seen and unseen speakers
#
# FiLM and gate look a speaker up in a table. With identities, a speaker whom training never saw has no row of its own, only the shared "unknown" one. With roles, everybody has a row, but the row of role 0 belongs to a different person in each dialogue. The same runs are scored on all test utterances, on those of speakers seen in training, and on those of unseen speakers.
#
# **Predict** which of the two wins on seen speakers, which on unseen speakers, and whether either beats MultiEMO there.

# %% tags=["nbval-ignore-output"]
plan = study.plan("speakers")
ways = {study.key(run): way_of(run) for run in plan}
table = study.sweep(plan)
table["system"] = table["run"].map(ways)
table[["benchmark", "system", "seed", "status", "test_wf1"]].round(2)

# %%
for benchmark, part in table.groupby("benchmark", sort=False):
    failed = (part["status"] == "failed").sum()
    print(f"{benchmark}: {', '.join(part['system'].unique())}; {failed} runs failed")

# %% tags=["nbval-ignore-output"]
parts = {"all": None, "seen": True, "unseen": False} if study.named else {"all": None}
counts = {part: gathered(table, study.predictions, seen=seen) for part, seen in parts.items()}
reference = {b: "identity" if corpus.named else "role" for b, corpus in study.corpora.items()}
table5 = speakers_table(counts, reference)
rows = table5.data

# %% tags=["nbval-ignore-output"]
note = f"Δ is the difference to identity, or to role if the corpus has no names. {study.caveats}"
text = study.save_table(table5, "table5_speakers", table, note)
display(Markdown(text))

# %%
size = rows.groupby(["benchmark", "part"], sort=False)["utterances"].max().unstack()
if study.named:
    assert (size["seen"] + size["unseen"] == size["all"]).all()
    print("seen and unseen speakers together have all test utterances")
if study.named and "IEMOCAP" in size.index:
    print("IEMOCAP: test utterances of seen speakers:", int(size.loc["IEMOCAP", "seen"]))

# %% tags=["nbval-ignore-output"]
lines = []
for row in rows.dropna(subset=["delta", "low"]).itertuples():
    word = "includes" if row.low <= 0 <= row.high else "excludes"
    lines.append(
        f"- {row.benchmark}, {row.part} speakers ({row.utterances} utterances): {row.system} "
        f"{row.delta:+.2f} [{row.low:+.2f}, {row.high:+.2f}]; the interval {word} zero."
    )
display(Markdown("\n".join(lines) or "No finished runs to compare: see the table of runs above."))

# %% [markdown]
# ## Missing and noisy modalities
#
# At test time one modality is missing (its features are zero), or white noise is added to all features, in units of each feature's own standard deviation. Models marked *modality dropout* were trained with missing modalities. Every model gets the same noise.
#
# **Predict** which missing modality hurts most, and whether modality dropout costs anything on clean data.

# %% tags=["nbval-ignore-output"]
plan = study.plan("robustness")
sweep = study.sweep(plan)
assert not (sweep["status"] == "failed").any(), sweep.loc[sweep["status"] == "failed", "error"]
degraded = {b: conditions(c, np.random.default_rng(0)) for b, c in study.corpora.items()}
found = []
for run in plan:
    scored = degraded_predictions(run, study.model(run), degraded[run.benchmark])
    names = {"benchmark": run.benchmark, "system": study.system(run), "seed": run.seed}
    found.append(scored.assign(**names, dropout=run.train.modality_dropout))
robust = robustness_table(pd.concat(found, ignore_index=True))

# %%
clean = robust[robust["condition"] == "clean"].set_index(["benchmark", "system", "dropout"])
own = sweep.groupby(["benchmark", "system", "modality_dropout"])["test_wf1"].mean()
assert np.allclose(clean["wf1_mean"].sort_index(), own.sort_index()), "clean is the runs' own score"
for benchmark, part in robust.groupby("benchmark", sort=False):
    print(f"{benchmark}: {', '.join(part['condition'].unique())}")

# %% tags=["nbval-ignore-output"]
figure10 = robustness_figure(robust)

# %% tags=["nbval-ignore-output"]
note = f"Modality dropout: rate {MODALITY_DROPOUT:g}. {study.caveats}"
display(Markdown(study.save_figure(figure10, robust, "fig10_robustness", sweep, note)))

# %% tags=["nbval-ignore-output"]
wide = robust.pivot(
    index=["benchmark", "system", "dropout"], columns="condition", values="wf1_mean"
)
lost = wide.drop(columns="clean").rsub(wide["clean"], axis=0)
lost[list(robust["condition"].unique()[1:])].round(1)

# %% [markdown]
# ## What we learned
#
# - Table 5 shows, for each corpus, whether identities or roles work better for seen and for unseen speakers, with intervals. All unseen speakers share one row of the table of identities, so no style of their own can be calibrated.
# - The last table shows how many points of W-F1 each condition costs. Modality dropout is worthwhile if its rows lose less and its score on clean data stays within the interval.
#
# ## Exercises
#
# 1. Raise the share of speakers that training treats as unknown: `study.config("IEMOCAP", "ML-SAN", 0, unknown_rate=0.5)`. Does the unknown row improve for unseen speakers, and at what cost for seen ones?
# 2. Add noise to the audio features only: `noisy(corpus, 1.0, generator, ("audio",))` of `mlsan.evaluation.robustness`. Which share of the loss in Fig. 10 is due to audio?
# 3. Drop modalities per utterance instead of per dialogue. Which is closer to a microphone that fails?
#
# <details><summary>Solutions</summary>
#
# 1. `study.sweep([study.config(b, "ML-SAN", s, unknown_rate=0.5) for b in study.corpora for s in study.seeds])`, scored on seen and unseen speakers as above.
# 2. `degraded_predictions(run, study.model(run), {Condition(noise=1.0): noisy(corpus, 1.0, np.random.default_rng(0), ("audio",))})`, scored by `robustness_table` as above and compared with the row of the same noise on all features.
# 3. Per dialogue is a missing device, per utterance a loose contact. `mlsan.corpus.drop_modalities` draws one number per dialogue and modality.
#
# </details>
