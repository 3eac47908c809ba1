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
# # 3 · ML-SAN: the speaker as a control signal
#
# **Question.** What do the three speaker-adaptive parts do, equation by equation, and does ML-SAN beat its baseline and the other models of Table 1?
#
# **Produces.** Fig. 2 (`fig2_architecture`), Table 1 (`table1_main`), Table 3 (`table3_significance`), Table 4 (`table4_classes`), Table 6 (`table6_seen`, if the corpus names its speakers), Fig. 7 (`fig7_selection`).
#
# **Needs.** The corpus of notebook 1. Trains every model with all seeds, or reuses finished runs; profile *paper* uses a GPU if there is one.
#
# **Time.** smoke: seconds · small: 4 to 5 minutes on two cores the first time · paper: hours on a CPU; a GPU is recommended.

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
study = open_study("03_mlsan", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from mlsan.corpus import SpeakerCode, collate
from mlsan.corpus.batch import drop_identities
from mlsan.evaluation.counts import gathered
from mlsan.evaluation.significance import compare_all, t_needed
from mlsan.model import build_model
from mlsan.model.interface import Sizes
from mlsan.model.mlsan import FiLM, SpeakerGate, speaker_loss
from mlsan.report import use_style
from mlsan.report.nb02_baseline import main_table
from mlsan.report.nb03_mlsan import (
    architecture_figure,
    classes_table,
    seen_unseen_table,
    selection_figure,
    selection_table,
    significance_table,
)
from mlsan.training import run_settings

use_style()

# %% [markdown]
# ## Three places
#
# MultiEMO uses the speaker only to select a state in DialogueRNN. ML-SAN gives each speaker $s_i$ an embedding $e_{s_i}$, which acts in three places: on the input (FiLM), on the context features (gate), and on the output (auxiliary loss).

# %% tags=["nbval-ignore-output"]
benchmark, corpus = next(iter(study.corpora.items()))
run = study.config(benchmark, "ML-SAN")
figure2 = architecture_figure(run, corpus.sizes)

# %% tags=["nbval-ignore-output"]
settings = run.model.model_dump(mode="json")
plain = pd.DataFrame({"setting": settings.keys(), "value": map(str, settings.values())})
note = f"As run on {benchmark}; the other benchmark differs in depth and context."
display(Markdown(study.save_figure(figure2, plain, "fig2_architecture", note=note)))

# %%
parts = ("film", "gate", "aux", "film_site", "film_form", "gate_input", "aux_input")
print({part: settings[part] for part in parts})

# %% [markdown]
# ## Input: calibration by FiLM (Eq. 1–2)
#
# $$\gamma_m = W_\gamma^m e_{s_i} + b_\gamma^m,\qquad \beta_m = W_\beta^m e_{s_i} + b_\beta^m \tag{1}$$
#
# $$\tilde x_i^m = \gamma_m \odot x_i^m + \beta_m \tag{2}$$
#
# In the printed form, an untrained $\gamma$ is close to zero and removes the features. The default here is the residual form $(1+\gamma)\odot x+\beta$ with projections initialised to zero: it starts as the identity. `film_form="printed"` is Eq. 2 as printed.
#
# **Predict** what an untrained FiLM of each form does to a feature vector of ones.

# %%
torch.manual_seed(0)
ones, e = torch.ones(1, 4), torch.randn(1, 8)
residual, printed = FiLM(8, 4, residual=True), FiLM(8, 4, residual=False)
assert torch.equal(residual(ones, e), ones)
gamma, beta = printed.scale_shift(e)
assert torch.allclose(printed(ones, e), gamma * ones + beta)
print("residual:", residual(ones, e)[0].tolist())

# %% [markdown]
# Can FiLM remove a speaker's style? If a speaker expresses $x = a\,u + c$ instead of $u$, then $\gamma = 1/a$ and $\beta = -c/a$ recover $u$ exactly:

# %%
u = torch.tensor([0.2, -1.0, 0.7])
a, c = torch.tensor([2.0, 0.5, 1.5]), torch.tensor([1.0, -2.0, 0.3])
shown = a * u + c
undone = (1 / a) * shown + (-c / a)
assert torch.allclose(undone, u)
print("shown", [round(x, 2) for x in shown.tolist()])

# %% [markdown]
# ## Interaction: the speaker gate (Eq. 3)
#
# $$g_m = \sigma(W_{gate}^m e_{s_i} + b_{gate}^m),\qquad \tilde h_i^m = g_m \odot h_i^m \tag{3}$$
#
# The gate depends only on the speaker. The paper's Fig. 3 shows weights of 0.22 for audio and 0.78 for visual *in one utterance*, which sum to one. Eq. 3 cannot produce this: an element-wise sigmoid neither sums to one across modalities nor differs between two utterances of one speaker.

# %%
torch.manual_seed(0)
gate = SpeakerGate(modalities=3, speaker_dim=8, d=4, context=False)
g = gate.weights(e.expand(2, -1))
assert ((g > 0) & (g < 1)).all()
assert torch.equal(g[:, 0], g[:, 1]), "two utterances of one speaker have one gate"
print("the gate has axes modality, utterance, channel:", tuple(g.shape))

# %% [markdown]
# With `gate_input="speaker+context"` the gate also depends on the utterance, which Fig. 3 would require.
#
# ## Output: the auxiliary loss (Eq. 4)
#
# $$\mathcal L_{total} = \mathcal L_{ERC}(y_i, \hat y_i) + \lambda\,\mathcal L_{spk}(s_i, \hat s_i) \tag{4}$$
#
# A linear head on $z$ predicts the speaker. Utterances of unknown speakers are ignored:

# %%
logits = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [5.0, 0.0, 0.0]])
counted = speaker_loss(logits[:2], torch.tensor([1, 2]))
with_unknown = speaker_loss(logits, torch.tensor([1, 2, 0]))
assert torch.equal(counted, with_unknown)
assert speaker_loss(logits, torch.tensor([0, 0, 0])) == 0
print(f"L_spk {counted.item():.4f}, with or without the unknown speaker's utterance")

