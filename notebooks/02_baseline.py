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
# **Question.** What does ML-SAN build on, and what does this baseline score when the epoch is selected on dev (validation) data?
#
# **Produces.** Table A9, the literature (`table9_literature`). Table 1 is shown as far as it is measured; notebook 3 completes and saves it.
#
# **Needs.** The corpus of notebook 1. Trains MultiEMO with all seeds, or reuses finished runs.
#
# **Time.** smoke: seconds · small: about a minute on two cores the first time · paper: hours on a CPU; a GPU is recommended.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - say in one sentence each what DialogueRNN, cross-attention, SWFC and Soft-HGR compute, and work a small case of each by hand;
# - read their definitions as short loops, and check that a fast implementation computes the same;
# - explain what unmasked padding does to a prediction, and what choosing the epoch on test data does to a score.
#
# **Prerequisites.** Notebook 1; a GRU, attention, softmax and cross-entropy in PyTorch. Nothing about contrastive losses.
#
# **Your time.** 75 minutes, and another 45 for the exercises.
#
# Each part comes in five steps: a picture, the formula, its definition from `mlsan/model/reference.py`, a number worked by hand, and the check that the fast form used in training gives the same. Where you read **Predict**, write down an answer before you go on: the cell below gives the number.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("02_baseline", globals())

# %% [markdown]
# ## The model in one picture
#
# ```text
# text   -- Linear ---------------+--> [        ] --> text'   --+
#                                 |    [ cross- ]               |
# audio  -- Linear - DialogueRNN -+--> [  att.  ] --> audio'  --+-- Linear -- z -- MLP -- emotion
#                                 |    [  x L   ]               |            |              |
# visual -- Linear - DialogueRNN -+--> [        ] --> visual' --+            |              |
#                                                        |                   |              |
# losses                                              Soft-HGR              SWFC      cross-entropy
# ```
#
# A linear layer projects each modality to width $d$. **DialogueRNN**, a recurrent network with a state for each speaker, adds context: what was said before, and by whom. In three stacks of **cross-attention** each modality attends to the other two; their outputs text', audio' and visual' are the *fused streams*. A linear layer joins these to $z$, the input of the classifier. Three losses train the model: cross-entropy on the emotion; **SWFC** on $z$, which brings utterances of one emotion together; and **Soft-HGR** on the fused streams, which makes them agree.
#
# The published code has different settings for the two benchmarks, and so does ours. $L$ is `layers`; `bidirectional` adds a DialogueRNN that reads backwards, and `text_context` one for text:

# %%
import pandas as pd

from mlsan.training import run_settings

published = {b: run_settings(b, "paper", "MultiEMO", 0).model for b in ("MELD", "IEMOCAP")}
fields = ["d", "heads", "layers", "feedforward", "classifier", "bidirectional", "text_context"]
pd.DataFrame({b: [getattr(m, f) for f in fields] for b, m in published.items()}, index=fields)

# %% [markdown]
# **Predict:** how many parameters does the model have at the paper's feature sizes? A layer of cross-attention alone has two attentions of $4d^2$ weights and a feed-forward part of $2 \cdot 1024\,d$. That makes 1.05 million at $d=256$, for each of $L$ layers in three stacks.

# %%
from mlsan.model import build_model
from mlsan.model.interface import Sizes

features = {"text": 768, "audio": 512, "visual": 1000}
parameters = {}
for benchmark, (roles, classes) in {"MELD": (9, 7), "IEMOCAP": (2, 6)}.items():
    model = build_model(published[benchmark], Sizes(features, roles, classes, speakers=1), seed=0)
    parameters[benchmark] = sum(p.numel() for p in model.parameters())
print({name: f"{count / 1e6:.1f} million" for name, count in parameters.items()})

