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
# # 5 · Sensitivity: λ, how much speakers differ, and the dev split
#
# **Question.** How does the score depend on the weight λ of the auxiliary speaker loss? Does ML-SAN gain more when speakers differ more? And does the test score change if the epoch is chosen on dev dialogues of strangers?
#
# **Produces.** Fig. 6 (`fig6_lambda`), on simulated corpora Fig. A8 (`fig8_dose`) and, on an IEMOCAP with names, Table A10 (`table10_dev`).
#
# **Needs.** The corpus of notebook 1. Trains ML-SAN for each λ, MultiEMO and ML-SAN for each heterogeneity and for both dev splits of IEMOCAP, or reuses finished runs.
#
# **Time.** smoke: seconds · small: about 3 minutes on two cores the first time · paper: a GPU is recommended.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - say what λ does to a gradient, and when "the best λ" is only the largest of several noisy numbers;
# - test whether a method does what it claims by giving it more to do (a *dose*) and nothing to do (a *negative control*);
# - choose dev dialogues that resemble the test set in what matters.
#
# **Prerequisites.** Part I of notebook 3; the simulator's equations in notebook 1.
#
# **Your time.** 45 minutes, and another 45 for the exercises.
#
# Where you read **Predict**, write down an answer before you go on: the cell below gives the number. Cells with `assert` check what the page says; you can skip them at first.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("05_sensitivity", globals())

# %% [markdown]
# ## What λ does
#
# Recall from notebook 3: $z$ is the feature that the emotion classifier reads, $\mathcal L_{ERC}$ is MultiEMO's loss for the emotions, and $\mathcal L_{spk}$ is the cross-entropy of a linear head that names the speaker from $z$. Eq. 4 adds $\lambda\,\mathcal L_{spk}$ to the loss. The gradient with respect to $z$ is
#
# $$\frac{\partial \mathcal L_{total}}{\partial z} = \frac{\partial \mathcal L_{ERC}}{\partial z} + \lambda\,\frac{\partial \mathcal L_{spk}}{\partial z},$$
#
# so λ controls how strongly $z$ is pushed to separate speakers. In the code it is the last line:

# %%
from mlsan.model import reference
from mlsan.report import lessons

lessons.definition(reference.total_loss)

# %% [markdown]
# **By hand.** Take squared losses: that of the emotion is $(z_1 - 2)^2$, that of the speaker $(z_2 - 1)^2$. Start at $z = (1, 0)$. The pulls, the negative gradients, are $-2(1-2) = 2$ and $-2\lambda(0-1) = 2\lambda$. **Predict:** for which of λ = 0.2, 0.5, 1 and 2 does the speaker pull at least as hard as the emotion?

# %%
import torch

z = torch.tensor([1.0, 0.0], requires_grad=True)
for lam in (0.2, 0.5, 1.0, 2.0):
    loss = (z[0] - 2) ** 2 + lam * (z[1] - 1) ** 2
    pull = -torch.autograd.grad(loss, z)[0]
    assert torch.allclose(pull, torch.tensor([2, 2 * lam]))
    print(f"lambda {lam}: pull towards emotion {pull[0]:.1f}, towards speaker {pull[1]:.1f}")

# %% [markdown]
# **Drag it.** These utterances show the emotion in one feature and the speaker in another, and $z$ is a single number: the features along one direction. Both heads read this $z$, so the two losses compete for the direction. **Predict** how far λ = 0.5 turns it away from the emotion, and at which λ emotion and speaker are recognised equally well. In JupyterLab, run the cell and drag the slider; elsewhere you see the picture for λ = 0.5. The $z$ of a model has many features and may have room for both: Fig. 6 measures whether λ matters there.

# %%
from ipywidgets import FloatSlider

from mlsan.report.explore import Explorer
from mlsan.report.sliders import trade_off

Explorer(trade_off, lam=FloatSlider(0.5, min=0, max=2, step=0.1, description="λ"))

# %% [markdown]
# The paper reports optima at λ = 0.5 on MELD and λ = 0.2 on IEMOCAP. It gives no scores for other λ, so only the positions of the optima can be compared.

# %%
from mlsan.report.paper import LAMBDA_OPTIMUM

print(LAMBDA_OPTIMUM)

# %% [markdown]
# The table shows the test W-F1 of ML-SAN for each λ and seed. **Predict:** which λ is best, and do the intervals of the best and the worst λ overlap?

# %% tags=["nbval-ignore-output"]
plan = study.plan("lambda")
table = study.sweep(plan)
wide = table.pivot_table(index=["corpus", "lam"], columns="seed", values="test_wf1", sort=False)
wide.round(2).sort_index(ascending=[False, True])

# %% [markdown]
# λ = 0 is ML-SAN without the auxiliary head: a head with weight zero has no other effect. In the table, nothing is known of strangers. In the figure they are *enrolled*: their styles come from all of their unlabelled test utterances (notebook 3), so its scores can be higher. The horizontal line is MultiEMO with the same seeds.

