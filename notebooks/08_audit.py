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
# # 8 · Audit: the features, and the claims
#
# **Question.** Published text features come from a language model that was itself trained on emotions in these corpora. How much of a model's score is already in these features? And which of the paper's claims hold on our evidence?
#
# **Produces.** Table A12, the claims and their verdicts (`table12_claims`); three small tables, shown only here.
#
# **Needs.** A corpus with text features. Reads the runs of notebooks 3 to 6 that are finished and trains none. Optionally `emoberta-train.json` in the data folder: `utterance-ordered-MELD_IEMOCAP.json` of [tae898/erc](https://github.com/tae898/erc).
#
# **Time.** smoke: seconds · small: about two minutes · paper: some minutes.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - separate what a score owes to the features from what it owes to the model;
# - find repeated utterances and other links between training and test;
# - turn a sentence of a paper into a number and a range in which it must lie, and reach a verdict by a rule fixed beforehand.
#
# **Prerequisites.** Notebooks 3 and 4, and the probes and gates of notebook 6. Logistic regression, t-tests, correlation and regression slopes.
#
# **Your time.** About 75 minutes, and another 60 for the exercises.
#
# Where you read **Predict**, write down an answer before you go on: a cell below gives the number. Cells with `assert` check what the page says; you can skip them at first. Findings are written by code from the results of the corpus at hand.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("08_audit", globals())

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import mlsan.report.claims as claims
import mlsan.report.nb08_audit as report
from mlsan.evaluation import gathered, mean_over_seeds, score_predictions
from mlsan.evaluation.audit import EMOBERTA_LIST, read_emoberta_list, text_audit
from mlsan.evaluation.expressiveness import mean_gates, true_gains
from mlsan.evaluation.neutrality import stage_probes
from mlsan.report.lessons import listed
from mlsan.report.nb06_qualitative import arm_of
from mlsan.report.tables import BASE, ENROLLED, FULL, TEXT_PROBE
from mlsan.training import AS_PRINTED
from mlsan.vocabulary import MODALITIES

# %% [markdown]
# ## A linear probe against the whole model
#
# A model reads features that another model has computed. To see what the features alone can do, we fit a *linear probe*: a logistic regression on the text features of one utterance, without context, speaker, audio or video. What a model adds is its difference to the probe.
#
# **Predict:** how many points does the best model add to the probe on this corpus? (With `CORPUS=multiemo` these are the published text features, and you can compare the probe with ML-SAN's published 67.73 on MELD.)

# %%
probed = {
    benchmark: text_audit(corpus)
    for benchmark, corpus in study.corpora.items()
    if "text" in corpus.sizes
}
missing = sorted(study.names[name] for name in set(study.corpora) - set(probed))
print(f"no text features: {missing}" if missing else "all corpora have text features")

# %% tags=["nbval-ignore-output"]
runs = study.finished(study.plan("main"))
against = report.probe_and_models(probed, runs) if probed else pd.DataFrame()
study.labelled(against).drop(columns="benchmark", errors="ignore").round(2)

# %% tags=["nbval-ignore-output"]
listed(report.probe_answer(against, study.names) if probed else [])

# %%
for benchmark, audit in probed.items():
    row = against[(against["benchmark"] == benchmark) & (against["system"] == TEXT_PROBE)].iloc[0]
    assert row["above probe"] == 0
    label = audit["label"].to_numpy()
    constant = np.full_like(label, np.bincount(label).argmax())
    assert row["wf1"] > score_predictions(label, constant)["wf1"]
    print(f"{study.names[benchmark]}: the probe beats the most frequent emotion")