# %% [markdown]
# The published MELD model has 17.1 million parameters, because it includes backward DialogueRNNs that its forward pass never calls. Ours leaves them out. IEMOCAP uses all of its 29.7 million.
#
# ## DialogueRNN: who said what before
#
# ```text
#            turn 1: A      turn 2: B      turn 3: A
#
# u             u_1            u_2            u_3
#                |              |              |
# g (global)    g_1 ---------> g_2 ---------> g_3      one state for the dialogue
#                |              |              |
# q_A           q_A ------------------------> q_A      one state for each role:
# q_B            |             q_B             |       only the speaker's changes
#                |              |              |
# e (output)    e_1 ---------> e_2 ---------> e_3      reads the speaker's state
# ```
#
# A plain GRU has one state for the whole dialogue and does not know who speaks. DialogueRNN has three kinds: $g$ for the dialogue, $q_s$ for each speaker $s$, and $e$ for the output. All are 0 at the start. At turn $t$, with speaker $s$ and features $u_t$, it attends to the past ($c_t$), updates the speaker's state, and reads it:
#
# $$g_t = \mathrm{GRU}_g([u_t; q_s],\, g_{t-1}) \qquad c_t = \sum_{j<t} \mathrm{softmax}_j(w^\top g_j)\, g_j$$
#
# $$q_s \leftarrow \mathrm{GRU}_p([u_t; c_t],\, q_s) \qquad e_t = \mathrm{GRU}_e(q_s,\, e_{t-1})$$
#
# So the speaker enters MultiEMO here and only here, as the choice of a state. The code, as a loop over turns (`state` holds the model's weights by name, as PyTorch's `state_dict` does):

# %%
from mlsan.model import reference
from mlsan.report import lessons

lessons.definition(reference.dialogue_rnn, reference.gru)

# %% [markdown]
# **By hand.** Take width 1, gates of one half, and GRU cells that read only the first number of their input: $\mathrm{GRU}(x, h) = \frac12 \tanh x + \frac12 h$. A says 1, B says −1, A says 1. Since $\tanh 1 = .762$,
#
# - A's state is $q_A = .381$ after turn 1, and $\frac12(.762) + \frac12(.381) = .571$ after turn 3. B's turn has not touched it;
# - $e_1 = \frac12\tanh .381 = .182$, and $e_2 = \frac12\tanh(-.381) + \frac12(.182) = -.091$.
#
# **Predict** $e_3 = \frac12 \tanh q_A + \frac12 e_2$. And is it larger or smaller if one person speaks all three turns?

# %%
import torch

from mlsan.report.nb02_baseline import recurrence_weights

u, toy = torch.tensor([[1.0], [-1.0], [1.0]]), recurrence_weights("toy")
two, one = (reference.dialogue_rnn(toy, "toy", u, role, 3)[:, 0] for role in ([0, 1, 0], [1, 1, 1]))
assert torch.allclose(two, torch.tensor([0.182, -0.091, 0.213]), atol=5e-4)
assert one[1] > two[1], "with one state, the -1 is softened by the 1 before it"
print(f"A, B, A: e_3 = {two[2]:.3f}; the same speaker throughout: e_3 = {one[2]:.3f}")

# %% [markdown]
# **The fast form**, used in training, runs all modalities, dialogues and directions at once. Compare both forms on a few dialogues of this corpus, with random weights and in double precision:

# %%
from mlsan.report.nb02_baseline import both_forms

corpus = next(iter(study.corpora.values()))
fast, defined, label = both_forms(corpus)
torch.testing.assert_close(fast.stages["context"], defined.stages["context"])
print("DialogueRNN: the fast form gives the definition's context features")

# %% [markdown]
# ## Cross-attention: what do the others show at the same time?
#
# ```text
# one layer of the text stack, of which there are L:
#
# text --(+)-- norm --(+)-- norm --(+)-- norm --> next layer
#         |            |            |
#         |            |            +-- feed-forward, two linear layers
#         |            +-- attention to all visual utterances of the dialogue
#         +-- attention to all audio utterances of the dialogue
# ```
#
# Words alone may leave the emotion open while the voice at the same moment does not. So each utterance $i$ of one modality, with features $x_i$, queries the utterances $j$ of another, with features $y_j$. In one head of width $d_h$:
#
# $$a_{ij} = \mathrm{softmax}_j\!\left(\frac{(W_q x_i)^\top (W_k y_j)}{\sqrt{d_h}}\right), \qquad \mathrm{head}_i = \sum_j a_{ij}\, W_v y_j$$
#
# The $y_j$ are the other modality's features *before* fusion, the same in every layer.

# %%
lessons.definition(reference.attention)

