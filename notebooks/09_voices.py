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
# # 9 · Real voices
#
# **Question.** Does calibration by speaker help on real voices: for people who are in training, and for strangers of whom we have 0, 1, 10 or all *unlabelled* utterances?
#
# **Produces.** Table A8 (`table8_voices`) and Fig. A12 a–f (`fig12_voices_…`), in `figures/nemo/`. The paper has none of them.
#
# **Needs.** Nothing: the features of nEMO's 4,481 clips are part of the package. This notebook always uses them, whatever `CORPUS` the others use.
#
# **Time.** smoke: a minute · small: 4 to 5 minutes on two cores the first time, 1 after that · paper: as small.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - say what acoustic features measure, and how much of them is the speaker and how much the emotion;
# - test a model on people who are not in training, fold by fold, and enrol them without labels;
# - enrol yourself, and say what a style reveals about you.
#
# **Prerequisites.** Notebook 7, which introduces enrolment, and the probes of notebook 6. Nothing about speech.
#
# **Your time.** About 90 minutes, and another 60 for the exercises; a good half hour more if you record your own voice.
#
# Where you read **Predict**, write down an answer before you go on: a cell below gives the number. Cells with `assert` check what the page says; you can skip them at first. A statement *holds* if its whole 95 % interval is on its side of zero, *does not hold* if none of it is, and is *undecided* otherwise.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = "nemo"  # here always
DATA = ""
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("09_voices", globals())

# %%
import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display

import mlsan.evaluation.voices as evaluation
import mlsan.report.nb07_beyond as beyond
import mlsan.report.nb09_voices as report
from mlsan.corpus.nemo.protocols import FOLDS, SEEN, scaling, splits
from mlsan.corpus.nemo.recordings import CLIPS, EMOTIONS, recordings
from mlsan.corpus.nemo.sound import read_clip
from mlsan.evaluation import gathered, heterogeneity, neutrality, probes, qualitative
from mlsan.evaluation.counts import dialogue_counts
from mlsan.report.lessons import listed
from mlsan.report.tables import STANDARDISED
from mlsan.training import AS_PRINTED

# %% [markdown]
# ## Nine people, ninety sentences, six emotions
#
# **nEMO** is acted Polish speech: four women and five men say the same ninety sentences in six emotions. The recordings may be passed on under CC BY-NC-SA 4.0 with attribution (Christop 2024), so their features are in this package: openSMILE's eGeMAPSv02 functionals, 88 numbers per clip, such as the mean pitch, the loudness and the share of voiced speech. The paper's audio features are openSMILE's too.

# %%
clips = recordings()
genders = dict(zip(clips.speaker.tolist(), clips.gender.tolist(), strict=True))
assert clips.features.shape == (4481, 88)
assert len(genders) == 9
print(
    pd.Series(genders).value_counts().to_dict(), pd.Series(clips.emotion).value_counts().to_dict()
)

# %% [markdown]
# Here is one sentence, *Ten miesiąc minął bardzo szybko* ("This month went by very quickly"), by a woman and a man, neutral and angry. **Predict:** whose pitch is higher, that of the neutral woman or that of the angry man? (The players need the repository; an installed package has no clips. The recordings are nEMO's, CC BY-NC-SA 4.0.)

# %% tags=["nbval-ignore-output"]
voices = {"IC0": "woman IC0", "TP0": "man TP0"}
files = {
    f"{who}, {emotion}": CLIPS / f"{actor}_{emotion}_14.wav"
    for actor, who in voices.items()
    for emotion in ("neutral", "anger")
}
HTML(report.players(files))

# %% tags=["nbval-ignore-output"]
sounds = {name: read_clip(file) for name, file in files.items() if file.exists()}
if sounds:
    frames = report.sound_table(sounds)
    figure12a = report.sound_figure(sounds, frames)
else:
    print("skipped: the clips are in the repository, not in the installed package")

# %% tags=["nbval-ignore-output"]
if sounds:
    display(Markdown(study.save_figure(figure12a, frames, "fig12_voices_sound")))

