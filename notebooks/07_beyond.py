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
# # 7 · Beyond the paper: strangers, and senses that fail
#
# **Question.** What can be done for a speaker whom training never saw, and what is left when a modality is absent or noisy?
#
# **Produces.** Table 5 (`table5_speakers`) and Fig. 10 (`fig10_robustness`). The paper has neither; it names both as open.
#
# **Needs.** The corpus of notebook 1. Trains ML-SAN told of the speaker in every way there is, and both systems with modality dropout, or reuses finished runs.
#
# **Time.** smoke: seconds · small: 3–4 minutes on two cores the first time · paper: a GPU is advised.

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
import torch
from IPython.display import Markdown, display
from mlsan.model.inferred import InferredFiLM

from mlsan.evaluation.counts import gathered
from mlsan.evaluation.robustness import acquaintance, conditions, robustness
from mlsan.report import use_style
from mlsan.report.evidence import robustness_figure, robustness_table, speakers_table, way_of
from mlsan.training import MODALITY_DROPOUT

use_style()

# %% [markdown]
# ## Calibration without a table
#
# FiLM looks a speaker up. A stranger has no row, only the shared "unknown" one. But Eq. 2 needs no name: if the dialogue shows the speaker's mean $\hat\mu$ and spread $\hat\sigma$ of a feature, then $\gamma = 1/\hat\sigma$, $\beta = -\hat\mu/\hat\sigma$ undoes them. Two utterances show little, so both estimates are drawn towards the population's, the more the fewer utterances there are (empirical Bayes):
#
# $$\mu = \frac{n\hat\mu + k\mu_0}{n+k},\qquad \sigma^2 = \frac{S + l\,\sigma_0^2}{n-1+l}$$
#
# with $S$ the summed squared deviations. $k$ and $l$ are learned for each feature.
#
# **Predict** what happens to a speaker's calibrated mean when the speaker has 2, 10, 50 utterances.

# %%
film = InferredFiLM(1, shrink=True, past=False, residual=False).eval()
generator = torch.Generator().manual_seed(0)
left = {}
for n in (2, 10, 50):
    x = 4 + torch.randn(n, 1, generator=generator)
    left[n] = film(x, torch.zeros(n, dtype=torch.long)).mean().item() / x.mean().item()
assert left[2] > left[10] > left[50]
print("share of the speaker's offset that is left:", {n: round(v, 2) for n, v in left.items()})

# %% [markdown]
# With `infer_from="past"` only utterances so far count, as in a live conversation. `infer_residual=True` lets a small network on the same statistics correct the closed form (left out of profile *small*). `speaker="standardised"` is the closed form without shrinkage. Gate and auxiliary loss stay as they were.

# %%
ahead = InferredFiLM(1, shrink=True, past=True, residual=False).eval()
x = torch.tensor([[1.0], [2.0], [3.0], [9.0]])
voice = torch.zeros(4, dtype=torch.long)
before = ahead(x, voice)[:3]
x[3] = -9
assert torch.equal(ahead(x, voice)[:3], before)
print("the causal form did not look ahead")

# %% [markdown]
# ## Table 5: ways to tell the speaker
#
# The same runs are scored on all test utterances, on those of speakers that training has, and on those of strangers. Where identity is known, inferring should cost nothing; where it is not, it should help. **Predict** which rows win on unseen speakers.

# %% tags=["nbval-ignore-output"]
plan = study.plan("speakers")
ways = {study.key(run): way_of(run.model) for run in plan}
table = study.sweep(plan)
table["system"] = table["run"].map(ways)
table[["benchmark", "system", "seed", "status", "test_wf1"]].round(2)

# %% tags=["nbval-ignore-output"]
parts = {"all": None, "seen": True, "unseen": False} if study.named else {"all": None}
counts = {part: gathered(table, study.predictions, seen=seen) for part, seen in parts.items()}
rows = []
for benchmark, corpus in study.corpora.items():
    own = {part: {benchmark: found[benchmark]} for part, found in counts.items()}
    reference = "identity" if corpus.named else "role"
    rows.append(acquaintance(own, reference, np.random.default_rng(0)))