# %% [markdown]
# **By hand.** Take width 1, query 1, keys $0$ and $\ln 3$, values 0 and 4. The weights are $\frac{1}{1+3}$ and $\frac{3}{1+3}$, so the output is 3. Now the dialogue is padded: a third key of 0 with value 0 is added. **Predict** the output.

# %%
from math import log

key, value = torch.tensor([0.0, log(3), 0.0]), torch.tensor([0.0, 4.0, 0.0])
alone, padded = (torch.softmax(1.0 * key[:n], 0) @ value[:n] for n in (2, 3))
assert torch.allclose(alone, torch.tensor(3.0))
assert torch.allclose(padded, torch.tensor(12 / 5))
print(f"without padding {alone:.1f}, with padding {padded:.1f}: padding takes its share")

# %% [markdown]
# **The fast form** computes the attention of all utterances as products of matrices. On the same dialogues as above:

# %%
torch.testing.assert_close(fast.fused, defined.fused)
print("cross-attention: the fast form gives the definition's fused streams")

# %% [markdown]
# ### A quirk: attention to padding
#
# A batch pads short dialogues with zeros, and the published cross-attention does not mask them. As in the example, padding takes a share of the attention, so a prediction depends on which other dialogues are in the batch.
#
# **Predict:** how much do the logits of one dialogue change when a longer dialogue is added to its batch, with `mask_padding=False` and with `mask_padding=True`?

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb02_baseline import padding_shift

shift = {masked: padding_shift(corpus, masked) for masked in (False, True)}
assert shift[False] > 1e-4 > 1e-5 > shift[True]
print(f"largest change of a logit: {shift[False]:.3f} unmasked, {shift[True]:.0e} masked")

# %% [markdown]
# With the mask only rounding is left. Masking is the default here; `mask_padding=False` restores the published behaviour.
#
# ## SWFC: pull utterances of one emotion together
#
# ```text
# z of joy  o ====== pull ====== o  z of joy     pull: every pair of one emotion, the more
#            \                                   the farther apart, and the rarer the emotion
#             \ push
#              \                                 push: the softmax over all others
#               x  z of anger
# ```
#
# Cross-entropy asks only for the right class. A contrastive loss also shapes the space of $z$: two utterances of one emotion should be nearer to each other than to others. This one is the *sample-weighted focal contrastive loss*, over the $N$ utterances of a batch with $\hat z = z / \lVert z \rVert$:
#
# $$p_{ij} = \mathrm{softmax}_{j \ne i}\!\left(\hat z_i^\top \hat z_j / \tau\right), \qquad \ell_i = \underset{j \ne i:\; y_j = y_i}{\mathrm{mean}}\; (1 - p_{ij})^\gamma \log p_{ij}, \qquad \mathcal L_{SWFC} = -\frac1N \sum_i w_{y_i} \ell_i$$
#
# The temperature $\tau$ sets how sharp the softmax is. The factor $(1 - p_{ij})^\gamma$ makes the loss *focal*: pairs that are close already count less. (This $\gamma$ is a fixed exponent and not FiLM's.) The weight of an emotion that $n_c$ of $n$ training utterances have is $w_c \propto (n / n_c)^\alpha$, and the weights sum to 1.

# %%
lessons.definition(reference.swfc)

# %% [markdown]
# **By hand.** Three emotions have 80, 15 and 5 utterances. With $\alpha = 1.2$ their weights are in the ratio of $1.25^{1.2} = 1.3$, $6.67^{1.2} = 9.7$ and $20^{1.2} = 36.4$. **Predict** the weight of the rarest.

# %%
from mlsan.model.losses import class_weights

weights = class_weights(torch.tensor([80, 15, 5]), alpha=1.2)
assert torch.allclose(weights, torch.tensor([1.3, 9.7, 36.4]) / 47.4, atol=2e-3)
print([round(w, 3) for w in weights.tolist()])

# %% [markdown]
# An utterance of the rarest emotion has 28 times the weight of one of the most frequent. With $\alpha = 1$ it would be 16 times, and all emotions would have the same weight in total.
#
# Now four utterances with two emotions, $\tau = \frac12$, $\gamma = 2$, weights of one half. First the emotions point in perpendicular directions: an utterance has cosine 1 with its positive and 0 with the two others, so $p = e^2/(e^2+2) = .787$ and the loss is $-\frac12 (1-p)^2 \ln p = .0054$. Then all four point the same way. **Predict** $p$, and the loss.

