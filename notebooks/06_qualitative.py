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
# # 6 · Looking inside
#
# **Question.** What do gate and FiLM learn about speakers, which emotions change hands, and what is $z$ arranged by?
#
# **Produces.** Fig. 3 (`fig3_gate`), Fig. 4 (`fig4_confusion`), Fig. 5 (`fig5_features`).
#
# **Needs.** The corpus of notebook 1 and the runs of notebook 3, trained here if they are missing.
#
# **Time.** smoke: seconds · small: under a minute · paper: a few minutes, for the maps of $z$.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")

# %%
from mlsan.study import check_parameters, open_study

check_parameters(globals())
study = open_study("06_qualitative", PROFILE, CORPUS, DATA, JOBS)

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.config import EMOTIONS
from mlsan.evaluation import confusion, probe
from mlsan.evaluation.heterogeneity import leading_speakers
from mlsan.evaluation.qualitative import case_dialogue, case_study, feature_map, speaker_weights
from mlsan.report import use_style
from mlsan.report.figures import confusions, feature_maps, gates
from mlsan.report.paper import FIG3_WEIGHTS, FIG4_RECOGNISED

use_style()

# %% [markdown]
# ## Gate and FiLM by speaker
#
# $g_m$ has one weight a channel; its mean says how much of a modality a speaker is allowed to pass. For FiLM the two panels show how far the calibration departs from doing nothing. **Predict:** which row should be the quietest?

# %% tags=["nbval-ignore-output"]
benchmark, corpus = next(iter(study.corpora.items()))
pair = {system: study.config(benchmark, system) for system in ("MultiEMO", "ML-SAN")}
models = {system: study.model(run) for system, run in pair.items()}
speakers = leading_speakers(corpus, 6)
weights = speaker_weights(pair["ML-SAN"], corpus, models["ML-SAN"], speakers)
weights.pivot(index="speaker", columns="modality", values="gate").round(3)

# %% [markdown]
# ## A case study
#
# The paper's example is the line "I have a bad feeling", with weights 0.22 for audio and 0.78 for visual. No utterance of MELD's transcripts reads so, and Eq. 3 cannot give weights that sum to one (notebook 3):

# %%
assert round(sum(FIG3_WEIGHTS.values()), 2) == 1
print(FIG3_WEIGHTS)

# %% [markdown]
# Here instead is the test dialogue of 6 to 12 turns on which the two systems disagree most, chosen by that rule and not by hand, so it may flatter either. The bars are each modality's share in the norm of the gated context features.

# %% tags=["nbval-ignore-output"]
predictions = {system: study.result(run).predictions for system, run in pair.items()}
chosen = case_dialogue(predictions["ML-SAN"], predictions["MultiEMO"], turns=range(6, 13))
dialogue = next(d for d in corpus.test if d.id == chosen)
case = case_study(pair, models, corpus, dialogue)
right = {system: int((case[system] == case["emotion"]).sum()) for system in pair}
figure3 = gates(weights, case, f"{corpus.name}, test dialogue {chosen}")

# %% tags=["nbval-ignore-output"]
shares = case.filter(like="weight_")
assert np.allclose(shares.sum(axis=1), 1)
runs = [study.result(run).key for run in pair.values()]
data = pd.concat([weights.assign(panel="weights"), case.assign(panel="case")])
note = f"{benchmark}, seed 0. In the dialogue, correct of {len(case)}: {right}."
display(Markdown(study.save_figure(figure3, data, "fig3_gate", runs, note)))

# %% [markdown]
# ## Which emotions change hands?
#
# The paper's Fig. 4 says that fear rises from 12 % to 18 % and anger from 55 % to 57 % on MELD. How many utterances is that? MELD's test set has 50 of fear and 345 of anger:

# %%
for emotion, support in (("fear", 50), ("anger", 345)):
    before, after = FIG4_RECOGNISED[emotion]
    print(f"{emotion}: {support * before / 100:.0f} -> {support * after / 100:.0f} of {support}")

# %% [markdown]
# Three more utterances of fear. Ours, summed over all seeds, with counts:

# %% tags=["nbval-ignore-output"]
rows = []
for run in study.plan("main"):
    names = EMOTIONS[run.benchmark]
    test = study.result(run).predictions.query("split == 'test'")
    counts, _ = confusion(test["label"].to_numpy(), test["predicted"].to_numpy(), names)
    grid = pd.DataFrame(counts, index=names, columns=names).rename_axis("emotion")
    long = grid.reset_index().melt("emotion", var_name="predicted", value_name="count")
    rows.append(long.assign(benchmark=run.benchmark, system=study.system(run)))