# %% [markdown]
# The model does not see these curves, but openSMILE's features of the whole clip. Here are its mean pitch and its level (its estimate of the pitch differs from the one in the figure, whose dotted line is a median):

# %%
names, row = clips.names.tolist(), {name: i for i, name in enumerate(clips.clip.tolist())}
pitches, levels = (clips.features[:, names.index(n)] for n in (evaluation.PITCH, evaluation.LEVEL))
hertz = {name: evaluation.hertz(pitches[row[file.stem]]) for name, file in files.items()}
for name, file in files.items():
    print(f"{name}: mean pitch {hertz[name]:.0f} Hz, level {levels[row[file.stem]]:.1f} dB")
high, low = hertz["woman IC0, neutral"], hertz["man TP0, anger"]
assert low < high
print(f"the neutral woman's pitch is higher than the angry man's: {high:.0f} against {low:.0f} Hz")

# %% [markdown]
# So a raised voice can be recognised only if one knows the person's usual voice. That is what calibration by speaker is for. How much of a feature is the speaker, and how much the emotion?

# %%
speaker_share, emotion_share = heterogeneity.variance_shares(study.corpora[SEEN], "audio")
assert speaker_share > 2 * emotion_share
print(f"median feature: {speaker_share:.0f} % of variance between speakers,", end=" ")
print(f"{emotion_share:.0f} % between emotions")

# %% [markdown]
# ## Two protocols
#
# - **Seen:** all nine actors are in training, and test has sentences that training lacks.
# - **Unseen:** training lacks the test actors. Five folds of two, two, two, two and one actor cover all nine, and their test sets are pooled into one.
#
# MultiEMO needs dialogues, and nEMO has none. So we make up *sessions*: two actors take turns, and each turn is a clip drawn at random. **Nobody talks to anybody here, and context carries no information**; a model that reads context can only lose by it. Text would not help either, since every sentence is said in every emotion: audio is the only modality.

# %%
parts = splits(SEEN)
sentences = {part: set(clips.sentence[rows].tolist()) for part, rows in parts.items()}
assert not sentences["train"] & sentences["test"]
print({part: len(said) for part, said in sentences.items()}, "sentences")
held = {fold: set(clips.speaker[splits(fold)["test"]].tolist()) for fold in FOLDS}
assert sum(map(len, held.values())) == len(set.union(*held.values())) == 9
for fold in FOLDS:
    assert not held[fold] & set(clips.speaker[splits(fold)["train"]].tolist())
print({fold: sorted(actors) for fold, actors in held.items()})

# %% tags=["nbval-ignore-output"]
corpora = study.corpora
folds = [name for name in corpora if name != SEEN]
pd.DataFrame(
    [
        {
            "corpus": name,
            **{f"{part} sessions": len(getattr(c, part)) for part in ("train", "dev", "test")},
            "test utterances": sum(map(len, c.test)),
            "strangers in test": ", ".join(study.strangers[name]) or "none",
        }
        for name, c in corpora.items()
    ]
)

# %% [markdown]
# ## Training
#
# MultiEMO, ML-SAN as printed, and ML-SAN are trained once per seed, in the seen protocol and in each fold; MultiEMO also on features that are standardised by speaker. The table has their weighted F1 on dev and on test. In the folds, dev has the training actors and test has strangers who are not enrolled: compare the two.

# %% tags=["nbval-ignore-output"]
plan = study.plan("voices")
table = study.sweep(plan)
other = study.standardised()
standardised = other.sweep(other.standardised_plan()).assign(system=STANDARDISED)
trained = pd.concat([table, standardised], ignore_index=True)
trained.pivot_table(index="benchmark", columns="system", values=["dev_wf1", "test_wf1"]).round(1)

# %%
assert not (trained["status"] == "failed").any(), trained.loc[
    trained["status"] == "failed", "error"
]
assert set(table["seed"]) == set(study.seeds)
print(", ".join(trained["system"].unique()), "- no run failed")

