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
# **Question.** What do gate and FiLM know about speakers, which emotions are predicted differently, how is $z$ organised, and where in the model can the speaker be found?
#
# **Produces.** Fig. 3 (`fig3_gate`), Fig. 4 (`fig4_confusion`), Fig. 5 (`fig5_features`), Fig. 9 (`fig9_probes`) and, on simulated corpora, Fig. 15 (`fig15_balance`) and Table 7 (`table7_recovery`).
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

from mlsan.evaluation.balance import gates_and_truth, speaker_gates, true_balance
from mlsan.evaluation.heterogeneity import leading_speakers
from mlsan.evaluation.metrics import summed_confusion
from mlsan.evaluation.neutrality import (
    recovery_by_modality,
    stage_probes,
    stranger_probes,
    style_recovery,
    withheld_stages,
)
from mlsan.evaluation.qualitative import (
    before_and_after,
    case_dialogue,
    case_study,
    feature_map,
    speaker_distance,
    speaker_weights,
)
from mlsan.report import use_style
from mlsan.report.nb06_qualitative import (
    SEEN,
    STRANGERS,
    WITHHELD,
    arm_of,
    balance_figure,
    confusion_figure,
    feature_figure,
    gate_figure,
    probes_figure,
    probes_table,
    recovery_table,
)
from mlsan.report.paper import FIG3_WEIGHTS, FIG4_RECOGNISED
from mlsan.training import AS_PRINTED

use_style()

# %% [markdown]
# In this notebook, strangers among the test speakers are enrolled with all of their unlabelled test utterances, unless a cell says otherwise.
#
# ## Gate and FiLM by speaker
#
# $g_m$ has one weight per channel; its mean is how much of a modality passes for a speaker. For FiLM, the two panels show how far the calibration is from the identity, for speakers enrolled with all their training utterances and for a stranger of whom nothing is known. **Predict:** which row should be closest to the identity?

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
# ### Does the gate find what a speaker shows?
#
# In the simulation, some speakers show more in the voice and less in the face, others the reverse, and it is known by how much. A gate that weights the modalities by speaker could open audio for the first and visual for the second. Each speaker of training is one point per modality. **Predict:** do audio and visual move apart to the right?

# %% tags=["nbval-ignore-output"]
gated = [r for r in study.plan("main") if study.system(r) in (AS_PRINTED, "ML-SAN")]
if study.simulated:
    gates = pd.concat(
        speaker_gates(run, study.corpora[run.benchmark], study.model(run)).assign(
            benchmark=run.benchmark, system=study.system(run), seed=run.seed
        )
        for run in gated
    )
    truth = {name: true_balance(study.truth(name)) for name in study.corpora}
    balance = study.labelled(gates_and_truth(gates, truth))
    figure15 = balance_figure(balance)
else:
    print("skipped: it is not known how much real speakers show in voice and face")

# %% tags=["nbval-ignore-output"]
if study.simulated:
    keys = [study.key(run) for run in gated]
    display(Markdown(study.save_figure(figure15, balance, "fig15_balance", keys, study.caveats)))

# %% tags=["nbval-ignore-output"]
if study.simulated:
    lines = []
    for (name, system), own in balance.groupby(["corpus", "system"], sort=False):
        row, apart = own.iloc[0], (own["audio"] - own["visual"]).std()
        word = "includes" if row["rho_low"] <= 0 <= row["rho_high"] else "excludes"
        lines.append(
            f"- {name}, {system}: Spearman's correlation of the gates' difference with the truth "
            f"is {row['rho']:+.2f} [{row['rho_low']:+.2f}, {row['rho_high']:+.2f}]; the interval "
            f"{word} zero. The difference varies between speakers by {apart:.4f} (standard "
            "deviation), on the gate's scale from 0 to 1."
        )
    display(Markdown("\n".join(lines)))

