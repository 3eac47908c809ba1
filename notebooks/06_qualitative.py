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
# **Question.** What do gate and FiLM know about speakers? Which emotions are predicted differently? How is $z$ organised, and where in the model can the speaker be found?
#
# **Produces.** Fig. 3 (`fig3_gate`), Fig. 4 (`fig4_confusion`), Fig. 5 (`fig5_features`), Fig. A9 (`fig9_probes`) and, on simulated corpora, Fig. A15 (`fig15_balance`) and Table A7 (`table7_recovery`).
#
# **Needs.** The corpus of notebook 1 and the runs of notebooks 3 and 4, which are trained here if they are missing.
#
# **Time.** smoke: seconds · small: about a minute · paper: some minutes, for the maps of $z$ and the probes.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - read a conversation with two models: what each answers, how sure it is, and where it fails;
# - say what a gate and a calibration can know about a speaker, and test whether they do;
# - decide with a linear probe, and not by looking at a map, whether features tell the speaker.
#
# **Prerequisites.** Notebook 3: Eq. 1–4, and what *enrolled* means. Linear classifiers, and what a confidence interval says.
#
# **Your time.** About 90 minutes, and another 60 for the exercises.
#
# Where you read **Predict**, write down an answer before you go on: a cell below gives the number. Cells with `assert` check what the page says; you can skip them at first. Findings are written by code from the results of the corpus at hand, so they can differ from those of another corpus. A difference counts if its 95 % interval excludes zero.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("06_qualitative", globals())

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import mlsan.report.nb06_qualitative as report
from mlsan.corpus.transcripts import TRANSCRIPTS
from mlsan.evaluation import balance, conversation, gathered, neutrality, qualitative
from mlsan.evaluation.heterogeneity import leading_speakers
from mlsan.evaluation.metrics import summed_confusion
from mlsan.report.claims import NEUTRAL_WITHIN
from mlsan.report.conversation import conversation_table, failure_table, outcome_sentences
from mlsan.report.lessons import listed
from mlsan.report.paper import FIG3_WEIGHTS, FIG4_RECOGNISED
from mlsan.report.words import words
from mlsan.training import AS_PRINTED

# %% [markdown]
# In this notebook, strangers among the test speakers are enrolled with all of their unlabelled test utterances, unless a cell says otherwise.
#
# ## Gate and FiLM by speaker
#
# The gate multiplies the context features of modality $m$ by $g_m$, one weight per channel; their mean says how much of the modality passes for a speaker. FiLM multiplies the raw features by γ and adds β: it does nothing where γ = 1 and β = 0. The table shows, for each speaker, the mean gate, and how far γ is from 1 and β from 0 (root mean square over features). The named speakers are enrolled with all of their training utterances; "unknown" is a stranger of whom nothing is known. **Predict:** for whom does FiLM do least?

# %% tags=["nbval-ignore-output"]
benchmark, corpus = next(iter(study.corpora.items()))
pair = {system: study.config(benchmark, system) for system in ("MultiEMO", "ML-SAN")}
models = {system: study.model(run) for system, run in pair.items()}
speakers = leading_speakers(corpus, 6)
weights = qualitative.speaker_weights(pair["ML-SAN"], corpus, models["ML-SAN"], speakers)
named = weights.rename(columns={"scale": "γ − 1", "shift": "β"})
wide = named.pivot(index="speaker", columns="modality", values=["gate", "γ − 1", "β"])
wide.dropna(axis=1, how="all").round(3)

# %%
assert weights["gate"].between(0, 1).all()
untouched = weights.groupby("modality", sort=False)["scale"].apply(lambda s: s.isna().all())
print("gated:", list(untouched.index), "- calibrated:", list(untouched.index[~untouched]))

# %% tags=["nbval-ignore-output"]
display(Markdown(report.identity_answer(weights)))

# %% [markdown]
# ### Does the gate find what a speaker shows?
#
# In the simulation, some speakers show more in the voice and less in the face, others the reverse, and it is known by how much. A gate that weights the modalities by speaker could open audio for the first and visual for the second. The figure compares ML-SAN *as printed*, whose FiLM and gate start as the paper describes, with ours, which starts FiLM at the speaker's statistics and the gate open (notebook 3). Each training speaker is one point per modality. **Predict:** do audio and visual move apart towards the right?