# %% [markdown]
# If the probe comes close to the models, then scores of papers that use different text features say more about the features than about the models. On simulated corpora, how much the text reveals is a setting of the simulator, so there this difference is not a finding.
#
# ## The same words in training and in test
#
# *"Yeah."*, *"Hey!"*, *"Oh my God!"*: short lines recur. If the features are computed one utterance at a time, the same words have the same features, and a model can remember their labels from training. So we count the test utterances whose features also occur in training, and score the probe with and without them. (Features computed with context, as EmoBERTa's can be, differ even for the same words. Simulated features are drawn anew for each utterance, so none recur; `CORPUS=meld-text` has real repetitions.)

# %% tags=["nbval-ignore-output"]
repeated = {study.names[name]: report.duplicates(audit) for name, audit in probed.items()}
pd.DataFrame.from_dict(repeated, orient="index").round(1)

# %%
for name, audit in probed.items():
    assert (audit["duplicate"] | ~audit["same_label"]).all()
    corpus = study.corpora[name]
    train = {row.tobytes() for d in corpus.train for row in d.feature["text"]}
    again = [row.tobytes() in train for d in corpus.test for row in d.feature["text"]]
    assert again == audit["duplicate"].tolist()
print("the repeated texts are those whose features also occur in training")

# %% [markdown]
# ## Did the feature extractor train on the test set?
#
# EmoBERTa is a language model that was fine-tuned on emotions in conversations. One public version was trained on a mixture of MELD and IEMOCAP that did not hold out the official test split: its list of training dialogues contains 249 of MELD's 280 test dialogues. Whether the published features come from this version is not known. If they do, the probe should score higher on these 249 dialogues than on the other 31.

# %% tags=["nbval-ignore-output"]
seen = read_emoberta_list(study.folder / EMOBERTA_LIST)
real = "MELD" in probed and not study.corpora["MELD"].simulated
exposure = report.by_exposure(probed["MELD"], seen) if seen and real else None
if exposure is None:
    print(f"skipped: this needs MELD's own dialogues and {EMOBERTA_LIST} in the data folder")
exposure if exposure is None else exposure.round(1)

# %% [markdown]
# With 31 dialogues on one side, a difference of a few points is noise. Features that were computed without labels, such as those of `meld-text`, show how large the difference can be by chance.

# %% [markdown]
# ## The paper's claims
#
# A claim that no result could contradict says nothing. So we write each claim of the paper as a statement about one number: in which range must the number lie if the claim is true? The verdict then follows by rule from the number's 95 % interval. The claim *holds* if the whole interval lies in the range, it *does not hold* if none of it does, and it is *undecided* otherwise. What our data cannot show *cannot be tested here*.
#
# On simulated corpora a verdict is about the *method*: does this model do such a thing on data with known speakers? It neither confirms nor refutes what the paper measured on MELD and IEMOCAP.
#
# ### What the printed numbers imply
#
# The first claim needs no run of ours. The paper reports paired t-tests with p < .01 from three runs of ML-SAN and MultiEMO, and prints means and standard deviations. For the test, $t = \sqrt 3\,\bar d / s$ with the mean $\bar d$ and the standard deviation $s$ of the three differences. $s$ is not printed, but it lies between the difference and the sum of the two printed standard deviations. **Predict:** does ML-SAN's gain on IEMOCAP, 73.28 ± 0.13 against 72.02 ± 0.07, allow p < .01?

# %%
listed(report.printed_answer())

# %% [markdown]
# So the printed p is arithmetically possible. What is unusual is the spread: standard deviations of .04 to .13 points over three runs. Table A12 compares this with ours.
#
# ### Evidence from the finished runs
#
# All other claims are tested with our runs. A *piece of evidence* is one number with its interval, for one claim, one corpus and one tested system. These cells collect the evidence from scores, with the same counts, intervals and enrolment as in the tables and figures to which Table A12 links.

# %% tags=["nbval-ignore-output"]
plans = ("main", "ablation", "lambda", "neutrality")
planned = {name: study.plan(name) for name in plans}
done = {name: study.finished(plan) for name, plan in planned.items()}
enrolled = study.reader([run for plan in planned.values() for run in plan], "all")
print({name: f"{len(done[name])} of {len(planned[name])} runs" for name in plans})


