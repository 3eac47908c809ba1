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
# **Question.** What do gate and FiLM learn about speakers, which emotions change hands, what is $z$ arranged by, and where in the model is the speaker to be found?
#
# **Produces.** Fig. 3 (`fig3_gate`), Fig. 4 (`fig4_confusion`), Fig. 5 (`fig5_features`), Fig. 9 (`fig9_probes`) and, on simulated corpora, Table 7 (`table7_recovery`).
#
# **Needs.** The corpus of notebook 1 and the runs of notebooks 3 and 4, trained here if they are missing.
#
# **Time.** smoke: seconds · small: about a minute · paper: a few minutes, for the maps of $z$ and the probes.

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
study = open_study("06_qualitative", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from mlsan.evaluation.heterogeneity import leading_speakers
from mlsan.evaluation.metrics import summed_confusion
from mlsan.evaluation.neutrality import (
    recovery_by_modality,
    stage_probes,
    style_recovery,
    withheld_stages,
)
from mlsan.evaluation.qualitative import case_dialogue, case_study, feature_map, speaker_weights
from mlsan.report import use_style
from mlsan.report.evidence import WITHHELD, arm_of, probes_figure, probes_table, way_of
from mlsan.report.figures import confusions, feature_maps, gates
from mlsan.report.paper import FIG3_WEIGHTS, FIG4_RECOGNISED
from mlsan.vocabulary import EMOTIONS

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
both = [run for run in study.plan("main") if study.system(run) in pair]
found = []
for name in study.corpora:
    for system in pair:
        runs = [r for r in both if r.benchmark == name and study.system(r) == system]
        predicted = [study.result(run).predictions for run in runs]
        cells = summed_confusion(predicted, EMOTIONS[name])
        found.append(cells.assign(benchmark=name, system=system))
table = pd.concat(found, ignore_index=True)
figure4 = confusions(table)

# %% tags=["nbval-ignore-output"]
keys = ["benchmark", "system", "emotion"]
true = table.groupby(keys, sort=False)[["count", "share"]].sum()
assert np.allclose(true["share"], true["count"] > 0)
runs = [study.key(run) for run in both]
note = f"Counts summed over {len(study.seeds)} seeds."
display(Markdown(study.save_figure(figure4, table, "fig4_confusion", runs, note)))

# %% tags=["nbval-ignore-output"]
recall = table[table["emotion"] == table["predicted"]].set_index(keys)["share"].mul(100)
wide = recall.unstack("system", sort=False)
wide["difference"] = wide["ML-SAN"] - wide["MultiEMO"]
wide["test utterances"] = true["count"].xs("ML-SAN", level="system") // len(study.seeds)
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
# ## Where is the speaker?
#
# The paper wants calibrated features "unrelated to the speaker" and an output that "keeps identity". A map can mislead; a linear probe gives a number for both. At each stage of the model one probe names the speaker (fitted on training dialogues, tried on dev dialogues of the same people) and one names the emotion (tried on test). They read the streams that FiLM calibrates, audio and visual where there are any, and at the end $z$.
#
# Beside MultiEMO and ML-SAN stand ML-SAN without its auxiliary loss, and with an **adversary**: a second speaker head on the calibrated features whose gradient is reversed, so that FiLM is paid to hide the speaker. And since a gate that is told who speaks writes it into its output, trained or not, one line withholds the identity at test time.
#
# **Predict:** at which stage does the speaker become easiest to name?

# %% tags=["nbval-ignore-output"]
arms = study.plan("neutrality")
sweep = study.sweep(arms)
assert not (sweep["status"] == "failed").any(), sweep.loc[sweep["status"] == "failed", "error"]
rows = []
for run in arms:
    seen = [study.stages(run, split) for split in ("train", "dev", "test")]
    calibrated = [m for m in run.model.film_modalities if m in seen[0].at["raw"]]
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=calibrated)
    rows.append(found.assign(benchmark=run.benchmark, system=arm_of(run.model), seed=run.seed))

# %% tags=["nbval-ignore-output"]
for run in arms:
    corpus = study.corpora[run.benchmark]
    if not corpus.named or arm_of(run.model) != "ML-SAN":
        continue
    splits = (corpus.train, corpus.dev, corpus.test)
    seen = [withheld_stages(run, corpus, study.model(run), split) for split in splits]
    calibrated = [m for m in run.model.film_modalities if m in corpus.sizes]
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=calibrated)
    rows.append(found.assign(benchmark=run.benchmark, system=WITHHELD, seed=run.seed))
