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
# # 2 · The baseline: MultiEMO
#
# **Question.** What does ML-SAN build on, and what does this baseline score when the epoch is selected on dev?
#
# **Produces.** MultiEMO's measured row of Table 1 (`table1_main`, which notebook 3 completes); Table 9, the literature (`table9_literature`).
#
# **Needs.** The corpus of notebook 1. Trains MultiEMO with all seeds, or reuses finished runs.
#
# **Time.** smoke: seconds · small: 1 to 2 minutes on two cores the first time · paper: hours on a CPU; a GPU is recommended.

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
study = open_study("02_baseline", PROFILE, CORPUS, DATA, JOBS, DEVICE)

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown, display

from mlsan.corpus import SpeakerCode, collate
from mlsan.model import build_model
from mlsan.model.interface import Sizes
from mlsan.model.losses import class_weights, soft_hgr, swfc
from mlsan.report import SYSTEM, use_style
from mlsan.report.nb02_baseline import literature_table, main_table, selection_text
from mlsan.training import run_settings

use_style()

# %% [markdown]
# ## The model in brief
#
# A linear layer projects each modality to width $d$. DialogueRNN then adds context: one GRU runs over the dialogue, one keeps a state for each role, and one reads the state of the active speaker. In three stacks of cross-attention each modality attends to the other two. $z$, a linear layer on the three fused streams, is the input of the classifier.
#
# Which parts are present differs between benchmarks, here as in the published code:

# %%
published = {b: run_settings(b, "paper", "MultiEMO", 0).model for b in ("MELD", "IEMOCAP")}
fields = ["d", "heads", "layers", "feedforward", "classifier", "bidirectional", "text_context"]
pd.DataFrame({b: [getattr(m, f) for f in fields] for b, m in published.items()}, index=fields)

# %% [markdown]
# At the paper's feature sizes the model is large:

# %%
features = {"text": 768, "audio": 512, "visual": 1000}
parameters = {}
for benchmark, (roles, classes) in {"MELD": (9, 7), "IEMOCAP": (2, 6)}.items():
    model = build_model(published[benchmark], Sizes(features, roles, classes, speakers=1), seed=0)
    parameters[benchmark] = sum(p.numel() for p in model.parameters())
print({name: f"{count / 1e6:.1f} million" for name, count in parameters.items()})

# %% [markdown]
# The published MELD model has 17.1 million parameters, because it includes backward DialogueRNNs that its forward pass never calls. Ours leaves them out. IEMOCAP uses all of its 29.7 million.
#
# ## A quirk: attention to padding
#
# A batch pads short dialogues with zeros. The published cross-attention does not mask this padding, so a prediction depends on which other dialogues are in the batch.
#
# **Predict:** how much do one dialogue's logits change when a longer dialogue joins its batch, with `mask_padding=False` and with `mask_padding=True`?

# %%
corpus = next(iter(study.corpora.values()))
pair = sorted(corpus.train[:20], key=len)[:: len(corpus.train[:20]) - 1]
code = SpeakerCode.fit("constant", corpus, 1, 0)
shift = {}
for masked in (False, True):
    settings = run_settings(corpus.benchmark, "smoke", "MultiEMO", 0, mask_padding=masked).model
    model = build_model(settings, Sizes(corpus.sizes, 9, 7, code.size), seed=0).eval()
    alone, together = (
        model(collate(part, code.encode(part))).logits[: len(pair[0])] for part in (pair[:1], pair)
    )
    shift[masked] = (alone - together).abs().max().item()
assert shift[False] > 1e-4 > 1e-5 > shift[True]
print("unmasked: the logits move; masked: they stay the same")

# %% [markdown]
# Masking is the default here; `mask_padding=False` restores the published behaviour.
#
# ## Two losses besides cross-entropy
#
# *SWFC* (sample-weighted focal contrastive loss) pulls utterances of one emotion together in $z$, with more weight on rare emotions and hard pairs. The class weights for three emotions with 80, 15 and 5 utterances:

# %%
weights = class_weights(torch.tensor([80, 15, 5]), alpha=1.2)
assert torch.isclose(weights.sum(), torch.tensor(1.0))
print([round(w, 3) for w in weights.tolist()])