# %% tags=["nbval-ignore-output"]
gated = [r for r in study.plan("main") if study.system(r) in (AS_PRINTED, "ML-SAN")]
if study.simulated:
    gates = pd.concat(
        balance.speaker_gates(run, study.corpora[run.benchmark], study.model(run)).assign(
            benchmark=run.benchmark, system=study.system(run), seed=run.seed
        )
        for run in gated
    )
    truth = {name: balance.true_balance(study.truth(name)) for name in study.corpora}
    balances = study.labelled(balance.gates_and_truth(gates, truth))
    figure15 = report.balance_figure(balances)
else:
    print("skipped: it is not known how much real speakers show in voice and face")

# %% tags=["nbval-ignore-output"]
if study.simulated:
    keys = [study.key(run) for run in gated]
    display(Markdown(study.save_figure(figure15, balances, "fig15_balance", keys, study.caveats)))

# %% tags=["nbval-ignore-output"]
if study.simulated:
    display(listed(report.balance_findings(balances)))

# %% [markdown]
# ## A case study
#
# The paper explains its gate with one example: the line "I have a bad feeling". MELD's transcripts contain no such utterance. Its two printed weights sum to one, as those of a softmax do. Eq. 3 has no softmax, so nothing in it makes weights sum to one (notebook 3):

# %%
assert round(sum(FIG3_WEIGHTS.values()), 2) == 1
print(FIG3_WEIGHTS)

# %% [markdown]
# Our example is chosen by a rule, which may favour either system: the test dialogue of 6 to 12 turns between at least three people (two, if the corpus has no dialogue of three) on which the two systems disagree most. The figure has three parts:
#
# - above, the table of gate and FiLM from the start of this notebook;
# - in the middle, the features of the conversation's speakers before and after calibration: each dot is one of their test utterances, and the turns of the conversation are numbered;
# - below, what each modality contributes to each turn (its share in the length of the gated context features), beside both systems' predictions.
#
# **Predict:** what happens to the distance between the speakers' clouds?

# %% tags=["nbval-ignore-output"]
read = study.reader(pair.values(), "all")
predictions = {system: read(study.result(run).key) for system, run in pair.items()}
ours, base = (predictions[system] for system in ("ML-SAN", "MultiEMO"))
chosen = qualitative.case_dialogue(ours, base, range(6, 13), corpus.test, people=3)
place, dialogue = next((i, d) for i, d in enumerate(corpus.test) if d.id == chosen)
case = qualitative.case_study(pair, models, corpus, dialogue, "all")
right = report.correct(case, tuple(pair))

# %% tags=["nbval-ignore-output"]
seen = study.stages(pair["ML-SAN"], "test", "all")
number = np.repeat(np.arange(len(corpus.test)), [len(d) for d in corpus.test])
modality = next(m for m in ("audio", "visual", "text") if m in corpus.modalities)
places = qualitative.before_and_after(seen, number, place, modality)
places["emotion"] = np.array(corpus.declaration.emotions)[places["label"]]
title = f"{corpus.name}, test dialogue {chosen}"
figure3 = report.gate_figure(weights, places, case, title, corpus.declaration.emotions)

# %% tags=["nbval-ignore-output"]
runs = [study.result(run).key for run in pair.values()]
panels = {"weights": weights, "places": places, "case": case}
data = pd.concat([table.assign(panel=panel) for panel, table in panels.items()])
note = f"{corpus.name}, seed 0, {modality} features. Correct turns of {len(case)}: {right}."
display(Markdown(study.save_figure(figure3, data, "fig3_gate", runs, note)))

# %%
shares = case.filter(like="weight_")
assert np.allclose(shares.sum(axis=1), 1)
assert (case["emotion"] == np.array(corpus.declaration.emotions)[dialogue.label]).all()
assert case["speaker"].nunique() > 1
print("each turn's shares sum to 1 over", [name.removeprefix("weight_") for name in shares])

# %% tags=["nbval-ignore-output"]
answer = report.distance_answer(places, modality)
Markdown(f"{answer} Correct turns of {len(case)}: {right}.")