# %% [markdown]
# ## Table A8: what a stranger costs
#
# One trained ML-SAN per seed and fold is tested with the unseen actors enrolled with nothing, with 1, 3, 10, 30 and 100 utterances of other test sessions, and with all of their test utterances. Two linear probes, logistic regressions on the features of a single utterance, show what is possible without a network. **Predict:** how many points does MultiEMO lose on strangers, and how many utterances does ML-SAN need to win half of them back?

# %% tags=["nbval-ignore-output"]
amounts = (*beyond.CURVE, *beyond.MARKS)
ours = table[table["system"] == "ML-SAN"]
readers = {amount: study.reader(plan, amount) for amount in amounts}
found = gathered(table, study.predictions, study.emotions)
flat = gathered(standardised, other.predictions, study.emotions)
for name in corpora:
    found[name][STANDARDISED] = flat[name][STANDARDISED]
    for probe, source in ((report.LINEAR, study), (report.FLAT, other)):
        predicted = probes.emotion_predictions(source.corpora[name], ("audio",))
        every = dict.fromkeys(study.seeds, predicted)
        found[name][probe] = dialogue_counts(every, len(EMOTIONS))
pools = evaluation.pooled_unseen(found, SEEN)

# %% tags=["nbval-ignore-output"]
enrolled = {
    amount: evaluation.pooled(
        [f["ML-SAN"] for f in gathered(unseen, read, study.emotions).values()]
    )
    for unseen in [ours[ours["benchmark"] != SEEN]]
    for amount, read in readers.items()
}
unseen = {
    (system, "all" if system in (STANDARDISED, report.FLAT) else ""): counts
    for system, counts in pools.items()
    if system != "ML-SAN"
}
unseen |= {("ML-SAN", str(amount)): enrolled[amount] for amount in beyond.CURVE}
table8 = report.voices_table(found[SEEN], unseen)

# %% tags=["nbval-ignore-output"]
by = ("benchmark", "system")
display(Markdown(study.save_table(table8, "table8_voices", trained, report.MADE_UP, by)))

# %%
whole = [name for name in FOLDS if name in corpora]
assert all(
    np.array_equal(counts.support, pools["MultiEMO"].support) for counts in enrolled.values()
)
assert pools["MultiEMO"].support.sum() == sum(len(d) for name in whole for d in corpora[name].test)
assert np.array_equal(enrolled[0].table, pools["ML-SAN"].table), "0 is the runs' own score"
print("every row of the unseen actors is scored on the same utterances")

# %% tags=["nbval-ignore-output"]
display(Markdown(report.stranger_answer(table8.data)))

# %% tags=["nbval-ignore-output"]
listed(report.voices_findings(table8.data))

# %% [markdown]
# ## The curve
#
# Notebook 7 draws this curve for simulated strangers; here it is for real people. The two marks on the right are enrolment with the session itself, so far and whole ("dialogue" in the figure). In notebook 7, emotions last in a dialogue: it has one mood, and is a poor enrolment for its length. A session here is different, because its clips are drawn at random. **Predict:** is the whole session a better or a worse enrolment than ten utterances of other sessions?

# %% tags=["nbval-ignore-output"]
strange = "nEMO, unseen"
lines = {system: pools[system] for system in ("MultiEMO", AS_PRINTED, STANDARDISED)}
curve = beyond.enrolment_curve({strange: enrolled}, {strange: lines})
figure12c = beyond.enrolment_figure(curve)

# %% tags=["nbval-ignore-output"]
keys = list(trained.loc[trained["benchmark"] != SEEN, "run"])
note = report.MADE_UP
display(Markdown(study.save_figure(figure12c, curve, "fig12_voices_enrolment", keys, note)))

# %% tags=["nbval-ignore-output"]
listed(report.session_answer(curve, enrolled))

# %% [markdown]
# ## Who gains, who loses
#
# A mean over nine actors can hide that some lose. **Predict:** how many of the nine gain?

