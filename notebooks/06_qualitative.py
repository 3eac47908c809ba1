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
# # 6 · Inside the model
#
# **Question.** What do gate and FiLM learn about speakers, which emotions are predicted differently, how is $z$ organised, and where in the model can the speaker be found?
#
# **Produces.** Fig. 3 (`fig3_gate`), Fig. 4 (`fig4_confusion`), Fig. 5 (`fig5_features`), Fig. 9 (`fig9_probes`) and, on simulated corpora, Table 7 (`table7_recovery`).
#
# **Needs.** The corpus of notebook 1 and the runs of notebooks 3 and 4, which are trained here if they are missing.
#
# **Time.** smoke: seconds · small: about a minute · paper: some minutes, for the maps of $z$ and the probes.

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
from mlsan.report.nb06_qualitative import (
    WITHHELD,
    arm_of,
    confusion_figure,
    feature_figure,
    gate_figure,
    probes_figure,
    probes_table,
)
from mlsan.report.nb07_beyond import way_of
from mlsan.report.paper import FIG3_WEIGHTS, FIG4_RECOGNISED
from mlsan.vocabulary import EMOTIONS

use_style()

# %% [markdown]
# ## Gate and FiLM by speaker
#
# $g_m$ has one weight per channel; its mean is how much of a modality passes for a speaker. For FiLM, the two panels show how far the calibration is from the identity. **Predict:** which row should be closest to the identity?

# %% tags=["nbval-ignore-output"]
benchmark, corpus = next(iter(study.corpora.items()))
pair = {system: study.config(benchmark, system) for system in ("MultiEMO", "ML-SAN")}
models = {system: study.model(run) for system, run in pair.items()}
speakers = leading_speakers(corpus, 6)
weights = speaker_weights(pair["ML-SAN"], corpus, models["ML-SAN"], speakers)
weights.pivot(index="speaker", columns="modality", values="gate").round(3)

# %%
assert weights["gate"].between(0, 1).all()
untouched = weights.groupby("modality", sort=False)["scale"].apply(lambda s: s.isna().all())
print("gated:", list(untouched.index), "- calibrated:", list(untouched.index[~untouched]))

# %% [markdown]
# ## A case study
#
# The paper's example is the line "I have a bad feeling", with weights 0.22 for audio and 0.78 for visual. MELD's transcripts contain no such utterance, and Eq. 3 cannot produce weights that sum to one (notebook 3):

# %%
assert round(sum(FIG3_WEIGHTS.values()), 2) == 1
print(FIG3_WEIGHTS)

# %% [markdown]
# This figure shows the test dialogue of 6 to 12 turns on which the two systems disagree most. This fixed rule may favour either system. The bars are each modality's share in the norm of the gated context features.

# %% tags=["nbval-ignore-output"]
predictions = {system: study.result(run).predictions for system, run in pair.items()}
chosen = case_dialogue(predictions["ML-SAN"], predictions["MultiEMO"], turns=range(6, 13))
dialogue = next(d for d in corpus.test if d.id == chosen)
case = case_study(pair, models, corpus, dialogue)
right = {system: int((case[system] == case["emotion"]).sum()) for system in pair}
figure3 = gate_figure(weights, case, f"{corpus.name}, test dialogue {chosen}")

# %% tags=["nbval-ignore-output"]
runs = [study.result(run).key for run in pair.values()]
data = pd.concat([weights.assign(panel="weights"), case.assign(panel="case")])
note = f"{benchmark}, seed 0. In the dialogue, correct of {len(case)}: {right}."
display(Markdown(study.save_figure(figure3, data, "fig3_gate", runs, note)))

# %%
shares = case.filter(like="weight_")
assert np.allclose(shares.sum(axis=1), 1)
assert (case["emotion"] == np.array(EMOTIONS[benchmark])[dialogue.label]).all()
print("each turn's shares sum to 1 over", [name.removeprefix("weight_") for name in shares])

# %% [markdown]
# ## Which emotions are predicted differently?
#
# According to the paper's Fig. 4, the recall of fear rises from 12 % to 18 % and that of anger from 55 % to 57 % on MELD. How many utterances is that? MELD's test set has 50 utterances of fear and 345 of anger:

# %%
for emotion, support in (("fear", 50), ("anger", 345)):
    before, after = FIG4_RECOGNISED[emotion]
    print(f"{emotion}: {support * before / 100:.0f} -> {support * after / 100:.0f} of {support}")

# %% [markdown]
# Fear gains three utterances. Our confusion matrices, with counts, summed over all seeds:

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
figure4 = confusion_figure(table)