# %% [markdown]
# ## A case study
#
# The paper's example is the line "I have a bad feeling", with weights 0.22 for audio and 0.78 for visual. MELD's transcripts contain no such utterance, and Eq. 3 cannot produce weights that sum to one (notebook 3):

# %%
assert round(sum(FIG3_WEIGHTS.values()), 2) == 1
print(FIG3_WEIGHTS)

# %% [markdown]
# This figure shows a conversation: the test dialogue of 6 to 12 turns between at least two people on which the two systems disagree most. This fixed rule may favour either system. In the middle are the features of its speakers before and after calibration: each dot is one of their test utterances, the turns of the conversation are numbered. Below, the bars are each modality's share in the norm of the gated context features, beside both systems' predictions.
#
# **Predict:** what happens to the distance between the speakers' clouds?

# %% tags=["nbval-ignore-output"]
read = study.reader(pair.values(), "all")
predictions = {system: read(study.result(run).key) for system, run in pair.items()}
chosen = case_dialogue(
    predictions["ML-SAN"], predictions["MultiEMO"], turns=range(6, 13), among=corpus.test
)
place, dialogue = next((i, d) for i, d in enumerate(corpus.test) if d.id == chosen)
case = case_study(pair, models, corpus, dialogue, "all")
right = {system: int((case[system] == case["emotion"]).sum()) for system in pair}

# %% tags=["nbval-ignore-output"]
seen = study.stages(pair["ML-SAN"], "test", "all")
number = np.repeat(np.arange(len(corpus.test)), [len(d) for d in corpus.test])
modality = next(m for m in ("audio", "visual", "text") if m in corpus.modalities)
places = before_and_after(seen, number, place, modality)
places["emotion"] = np.array(corpus.declaration.emotions)[places["label"]]
title = f"{corpus.name}, test dialogue {chosen}"
figure3 = gate_figure(weights, places, case, title, corpus.declaration.emotions)

# %% tags=["nbval-ignore-output"]
runs = [study.result(run).key for run in pair.values()]
panels = {"weights": weights, "places": places, "case": case}
data = pd.concat([table.assign(panel=panel) for panel, table in panels.items()])
note = (
    f"{corpus.name}, seed 0, {modality} features. In the dialogue, correct of {len(case)}: {right}."
)
display(Markdown(study.save_figure(figure3, data, "fig3_gate", runs, note)))

# %%
shares = case.filter(like="weight_")
assert np.allclose(shares.sum(axis=1), 1)
assert (case["emotion"] == np.array(corpus.declaration.emotions)[dialogue.label]).all()
assert case["speaker"].nunique() > 1
print("each turn's shares sum to 1 over", [name.removeprefix("weight_") for name in shares])

# %% tags=["nbval-ignore-output"]
before, after = speaker_distance(places)
display(
    Markdown(
        f"The centres of the conversation's speakers are {before:.2f} standard deviations apart "
        f"in the raw {modality} features and {after:.2f} after calibration. Correct of "
        f"{len(case)} turns: {right}."
    )
)

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
read = study.reader(both, "all")
found = []
for name in study.corpora:
    for system in pair:
        runs = [r for r in both if r.benchmark == name and study.system(r) == system]
        predicted = [read(study.result(run).key) for run in runs]
        cells = summed_confusion(predicted, study.emotions[name])
        found.append(cells.assign(benchmark=name, system=system))
table = pd.concat(found, ignore_index=True)
figure4 = confusion_figure(study.labelled(table))

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
    print(f"{corpus.name}: each system's matrix counts every test utterance once per seed")

# %% tags=["nbval-ignore-output"]
recall = table[table["emotion"] == table["predicted"]].set_index(keys)["share"].mul(100)
wide = recall.unstack("system", sort=False)
wide["difference"] = wide["ML-SAN"] - wide["MultiEMO"]
wide["test utterances"] = true["count"].xs("ML-SAN", level="system") // len(study.seeds)
wide.sort_values(["benchmark", "test utterances"]).rename(index=study.names).round(1)