probed = probes_table(pd.concat(rows, ignore_index=True))
figure9 = probes_figure(probed)

# %% tags=["nbval-ignore-output"]
text = study.save_figure(figure9, probed, "fig9_probes", sweep["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
spoken = probed[probed["target"] == "speaker"].set_index(["benchmark", "system", "stage"])
assert spoken["wf1_mean"].dropna().between(0, 100).all()
wide = spoken["wf1_mean"].unstack("stage", sort=False).round(1)
wide["chance"] = spoken["chance"].groupby(level=[0, 1], sort=False).mean().round(1)
wide

# %% tags=["nbval-ignore-output"]
lines = []
for name in study.corpora:
    line = spoken.loc[name]["wf1_mean"]
    moved = line["ML-SAN", "calibrated"] - line["ML-SAN", "raw"]
    kept = line["ML-SAN", "z"] - line["MultiEMO", "z"]
    lines.append(
        f"- {name}: from raw to calibrated features the speaker becomes {moved:+.1f} points "
        f"easier to name; in $z$, ML-SAN minus MultiEMO is {kept:+.1f} points."
    )
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Does FiLM find the speakers' styles?
#
# A simulation knows each speaker's style, so it can say how near the calibrated features come to features without any: the mean $R^2$ a feature, over training utterances. "By speaker" standardises each speaker's features; "best" is the best that any scale and shift a speaker and feature could do, the bound of Eq. 2.

# %% tags=["nbval-ignore-output"]
told = {run: arm_of(run.model) for run in arms if run.model.film}
told |= {r: f"ML-SAN, {way_of(r.model)}" for r in study.plan("speakers") if r not in told}
study.sweep(list(told))
parts = []
for run, name in told.items():
    if not (run.model.film and study.corpora[run.benchmark].simulated):
        continue
    truth = study.oracle(run.benchmark).train
    recovered = recovery_by_modality(style_recovery(study.stages(run, "train"), truth))
    parts.append(recovered.assign(benchmark=run.benchmark, system=name))

# %% tags=["nbval-ignore-output"]
if parts:
    keys = ["benchmark", "system", "modality", "calibration"]
    r2 = pd.concat(parts).groupby(keys, sort=False)["r2_mean"].mean()
    quality = r2.unstack("calibration", sort=False)
    assert (quality["best"] >= quality["none"] - 1e-9).all()
    quality = quality.drop("text", level="modality").reset_index()
    text = study.save_table(quality, "table7_recovery", map(study.key, told), study.caveats)
    display(Markdown(text))
else:
    print("real corpora: nobody knows their speakers' true style")

# %% [markdown]
# ## What we learned
#
# - Gate and FiLM weights are a table by speaker; they cannot change within one speaker's turns.
# - A recall that jumps by half may be three utterances. Counts belong beside shares.
# - Fig. 9 answers both of the paper's claims with numbers. Nothing in Eq. 4 asks the calibrated features to be neutral; the auxiliary loss asks for more speaker in $z$, not less.
# - An adversary's reversed gradient moves each speaker's scale and shift out of one head's sight, not to where the others are: a table of speakers can flee a head without becoming neutral, and a fresh probe finds them again.
# - "Learned" beside "best" says how much of what Eq. 2 could do this training has found.
#
# ## Exercises
#
# 1. Average the gate over seeds and give its standard deviation. Are the differences between speakers larger than those between seeds?
# 2. Probe audio alone: `stage_probes(..., modalities=("audio",))`. Text is not calibrated; how much of the speaker does it carry?
# 3. Find a dialogue on which MultiEMO is right and ML-SAN wrong. Whose style could explain it?
#
# <details><summary>Solutions</summary>
#
# 1. `pd.concat(speaker_weights(r, corpus, study.model(r), speakers) for r in both if r.model.gate and r.benchmark == benchmark).groupby(["speaker", "modality"])["gate"].agg(["mean", "std"])`
# 2. Compare the stages raw and calibrated for `("audio",)` and for `("text",)`; for text they are the same.
# 3. Sort dialogues by the difference of correct turns in the two predictions tables, then look at the speakers' rows in the weights table.
#
# </details>