# %% tags=["nbval-ignore-output"]
strangers = table[(table["benchmark"] != SEEN) & table["system"].isin(["MultiEMO", "ML-SAN"])]
base, adapted = (strangers[strangers["system"] == s] for s in ("MultiEMO", "ML-SAN"))
actors = {
    "MultiEMO": evaluation.by_actor(base, study.predictions, len(EMOTIONS)),
    "ML-SAN, none": evaluation.by_actor(adapted, readers[0], len(EMOTIONS)),
    "ML-SAN, all": evaluation.by_actor(adapted, readers["all"], len(EMOTIONS)),
}
people = report.actors_table(actors, genders)
figure12d = report.actors_figure(people)

# %% tags=["nbval-ignore-output"]
keys, note = list(strangers["run"]), report.MADE_UP
display(Markdown(study.save_figure(figure12d, people, "fig12_voices_actors", keys, note)))

# %%
assert set(people["actor"]) == set.union(*(held[name] for name in folds))
assert people.groupby("system")["utterances"].sum().nunique() == 1
print("one row per actor and system:", list(people["system"].unique()))

# %% tags=["nbval-ignore-output"]
Markdown(report.gain_answer(people[people["system"] == "ML-SAN, all"]))

# %% [markdown]
# ## Calibration, in Hz and dB
#
# What does calibration do to a voice? FiLM works on standardised features, but this scale can be undone: eGeMAPS gives pitch in semitones above 27.5 Hz (`F0semitoneFrom27.5Hz_sma3nz_amean`) and level in dB below full scale (`equivalentSoundLevel_dBp`). Here are all utterances of two strangers, a woman and a man, before and after calibration. **Predict** where the two clouds go.

# %% tags=["nbval-ignore-output"]
fold = next(name for name in folds if "IC0" in study.strangers[name])
run = study.config(fold, "ML-SAN")
stages = study.stages(run, "test", "all")
places = evaluation.pitch_and_level(stages, clips.names, *scaling(fold))
places["emotion"] = np.array(EMOTIONS)[places["label"]]
figure12b = report.calibration_figure(places, genders)

# %% tags=["nbval-ignore-output"]
note = f"{fold}, seed {run.seed}. {report.MADE_UP}"
data = places.drop(columns="label")
text = study.save_figure(figure12b, data, "fig12_voices_calibration", [study.key(run)], note)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
listed(report.clouds_answer(places, genders))

# %%
raw = places[places["stage"] == "raw"].reset_index()
own = clips.speaker == raw["speaker"].iloc[0]
mine = raw[raw["speaker"] == raw["speaker"].iloc[0]]
found = np.median(evaluation.hertz(pitches[own]))
assert np.isclose(found, mine["pitch"].median(), rtol=1e-3)
print("undoing the scale gives openSMILE's own numbers back")

# %% [markdown]
# ## Inside: features, gates, and who is speaking
#
# Which of the 88 features does calibration move most, and does the gate treat the actors of the seen protocol differently? To read the names of the features: F0 is the pitch, F1 to F3 are the resonances of the vocal tract, MFCCs describe the shape of the spectrum, HNR compares voiced sound with noise. **Predict:** is pitch among the first?

# %% tags=["nbval-ignore-output"]
moved, gates = [], []
for run in (r for r in plan if study.system(r) == "ML-SAN"):
    if run.benchmark == SEEN:
        model, who = study.model(run), sorted(genders)
        weights = qualitative.speaker_weights(run, corpora[SEEN], model, who)
        gates.append(weights[weights["modality"] == "audio"].assign(seed=run.seed))
    else:
        seen = study.stages(run, "test", "all")
        moved.append(evaluation.moves(seen, clips.names).assign(seed=run.seed))
gates = pd.concat(gates, ignore_index=True)[["speaker", "seed", "gate"]]
moved = pd.concat(moved).groupby(["speaker", "feature"], sort=False)["move"].mean().reset_index()
figure12e = report.inside_figure(moved, gates, genders)