# %% [markdown]
# The unknown entry must be trained to be useful for unseen speakers. So in training each speaker of a dialogue is replaced by "unknown" with a certain probability:

# %%
dialogues = corpus.train[:8]
code = SpeakerCode.fit("role", corpus, 1, 0)
batch = collate(dialogues, code.encode(dialogues))
withheld = drop_identities(batch, 0.5, torch.Generator().manual_seed(0), code.size)
dropped = (withheld.speaker == 0) & batch.mask
assert 0 < dropped.sum() < batch.mask.sum()
assert torch.equal(withheld.speaker[~dropped], batch.speaker[~dropped])
print("some speakers became unknown, the others did not change")

# %% [markdown]
# ## With all three parts off, ML-SAN is MultiEMO
#
# The parameters, their initial values and the outputs are identical to the last bit. Differences in scores are therefore due to the parts.

# %%
sizes = Sizes(corpus.sizes, 9, 7, code.size)
full = run_settings(corpus.benchmark, "smoke", "ML-SAN", 0).model
none = full.model_copy(update={"film": False, "gate": False, "aux": False})
base = run_settings(corpus.benchmark, "smoke", "MultiEMO", 0).model
on, off, multiemo = (build_model(m, sizes, seed=0).eval() for m in (full, none, base))
assert type(off) is not type(multiemo)
assert torch.equal(off(batch).logits, multiemo(batch).logits)
print("with all three parts off, the outputs are MultiEMO's to the last bit")

# %%
shared = {name: w for name, w in on.state_dict().items() if name in off.state_dict()}
assert shared.keys() == off.state_dict().keys()
assert all(torch.equal(w, off.state_dict()[name]) for name, w in shared.items())
print("switching the parts on adds parameters and changes none of the backbone's initial values")

# %% [markdown]
# ## Training the models of Table 1
#
# The other measured models use the same features, batches, splits and selection. They know the speaker as a role within the dialogue (DialogueRNN, DialogueGCN, MMGCN) or not at all (BC-LSTM). UniMSE is a generative model on raw text with adapters, not a model of utterance features, so its row is quoted.
#
# **Predict** the sign of ML-SAN minus MultiEMO on each benchmark. Remember who speaks in IEMOCAP's test session.

# %% tags=["nbval-ignore-output"]
table = study.sweep(study.plan("main"))
shown = ["benchmark", "system", "speaker", "seed", "status", "dev_wf1", "test_wf1", "best_test_wf1"]
table[shown].round(2)

# %%
assert set(table["seed"]) == set(study.seeds)
failed = (table["status"] == "failed").sum()
print(f"{', '.join(table['system'].unique())}: every seed, {failed} runs failed")

# %% [markdown]
# ## Table 1

# %% tags=["nbval-ignore-output"]
text = study.save_table(main_table(table), "table1_main", table, study.caveats)
display(Markdown(text))

# %% [markdown]
# ## Is a difference significant?
#
# Two things vary: the seed and the test dialogues. The interval resamples both and keeps the pairs together. The t-test, over seeds, is the paper's. The permutation test swaps the two systems' predictions dialogue by dialogue (five seeds would give only 32 sign patterns, too few for a small p). Holm's correction accounts for the number of comparisons in the table.
#
# The permutation test generalises to other dialogues for *these* trained runs, not to other seeds. If whole runs of one system differ, it is too lenient, so read it together with the interval.

# %%
assert round(t_needed(3), 2) == 9.92
print(f"p < 0.01 needs |t| > {t_needed(3):.2f} from three runs, {t_needed(5):.2f} from five")

