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
# # 7 · Enrolling strangers, adapting other models, missing modalities
#
# **Question.** What can a trained model do for a speaker whom training never saw, given 0, 1, 10 or all of this stranger's *unlabelled* utterances? Do other models gain from ML-SAN's three parts? And what is left of the score when a modality is missing or noisy?
#
# **Produces.** Table A5 (`table5_enrolment`), Fig. A11 (`fig11_enrolment`, if the corpora name speakers of whom some are unseen), Table A11 (`table11_adapted`) and Fig. A10 (`fig10_robustness`). The paper has none of them; it leaves these questions open.
#
# **Needs.** The corpus of notebook 1. Uses the runs of Table 1, MultiEMO at heterogeneity 0, other models with ML-SAN's parts, and both systems with modality dropout, which are trained here if they are missing.
#
# **Time.** smoke: seconds · small: 4 to 5 minutes on two cores the first time · paper: a GPU is recommended.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - enrol a stranger from unlabelled utterances, save the style, and predict with it;
# - say how many utterances are enough, and why utterances of one dialogue are worth less than the same number from several;
# - put ML-SAN's three parts around another model, and compare it with itself;
# - test a model with a modality missing, and say what it costs to train for that.
#
# **Prerequisites.** Notebook 3, and the simulator of notebook 1. Weighted means and their variance.
#
# **Your time.** About 75 minutes, and another 60 for the exercises.
#
# Where you read **Predict**, write down an answer before you go on: a cell below gives the number. Cells with `assert` check what the page says; you can skip them at first. Findings are written by code from the results of the corpus at hand. A statement *holds* if its whole 95 % interval is on its side of zero, *does not hold* if none of it is, and is *undecided* otherwise.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("07_beyond", globals())

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import mlsan.report.nb07_beyond as report
from mlsan.evaluation import score_predictions
from mlsan.evaluation.counts import gathered
from mlsan.evaluation.robustness import conditions, degraded_predictions
from mlsan.evaluation.strangers import Style, enrol, predict
from mlsan.report.lessons import listed
from mlsan.report.nb07_beyond import AMOUNTS, CURVE, MARKS, ORACLE, STRANGERS
from mlsan.training import AS_PRINTED, MODALITY_DROPOUT, WITH_SPEAKER

# %% [markdown]
# ## What is known
#
# A person's voice and face have a level and a range of their own, and both can be estimated without labels. The idea is old:
#
# - In speech recognition, speaker adaptive training and constrained maximum-likelihood linear regression estimate one affine map per speaker (Gales 1998). FiLM with a γ and a β per speaker (Perez et al. 2018) is a map of the same kind with learned parameters.
# - In emotion recognition, iterative feature normalisation estimates an affine map per speaker from the utterances that a model takes for neutral, applies it, and repeats both steps (Busso et al. 2013).
# - A speech emotion recogniser can also attend to a speaker's enrolment utterances: neutral, emotional or all of them (Triantafyllopoulos and Schuller 2024). The question of this notebook, how much enrolment and of what kind, is theirs.
# - Instead of estimating the speaker, one can hide the speaker with a reversed gradient (Gat et al. 2022); notebook 6 tries this as ML-SAN's adversary.
#
# Here one model is trained with random amounts of enrolment (notebook 3), and each test below uses this same model. The labels of test speakers are never used.

# %% [markdown]
# ## Enrol a stranger
#
# A *stranger* is a test speaker whom training does not have. All that enrolment needs is the features of some of the stranger's utterances: one row per utterance, no labels. `enrol` gives a *style*, which can be saved and loaded; the utterances themselves are not needed any more. (A style identifies a person: keep it as safe as a recording.) `predict` takes a new dialogue and the styles of those who speak in it.
#
# We enrol one stranger from half of their test dialogues, and predict the other half. **Predict:** how many of 100 answers change, and are they better or worse than before?

# %% tags=["nbval-ignore-output"]
strange = [name for name, who in study.strangers.items() if who]
benchmark = (strange or list(study.corpora))[-1]
corpus = study.corpora[benchmark]
run = study.config(benchmark, "ML-SAN")
model = study.model(run)
print(f"{corpus.name}: strangers {study.strangers[benchmark][:4]}")