# %% tags=["nbval-ignore-output"]
data = pd.concat([moved.assign(part="FiLM"), gates.assign(part="gate")], ignore_index=True)
keys, note = list(ours["run"]), report.MADE_UP
display(Markdown(study.save_figure(figure12e, data, "fig12_voices_inside", keys, note)))

# %% tags=["nbval-ignore-output"]
Markdown(report.inside_answer(moved, gates, evaluation.PITCH))

# %% [markdown]
# A linear probe can nearly always name a speaker from raw features. If calibration works, it cannot do so from calibrated ones. But FiLM can write the speaker back: it starts at the speaker's statistics and then learns $W e_s + b$ on top of them, with the speaker's embedding $e_s$ (Eq. 1), so each training speaker can get a γ of their own again, which multiplies the *raw* features.
#
# How far this goes depends on the learning rate of $W$ and $b$. We chose it on dev: the full rate for the seen protocol, and a tenth of it for the folds, where test has strangers. **Predict:** which of the two keeps the features more neutral? The probes name the training actors on dev sentences, once with their identity and once with it withheld.

# %% tags=["nbval-ignore-output"]
named, chance = [], []
for run in (r for r in plan if study.system(r) == "ML-SAN" and r.seed == study.seeds[0]):
    own, model, parts = corpora[run.benchmark], study.model(run), ("train", "dev")
    seen = [study.stages(run, part) for part in parts]
    hidden = [neutrality.withheld_stages(run, own, model, getattr(own, part)) for part in parts]
    scores = evaluation.speaker_probes(*seen)
    scores["calibrated, identity withheld"] = evaluation.speaker_probes(*hidden)["calibrated"]
    rate = "full rate (seen)" if run.benchmark == SEEN else "a tenth (unseen)"
    named.append({"FiLM learns at": rate, **scores})
    chance.append(neutrality.chance_level(seen[0].speaker, seen[1].speaker))
named = pd.DataFrame(named)
spaces = ["raw", "standardised", "calibrated", "calibrated, identity withheld"]
named.groupby("FiLM learns at")[spaces].mean().round(0)

# %% tags=["nbval-ignore-output"]
rates = named.groupby(named["FiLM learns at"].str.startswith("full"))["calibrated"].mean()
Markdown(report.neutral_answer(rates[True], rates[False], (min(chance), max(chance))))

# %%
assert named["raw"].min() > 80
assert named["standardised"].max() < 20
print("raw features name the speaker; standardised ones do not")

# %% [markdown]
# ## Which emotions are confused?
#
# A confusion matrix shows where the points are won. If calibration works, a person whose usual voice is loud should no longer be taken for angry all the time. **Predict:** which confusion falls most?

# %% tags=["nbval-ignore-output"]
from mlsan.evaluation.metrics import summed_confusion
from mlsan.report.nb06_qualitative import confusion_figure

cells = []
for system, rows, read in (
    ("MultiEMO", base, study.predictions),
    ("ML-SAN", adapted, readers["all"]),
):
    confused = summed_confusion([read(key) for key in rows["run"]], EMOTIONS)
    cells.append(confused.assign(benchmark="unseen actors", system=system))
shares = pd.concat(cells, ignore_index=True)
figure12f = confusion_figure(shares)

# %% tags=["nbval-ignore-output"]
note = f"{len(study.seeds)} seeds. {report.MADE_UP}"
keys = list(strangers["run"])
display(Markdown(study.save_figure(figure12f, shares, "fig12_voices_confusion", keys, note)))

# %% tags=["nbval-ignore-output"]
listed(report.changes_answer(shares, ("MultiEMO", "ML-SAN")))