# %% tags=["nbval-ignore-output"]
counts = gathered(table, study.predictions)
tests = compare_all(counts, "MultiEMO")
text = study.save_table(significance_table(tests), "table3_significance", table, study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
done = tests[tests["system"] == "ML-SAN"].dropna(subset="delta")
assert len(done), "ML-SAN or MultiEMO has no finished runs: see the table of runs above"
assert (done["low"] <= done["delta"]).all()
assert (done["delta"] <= done["high"]).all()
verdict = np.select(
    [done["low"] > 0, done["high"] < 0],
    ["ML-SAN is higher", "ML-SAN is lower"],
    "the interval includes zero",
)
sentences = [
    f"On {row.benchmark}, ML-SAN minus MultiEMO is {row.delta:+.2f} W-F1 points "
    f"[{row.low:+.2f}, {row.high:+.2f}] over {row.seeds} seeds: {word}."
    for row, word in zip(done.itertuples(), verdict, strict=True)
]
display(Markdown("\n\n".join(sentences)))

# %%
for benchmark, part in tests.groupby("benchmark", sort=False):
    print(f"{benchmark}, compared with MultiEMO: {', '.join(part['system'])}")

# %% [markdown]
# ## Speakers seen and unseen in training
#
# A single score for the test set can hide a difference: a table of identities may help with the speakers it contains and fail for the others.

# %% tags=["nbval-ignore-output"]
apart = [gathered(table, study.predictions, seen=seen) for seen in (True, False)]
split = seen_unseen_table(*apart)
assert set(split.data["speakers"]) <= {"seen", "unseen"}
text = "The corpora do not name their speakers."
if study.named:
    text = study.save_table(split, "table6_seen", table, study.caveats)
display(Markdown(text))

# %%
strangers = split.data[split.data["benchmark"] == "IEMOCAP"].set_index("speakers")["utterances"]
if "IEMOCAP" in study.corpora and study.named:
    assert strangers.get("unseen", pd.Series([0])).min() > 0
    print("IEMOCAP: there are test utterances of speakers", sorted(set(strangers.index)))

# %% [markdown]
# ## Emotion by emotion
#
# Weighted F1 weights an emotion by its frequency, so it can rise while fear and disgust stay at zero. The paper reports for MELD that the recall of fear rises from 12 % to 18 % and that of anger from 55 % to 57 %. With 50 and 345 test utterances, that is three and seven utterances.

# %% tags=["nbval-ignore-output"]
classes = classes_table(counts)
assert (classes.data.groupby("benchmark")["support"].diff().dropna() >= 0).all()
pair = table[table["system"].isin(["MultiEMO", "ML-SAN"])]
text = study.save_table(classes, "table4_classes", pair, study.caveats)
display(Markdown(text))

# %%
for benchmark, part in classes.data.groupby("benchmark", sort=False):
    print(f"{benchmark}: {part['emotion'].nunique()} emotions, the rarest first")

# %% [markdown]
# Macro F1 weights all emotions equally. Means over seeds:

# %% tags=["nbval-ignore-output"]
finished = set(table.loc[table["status"] != "failed", "run"])
runs = [run for run in study.plan("main") if study.key(run) in finished]
metrics = pd.DataFrame(
    {"benchmark": run.benchmark, "system": study.system(run), **study.scores(run)} for run in runs
)
metrics.groupby(["benchmark", "system"], sort=False).mean().round(2)

# %% [markdown]
# ## How much does selecting the epoch on test add?
#
# Much published code reports the best *test* epoch, which cannot be selected without the test labels.

# %% tags=["nbval-ignore-output"]
selection = selection_table(table)
figure7 = selection_figure(selection.data)

# %% tags=["nbval-ignore-output"]
assert (selection.data["gain"].dropna() >= 0).all()
text = study.save_figure(figure7, selection.data, "fig7_selection", table, study.caveats)
display(Markdown(text))

# %%
done = table.dropna(subset="test_wf1")
assert (done["test_wf1"] <= done["best_test_wf1"]).all()
print("no run scores higher at its best dev epoch than at its best test epoch")

# %% [markdown]
# ## What we learned
#
# - The sentences above state the result; they are computed from the runs.
# - Where the gains in Fig. 7 are larger than the differences in Table 1, the selection of the epoch decides the ranking.
# - On IEMOCAP both test speakers are unknown to the model: FiLM and gate apply the one shared "unknown" entry to all test utterances. So identity cannot help there, whatever the training score is.
#
# ## Exercises
#
# 1. Use roles instead of identities: `study.config("MELD", "ML-SAN", 0, speaker="role")`. How much of the difference is left?
# 2. Train BC-LSTM on text alone: `study.config("MELD", "BC-LSTM", 0, modalities=("text",))`. What do audio and visual add?
# 3. Use Eq. 2 as printed with `film_form="printed"`. Look at the first epochs of `study.result(run).history`.
#
# <details><summary>Solutions</summary>
#
# 1. `study.sweep([study.config("MELD", "ML-SAN", s, speaker="role") for s in study.seeds])`; a role is a different person in each dialogue, so its embedding cannot represent anyone's style.
# 2. `study.sweep([study.config("MELD", "BC-LSTM", s, modalities=("text",)) for s in study.seeds])`. Most of the score comes from the text; notebook 8 measures how much.
# 3. Training starts with features scaled by random numbers near zero, and the first epochs improve more slowly.
#
# </details>