# %% [markdown]
# ### The conversation, turn by turn
#
# The same conversation as a table:
#
# - *line*: simulated conversations have no words, so these lines are **invented** by a small grammar (`mlsan.report.words`) to help you follow; no model has seen them. MELD's own lines are shown where its transcripts are at hand.
# - *feature*: of all features, the one that tells these speakers apart best, before → after calibration, in standard deviations over all of their test utterances.
# - *MultiEMO* and *ML-SAN*: the answer with its probability (softmax of the logits). ✗ marks a wrong answer, with the probability of the true emotion.

# %% tags=["nbval-ignore-output"]
transcripts = study.folder / TRANSCRIPTS
trained = {system: study.stages(run, "test", "all") for system, run in pair.items()}
answered = conversation.answers(trained, corpus)
turns = answered[answered["dialogue"] == chosen]
number, moved = conversation.telling_feature(trained["ML-SAN"], turns["speaker"].tolist(), modality)
said, feature = words(corpus, dialogue, transcripts), f"{modality} feature {number}"
Markdown(conversation_table(turns, tuple(pair), said, moved.loc[turns.index], feature))

# %%
assert turns["speaker"].nunique() >= min(3, max(len(set(d.party.tolist())) for d in corpus.test))
for system in pair:
    assert turns[system].tolist() == case[system].tolist()
    assert turns[f"{system} p"].between(1 / len(study.emotions[benchmark]), 1).all()
print("the table and the figure show the same answers")

# %% [markdown]
# ### A gallery of failures
#
# A mean hides what kind of mistakes a model makes. Of ML-SAN's wrong answers (seed 0), these are the ones of which it was surest, at most one per dialogue: first those where MultiEMO is right, then those where both are wrong. An invented line gives the true emotion away, because it was made from it; the models had no such hint. With real lines (`CORPUS=meld-text`), ask of each: could *you* have told, from this line and the lines before it?
#
# **Predict:** over the whole test set, is a system less sure where it is wrong?

# %% tags=["nbval-ignore-output"]
systems, gallery, counted = ("MultiEMO", "ML-SAN"), [], []
for name, own in study.corpora.items():
    kept = {s: study.stages(study.config(name, s), "test", "all") for s in systems}
    table = conversation.answers(kept, own)
    found = conversation.outcomes(table, systems)
    talks = {d.id: d for d in own.test}
    for kind in (conversation.only("MultiEMO"), conversation.BOTH_WRONG):
        rows = conversation.surest(table[found == kind], "ML-SAN", 3)
        shown = failure_table(rows, systems, lambda i, c=own, t=talks: words(c, t[i], transcripts))
        gallery.append(
            f"**{own.name}, {kind}** ({len(rows)} of {(found == kind).sum()})\n\n{shown}"
        )
    counted += outcome_sentences(own.name, table, systems)
Markdown("\n\n".join(gallery))

# %% tags=["nbval-ignore-output"]
listed(counted)

# %% [markdown]
# ## Which emotions are predicted differently?
#
# According to the paper's Fig. 4, the recall of fear rises from 12 % to 18 % and that of anger from 55 % to 57 % on MELD. How many utterances is that? MELD's test set has 50 utterances of fear and 345 of anger:

# %%
for emotion, support in (("fear", 50), ("anger", 345)):
    before, after = FIG4_RECOGNISED[emotion]
    print(f"{emotion}: {support * before / 100:.0f} -> {support * after / 100:.0f} of {support}")

# %% [markdown]
# Fear gains three utterances. Here are our confusion matrices, with the number of test utterances beside each emotion. **Predict:** does ML-SAN recognise rare emotions better, or frequent ones? The table below the figure has the recalls, the rarest emotion first.

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
figure4 = report.confusion_figure(study.labelled(table))

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
sweep = study.finished(both)
counts = gathered(sweep, study.reader(both, "all"), study.emotions)
parts, changes = [], []
for name, systems in counts.items():
    shown, found = report.recall_changes(systems, study.emotions[name])
    parts.append(f"{study.names[name]}\n\n{shown.to_markdown(index=False, disable_numparse=True)}")
    changes += [f"{study.names[name]}: {line}" for line in found]
Markdown("\n\n".join(parts))

# %% tags=["nbval-ignore-output"]
listed(changes)

# %% [markdown]
# ## How is $z$ organised?
#
# The paper answers this with a map of $z$ (its Fig. 5). In ours, each point is the $z$ of one test utterance, on the first two principal components of $z$: the plane in which the utterances spread most. If $z$ is organised by emotion, the maps by emotion show patches of one colour; if it is organised by speaker, the maps by speaker do. Such a plane shows only a part of $z$, so write down your impression, and let the next section check it with numbers.