# %% [markdown]
# ## You are the stranger
#
# Enrolment needs a trained model and the features of some utterances, one row per utterance, and no labels. Here the stranger is an actor of the fold above. To try your own voice, record a dozen sentences as mono WAV files, install the extra (`pip install 'mlsan[voices]'`), and replace the first lines of the next cell by
#
# ```python
# from pathlib import Path
#
# from mlsan.corpus.nemo.extraction import extract
#
# found = extract(sorted(Path("my/clips").glob("*.wav")))
# me, my_features = "me", np.array(list(found.features.values()))
# my_emotions = np.array(["neutral"] * len(my_features))  # what you meant, to compare with
# ```
#
# Another microphone and another room are part of your style, so enrolment takes part of them away, too.

# %%
from mlsan.corpus import Dialogue
from mlsan.evaluation import score_predictions
from mlsan.evaluation.strangers import enrol, predict

me = study.strangers[fold][0]
mine = np.random.default_rng(0).permutation(np.flatnonzero(clips.speaker == me))[:30]
my_features = clips.features[mine]  # openSMILE's numbers, in their own units
my_emotions = clips.emotion[mine]  # to compare with; neither enrolment nor prediction sees them

mean, sd = scaling(fold)
x = ((my_features - mean) / sd).astype(np.float32)
run, model = study.config(fold, "ML-SAN"), study.model(study.config(fold, "ML-SAN"))
style = enrol(run, corpora[fold], model, {"audio": x})

# %%
nothing = np.zeros(len(x), dtype=int)
speech = Dialogue(
    "mine", label=nothing, party=nothing, speaker=(me,) * len(x), feature={"audio": x}
)
before = predict(run, corpora[fold], model, speech, {})
after = predict(run, corpora[fold], model, speech, {me: style})
assert before.shape == after.shape == (len(x),)
assert style.mu_sigma["audio"].shape == (2, 88)
print(f"enrolled {me} with {len(x)} utterances")

# %% tags=["nbval-ignore-output"]
shown = {"said as": my_emotions, "not enrolled": np.array(EMOTIONS)[before]}
shown["enrolled"] = np.array(EMOTIONS)[after]
right = {
    name: score_predictions(my_emotions, shown[name])["accuracy"]
    for name in ("not enrolled", "enrolled")
}
caption = ", ".join(f"{name}: {score:.0f} % correct" for name, score in right.items())
first = pd.DataFrame(shown).head(10).to_markdown(index=False)
Markdown(f"{first}\n\nOf all {len(x)} utterances, {caption}.")

# %% [markdown]
# ## Privacy and ethics
#
# - **A style is biometric data.** The probe above names a speaker from the features; a table of styles or of speaker embeddings can recognise people in other recordings. In the European Union, biometric data that identify a person are specially protected (GDPR, Art. 9). Ask for consent, say what the style is for, and make deletion easy: one style is one file.
# - **What to keep.** The style is all that predictions need. Recordings, transcripts and the features of single utterances can be deleted after enrolment. Do not keep styles of people who only happened to speak.
# - **What not to conclude.** These are acted voices: actors were told what to show. A model of acted anger measures how people *play* anger, in one language and nine voices, and says nothing about what anybody feels. Fig. A12d shows that the same model can be much worse for one person than for another; an average hides for whom a system fails.
# - **Where not to use it.** Inferring emotions at work and in schools is prohibited in the European Union (AI Act, Art. 5). Nothing here is evidence that it would work.

# %% [markdown]
# ## The answer in numbers

# %% tags=["nbval-ignore-output"]
listed(report.summary(table8.data))