rows = pd.concat(rows, ignore_index=True)

# %% tags=["nbval-ignore-output"]
note = f"Δ is to identity, and to role where nobody is named. {study.caveats}"
text = study.save_table(speakers_table(rows), "table5_speakers", table["run"], note)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
lines = []
for row in rows[rows["system"] == "inferred (dialogue)"].dropna(subset="delta").itertuples():
    reading = "gains" if row.low > 0 else "costs" if row.high < 0 else "makes no clear difference"
    lines.append(
        f"- {row.benchmark}, {row.part} speakers ({row.utterances} utterances): inferring "
        f"{reading}, {row.delta:+.2f} [{row.low:+.2f}, {row.high:+.2f}]."
    )
assert (rows["low"].dropna() <= rows["high"].dropna()).all()
display(Markdown("\n".join(lines) or "Nothing to compare: see the table of runs above."))

# %% [markdown]
# ## Missing and noisy modalities
#
# At test time one modality is absent (its features zero), or white noise is added to all, in units of each feature's own spread. Models marked *modality dropout* have seen absent modalities in training. Every model meets the same noise.
#
# **Predict** which absence hurts most, and whether dropout in training costs anything on clean data.

# %% tags=["nbval-ignore-output"]
plan = study.plan("robustness")
sweep = study.sweep(plan)
assert not (sweep["status"] == "failed").any(), sweep.loc[sweep["status"] == "failed", "error"]
degraded = {b: conditions(c, np.random.default_rng(0)) for b, c in study.corpora.items()}
found = []
for run in plan:
    scored = robustness(run, study.model(run), degraded[run.benchmark])
    told = {"benchmark": run.benchmark, "system": study.system(run), "seed": run.seed}
    found.append(scored.assign(**told, dropout=run.train.modality_dropout))
robust = robustness_table(pd.concat(found, ignore_index=True))

# %% tags=["nbval-ignore-output"]
clean = robust[robust["condition"] == "clean"].set_index(["benchmark", "system", "dropout"])
own = sweep.groupby(["benchmark", "system", "modality_dropout"])["test_wf1"].mean()
assert np.allclose(clean["wf1_mean"].sort_index(), own.sort_index()), "clean is the runs' own score"
figure10 = robustness_figure(robust)

# %% tags=["nbval-ignore-output"]
note = f"Modality dropout: rate {MODALITY_DROPOUT:g}. {study.caveats}"
display(Markdown(study.save_figure(figure10, robust, "fig10_robustness", sweep["run"], note)))

# %% tags=["nbval-ignore-output"]
wide = robust.pivot(
    index=["benchmark", "system", "dropout"], columns="condition", values="wf1_mean"
)
lost = wide.drop(columns="clean").rsub(wide["clean"], axis=0)
lost[list(robust["condition"].unique()[1:])].round(1)

# %% [markdown]
# ## What we learned
#
# - Table 5 says for each corpus whether inferring from the dialogue beats a table of identities on strangers, and what it costs on speakers that the table has.
# - A dialogue's mean of a feature mixes who speaks with what is felt: the longer one emotion lasts, the more of it the closed form takes away with the style. Shrinkage limits both.
# - The last table shows points of W-F1 lost to each condition. Modality dropout is worth having where its rows lose less and its clean score stays within the interval.
#
# ## Exercises
#
# 1. Where did the shrinkage go? Look at `study.model(run).film["audio"].strength.exp()` after training. Which features trust the speaker, which the population?
# 2. On a simulated corpus, raise the number of utterances a dialogue (`simulation(..., length_mean=...)`). How many does the closed form need to beat the population's statistics?
# 3. Drop modalities by utterance rather than by dialogue. Which is nearer to a microphone that fails?
#
# <details><summary>Solutions</summary>
#
# 1. Take a run with `model.speaker == "inferred"` from `study.plan("speakers")`; the first row is $k$, the second $l$, in utterances.
# 2. Probe `InferredFiLM`'s output on corpora of growing length, as notebook 1 does for standardised features.
# 3. By dialogue is a missing device, by utterance a loose contact; `mlsan.corpus.drop_modalities` draws one number a dialogue and modality.
#
# </details>