keys = ["benchmark", "system", "emotion", "predicted"]
table = pd.concat(rows).groupby(keys, sort=False)["count"].sum().reset_index()
true = table.groupby(keys[:3])["count"].transform("sum")
table["share"] = table["count"] / true.clip(lower=1)
figure4 = confusions(table)

# %% tags=["nbval-ignore-output"]
sums = table.groupby(keys[:3])["share"].sum()
assert np.isclose(sums, 1).sum() == (true.groupby([table[k] for k in keys[:3]]).first() > 0).sum()
runs = [study.result(run).key for run in study.plan("main")]
note = f"Counts summed over {len(study.seeds)} seeds."
display(Markdown(study.save_figure(figure4, table, "fig4_confusion", runs, note)))

# %% tags=["nbval-ignore-output"]
recall = table[table["emotion"] == table["predicted"]]
wide = recall.pivot(index=["benchmark", "emotion"], columns="system", values="share").mul(100)
wide["difference"] = wide["ML-SAN"] - wide["MultiEMO"]
wide["test utterances"] = true.groupby([table["benchmark"], table["emotion"]]).first() // len(
    study.seeds
)
wide.round(1).sort_values(["benchmark", "test utterances"])

# %% [markdown]
# ## What is $z$ arranged by?
#
# Each point is a test utterance's $z$, mapped to two dimensions. If emotion rules, the left maps show patches of colour; if the speaker does, the right ones do.

# %% tags=["nbval-ignore-output"]
maps = pd.concat(
    feature_map(
        study.config(name, system), study.corpora[name], study.model(study.config(name, system))
    ).assign(benchmark=name, system=system)
    for name in study.corpora
    for system in ("MultiEMO", "ML-SAN")
)
figure5 = feature_maps(maps)

# %% tags=["nbval-ignore-output"]
runs = [study.result(study.config(b, s)).key for b in study.corpora for s in ("MultiEMO", "ML-SAN")]
display(
    Markdown(study.save_figure(figure5, maps, "fig5_features", runs, "Seed 0, test utterances."))
)

# %% [markdown]
# A map can mislead; a linear probe gives a number. It learns to read emotion or speaker from $z$ of the training dialogues and is tried on dev dialogues with the same speakers.

# %% tags=["nbval-ignore-output"]
rows = []
for name in study.corpora:
    for system in ("MultiEMO", "ML-SAN"):
        run = study.config(name, system)
        train, dev = study.stages(run, "train"), study.stages(run, "dev")
        row = {"benchmark": name, "system": system}
        row["emotion"] = probe(train.z, train.label, dev.z, dev.label)
        known = np.isin(dev.speaker, train.speaker)
        row["speaker"] = probe(train.z, train.speaker, dev.z[known], dev.speaker[known])
        rows.append(row)
probes = pd.DataFrame(rows).set_index(["benchmark", "system"]).round(1)
probes

# %% tags=["nbval-ignore-output"]
assert probes.notna().all(axis=None)
gain = probes["speaker"].unstack("system")
display(
    Markdown(
        "Weighted F1 of naming the speaker from $z$, ML-SAN minus MultiEMO: "
        + ", ".join(f"{b} {d:+.1f}" for b, d in (gain["ML-SAN"] - gain["MultiEMO"]).items())
        + " points."
    )
)

# %% [markdown]
# ## What we learned
#
# - Gate and FiLM weights are a table by speaker; they cannot change within one speaker's turns.
# - A recall that jumps by half may be three utterances. Counts belong beside shares.
# - The paper wants a space "unrelated to the speaker" and an output that "keeps identity". The speaker probe above says which of the two $z$ is: the auxiliary loss asks for more speaker in $z$, not less.
#
# ## Exercises
#
# 1. Average the gate over seeds and give its standard deviation. Are the differences between speakers larger than those between seeds?
# 2. Probe the *calibrated* features instead of $z$: `study.stages(run, "train").at["calibrated"]["audio"]`. Has FiLM removed the speaker?
# 3. Find a dialogue on which MultiEMO is right and ML-SAN wrong. Whose style could explain it?
#
# <details><summary>Solutions</summary>
#
# 1. `pd.concat(speaker_weights(r, corpus, study.model(r), speakers) for r in study.plan("main") if r.model.gate and r.benchmark == benchmark).groupby(["speaker", "modality"])["gate"].agg(["mean", "std"])`
# 2. Compare with `.at["raw"]["audio"]`. The auxiliary loss never sees this stage, so nothing in the loss pushes the speaker out of it except the emotion's own interest.
# 3. Sort dialogues by the difference of correct turns in the two predictions tables, then look at the speakers' rows in the weights table.
#
# </details>