# %% [markdown]
# Take four utterances with two emotions. First the two emotions point in different directions, then all four utterances point in the same direction. **Predict** which loss is lower.

# %%
label = torch.tensor([0, 0, 1, 1])
apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
same = torch.ones(4, 2)
losses = [
    swfc(z, label, torch.tensor([0.5, 0.5]), tau=0.5, gamma=2.0).item() for z in (apart, same)
]
assert losses[0] < losses[1]
print([round(loss, 4) for loss in losses])

# %% [markdown]
# *Soft-HGR* rewards fused streams that agree with each other. Identical streams compared with independent ones:

# %%
generator = torch.Generator().manual_seed(0)
a, b = torch.randn(2, 6, 16, generator=generator).unbind()
agree, differ = soft_hgr([a, a]).item(), soft_hgr([a, b]).item()
assert agree < differ
print(f"identical {agree:.2f}, independent {differ:.2f}")

# %% [markdown]
# ## Training
#
# The optimiser is Adam; its learning rate is reduced when the dev loss stagnates, as published. The **result** of a run is its test score at the best *dev* epoch. Published code for emotion recognition in conversations often reports the best *test* epoch instead, which cannot be selected without the test labels. It is recorded here too, to show how much it adds.

# %% tags=["nbval-ignore-output"]
runs = [run for run in study.plan("main") if study.system(run) == "MultiEMO"]
table = study.sweep(runs)
table[["corpus", "seed", "status", "epoch", "dev_wf1", "test_wf1", "best_test_wf1"]].round(2)

# %% tags=["nbval-ignore-output"]
done = table[table["status"] != "failed"]
assert len(done), "every run failed: see the error column of the table above"
assert (done["best_test_wf1"] >= done["test_wf1"]).all()
gained = (done["best_test_wf1"] - done["test_wf1"]).groupby(done["corpus"]).mean()
print("the best test epoch adds", gained.round(2).to_dict(), "points of W-F1")

# %%
assert set(table["seed"]) == set(study.seeds)
for corpus, part in table.groupby("corpus", sort=False):
    failed = (part["status"] == "failed").sum()
    print(f"{corpus}: {part['system'].unique().tolist()} with every seed, {failed} runs failed")

# %% [markdown]
# The course of one run:

# %% tags=["nbval-ignore-output"]
history = study.result(runs[0]).history
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.2))
for name in ("ce", "swfc"):
    left.plot(history["epoch"], history[f"train_{name}"], label=name)
left.set(xlabel="epoch", ylabel="training loss")
left.legend()
for split, line in (("dev", "-"), ("test", ":")):
    right.plot(
        history["epoch"], history[f"{split}_wf1"], line, color=SYSTEM["MultiEMO"], label=split
    )
right.set(xlabel="epoch", ylabel="W-F1 (%)")
right.legend()

# %% [markdown]
# ## Table 1, so far
#
# Rows marked "quoted" have the paper's scores only. Unless you run this notebook on the published feature files, they were measured on other features than ours.

# %% tags=["nbval-ignore-output"]
known = pd.concat([table, study.finished(study.plan("main"))]).drop_duplicates("run")
table1 = main_table(known)
display(Markdown(study.save_table(table1, "table1_main", known, study.caveats)))

# %%
quoted = table1.data.loc[table1.data["system"].isin(["UniMSE", "MultiEMO (original)"]), "ours"]
measured = table1.data.loc[table1.data["system"] == "MultiEMO", "ours"]
print("MultiEMO:", set(measured), "- UniMSE and the original MultiEMO:", set(quoted))

# %% [markdown]
# ## What the literature reports
#
# Table 1 of the paper lists few of the systems that report weighted F1 on these two corpora. Table 9 lists those that a reader will meet beside ML-SAN, with the numbers of their own papers where we could read them. **Predict:** how many of them chose the reported epoch on dev?

# %%
table9 = literature_table()
display(Markdown(study.save_table(table9, "table9_literature")))

# %%
print(selection_text(table9.data))