def counted(name, read, by="system"):
    """Counts of the finished runs of a plan by benchmark; empty where there are none."""
    return gathered(done[name], read, study.emotions, by) if len(done[name]) else {}


# %% tags=["nbval-ignore-output"]
evidence = []
table1 = counted("main", study.predictions)
with_enrolment = counted("main", enrolled)
for benchmark, systems in table1.items():
    corpus = study.corpora[benchmark]
    if study.strangers[benchmark] and FULL in systems:
        systems[ENROLLED] = with_enrolment[benchmark][FULL]
    published = not corpus.simulated and set(corpus.sizes) == set(MODALITIES)
    evidence += claims.table1_evidence(benchmark, systems, published)
    evidence += claims.emotion_evidence(benchmark, systems, study.emotions[benchmark])

# %% tags=["nbval-ignore-output"]
for benchmark, systems in counted("ablation", enrolled).items():
    if len(systems) == 8:
        evidence += claims.ablation_evidence(benchmark, systems)
for benchmark, lams in counted("lambda", enrolled, "lam").items():
    evidence += claims.lambda_evidence(benchmark, lams)
print(len(evidence), "pieces of evidence from scores")

# %% [markdown]
# ### Is the speaker gone?
#
# Two claims of the paper contradict each other: Fig. 5 is said to show *disentanglement* in $z$, emotion without identity; the auxiliary loss is said to *retain* the identity in the same $z$. A linear probe for the speaker decides between them, as in Fig. A9 of notebook 6. As there, we call features neutral if the probe is at most 5 points above chance. **Predict** which of the two claims holds, for ML-SAN as printed and for ours.

# %% tags=["nbval-ignore-output"]
probes, arms = [], (AS_PRINTED, FULL)
finished = set(done["neutrality"]["run"]) if len(done["neutrality"]) else set()
usable = [r for r in planned["neutrality"] if study.key(r) in finished and arm_of(r) in arms]
for run in usable:
    streams = [m for m in run.model.film_modalities if m in study.corpora[run.benchmark].sizes]
    seen = [study.stages(run, split, "all") for split in ("train", "dev", "test")]
    found = stage_probes(*seen, np.random.default_rng(run.seed), modalities=streams)
    found = found[found["target"] == "speaker"].assign(above=found["wf1"] - found["chance"])
    probes.append(found.assign(benchmark=run.benchmark, system=arm_of(run)))
for key, part in pd.concat(probes).groupby(["benchmark", "system"]) if probes else ():
    above = {stage: mean_over_seeds(x["above"].to_numpy()) for stage, x in part.groupby("stage")}
    evidence += claims.probe_evidence(*key, above)

# %% tags=["nbval-ignore-output"]
report.answered(evidence, study.names, "neutral", "disentangled", "kept")

# %% [markdown]
# ### Does the gate know who shows what, and where?
#
# "Some express emotions through their voice, while others do so through visual cues" (section 3.2): the gate is said to focus on the channels that are most informative for a speaker. In a simulation the answer is known: each speaker's gains in voice and face, whose difference is the true *balance*. If the claim holds, the mean gate of audio minus that of visual rises with the balance from speaker to speaker. **Predict** the correlation, remembering that FiLM has already removed the gains from the features.
#
# Notebook 6 draws this as Fig. A15, with an interval over seeds alone: that is about exactly these speakers. The claim is about speakers in general, so here speakers are resampled too, and the intervals are wider.

# %% tags=["nbval-ignore-output"]
gains = {
    name: true_gains(study.truth(name))
    for name, corpus in study.corpora.items()
    if corpus.simulated and corpus.named
}
# %% tags=["nbval-ignore-output"]
main = set(done["main"]["run"]) if len(done["main"]) else set()
gates, by_speaker = {}, {}
for run in planned["main"]:
    if study.key(run) in main and getattr(run.model, "gate", False):
        key = run.benchmark, study.system(run)
        learned = mean_gates(run, study.corpora[run.benchmark], study.model(run))
        gates.setdefault(key, []).append(pd.DataFrame(learned))
        by_speaker[key] = by_speaker.get(key, True) and run.model.gate_input == "speaker"