# %% [markdown]
# ## How is $z$ organised?
#
# Each point is the $z$ of one test utterance, on the first two principal components of $z$: the plane in which the utterances spread most. If $z$ is organised by emotion, the maps by emotion show patches of one colour; if it is organised by speaker, the maps by speaker do.

# %% tags=["nbval-ignore-output"]
maps = pd.concat(
    feature_map(
        study.config(name, system),
        study.corpora[name],
        study.model(study.config(name, system)),
        amount="all",
    ).assign(benchmark=name, system=system)
    for name in study.corpora
    for system in ("MultiEMO", "ML-SAN")
)
maps = study.labelled(maps)
figure5 = feature_figure(maps, study.emotions)

# %% tags=["nbval-ignore-output"]
runs = [study.result(study.config(b, s)).key for b in study.corpora for s in ("MultiEMO", "ML-SAN")]
display(
    Markdown(study.save_figure(figure5, maps, "fig5_features", runs, "Seed 0, test utterances."))
)

# %%
for (name, system), part in maps.groupby(["benchmark", "system"], sort=False):
    assert len(part) == sum(map(len, study.corpora[name].test))
    finite = np.isfinite(part[["x", "y"]]).all(axis=None)
    print(f"{study.names[name]}, {system}: one finite point per utterance: {finite}")

# %% [markdown]
# ## Where is the speaker?
#
# The paper claims that calibrated features are "unrelated to the speaker" and that the output "keeps identity". A map can mislead; a linear probe gives a number for both claims. At each stage of the model, one probe predicts the speaker (fitted on training dialogues, scored on dev dialogues of the same people) and one predicts the emotion (scored on test). The probes read the modalities that FiLM calibrates, audio and visual if they are present, and at the end $z$.
#
# The lines: MultiEMO, whose features nobody calibrates; ML-SAN as printed; the same with an **adversary**, a second speaker head on the calibrated features whose gradient is reversed, so that FiLM is trained to hide the speaker; and ML-SAN with its statistics start. A gate that depends on the speaker writes the speaker into its output, trained or not; so one line shows ML-SAN with the identity withheld at test time, the styles kept.
#
# For strangers, who are not in training, another probe names them from test utterances: fitted on every other dialogue of theirs, scored on the rest.
#
# **Predict:** at which stage does the speaker become hardest and at which easiest to predict?

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
    seen = [study.stages(run, split, "all") for split in ("train", "dev", "test")]
    calibrated = film_modalities(run.benchmark)
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=calibrated)
    dialogues = study.corpora[run.benchmark].test
    number = np.repeat(np.arange(len(dialogues)), [len(d) for d in dialogues])
    strange = study.strangers[run.benchmark]
    apart = stranger_probes(seen[-1], number, strange, modalities=calibrated)
    names = {"benchmark": run.benchmark, "system": arm_of(run), "seed": run.seed}
    rows += [found.assign(**names), apart.dropna(subset="wf1").assign(**names)]

# %% tags=["nbval-ignore-output"]
for run in arms:
    corpus = study.corpora[run.benchmark]
    if not corpus.named or arm_of(run) != "ML-SAN":
        continue
    splits = (corpus.train, corpus.dev, corpus.test)
    seen = [withheld_stages(run, corpus, study.model(run), split, "all") for split in splits]
    calibrated = film_modalities(run.benchmark)
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=calibrated)
    rows.append(found.assign(benchmark=run.benchmark, system=WITHHELD, seed=run.seed))
probed = study.labelled(probes_table(pd.concat([r for r in rows if len(r)], ignore_index=True)))
figure9 = probes_figure(probed)