# %% [markdown]
# Do not read a ranking from this table. Features, splits, encoders and the choice of the epoch differ from row to row, and the best test epoch is worth as much as many of the differences between rows. A large language model that reads the words is another kind of system than a model of utterance features.
#
# ## What we learned
#
# - MultiEMO consists of context by DialogueRNN, cross-attention between modalities, and three losses.
# - Its published form attends to padding. With masking, a prediction depends on its own dialogue only.
# - Reporting the best test epoch raises the score by the number printed above. Compare it with the differences between systems in Table 1.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/02_baseline.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **Attention that ignores padding.** In a batch, short dialogues are padded. Write one head of attention, $\mathrm{softmax}(q k^\top / \sqrt{d})\,v$, in which no query attends to padding. The check adds padding to a dialogue and compares: an output must not depend on who else is in the batch.
#
# 2. **The SWFC term of one utterance.** Write what utterance $i$ adds to the sample-weighted focal contrastive loss: $-w_{y_i}$ times the mean, over the other utterances $j$ with the label of $i$, of $(1 - p_{ij})^\gamma \log p_{ij}$, where $p_{ij}$ is the softmax over all $j \ne i$ of $\cos(z_i, z_j) / \tau$. An utterance whose label nobody else has adds 0.
#
# 3. **Soft-HGR by its definition.** Write Soft-HGR for two streams of fused features, as published: $s = \frac1N \sum_i x_i^\top y_i - \frac{1}{2N} \mathrm{tr}(\mathrm{cov} X\, \mathrm{cov} Y)$ and the loss is $-s/N$. Note what "cov" is in the published code: the $N \times N$ covariance *between utterances*, with each utterance centred over its $d$ features (`torch.cov` of `[utterance, feature]`). The definition of Soft-HGR has the $d \times d$ covariance between features.
#
# <details><summary>Solutions</summary>
#
# 1. The published code leaves padding unmasked (`mask_padding=False`): a padded turn still gets a part of the softmax. The prediction for an utterance then depends on the longest dialogue of its batch. To see what this does to a score, train `study.sweep([study.config("MELD", "MultiEMO", s, mask_padding=False) for s in study.seeds])` and compare seed by seed.
#
#    ```python
#    def attend(query, key, value, real):
#        """Attention from query [turn, d] to key and value [other, d].
#
#        `real` [other] is False where a key is padding.
#        """
#        score = query @ key.T / query.shape[1] ** 0.5
#        score = score.masked_fill(~real, float("-inf"))
#        return torch.softmax(score, dim=1) @ value
#    ```
#
# 2. Without the focal factor (γ = 0) every positive has the same weight. With γ = 2 a pair that is already similar, so with a large $p_{ij}$, is weighted by $(1 - p_{ij})^2$ and pulls less, and the loss attends to pairs that are far apart. `emotion="cross-entropy"` in `study.config` trains without SWFC and Soft-HGR.
#
#    ```python
#    def swfc_term(i, z, label, weight, tau, gamma):
#        """The term of utterance i; z is [utterance, feature], weight is [class]."""
#        unit = z / z.norm(dim=1, keepdim=True)
#        others = torch.arange(len(z)) != i
#        log_p = torch.log_softmax(unit[others] @ unit[i] / tau, dim=0)
#        positive = label[others] == label[i]
#        if not positive.any():
#            return z.new_zeros(())
#        focal = (1 - log_p.exp()) ** gamma * log_p
#        return -weight[label[i]] * focal[positive].mean()
#    ```
#
# 3. The first part rewards streams that agree, the second keeps them from growing: it is quadratic in each stream. `mlsan.model.losses.soft_hgr` computes the same without an $N \times N$ matrix, because $\mathrm{tr}(\mathrm{cov} X\, \mathrm{cov} Y) = \lVert X_c^\top Y_c \rVert^2 / (d - 1)^2$ with each row of $X_c$ and $Y_c$ centred.
#
#    ```python
#    def soft_hgr_of_two(x, y):
#        """The loss of two streams [utterance, feature]."""
#        inner = (x * y).sum(dim=1).mean()
#        trace = torch.trace(torch.cov(x) @ torch.cov(y))
#        return -(inner - trace / (2 * len(x))) / len(x)
#    ```
#
# </details>