# %% [markdown]
# ## What we learned
#
# - A model that does not adapt loses a large part of its score on strangers. Unlabelled utterances of the stranger win some of it back; the sentences above say how much, and how many utterances it takes.
# - Calibration moves the features in which people differ, pitch among them, and keeps what differs between the emotions of one person. How much of the speaker is left depends on how freely FiLM may learn.
# - Standardising by speaker is one line of code and hard to beat where there are many utterances of everyone. A learned calibration is worth its parameters where there are few, or where the speaker is known from training.
# - A mean hides people. Report who gains and who loses beside every score.
#
# ## What would change our mind
#
# - *Calibration helps with strangers.* Spontaneous speech, recorded in many rooms, on which ML-SAN is no better with all utterances of a stranger than with none. Nine actors in one studio are few, and the intervals are over sessions and seeds, not over actors.
# - *Standardising is as good.* A corpus with few utterances of each speaker, on which the shrunk estimate is clearly better.
# - *A slower FiLM keeps the features more neutral.* A nonlinear probe that names the actors equally well at both rates.
#
# ## Further reading
#
# - Christop, *nEMO: Dataset of Emotional Speech in Polish*, LREC-COLING 2024.
# - Eyben et al., *The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective Computing*, IEEE Transactions on Affective Computing 7(2), 2016.
# - Boersma, *Accurate Short-term Analysis of the Fundamental Frequency and the Harmonics-to-Noise Ratio of a Sampled Sound*, IFA Proceedings 17, 1993.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/09_voices.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **Calibration in Hz.** The model sees pitch standardised: $x = (p - m)/s$, with $p$ in semitones above 27.5 Hz, where 12 semitones double the frequency. Write the pitch in Hz of an utterance after calibration $\gamma x + \beta$. Then say in a sentence what β alone does to a pitch in Hz.
#
# 2. **Enrol a real stranger.** How far is the style that $n$ utterances of a stranger give from the style of all of them? Draw $n$ of the rows without replacement, estimate the style with `population.style(rows)`, which returns μ and σ, and take the root mean square over features of the difference of μ to `target`. Return its mean over `draws` draws. The check also enrols from neutral utterances only, as in a short greeting. Predict which error does not go away.
#
# 3. **How much of the gain is gender?** Standardising by speaker helps a probe to recognise the emotions of strangers. Perhaps gender is enough? Write the weighted F1 of a probe that is given a grouping of all utterances, or None: for each of the five folds standardise the features within each group (`standardise_by_speaker(x, group)`; no labels are used), fit on the fold's training utterances and predict its test utterances (`probe_predictions(x, emotion, tested, STRENGTH)`); score all folds' predictions together.
#
# <details><summary>Solutions</summary>
#
# 1. β alone *multiplies* a pitch by $2^{\beta s/12}$, because it shifts a logarithm. That suits voices: a smaller larynx raises all pitches by about the same factor, and a melody keeps its intervals.
#
#    ```python
#    def calibrated_hertz(x, gamma, beta, m, s):
#        """Pitch in Hz of standardised pitches x after γ x + β; m and s are in semitones."""
#        semitones = (gamma * x + beta) * s + m
#        return 27.5 * 2 ** (semitones / 12)
#    ```
#
# 2. From mixed utterances the distance goes to zero. From neutral ones it stays: the mean of neutral speech is not the mean of speech, and more of it does not help. An enrolment should be as varied as what follows, or be compared with the population's *neutral* mean, which needs a label.
#
#    ```python
#    def distance(x, target, n, draws, generator):
#        """Mean distance of μ from n of the rows of x [utterance, feature] to target [feature]."""
#        found = []
#        for _ in range(draws):
#            rows = generator.choice(len(x), n, replace=False)
#            mu, _ = population.style(x[rows])
#            found.append(np.sqrt(np.mean((mu - target) ** 2)))
#        return np.mean(found)
#    ```
#
# 3. Only a fifth of it: gender takes the probe from 40.6 to 44.4, the speaker's own statistics to 59.6. Voices of one gender still differ a lot. Standardising by speaker needs no labels, but it needs the stranger's utterances before the first prediction.
#
#    ```python
#    def probe_by(group):
#        """Weighted F1 over all five folds' test utterances; group names each utterance's group."""
#        x = voices.features if group is None else standardise_by_speaker(voices.features, group)
#        truth, predicted = [], []
#        for fold in FOLDS:
#            train, test = splits(fold)["train"], splits(fold)["test"]
#            predicted.append(probe_predictions(x[train], voices.emotion[train], x[test], STRENGTH))
#            truth.append(voices.emotion[test])
#        return score_predictions(np.concatenate(truth), np.concatenate(predicted))["wf1"]
#    ```
#
# </details>