# %% tags=["nbval-ignore-output"]
text = study.save_figure(figure9, probed, "fig9_probes", sweep["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
spoken = probed[probed["target"] == "speaker"].set_index(["corpus", "system", "stage"])
wide = spoken["wf1_mean"].unstack("stage", sort=False).round(1)
wide["chance"] = spoken["chance"].groupby(level=[0, 1], sort=False).mean().round(1)
wide

# %%
assert spoken["wf1_mean"].dropna().between(0, 100).all()
for name, part in probed.groupby("corpus", sort=False):
    print(
        f"{name}: {', '.join(part['system'].unique())}; stages {', '.join(part['stage'].unique())}"
    )

# %% tags=["nbval-ignore-output"]
lines = []
for (name, target), part in probed.groupby(["corpus", "target"], sort=False):
    if target == "emotion":
        continue
    line = part.set_index(["system", "stage"])
    who = {"speaker": "the speakers who speak most", "stranger": "the strangers, enrolled"}[target]
    chance = part["chance"].mean()
    found = ", ".join(
        f"{system} {line.loc[(system, 'calibrated'), 'wf1_mean']:.1f}"
        for system in dict.fromkeys(part["system"])
        if system not in ("MultiEMO", WITHHELD)
    )
    raw = line.loc[("ML-SAN", "raw"), "wf1_mean"]
    lines.append(
        f"- {name}, {who}: the probe's W-F1 is {raw:.1f} on raw features; on calibrated features "
        f"{found}; chance is {chance:.1f}."
    )
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Does FiLM find the speakers' styles?
#
# In a simulation each speaker's style is known, so the calibrated features can be compared with features without style. The score is the mean $R^2$ over features, on training utterances of the seen speakers and on test utterances of the strangers. "By speaker" standardises each speaker's features over these utterances. "Best" is the best scale and shift per speaker and feature: the bound of Eq. 2. **Predict** which start comes closer to the bound, and for whom.

# %% tags=["nbval-ignore-output"]
parts = []
for run in arms:
    if not study.corpora[run.benchmark].simulated or arm_of(run) not in (AS_PRINTED, "ML-SAN"):
        continue
    oracle = study.oracle(run.benchmark)
    names = {"benchmark": run.benchmark, "system": arm_of(run)}
    recovered = recovery_by_modality(style_recovery(study.stages(run, "train"), oracle.train))
    parts.append(recovered.assign(**names, speakers=SEEN))
    test = study.stages(run, "test", "all")
    strange = np.isin(test.speaker, study.strangers[run.benchmark])
    if strange.any():
        recovered = recovery_by_modality(style_recovery(test, oracle.test, part=strange))
        parts.append(recovered.assign(**names, speakers=STRANGERS))

# %% tags=["nbval-ignore-output"]
if parts:
    table7 = recovery_table(pd.concat(parts, ignore_index=True))
    behind = [study.key(run) for run in arms if arm_of(run) in (AS_PRINTED, "ML-SAN")]
    display(Markdown(study.save_table(table7, "table7_recovery", behind, study.caveats)))
else:
    print("skipped: the true style of real speakers is not known")

# %%
if parts:
    quality = table7.data
    ways = [name for name in quality if name.startswith(("none", "by", "learned"))]
    assert (quality["best"] >= quality[ways].max(axis=1) - 1e-9).all()
    print("no calibration exceeds the bound of Eq. 2:", ways)

# %% tags=["nbval-ignore-output"]
if parts:
    lines = []
    for row in quality.to_dict("records"):
        ours, printed = row["learned (statistics start)"], row["learned as printed"]
        lines.append(
            f"- {study.names[row['benchmark']]}, {row['speakers']}, {row['modality']}: {ours:.2f} of at most "
            f"{row['best']:.2f}; as printed {printed:.2f}, raw {row['none']:.2f}."
        )
    display(Markdown("\n".join(lines)))

# %% [markdown]
# ## What we learned
#
# - Gate and FiLM assign one set of weights to each speaker; the weights cannot change between the turns of one speaker.
# - A recall that rises by half can be a matter of three utterances. Report counts next to shares.
# - Fig. 9 tests both claims of the paper with numbers. Nothing in Eq. 4 makes the calibrated features neutral; the auxiliary loss asks for more speaker information in $z$. A start at the speaker's statistics takes mean and variance away, which is what a linear probe can read.
# - The adversary's reversed gradient moves each speaker's scale and shift to where one head cannot separate them, not to the values of the other speakers. A new probe can find the speakers again.
# - "Learned" compared with "best" shows how much of what Eq. 2 can do a start and its training have found, for speakers that training has and for strangers.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/06_qualitative.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **What a probe scores by chance.** "The probe names the speaker with a weighted F1 of 14 %" means nothing without the score of a probe that reads no features. It has two strategies: always name the commonest class of training, or name classes at random, as often as they occur in training. Write the expected weighted F1 of each, taking precision and recall at their expectations, and return the better one. Predict which is better for nine equally frequent speakers, and which for MELD's emotions.
#
# 2. **The bound of Eq. 2.** In a simulation each utterance also exists without style. How close can γ and β of one speaker take the raw features $x$ to these, $y$? Write the scale and shift of each feature that minimise $\sum_t (\gamma x_t + \beta - y_t)^2$ over the speaker's utterances.
#
# 3. **Do gates differ by speaker, or only by seed?** A figure of gates averaged over seeds always shows some difference between speakers. Let `gate[seed, speaker]` be a speaker's mean gate in each run. Write the standard deviation between speakers without the noise of training: take each seed's mean away; the variance of the speakers' means over $n$ seeds then is the speakers' own variance plus $r/n$, where $r$ is the variance of what is left after taking each speaker's mean away too, with $(n-1)(k-1)$ degrees of freedom for $k$ speakers. Subtract, stop at 0, and take the root.
#
# <details><summary>Solutions</summary>
#
# 1. For nine equal speakers guessing at random is better (11.1 against 2.2), for MELD's emotions always saying neutral (31.3 against 29.2). Accuracy would be 48.1 for MELD: a score has to be compared with chance in the same metric.
#
#    ```python
#    def chance(train, test):
#        """The better of the two, in percent, from the classes of train and test utterances."""
#        classes = np.unique(np.concatenate([train, test]))
#        guess = np.array([np.mean(train == c) for c in classes])
#        share = np.array([np.mean(test == c) for c in classes])
#        # Of the class that is always named, the recall is 1 and the precision its share.
#        named = share[guess.argmax()]
#        always = named * 2 * named / (1 + named)
#        # At random, the recall of a class is how often it is guessed; the precision is its share.
#        at_random = np.sum(share * 2 * guess * share / (guess + share))
#        return 100 * max(always, at_random)
#    ```
#
# 2. It is linear regression, feature by feature. Its R² bounds what Eq. 2 can do for these utterances, since γ and β are the only things that it may choose; it needs $y$, so no model can compute it. What is missing to 1 is the features' noise, and features that mix two channels with different gains.
#
#    ```python
#    def best_scale_and_shift(x, y):
#        """γ and β of each feature, from arrays [utterance, feature] of one speaker."""
#        away = x - x.mean(axis=0)
#        gamma = (away * (y - y.mean(axis=0))).sum(axis=0) / (away**2).sum(axis=0)
#        return gamma, y.mean(axis=0) - gamma * x.mean(axis=0)
#    ```
#
# 3. With three seeds and noise of 0.02, speakers who are all alike seem to differ by 0.012 if the noise is not subtracted. The same correction estimates how much speakers' means differ in `mlsan.corpus.style`, where it decides how strongly the mean of a few utterances is shrunk. For real gates, apply it to `speaker_weights(r, corpus, study.model(r), speakers)` of each run `r` of ML-SAN in notebook 6.
#
#    ```python
#    def between_speakers(gate):
#        """Standard deviation between speakers of an array [seed, speaker]."""
#        n, k = gate.shape
#        centred = gate - gate.mean(axis=1, keepdims=True)
#        mean = centred.mean(axis=0)
#        noise = np.square(centred - mean).sum() / ((n - 1) * (k - 1))
#        return np.sqrt(max(mean.var(ddof=1) - noise / n, 0))
#    ```
#
# </details>