# %%
from mlsan.model.losses import swfc

pairs, half = torch.tensor([0, 0, 1, 1]), torch.tensor([0.5, 0.5])
apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
perpendicular, same = (reference.swfc(z, pairs, half, 0.5, 2.0) for z in (apart, torch.ones(4, 2)))
assert torch.allclose(perpendicular, torch.tensor(0.0054), atol=5e-5)
assert torch.allclose(same, torch.tensor((2 / 3) ** 2 * log(3) / 2))
print(f"perpendicular {perpendicular:.4f}; all the same, p = 1/3: {same:.4f}")

# %% [markdown]
# **The fast form** computes all pairs as one matrix, and its derivative by formula. Compare the loss and its gradient on the $z$ of this corpus:

# %%
weight = class_weights(torch.bincount(label, minlength=label.max() + 1).double(), 1.2)
z = fast.z.clone().requires_grad_()
losses = [form(z, label, weight, 1.4, 2.0) for form in (swfc, reference.swfc)]
gradients = [torch.autograd.grad(loss, z)[0] for loss in losses]
torch.testing.assert_close(*losses)
torch.testing.assert_close(*gradients)
print("SWFC: the fast form gives the definition's loss and gradient")

# %% [markdown]
# ## Soft-HGR: fused streams that agree
#
# ```text
# X (text')   o   o   o      reward  x_i . y_i      the same utterance agrees in two streams
#             |   |   |
# Y (audio')  o   o   o      cost    cov X cov Y    the streams must not just grow
# ```
#
# The three streams describe the same utterances, so they should be correlated. Soft-HGR (a soft form of the Hirschfeld–Gebelein–Rényi maximal correlation) rewards that. For two fused streams $X$ and $Y$ of $N$ utterances, as published:
#
# $$s(X, Y) = \frac1N \sum_i x_i^\top y_i - \frac{1}{2N}\,\mathrm{tr}(\mathrm{cov} X\; \mathrm{cov} Y), \qquad \mathcal L_{HGR} = -\frac1N \sum_{\text{pairs}} s$$
#
# In MultiEMO's code $\mathrm{cov}$ is $N \times N$, between *utterances*; in the paper that introduced Soft-HGR it is between features.

# %%
lessons.definition(reference.soft_hgr)

# %% [markdown]
# **By hand.** Two utterances, two features, $X = Y = I$. The mean inner product is 1. Each centred row is $\pm(\frac12, -\frac12)$, so $\mathrm{cov} X$ has .5 on its diagonal and −.5 beside it, and the trace of its square is $4 \cdot .25 = 1$. Thus $s = 1 - \frac14 = .75$ and the loss is $-.375$. **Predict** the loss when $Y$ has its rows swapped, so that each utterance's streams contradict each other.

# %%
eye = torch.eye(2)
agree, contradict = (reference.soft_hgr([eye, y]) for y in (eye, eye.flip(0)))
assert torch.allclose(agree, torch.tensor(-0.375))
assert torch.allclose(contradict, torch.tensor(0.125))
print(f"agree {agree:.3f}, contradict {contradict:.3f}")

# %% [markdown]
# The inner product falls to 0 and the trace stays the same, so $s = -\frac14$. **The fast form** needs no $N \times N$ matrix, because the trace is $\lVert X_c^\top Y_c \rVert^2 / (d-1)^2$, where $X_c$ and $Y_c$ have centred rows:

# %%
from mlsan.model.losses import soft_hgr

streams = list(fast.fused.values())
torch.testing.assert_close(soft_hgr(streams), reference.soft_hgr(streams))
torch.testing.assert_close(fast.logits, defined.logits)
print("Soft-HGR and the whole model: the fast forms give the definition's values")

# %% [markdown]
# ## Training
#
# The optimiser is Adam; its learning rate is reduced when the dev loss stagnates, as published. A *run* is one training with one seed. After every epoch it is scored by weighted F1 (W-F1, [notebook 1](01_data.ipynb)) on dev and on test.
#
# Its **result** is the *dev-selected* score: the test score at the epoch that is best on dev. Published code in this field often reports the *best test epoch* instead, which nobody can select without the test labels. Both are recorded here. **Predict** how many points the best test epoch adds.