# %% tags=["nbval-ignore-output"]
keys = ["benchmark", "system", "emotion"]
runs = [study.key(run) for run in both]
note = f"Counts summed over {len(study.seeds)} seeds."
display(Markdown(study.save_figure(figure4, table, "fig4_confusion", runs, note)))

# %%
true = table.groupby(keys, sort=False)[["count", "share"]].sum()
assert np.allclose(true["share"], true["count"] > 0)
for name, corpus in study.corpora.items():
    utterances = sum(map(len, corpus.test))
    counted = true.loc[name].groupby("system")["count"].sum()
    assert (counted == utterances * len(study.seeds)).all()
    print(f"{name}: each system's matrix counts every test utterance once per seed")

# %% tags=["nbval-ignore-output"]
recall = table[table["emotion"] == table["predicted"]].set_index(keys)["share"].mul(100)
wide = recall.unstack("system", sort=False)
wide["difference"] = wide["ML-SAN"] - wide["MultiEMO"]
wide["test utterances"] = true["count"].xs("ML-SAN", level="system") // len(study.seeds)
wide.round(1).sort_values(["benchmark", "test utterances"])

# %% [markdown]
# ## How is $z$ organised?
#
# Each point is the $z$ of one test utterance, mapped to two dimensions. If $z$ is organised by emotion, the maps on the left show patches of one colour; if it is organised by speaker, the maps on the right do.

# %% tags=["nbval-ignore-output"]
maps = pd.concat(
    feature_map(
        study.config(name, system), study.corpora[name], study.model(study.config(name, system))
    ).assign(benchmark=name, system=system)
    for name in study.corpora
    for system in ("MultiEMO", "ML-SAN")
)
figure5 = feature_figure(maps)

# %% tags=["nbval-ignore-output"]
runs = [study.result(study.config(b, s)).key for b in study.corpora for s in ("MultiEMO", "ML-SAN")]
display(
    Markdown(study.save_figure(figure5, maps, "fig5_features", runs, "Seed 0, test utterances."))
)

# %%
for (name, system), part in maps.groupby(["benchmark", "system"], sort=False):
    assert len(part) == min(1000, sum(map(len, study.corpora[name].test)))
    print(
        f"{name}, {system}: one finite point per utterance: {np.isfinite(part[['x', 'y']]).all(None)}"
    )

# %% [markdown]
# ## Where is the speaker?
#
# The paper claims that calibrated features are "unrelated to the speaker" and that the output "keeps identity". A map can mislead; a linear probe gives a number for both claims. At each stage of the model, one probe predicts the speaker (fitted on training dialogues, scored on dev dialogues of the same people) and one predicts the emotion (scored on test). The probes read the modalities that FiLM calibrates, audio and visual if they are present, and at the end $z$.
#
# Besides MultiEMO and ML-SAN, the figure shows ML-SAN without its auxiliary loss, and ML-SAN with an **adversary**: a second speaker head on the calibrated features whose gradient is reversed, so that FiLM is trained to hide the speaker. A gate that depends on the speaker writes the speaker into its output, trained or not; so one line shows ML-SAN with the identity withheld at test time.
#
# **Predict:** at which stage does the speaker become easiest to predict?

# %% tags=["nbval-ignore-output"]
arms = study.plan("neutrality")
sweep = study.sweep(arms)
assert not (sweep["status"] == "failed").any(), sweep.loc[sweep["status"] == "failed", "error"]
rows = []


def film_modalities(name):
    """The modalities that ML-SAN calibrates, if the corpus has them."""
    settings = study.config(name, "ML-SAN").model
    return [m for m in settings.film_modalities if m in study.corpora[name].sizes]


for run in arms:
    seen = [study.stages(run, split) for split in ("train", "dev", "test")]
    calibrated = film_modalities(run.benchmark)
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=calibrated)
    rows.append(found.assign(benchmark=run.benchmark, system=arm_of(run), seed=run.seed))

# %% tags=["nbval-ignore-output"]
for run in arms:
    corpus = study.corpora[run.benchmark]
    if not corpus.named or arm_of(run) != "ML-SAN":
        continue
    splits = (corpus.train, corpus.dev, corpus.test)
    seen = [withheld_stages(run, corpus, study.model(run), split) for split in splits]
    calibrated = film_modalities(run.benchmark)
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=calibrated)
    rows.append(found.assign(benchmark=run.benchmark, system=WITHHELD, seed=run.seed))
probed = probes_table(pd.concat(rows, ignore_index=True))
figure9 = probes_figure(probed)