# %% tags=["nbval-ignore-output"]
maps = pd.concat(
    qualitative.feature_map(
        study.config(name, system),
        study.corpora[name],
        study.model(study.config(name, system)),
        amount="all",
    ).assign(benchmark=name, system=system)
    for name in study.corpora
    for system in ("MultiEMO", "ML-SAN")
)
maps = study.labelled(maps)
figure5 = report.feature_figure(maps, study.emotions)

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
# The paper claims that calibrated features are "unrelated to the speaker" and that the output "keeps identity". A *linear probe*, a logistic regression on the features, gives a number for both claims. It reads five stages of the model: the *raw* features, the *calibrated* ones (after FiLM), the *context* features (after the context encoder), the *gated* ones, and *z*. Up to *gated* it reads the modalities that FiLM calibrates, audio and visual if they are present. At each stage there are three probes:
#
# - one names the speaker: fitted on training dialogues, scored on dev dialogues of the same people. We call a stage *neutral* if this probe is at most 5 points above chance;
# - one names strangers, who are not in training: fitted on every other test dialogue of theirs, scored on the rest;
# - one predicts the emotion: fitted on training, scored on test.
#
# The columns of the figure are models: MultiEMO, which does not calibrate; ML-SAN as printed; our ML-SAN; ML-SAN as printed with an **adversary**, a second speaker head on the calibrated features whose gradient is reversed, so that FiLM is trained to hide the speaker; and our ML-SAN with every *identity withheld* at test time, the styles kept. The last one is a control: a gate that reads the speaker writes the speaker into its output, whether it has learned anything or not.
#
# **Predict:** at which stage of ML-SAN is the speaker hardest to name, and at which easiest?

# %% tags=["nbval-ignore-output"]
arms = study.plan("neutrality")
sweep = study.sweep(arms)
assert not (sweep["status"] == "failed").any(), sweep.loc[sweep["status"] == "failed", "error"]
rows = []


def film_modalities(name):
    """The modalities that ML-SAN calibrates, if the corpus has them."""
    settings = study.config(name, "ML-SAN").model
    return [m for m in settings.film_modalities if m in study.corpora[name].sizes]


# %% tags=["nbval-ignore-output"]
for run in arms:
    seen = [study.stages(run, split, "all") for split in ("train", "dev", "test")]
    calibrated = film_modalities(run.benchmark)
    generator = np.random.default_rng(run.seed)
    found = neutrality.stage_probes(*seen, generator, modalities=calibrated)
    dialogues = study.corpora[run.benchmark].test
    number = np.repeat(np.arange(len(dialogues)), [len(d) for d in dialogues])
    strange = study.strangers[run.benchmark]
    apart = neutrality.stranger_probes(seen[-1], number, strange, modalities=calibrated)
    names = {"benchmark": run.benchmark, "system": report.arm_of(run), "seed": run.seed}
    rows += [found.assign(**names), apart.dropna(subset="wf1").assign(**names)]

# %% tags=["nbval-ignore-output"]
for run in arms:
    own = study.corpora[run.benchmark]
    if not own.named or report.arm_of(run) != "ML-SAN":
        continue
    splits, model = (own.train, own.dev, own.test), study.model(run)
    seen = [neutrality.withheld_stages(run, own, model, split, "all") for split in splits]
    generator, calibrated = np.random.default_rng(run.seed), film_modalities(run.benchmark)
    found = neutrality.stage_probes(*seen, generator, modalities=calibrated)
    rows.append(found.assign(benchmark=run.benchmark, system=report.WITHHELD, seed=run.seed))
probed = report.probes_table(pd.concat([r for r in rows if len(r)], ignore_index=True))
probed = study.labelled(probed)
figure9 = report.probes_figure(probed)