# %% tags=["nbval-ignore-output"]
runs = [run for run in study.plan("main") if study.system(run) == "MultiEMO"]
table = study.sweep(runs)
table[["corpus", "seed", "status", "epoch", "dev_wf1", "test_wf1", "best_test_wf1"]].round(2)

# %% [markdown]
# (Status *reused* means that the run was trained before.) In words, with a 95 % interval over seeds. A statement *holds* if the whole interval agrees with it, *does not hold* if none of it does, and is *undecided* otherwise:

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb02_baseline import baseline_findings

done = table[table["status"] != "failed"]
assert len(done), "every run failed: see the error column of the table above"
assert (done["best_test_wf1"] >= done["test_wf1"]).all()
lessons.listed(baseline_findings(done))

# %%
assert set(table["seed"]) == set(study.seeds)
for name, part in table.groupby("corpus", sort=False):
    failed = (part["status"] == "failed").sum()
    print(f"{name}: {part['system'].unique().tolist()} with every seed, {failed} runs failed")

# %% [markdown]
# One run from epoch to epoch. The filled dot is its result, at the epoch chosen on dev; the ring is the best test epoch:

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb02_baseline import training_figure

figure = training_figure(study.result(runs[0]).history)

# %% [markdown]
# ## Table 1, so far
#
# Table 1 compares all systems. The rows beside MultiEMO's appear once notebook 3 has trained those systems, and notebook 3 saves the table; rows marked "quoted" have the paper's scores only. The columns "MELD paper" and "IEMOCAP paper" were measured on other features than ours, unless you run this notebook on the published feature files. So compare rows within a column, and not a column with the paper's.

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown, display

from mlsan.report.nb02_baseline import main_table

known = pd.concat([table, study.finished(study.plan("main"))]).drop_duplicates("run")
display(Markdown(main_table(known).shown.to_markdown(index=False)))

# %% [markdown]
# ## What the literature reports
#
# Table 1 of the paper lists few of the systems that report weighted F1 on MELD and IEMOCAP. Table A9 lists more of them, with the numbers of their own papers where we could read them. **Predict:** how many of them chose the reported epoch on the test set?

# %%
from mlsan.report.nb02_baseline import literature_table, selection_text

table9 = literature_table()
display(Markdown(study.save_table(table9, "table9_literature")))

# %%
print(selection_text(table9.data))

# %% [markdown]
# Do not read a ranking from this table. Features, splits, encoders and the choice of the epoch differ from row to row, and choosing the epoch on test is worth as much as many of the differences between rows. A large language model that reads the words is a different kind of system from a model of utterance features.
#
# ## What we learned
#
# - MultiEMO uses the speaker only in DialogueRNN, where it selects a state. Cross-attention compares modalities, SWFC shapes $z$, Soft-HGR makes the streams agree. Each is a loop of a few lines, and the fast forms compute the same.
# - The published form attends to padding. With masking, a prediction depends on its own dialogue only.
# - The findings above say how much choosing the epoch on test adds, and by how much seeds differ. A difference between two systems has to be larger than both before it means anything.
#
# ## What would change our mind
#
# - *Masking is right.* If `mask_padding=False` scored higher with every seed and with other batch sizes, padding would carry information, for example about the length of a dialogue. Exercise 1 says how to train it.
# - *The best test epoch overstates a score.* If the epochs selected on test kept their lead on a second test set of the same speakers, it would not.
#
# ## Further reading
#
# - Shi and Huang, *MultiEMO: An Attention-Based Correlation-Aware Multimodal Fusion Framework for Emotion Recognition in Conversations*, ACL 2023.
# - Majumder et al., *DialogueRNN: An Attentive RNN for Emotion Detection in Conversations*, AAAI 2019.
# - Vaswani et al., *Attention Is All You Need*, NeurIPS 2017.
# - Khosla et al., *Supervised Contrastive Learning*, NeurIPS 2020, and Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017: the two ideas in SWFC.
# - Wang et al., *An Efficient Approach to Informative Feature Extraction from Multimodal Data*, AAAI 2019: Soft-HGR.
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