balance = {name: found["balance"] for name, found in gains.items()}
evidence += report.gates_evidence(gates, balance, by_speaker)

# %% tags=["nbval-ignore-output"]
report.answered(evidence, study.names, "balance", "swing")

# %% [markdown]
# ### Introverts and extroverts
#
# Fig. 1 of the paper says that one model for everybody takes an introvert's joy for neutral, and an extrovert's neutral for joy. In the simulation the *strength* of a speaker is the mean gain in voice and face (log2): low for introverts, high for extroverts. Two regressions over test speakers test the claim:
#
# - how the share of emotional utterances that are taken for neutral changes with strength;
# - how the share of neutral utterances that are taken for emotional changes with it.
#
# The slopes are in points per standard deviation of strength. Each speaker is weighted by their number of utterances, and the interval is over seeds and speakers. If the claim is true, ML-SAN's first slope should be flatter than MultiEMO's. **Predict** the signs of both slopes for MultiEMO.

# %% tags=["nbval-ignore-output"]
ways = ((BASE, BASE, study.predictions), (AS_PRINTED, AS_PRINTED, study.predictions))
ways += ((FULL, ENROLLED, enrolled),)
for name in study.corpora:
    emotions = list(study.emotions[name])
    neutral = emotions.index("neutral") if "neutral" in emotions else None
    tables, rows = {}, done["main"]
    for system, label, read in ways if main and name in gains else ():
        own = rows[(rows["benchmark"] == name) & (rows["system"] == system)]
        if len(own):
            tables[label] = {seed: read(key) for seed, key in own[["seed", "run"]].to_numpy()}
    strength = gains[name]["strength"] if name in gains else None
    evidence += claims.expression_evidence(name, tables, strength, neutral)

# %% tags=["nbval-ignore-output"]
report.answered(evidence, study.names, "introverts", "extroverts", "levelled")

# %% [markdown]
# ### Table A12: the ledger
#
# All claims in one table: where the paper makes them, what it prints, which system was tested, and our verdict on each corpus with the number behind it. A claim can hold for one tested system and not for another.

# %% tags=["nbval-ignore-output"]
table12 = report.claims_table(evidence, study.names)
used = pd.concat([rows for rows in done.values() if len(rows)] or [pd.DataFrame({"run": []})])
text = study.save_table(table12, "table12_claims", sorted(set(used["run"])), study.caveats)
display(Markdown(text.replace("](", f"](../figures/{study.figures.name}/")))

# %%
assert set(table12.data["verdict"]) <= set(report.verdicts(table12.data).columns)
cells = table12.data.groupby(["claim", "tested", "benchmark"]).size()
assert (cells == 1).all()
print("each claim has one verdict per corpus and tested system")

# %% tags=["nbval-ignore-output"]
report.verdicts(table12.data)

# %% tags=["nbval-ignore-output"]
same = report.everywhere(table12.data).items()
lines = [f"**{name}**: {'; '.join(says) or 'none'}." for name, says in same]
Markdown(f"Claims with the same verdict on all corpora and tested systems:\n\n{listed(lines)}")