# %% tags=["nbval-ignore-output"]
from mlsan.evaluation.counts import gathered
from mlsan.report.nb05_sensitivity import lambda_figure, lambda_table

lams = gathered(table, study.reader(plan, "all"), study.emotions, "lam")
seeds = sorted(table["seed"].unique())
base = study.sweep([study.config(b, "MultiEMO", int(s)) for b in study.corpora for s in seeds])
curve = study.labelled(lambda_table(lams, gathered(base, study.predictions, study.emotions)))
figure6 = lambda_figure(curve)

# %% tags=["nbval-ignore-output"]
import pandas as pd
from IPython.display import Markdown, display

by = ["benchmark", "system", "lam"]
behind = pd.concat([table.assign(system="ML-SAN"), base])
text = study.save_figure(figure6, curve, "fig6_lambda", behind, study.caveats, by)
display(Markdown(text))

# %% [markdown]
# In words. A statement *holds* if its whole 95 % interval agrees with it, *does not hold* if none of it does, and is *undecided* otherwise. Two intervals can overlap although the difference is certain: both values of λ are tested on the same dialogues, and what makes a dialogue hard for both cancels in the difference. So the difference decides:

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb05_sensitivity import lambda_findings

lessons.listed(lambda_findings(curve, lams, study.names))

# %%
swept = curve.dropna(subset="lam")
for benchmark, line in swept.groupby("benchmark", sort=False):
    assert line["lam"].is_monotonic_increasing
    if benchmark in LAMBDA_OPTIMUM:
        present = {0.0, LAMBDA_OPTIMUM[benchmark]} <= set(line["lam"])
        print(f"{study.names[benchmark]}: the curve includes 0 and the paper's optimum: {present}")

# %% [markdown]
# ## The effect of heterogeneity
#
# A gain over MultiEMO does not show *why* ML-SAN is better: it also has more parameters. A medicine is tested with several doses, and with none. Here the dose is how much speakers differ. If ML-SAN gains because it adapts to speakers, it should gain more where they differ more, and nothing where they are all alike: that is the *negative control*.
#
# The simulator has a dial for this, the *heterogeneity* $h$: a speaker's gain is $g^h$ and their shift $h\,c$ (notebook 1). At 0 all speakers are alike, at 1 they are as in the other notebooks, and nothing else changes. Strangers are enrolled with all of their unlabelled test utterances. **Predict** the sign of the difference at 0: do the additional parameters and the estimates of styles have a cost?

# %% tags=["nbval-ignore-output"]
rows, dosed = [], {}
for level, dose in study.doses().items():
    plan = dose.dose_plan()
    rows.append(dose.sweep(plan).assign(heterogeneity=level))
    keys = ["heterogeneity", "system"]
    for benchmark, found in gathered(
        rows[-1], dose.reader(plan, "all"), study.emotions, keys
    ).items():
        dosed.setdefault(benchmark, {}).update(found)
doses = pd.concat(rows) if rows else None
if doses is None:
    print("skipped: the heterogeneity of real speakers cannot be set")

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb05_sensitivity import dose_figure, dose_table

if doses is not None:
    response = study.labelled(dose_table(dosed))
    figure8 = dose_figure(response)

# %% tags=["nbval-ignore-output"]
if doses is not None:
    by = ["benchmark", "heterogeneity", "system"]
    text = study.save_figure(figure8, response, "fig8_dose", doses, study.caveats, by)
    display(Markdown(text))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb05_sensitivity import dose_findings

lessons.listed(dose_findings(response) if doses is not None else [])

# %%
if doses is not None:
    for corpus, line in response.groupby("corpus", sort=False):
        ends = line["heterogeneity"].min(), line["heterogeneity"].max()
        assert ends == (0, 1), f"{corpus}: the negative control or the usual corpus is missing"
        print(f"{corpus}: heterogeneity from {ends[0]:g} to {ends[1]:g}")

# %% [markdown]
# ## Which dev dialogues choose the epoch?
#
# After every epoch the model is scored on the dev dialogues, and the epoch with the best dev score is the one that is tested. IEMOCAP's dev dialogues are dialogues of the *training* speakers, but its test speakers are strangers. So the epoch is chosen for speakers whom the model knows, and tested on speakers whom it does not. The same is true of our simulated version.
#
# `dev="session"` holds out a whole session instead, another one for each seed. Its two actors are strangers to the model, as the test speakers are, but training then lacks the dialogues of this session. **Predict** which of the two dev splits chooses the later epoch, and which one's dev score is closer to the test score.

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb05_sensitivity import dev_table

plan = study.plan("dev")
splits = study.sweep(plan) if plan else None
if splits is None:
    print("skipped: only an IEMOCAP with named speakers has sessions")
else:
    splits["dev"] = [run.train.dev for run in plan]
    table10 = dev_table(
        splits, gathered(splits, study.predictions, study.emotions, ["system", "dev"])
    )
    by = ["benchmark", "system", "dev"]
    text = study.save_table(table10, "table10_dev", splits, study.caveats, by)
    display(Markdown(text))