# %% tags=["nbval-ignore-output"]
text = study.save_figure(figure9, probed, "fig9_probes", sweep["run"], study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
spoken = probed[probed["target"] == "speaker"].set_index(["corpus", "system", "stage"])
wide = spoken["wf1_mean"].unstack("stage", sort=False).round(1)
wide["chance"] = spoken["chance"].groupby(level=[0, 1], sort=False).mean().round(1)
wide.loc[probed["corpus"].unique()]

# %%
assert spoken["wf1_mean"].dropna().between(0, 100).all()
for name, part in probed.groupby("corpus", sort=False):
    print(
        f"{name}: {', '.join(part['system'].unique())}; stages {', '.join(part['stage'].unique())}"
    )

# %% tags=["nbval-ignore-output"]
listed(report.probe_findings(probed, NEUTRAL_WITHIN))

# %% tags=["nbval-ignore-output"]
listed(report.calibrated_sentences(probed))

# %% [markdown]
# ## Does FiLM find the speakers' styles?
#
# That a probe cannot name the speaker does not show that the right thing was removed. In a simulation each speaker's style is known, so the calibrated features can be compared with the same features without any style. The score is $R^2$, the squared correlation of the two, on training utterances of the seen speakers and on test utterances of the strangers. The ways to calibrate:
#
# - *none*: the raw features; *by speaker*: standardised over each speaker's utterances;
# - *learned*: FiLM as printed, and FiLM with our start at the speaker's statistics;
# - *best*: the best scale and shift for each speaker and feature, which no γ and β of Eq. 2 can exceed.
#
# **Predict** which start of FiLM comes closer to the best, and for whom.

# %% tags=["nbval-ignore-output"]
parts, starts = [], (AS_PRINTED, "ML-SAN")
for run in (r for r in arms if report.arm_of(r) in starts and study.corpora[r.benchmark].simulated):
    oracle = study.oracle(run.benchmark)
    names = {"benchmark": run.benchmark, "system": report.arm_of(run)}
    found = neutrality.style_recovery(study.stages(run, "train"), oracle.train)
    found = neutrality.recovery_by_modality(found)
    parts.append(found.assign(**names, speakers=report.SEEN))
    test = study.stages(run, "test", "all")
    strange = np.isin(test.speaker, study.strangers[run.benchmark])
    if strange.any():
        found = neutrality.style_recovery(test, oracle.test, part=strange)
        found = neutrality.recovery_by_modality(found)
        parts.append(found.assign(**names, speakers=report.STRANGERS))

# %% tags=["nbval-ignore-output"]
if parts:
    table7 = report.recovery_table(pd.concat(parts, ignore_index=True))
    behind = [study.key(run) for run in arms if report.arm_of(run) in starts]
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
    display(listed(report.recovery_findings(study.labelled(quality))))

# %% [markdown]
# ## What we learned
#
# - Gate and FiLM assign one set of weights to each speaker; the weights cannot change between the turns of one speaker.
# - A recall that rises by half can be a matter of three utterances. Report counts next to shares.
# - Fig. A9 tests both claims of the paper with numbers. Nothing in Eq. 4 makes the calibrated features neutral, and the auxiliary loss asks for more speaker information in $z$. FiLM that starts at the speaker's statistics removes the speaker's mean and variance, and with them most of what a linear probe can use.
# - The adversary's reversed gradient moves each speaker's scale and shift to where one head cannot separate them, not to the values of the other speakers. A new probe can find the speakers again.
# - Table A7 compares what FiLM has learned with the best that Eq. 2 allows, for speakers in training and for strangers.
# - One conversation proves nothing, and a case can be found for either system. Choose it by a rule, and say which.
#
# ## What would change our mind
#
# - *The gate knows little about speakers.* Gates that differ between speakers by tenths, and whose correlation with the true balance is above zero with its whole interval.
# - *The statistics start finds the style.* A corpus in which style and emotion are mixed in another way, so that even the best scale and shift of Table A7 leave much of the style.
# - *The speaker is gone.* A linear probe near chance is not enough: a nonlinear one, fitted anew, would have to fail as well.
# - *The failures shown are typical.* Another seed with other failures: change the seed in `study.config(name, system, seed)` and compare.
#
# ## Further reading
#
# - Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018.
# - Alain and Bengio, *Understanding Intermediate Layers Using Linear Classifier Probes*, ICLR workshop 2017.
# - Ganin and Lempitsky, *Unsupervised Domain Adaptation by Backpropagation*, ICML 2015: the reversed gradient.
# - Elazar and Goldberg, *Adversarial Removal of Demographic Attributes from Text Data*, EMNLP 2018: why a new probe finds again what an adversary was to hide.
# - Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017: what a probability of .9 is worth.
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