# %% [markdown]
# ## What we learned
#
# - A score depends on the features and the model together; the probe shows what the features contribute.
# - Repeated lines link training and test; they can be counted and left out.
# - The training list of a feature extractor is part of the protocol. If it is unknown, say so next to the score.
# - A claim becomes testable when it names a number and the range in which it must lie. Written like this, two of the paper's claims about $z$ exclude each other.
# - A verdict is about the data on which it was found. A ledger that says "simulated" and "cannot be tested here" is worth more than one that says "reproduced".
#
# ## What would change our mind
#
# - *The verdicts on simulated speakers.* Runs on MELD and IEMOCAP themselves, with the published features, five seeds and the epoch chosen on dev (`CORPUS=multiemo`).
# - *"Undecided".* More seeds, and above all more test dialogues and speakers.
# - *The gate does not follow the balance.* A model without FiLM, in which the gains are still in the features that the gate sees (`study.config(benchmark, "only Gate")`).
#
# ## Further reading
#
# - Kim and Vossen, *EmoBERTa: Speaker-Aware Emotion Recognition in Conversation with RoBERTa*, 2021 (arXiv 2108.12009).
# - Shi and Huang, *MultiEMO: An Attention-Based Correlation-Aware Multimodal Fusion Framework for Emotion Recognition in Conversations*, ACL 2023.
# - Dodge et al., *Show Your Work: Improved Reporting of Experimental Results*, EMNLP 2019.
# - Dror et al., *The Hitchhiker's Guide to Testing Statistical Significance in Natural Language Processing*, ACL 2018.
# - Kapoor and Narayanan, *Leakage and the Reproducibility Crisis in Machine-Learning-Based Science*, Patterns 4(9), 2023.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/08_audit.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **The same words in training.** "Yeah." occurs in training and in test, with the very same text features. Write which test utterances have a row that is, bit for bit, a row of training. There are 10,000 × 2,600 pairs in MELD with hundreds of features each, so do not compare all pairs.
#
# 2. **The linear probe itself.** A probe is a logistic regression. Write the objective that scikit-learn minimises for weights $W$, offsets $b$ and strength $C$: $\frac12 \lVert W \rVert^2 + C \sum_i -\log p_i$, where $p_i$ is the probability, by the softmax of $W x_i + b$, of the true class. The offsets are not penalised. The code below minimises it.
#
# 3. **How large must a test set be?** MELD has 280 test dialogues, IEMOCAP 31. Write the standard deviation of a system's weighted F1 over test sets of `size` dialogues, drawn with replacement from the given ones. Predict by what factor it grows from 280 to 31 dialogues.
#
# <details><summary>Solutions</summary>
#
# 1. A set of the rows' bytes makes it one look-up per test utterance. A repeated utterance is not a mistake of the corpus, people do say "Yeah."; but a model can remember its label, so report the score without repeated utterances too: the rows of `study.result(run).predictions` whose split is test are in the order of `text_audit`.
#
#    ```python
#    def occurs_in_training(train, test):
#        """Whether each row of test [utterance, feature] is a row of train."""
#        known = {row.tobytes() for row in train}
#        return np.array([row.tobytes() in known for row in test])
#    ```
#
# 2. $C$ multiplies a *sum*, so the same $C$ penalises less in a larger corpus. The probe has no context and no speaker: what it scores was in the features before any model of conversation was trained.
#
#    ```python
#    def objective(weight, bias, x, y, strength):
#        """One number, from weight [class, feature], bias [class], x [utterance, feature] and y."""
#        logits = x @ weight.T + bias
#        return 0.5 * weight.square().sum() + strength * torch.nn.functional.cross_entropy(
#            logits, y, reduction="sum"
#        )
#    ```
#
# 3. By $\sqrt{280/31} = 3.0$: it falls with the square root of the number of dialogues. For a single system 1.96 of these standard deviations are half of a 95 % interval. A difference of two systems varies less, since both are tested on the same dialogues (exercise 1 of notebook 4).
#
#    ```python
#    def spread(counts, size, times, generator):
#        """Standard deviation of the score; counts are [dialogue, true, predicted]."""
#        scores = []
#        for _ in range(times):
#            drawn = generator.integers(len(counts), size=size)
#            scores.append(weighted_f1(counts[drawn].sum(axis=0)))
#        return np.std(scores)
#    ```
#
# </details>