# %%
if splits is not None:
    for (name, system), part in table10.data.groupby(["benchmark", "system"], sort=False):
        assert list(part["dev"]) == ["official", "session"]
        print(f"{study.names[name]}, {system}: dev of training speakers and of strangers")

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb05_sensitivity import dev_findings

lessons.listed(dev_findings(table10.data, study.names) if splits is not None else [])

# %% [markdown]
# ## What we learned
#
# - To say whether λ matters, look at the difference between the best and the worst λ with its interval, and at the standard deviation over seeds, not at where the curve peaks. Among values that differ by no more than seeds do, it is chance which one is best.
# - Choose λ on dev (`dev_wf1` in the same table). A test set on which λ was chosen no longer measures how well the model does on new data.
# - A method that adapts to speakers must gain with the heterogeneity, and must not lose where there is nothing to adapt to. The findings above say where ML-SAN does.
# - A dev score on people whom the model knows says little about strangers. A dev split of strangers says more, but its dialogues are missing from training.
#
# ## What would change our mind
#
# - *The verdict on λ.* The best and the worst λ are chosen on the very scores that are compared, which makes their difference look larger. With new seeds the two should keep their order; if they did not, λ would matter less than it seems here.
# - *The gain comes from adapting to speakers.* A gain at heterogeneity 0, where all speakers are alike, would show that some of it has another source.
# - *Dev should consist of strangers.* If, on corpora with more sessions, both splits led to the same test score, the published split would be good enough.
#
# ## Further reading
#
# - Cawley and Talbot, *On Over-fitting in Model Selection and Subsequent Selection Bias in Performance Evaluation*, Journal of Machine Learning Research 11, 2010.
# - Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021.
# - Reimers and Gurevych, *Reporting Score Distributions Makes a Difference: Performance Study of LSTM-networks for Sequence Tagging*, EMNLP 2017.
# - Gorman and Bedrick, *We Need to Talk about Standard Splits*, ACL 2019.
# - Caruana, *Multitask Learning*, Machine Learning 28, 1997: why an auxiliary loss can help at all.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/05_sensitivity.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **The best of six.** Six values of λ are tried, and suppose that λ has no effect: every score, on dev and on test, is 60 plus noise. One report takes the λ that is best on *test* and states its test score; the other takes the λ that is best on *dev* and states the test score of that one. Write both numbers, averaged over many imagined experiments. Predict the first one for noise of standard deviation 1.
#
# 2. **The dial of the simulator.** At heterogeneity 1 a simulated speaker shows a latent channel $z$ as $g z + c$, with a gain $g$ and a shift $c$ of their own. The dial $h$ multiplies the shift and the *logarithm* of the gain. Write gain and shift at $h$. What is wrong with $1 + h(g - 1)$, which is also 1 at $h = 0$ and $g$ at $h = 1$?
#
# 3. **Dev speakers who are strangers.** To choose the epoch as for strangers, dev must share no speaker with train. People who talk to each other must therefore stay together, and so must people who both talk to a third. Write the session of each dialogue: equal numbers for dialogues that share a speaker, directly or through other dialogues.
#
# <details><summary>Solutions</summary>
#
# 1. The largest of six standard normal numbers is 1.27 on average, so choosing on test reports 1.27 standard deviations that are not there; choosing on dev reports the truth. A given λ is the best one time in six. An optimum "at 0.5" is weak evidence by itself. In notebook 5, `table.groupby(["benchmark", "lam"])["dev_wf1"].mean()` chooses λ on dev.
#
#    ```python
#    def reported(dev, test):
#        """Mean reported test score if λ is chosen on test, and if on dev; arrays [experiment, λ]."""
#        on_dev = np.take_along_axis(test, dev.argmax(axis=1)[:, None], axis=1)
#        return test.max(axis=1).mean(), on_dev.mean()
#    ```
#
# 2. $g^h = e^{h \log g}$ treats a gain of 2 and a gain of ½ alike: at $h = 0.5$ they are 1.41 and 0.71, whose product is still 1. In a straight line they would be 1.5 and 0.75, so the dial would also raise gains on average, and not only make speakers more different.
#
#    ```python
#    def dialled(gain, shift, h):
#        """Gain and shift at heterogeneity h, from those at heterogeneity 1."""
#        return gain**h, h * shift
#    ```
#
# 3. The sessions are the connected components of the graph that joins speakers who share a dialogue; `mlsan.corpus.sessions.by_session` takes them from SciPy. IEMOCAP's training actors form four pairs. In MELD the six friends talk to each other and to nearly all guests, so there is no session of its main speakers to hold out.
#
#    ```python
#    def sessions(speakers):
#        """The session number of each dialogue, from the set of speakers of each dialogue."""
#        number = list(range(len(speakers)))
#        for i, some in enumerate(speakers):
#            for j, others in enumerate(speakers[:i]):
#                if some & others:
#                    old, new = number[i], number[j]
#                    number = [new if n == old else n for n in number]
#        return number
#    ```
#
# </details>