# %%
film = [modality for modality in run.model.styled if modality in corpus.sizes]
if strange and film:
    stranger = study.strangers[benchmark][0]
    talks = [d for d in corpus.test if stranger in d.speaker]
    half = max(1, len(talks) // 2)
    new, others = talks[:half], talks[half:] or talks
    features = {
        m: np.concatenate([d.feature[m][np.array(d.speaker) == stranger] for d in others])
        for m in corpus.sizes
    }
    style = enrol(run, corpus, model, features)
    print("a style has a mean and a standard deviation of each feature of", film)
else:
    print("skipped: no named stranger to enrol, or no audio and visual features")

# %%
if strange and film:
    with tempfile.TemporaryDirectory() as folder:
        style.save(Path(folder) / "stranger.style")
        loaded = Style.load(Path(folder) / "stranger.style")
    assert all(np.array_equal(loaded.mu_sigma[m], style.mu_sigma[m]) for m in film)
    found = [predict(run, corpus, model, d, {stranger: loaded}) for d in new]
    assert list(map(len, found)) == list(map(len, new))
    print("the style was saved, loaded, and used to predict new dialogues")

# %% tags=["nbval-ignore-output"]
if strange and film:
    unknown = [predict(run, corpus, model, d, {}) for d in new]
    emotions = study.emotions[benchmark]
    display(Markdown(report.changed_answers(new, unknown, found, stranger, emotions)))

# %% [markdown]
# **Drag it.** How much do $n$ utterances say about a stranger? The estimate of a mean is shrunk, $\mu = \mu_0 + k\,(\bar x - \mu_0)$ with $k = n b/(n b + w)$ (notebook 3), where $b$ is the variance between speakers and $w$ the variance within one. The curves are the expected squared errors of three estimates: the plain mean of the $n$ utterances, the population's mean, and the shrunk mean. **Predict** for which $n$ the plain mean is worse than the population's, for $w = 4b$. In JupyterLab, run the cell and drag the sliders; elsewhere you see the picture for $n = 3$.

# %%
from ipywidgets import FloatSlider, IntSlider

from mlsan.report.explore import Explorer
from mlsan.report.sliders import shrinkage

Explorer(
    shrinkage,
    n=IntSlider(3, min=0, max=50, description="utterances n"),
    ratio=FloatSlider(4, min=0.5, max=10, step=0.5, description="w / b"),
)

# %% [markdown]
# A stranger of whom nothing is known has the style of the population, and FiLM then does almost nothing. With more utterances the estimate moves from the population's mean to the stranger's. **Predict:** how much of this way does one utterance go?

# %% tags=["nbval-ignore-output"]
if strange and film:
    most = enrol(run, corpus, model, features).mu_sigma[film[0]][0]
    away = {}
    for amount in dict.fromkeys((0, 1, 3, 10, len(features[film[0]]))):
        part = {m: x[:amount] for m, x in features.items()}
        mu = enrol(run, corpus, model, part).mu_sigma[film[0]][0]
        away[amount] = float(np.sqrt(np.mean((mu - most) ** 2)))
    display(Markdown(report.way_answer(away)))

# %% [markdown]
# An estimate from few utterances errs in two directions: towards the population, because it is *shrunk*, that is, moved towards the population's mean to reduce its noise; and towards the emotions of these few utterances, because they are not a fair sample.
#
# The second error can be reduced. The text says what the emotions of the utterances probably are, training says what each emotion adds to a feature, and this part is subtracted before the style is estimated (`mlsan.corpus.expression`). It matters most where utterances are few; in many utterances the emotions average out.
#
# ## Table A5: how much enrolment is enough?
#
# Now for scores. The same trained models are tested with strangers enrolled with nothing, with the dialogue so far, with the whole dialogue, with ten utterances of their other dialogues, and with all of their utterances. Emotions last in a dialogue, so that it has many utterances but one mood. **Predict** the place of the whole dialogue among these five.

# %% tags=["nbval-ignore-output"]
plan = study.plan("main")
table = study.sweep([r for r in plan if study.system(r) in ("MultiEMO", AS_PRINTED, "ML-SAN")])

# %%
for name, part in table.groupby("corpus", sort=False):
    failed = (part["status"] == "failed").sum()
    print(f"{name}: {', '.join(part['system'].unique())}; {failed} runs failed")

# %% tags=["nbval-ignore-output"]
ours = table[table["system"] == "ML-SAN"]
rest = table[table["system"] != "ML-SAN"]
readers = {amount: study.reader(plan, amount) for amount in (*AMOUNTS, *CURVE, *MARKS)}


def ways(seen=None):
    """Counts of every row of Table A5, on all, seen or unseen test speakers."""
    found = gathered(rest, study.predictions, study.emotions, seen=seen)
    for amount, way in AMOUNTS.items():
        named = ours.assign(system=way)
        for name, systems in gathered(named, readers[amount], study.emotions, seen=seen).items():
            found[name] |= systems
    return found


parts = {"all": None, "seen": True, "unseen": False} if study.named else {"all": None}
table5 = report.enrolment_table({part: ways(seen) for part, seen in parts.items()})
rows = study.labelled(table5.data)

# %% tags=["nbval-ignore-output"]
behind = pd.concat([rest, *(ours.assign(system=way) for way in AMOUNTS.values())])
text = study.save_table(table5, "table5_enrolment", behind, study.caveats)
display(Markdown(text))

# %%
size = rows.groupby(["benchmark", "part"], sort=False)["utterances"].max().unstack()
if study.named:
    known = size.loc[[name for name, corpus in study.corpora.items() if corpus.named]]
    # Utterances of nobody in particular, a crowd for example, are of neither.
    assert (known["seen"] + known["unseen"] <= known["all"]).all()
    print("seen and unseen speakers share no test utterance")
if study.named and "IEMOCAP" in size.index:
    name = study.names["IEMOCAP"]
    print(f"{name}: test utterances of seen speakers:", int(size.loc["IEMOCAP", "seen"]))

# %%
own = ours.set_index("run")["test_wf1"]
for run_key in own.index:
    alone = readers[0](run_key)
    assert np.isclose(score_predictions(alone["label"], alone["predicted"])["wf1"], own[run_key])
print("with nobody enrolled, the scores are those of the runs themselves")

# %% tags=["nbval-ignore-output"]
listed(report.enrolment_findings(rows))

# %% tags=["nbval-ignore-output"]
listed(report.dialogue_answer(rows))

# %% [markdown]
# ## Fig. A11: the curve
#
# The table has five amounts of enrolment, the figure has more. Only the utterances of unseen speakers count here. On simulated corpora the dotted line is an oracle: MultiEMO, trained and tested on the same conversations with speakers who are all alike. **Predict:** how many utterances give half of what all utterances gain?

# %% tags=["nbval-ignore-output"]
amounts, lines, alike = {}, {}, study.doses().get(0.0)
unseen = ours[ours["benchmark"].isin(strange)]
for amount in (*CURVE, *MARKS) if strange else ():
    for name, systems in gathered(unseen, readers[amount], study.emotions, seen=False).items():
        amounts.setdefault(name, {})[amount] = systems["ML-SAN"]
if strange:
    kept = rest[rest["benchmark"].isin(strange)]
    lines = gathered(kept, study.predictions, study.emotions, seen=False)

# %% tags=["nbval-ignore-output"]
base = [r for r in alike.dose_plan() if study.system(r) == "MultiEMO"] if alike else []
if strange and alike:
    trained = alike.sweep(base)
    found = gathered(trained, alike.predictions, study.emotions, seen=False)
    for name in lines:
        lines[name][ORACLE] = found[name]["MultiEMO"]
curve = study.labelled(report.enrolment_curve(amounts, lines)) if strange else None

# %% tags=["nbval-ignore-output"]
if curve is None:
    print("skipped: no corpus names test speakers whom training has not seen")
else:
    figure11 = report.enrolment_figure(curve)

# %% tags=["nbval-ignore-output"]
if curve is not None:
    keys = [*table["run"], *(alike.key(r) for r in base)]
    note = study.caveats
    if alike:
        note = f"The oracle is MultiEMO where simulated speakers are all alike. {note}"
    display(Markdown(study.save_figure(figure11, curve, "fig11_enrolment", keys, note)))

# %% tags=["nbval-ignore-output"]
if curve is not None:
    for name, part in curve.groupby("corpus", sort=False):
        assert part["utterances"].nunique() == 1
        shown = [amount for amount in part["amount"] if amount]
        assert shown == [str(amount) for amount in (*CURVE, *MARKS)]
        print(f"{name}: {', '.join(part.loc[part['amount'] == '', 'system'])}; amounts {shown}")

# %% tags=["nbval-ignore-output"]
if curve is not None:
    display(listed(report.half_answer(curve)))

# %% tags=["nbval-ignore-output"]
if curve is not None:
    display(listed(report.curve_sentences(curve)))

# %% [markdown]
# ## Table A11: do other models gain as MultiEMO does?
#
# FiLM, gate and speaker head: in ML-SAN these three parts sit inside MultiEMO, but nothing in Eq. 1–4 needs MultiEMO. `mlsan.model.adapted.Adapted` puts them around any model of Table 1: FiLM on the raw audio and visual features, the gate on what the model's classifier reads, the speaker head on the gated features. Everything else stays the model's own: its losses, learning rate, batches and epochs. Speakers are enrolled in training as in ML-SAN.
#
# Each model is compared with itself: same seeds, same test dialogues. Some models already know who speaks in a dialogue: DialogueRNN keeps a state per role (the first speaker, the second, …), MMGCN embeds the role. BC-LSTM does not. **Predict:** which gain more?

# %% tags=["nbval-ignore-output"]
plan = study.plan("adapted")
sweep = study.sweep(plan)
models = sweep[sweep["system"].isin(list(WITH_SPEAKER))]
alone = gathered(models, study.predictions, study.emotions)
found = {name: {model: {"": ours} for model, ours in own.items()} for name, own in alone.items()}
inside = {system: model for model, system in WITH_SPEAKER.items()}
adapted = sweep[sweep["system"].isin(list(inside))]
for strangers, amount in STRANGERS.items():
    for name, own in gathered(adapted, study.reader(plan, amount), study.emotions).items():
        for system, counts in own.items():
            found[name][inside[system]][strangers] = counts
table11 = report.adapted_table(found)

# %% tags=["nbval-ignore-output"]
text = study.save_table(table11, "table11_adapted", sweep, study.caveats)
display(Markdown(text))

# %%
for name, part in table11.data.groupby("benchmark", sort=False):
    assert set(part["system"]) == set(WITH_SPEAKER)
    assert set(part["strangers"]) == {"", *STRANGERS}
    systems = ", ".join(part["system"].unique())
    print(f"{study.names[name]}: {systems}, each alone and with the three parts")

# %% tags=["nbval-ignore-output"]
listed(report.speaker_answer(study.labelled(table11.data)))

# %% tags=["nbval-ignore-output"]
listed(report.adapted_findings(study.labelled(table11.data)))

# %% [markdown]
# ## Missing and noisy modalities
#
# A microphone fails, a face turns away. At test time one modality is missing (its features are zero), or white noise is added to all features, in units of each feature's own standard deviation. Models marked *modality dropout* were trained for this: each modality of each training dialogue was set to zero with a small probability (exercise 3). Every model gets the same noise, and strangers are not enrolled. The table under the figure shows how many points of W-F1 each condition costs.
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
scored = pd.concat(found, ignore_index=True)
robust = study.labelled(report.robustness_table(scored, study.emotions))

# %%
clean = robust[robust["condition"] == "clean"].set_index(["benchmark", "system", "dropout"])
own = sweep.groupby(["benchmark", "system", "modality_dropout"])["test_wf1"].mean()
assert np.allclose(clean["wf1_mean"].sort_index(), own.sort_index()), "clean is the runs' own score"
for name, part in robust.groupby("corpus", sort=False):
    print(f"{name}: {', '.join(part['condition'].unique())}")

# %% tags=["nbval-ignore-output"]
figure10 = report.robustness_figure(robust)

# %% tags=["nbval-ignore-output"]
note = f"Modality dropout: rate {MODALITY_DROPOUT:g}. {study.caveats}"
display(Markdown(study.save_figure(figure10, robust, "fig10_robustness", sweep, note)))

# %% tags=["nbval-ignore-output"]
wide = robust.pivot(index=["corpus", "system", "dropout"], columns="condition", values="wf1_mean")
lost = wide.drop(columns="clean").rsub(wide["clean"], axis=0)
lost[list(robust["condition"].unique()[1:])].round(1)

# %% tags=["nbval-ignore-output"]
listed(report.absent_answer(robust))

# %% tags=["nbval-ignore-output"]
listed(report.dropout_findings(scored, study.emotions, study.names))

# %% [markdown]
# ## What we learned
#
# - Enrolment is a property of the test, not of the model: one trained model serves every amount, because training has met every amount.
# - A dialogue is a sample of one mood: subtracting its mean takes emotion away together with style. Table A5 and Fig. A11 compare it with utterances of other dialogues.
# - ML-SAN's parts can be put around other models. Compare each model with itself, and strangers who are enrolled with strangers who are not: a part that helps the former can cost the latter.
# - Nothing here uses a label of a test speaker, but a system in use must have the stranger's utterances. So say for every score which ones it used.
# - Modality dropout is worthwhile if the model loses less when a modality is missing, and does not lose on clean data. An undecided difference on clean data is no proof that it costs nothing.
#
# ## What would change our mind
#
# - *Enrolment helps strangers.* A corpus of real conversations with many utterances of each stranger, on which ML-SAN is no better with all of them than with none. Simulated speakers and acted voices (notebook 9) are no substitute for it.
# - *A dialogue is a poor sample.* Conversations in which emotions do not last, so that a dialogue is as mixed as a random sample (`inertia` and `mood` of the simulator at 0).
# - *Other models gain too.* More seeds for the models whose interval includes zero.
# - *Modality dropout is worth its price.* Recordings in which modalities really fail, which they do not do at random.
#
# ## Further reading
#
# - Gales, *Maximum Likelihood Linear Transformations for HMM-based Speech Recognition*, Computer Speech & Language 12(2), 1998.
# - Busso et al., *Iterative Feature Normalization Scheme for Automatic Emotion Detection from Speech*, IEEE Transactions on Affective Computing 4(4), 2013.
# - Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018.
# - Gat et al., *Speaker Normalization for Self-supervised Speech Emotion Recognition*, ICASSP 2022.
# - Triantafyllopoulos and Schuller, *Enrolment-based Personalisation for Improving Individual-level Fairness in Speech Emotion Recognition*, Interspeech 2024.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/07_beyond.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **Shrink a mean.** A stranger has said $n$ utterances. Their mean $\bar x$ says where the speaker's features lie, with variance $w/n$; the population says $\mu_0$, with variance $b$ between speakers. Write the weighted mean of the two, each weighted by the inverse of its variance. For $n = 0$ it is $\mu_0$.
#
# 2. **The enrolment curve.** How much enrolment is enough? Imagine many strangers whose true means are normal with variance $b$ around 0, and enrol each with $n$ utterances that scatter with variance $w$ around their speaker's mean. Write the root mean squared error of two estimates of the strangers' means: the plain mean (for $n = 0$: 0), and the one shrunk by $k = n b / (n b + w)$. Predict at which $n$ the shrunk mean's squared error is half of what it is without enrolment.
#
# 3. **Modality dropout that leaves something.** To be ready for a missing microphone, training sets each modality of each dialogue to zero with probability `rate`. Write which ones are kept, given one uniform number in [0, 1) for each. A dialogue whose modalities would all be dropped keeps the one with the largest number.
#
# <details><summary>Solutions</summary>
#
# 1. With $k = n b / (n b + w)$ the estimate is $\mu_0 + k\,(\bar x - \mu_0)$. One utterance moves a feature in which speakers differ a lot nearly all the way, and a feature in which they hardly differ nearly not at all. `mlsan.corpus.style` estimates $\mu_0$, $b$ and $w$ from the training speakers, and shrinks $\log \sigma^2$ in the same way.
#
#    ```python
#    def shrunk_mean(x, mu_0, b, w):
#        """A speaker's mean from x [utterance, feature]; mu_0, b and w are [feature]."""
#        n = len(x)
#        if n == 0:
#            return mu_0
#        k = n * b / (n * b + w)
#        return mu_0 + k * (x.mean(axis=0) - mu_0)
#    ```
#
# 2. The shrunk mean's squared error is $b w / (n b + w)$: half of $b$ at $n = w / b$, here 4. Below that number the plain mean is *worse than no enrolment at all*, so a system that standardises by few utterances harms the speaker. Shrinking is never worse than the population, if $b$ and $w$ are right and the utterances are a random sample; those of one dialogue, in one mood, are not.
#
#    ```python
#    def enrolment_errors(n, b, w, strangers, generator):
#        """Errors of the plain and of the shrunk mean of n utterances of each of many strangers."""
#        truth = generator.normal(0, np.sqrt(b), size=strangers)
#        said = truth[:, None] + generator.normal(0, np.sqrt(w), size=(strangers, n))
#        plain = said.mean(axis=1) if n else np.zeros(strangers)
#        shrunk = n * b / (n * b + w) * plain
#        return tuple(np.sqrt(np.mean((found - truth) ** 2)) for found in (plain, shrunk))
#    ```
#
# 3. One number per dialogue and modality stands for a missing device; one per utterance would be a loose contact. With a rate of 0.7 and three modalities, a third of the dialogues ($0.7^3$) would lose everything, and the model would train on nothing but their labels.
#
#    ```python
#    def kept(drawn, rate):
#        """Whether each is kept, from an array [modality, dialogue] of uniform numbers."""
#        return (drawn >= rate) | (drawn == drawn.max(axis=0))
#    ```
#
# </details>