# %% tags=["nbval-ignore-output"]
text = study.save_figure(figure9, probed, "fig9_probes", sweep["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
spoken = probed[probed["target"] == "speaker"].set_index(["benchmark", "system", "stage"])
wide = spoken["wf1_mean"].unstack("stage", sort=False).round(1)
wide["chance"] = spoken["chance"].groupby(level=[0, 1], sort=False).mean().round(1)
wide

# %%
assert spoken["wf1_mean"].dropna().between(0, 100).all()
for name, part in probed.groupby("benchmark", sort=False):
    print(
        f"{name}: {', '.join(part['system'].unique())}; stages {', '.join(part['stage'].unique())}"
    )

# %% tags=["nbval-ignore-output"]
lines = []
for name in study.corpora:
    line = spoken.loc[name]["wf1_mean"]
    moved = line["ML-SAN", "calibrated"] - line["ML-SAN", "raw"]
    kept = line["ML-SAN", "z"] - line["MultiEMO", "z"]
    lines.append(
        f"- {name}: the speaker probe's W-F1 changes by {moved:+.1f} points from ML-SAN's raw to "
        f"its calibrated features; on $z$, ML-SAN minus MultiEMO is {kept:+.1f} points."
    )
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Does FiLM find the speakers' styles?
#
# In a simulation each speaker's style is known, so the calibrated features can be compared with features without style. The score is the mean $R^2$ over features on training utterances. "By speaker" standardises each speaker's features. "Best" is the best scale and shift per speaker and feature: the bound of Eq. 2.

# %% tags=["nbval-ignore-output"]
speakers = [run for run in study.plan("speakers") if study.system(run) == "ML-SAN"]
names = {run: f"ML-SAN, {way_of(run)}" for run in speakers}
names |= {run: arm_of(run) for run in arms if study.system(run) != "MultiEMO"}
study.sweep(list(names))
parts = []
for run, name in names.items():
    if not study.corpora[run.benchmark].simulated:
        continue
    truth = study.oracle(run.benchmark).train
    recovered = recovery_by_modality(style_recovery(study.stages(run, "train"), truth))
    parts.append(recovered.assign(benchmark=run.benchmark, system=name))

# %% tags=["nbval-ignore-output"]
if parts:
    keys = ["benchmark", "system", "modality", "calibration"]
    r2 = pd.concat(parts).groupby(keys, sort=False)["r2_mean"].mean()
    quality = r2.unstack("calibration", sort=False)
    quality = quality.drop("text", level="modality").reset_index()
    text = study.save_table(quality, "table7_recovery", map(study.key, names), study.caveats)
    display(Markdown(text))
else:
    print("skipped: the true style of real speakers is not known")

# %%
if parts:
    ways = [name for name in ("none", "by speaker", "learned") if name in quality]
    assert (quality["best"] >= quality[ways].max(axis=1) - 1e-9).all()
    print("no calibration exceeds the bound of Eq. 2:", ways)

# %% [markdown]
# ## What we learned
#
# - Gate and FiLM assign one set of weights to each speaker; the weights cannot change between the turns of one speaker.
# - A recall that rises by half can be a matter of three utterances. Report counts next to shares.
# - Fig. 9 tests both claims of the paper with numbers. Nothing in Eq. 4 makes the calibrated features neutral; the auxiliary loss asks for more speaker information in $z$.
# - The adversary's reversed gradient moves each speaker's scale and shift to where one head cannot separate them, not to the values of the other speakers. So the features do not become neutral, and a new probe finds the speakers again.
# - "Learned" compared with "best" shows how much of what Eq. 2 can do this training has found.
#
# ## Exercises
#
# 1. Average the gate over seeds and compute its standard deviation. Do speakers differ by more than seeds?
# 2. Probe audio alone: `stage_probes(..., modalities=("audio",))`. Text is not calibrated; how much speaker information does it contain?
# 3. Find a dialogue on which MultiEMO is right and ML-SAN is wrong. Whose style could explain it?
#
# <details><summary>Solutions</summary>
#
# 1. `pd.concat(speaker_weights(r, corpus, study.model(r), speakers) for r in both if study.system(r) == "ML-SAN" and r.benchmark == benchmark).groupby(["speaker", "modality"])["gate"].agg(["mean", "std"])`
# 2. Compare the stages raw and calibrated for `("audio",)` and for `("text",)`; for text they are the same.
# 3. Sort the dialogues by the difference of correct turns between the two tables of predictions, then look up the speakers in the table of weights.
#
# </details>
