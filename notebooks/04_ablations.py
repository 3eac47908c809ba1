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
# # 4 · Ablations: what does each part contribute?
#
# **Question.** What does each part of ML-SAN (FiLM, gate and auxiliary loss) contribute, alone and together with the others? And is it the *speaker* that helps?
#
# **Produces.** Table 2 (`table2_ablation`), Table 2 with all cells and controls (`table2_factorial`), Fig. A13 (`fig13_ablation`) and Fig. A14 (`fig14_effects`).
#
# **Needs.** The corpus of notebook 1. Trains all eight combinations of the parts and the controls with a few seeds (profile *paper*: all seeds), or reuses finished runs.
#
# **Time.** smoke: seconds · small: 3 to 4 minutes on two cores the first time · paper: a GPU is recommended.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - say what leaving out one part at a time shows, and what only all combinations show;
# - compute main effects and interactions of a 2³ design (three parts, each on or off), and read them with their intervals;
# - design a control that tells "the model uses the speaker" from "the model has more parameters".
#
# **Prerequisites.** Part I of notebook 3: FiLM, gate and auxiliary loss.
#
# **Your time.** 45 minutes, and another 45 for the exercises.
#
# Where you read **Predict**, write down an answer before you go on: the cell below gives the number.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("04_ablations", globals())

# %% [markdown]
# ## What the paper reports
#
# An *ablation* leaves out a part of a model to see what it contributes. The paper leaves out one part at a time and reports the drop in weighted F1: *w/o FiLM*, *w/o Gate* and *w/o Aux* (without the auxiliary loss). Check its arithmetic first:

# %%
import numpy as np

from mlsan.report.paper import TABLE2, TABLE2_DELTA

for system, deltas in TABLE2_DELTA.items():
    for benchmark, printed in deltas.items():
        drop = TABLE2[system][benchmark].mean - TABLE2["ML-SAN"][benchmark].mean
        assert np.isclose(drop, printed, atol=0.011), (system, benchmark, drop, printed)
print("the printed differences are the differences of the printed scores")

# %% [markdown]
# Now compare each ablation with MultiEMO, which is ML-SAN without any of the three parts. **Predict:** in the paper, is ML-SAN with two of its parts at least as good as MultiEMO?

# %%
from mlsan.report.nb04_ablations import paper_gains

gains = paper_gains()
assert (gains["IEMOCAP"] < 0).all()
assert (gains["MELD"] > 0).all()
gains

# %% [markdown]
# On MELD yes, by 0.88 to 1.12 points. On IEMOCAP every ablation scores *below* MultiEMO, by 0.27 to 0.67 points: any two parts together hurt, all three together help. It is possible that the parts work only as a set, but leaving out one part at a time cannot show this. It takes all eight combinations of parts that are on or off. In what follows such a combination is called a *cell*.
#
# ## Why all cells: an example by hand
#
# Take two parts, A and B, and four scores: 70 with neither, 71 with A, 70 with B, 74 with both. Let $y$ be the score of a cell, and $\pm_A$ be $+1$ if A is on and $-1$ if it is off. Then
#
# $$\text{main effect of A} = \tfrac12 \sum_{\text{cells}} (\pm_A)\, y, \qquad \text{interaction} = \tfrac12 \sum_{\text{cells}} (\pm_A)(\pm_B)\, y.$$
#
# Leaving A out of the full model costs 4 points; adding A alone gains 1. The main effect is the mean of what A adds without and with B; the interaction is half the difference. **Predict** both.

# %%
y, a, b = np.array([70, 71, 70, 74]), np.array([-1, 1, -1, 1]), np.array([-1, -1, 1, 1])
main_a, both = (a * y).sum() / 2, (a * b * y).sum() / 2
assert (main_a, both) == (2.5, 1.5)
print(f"main effect {main_a}, the mean of 1 and 4; interaction {both}, half of 4 - 1")

# %% [markdown]
# The drop of 4 is the main effect plus the interaction: a table of drops mixes the two. With three parts there are eight cells (`SWITCHES` lists them) and the sums are divided by four:

# %%
from mlsan.evaluation.factorial import coefficients
from mlsan.report import lessons

lessons.definition(coefficients)

# %% [markdown]
# ## Our runs
#
# *MultiEMO* is the cell with no part and *ML-SAN* the one with all three; *only FiLM* has one part, *w/o FiLM* the other two. Each cell is trained from the start with each seed:

# %% tags=["nbval-ignore-output"]
cells = study.sweep(study.plan("ablation"))
cells[["corpus", "system", "speaker", "seed", "status", "test_wf1"]].round(2)

# %%
failed = (cells["status"] == "failed").sum()
for corpus, part in cells.groupby("corpus", sort=False):
    assert len(part[["film", "gate", "aux"]].drop_duplicates()) == 8
    print(f"{corpus}: 8 cells: {', '.join(part['system'].unique())}")
print(f"{failed} runs failed")

# %% [markdown]
# ## Table 2
#
# Δ is paired: the variant minus the full model with the same seeds, the same initial values of MultiEMO's weights and the same test dialogues. Its 95 % interval resamples seeds and test dialogues, as in notebook 3.
#
# Some test speakers are *strangers*, who are not in training. What a part contributes for them depends on what is known about them. In Table 2 strangers are *enrolled*: their style is estimated from all of their unlabelled test utterances. (The scores above are without enrolment; the table with all cells below has both. Cells without FiLM read no styles, so enrolment does not change them.) **Predict:** which part costs most when it is left out, and how many points?

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown, display

from mlsan.evaluation.counts import gathered
from mlsan.report.nb04_ablations import ablation_table

plan = study.plan("ablation", "controls")
enrolled = study.reader(plan, "all")
one_out = cells[cells["system"].isin(TABLE2)]
table2 = ablation_table(one_out, gathered(one_out, enrolled, study.emotions))
text = study.save_table(table2, "table2_ablation", one_out, study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb04_ablations import ablation_figure, ablation_points

all_cells = gathered(cells, enrolled, study.emotions)
scores = study.labelled(ablation_points(all_cells))
figure13 = ablation_figure(scores)

# %% tags=["nbval-ignore-output"]
display(Markdown(study.save_figure(figure13, scores, "fig13_ablation", cells, study.caveats)))

# %% [markdown]
# The colour in the figure says whether FiLM is on. In words, a statement *holds* if its whole interval agrees with it, *does not hold* if none of it does, and is *undecided* otherwise:

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb04_ablations import drop_findings

lessons.listed(drop_findings(table2.data))

# %% [markdown]
# ## All eight cells, and controls
#
# With every combination trained, the **main effect** of a part is its mean effect over the four pairs of cells that differ in this part alone. An **interaction** is half of how much more a part adds when another part is on. **Predict:** which of the three main effects have an interval that excludes zero?
#
# The table has two more kinds of row. *Strangers not enrolled* are the same cells without enrolment, where a corpus has strangers. *Controls* are ML-SAN given a wrong or useless speaker; they are discussed below.

# %% tags=["nbval-ignore-output"]
import pandas as pd

from mlsan.report.nb04_ablations import factorial_table

controls = study.sweep(study.plan("controls"))
runs = pd.concat([cells, controls]).drop_duplicates("run")
keys = ["film", "gate", "aux", "speaker"]
counts = gathered(runs, enrolled, study.emotions, keys)
strange = [name for name, who in study.strangers.items() if who]
alone = gathered(cells[cells["benchmark"].isin(strange)], study.predictions, study.emotions, keys)
factorial = factorial_table(counts, alone)
by = ["benchmark", "system", "speaker"]
text = study.save_table(factorial, "table2_factorial", runs, study.caveats, by)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb04_ablations import effects_figure

design = study.labelled(factorial.data)
effects = design[design["kind"] == "effect"]
figure14 = effects_figure(effects)

# %% tags=["nbval-ignore-output"]
drawn = effects[["corpus", "system", "delta", "low", "high", "seeds"]]
display(Markdown(study.save_figure(figure14, drawn, "fig14_effects", cells, study.caveats)))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb04_ablations import effect_findings

lessons.listed(effect_findings(design))

# %% [markdown]
# Is it the speaker that helps? The controls answer this. They train the same ML-SAN, but replace the *identity* of the speaker, for the statistics that FiLM starts from as well as for the embedding:
#
# - `role` is the speaker's place in the dialogue;
# - `shuffled` assigns the speakers to utterances at random, so that all statistics are nearly the same;
# - `constant` gives all utterances the same speaker.
#
# What `shuffled` or `constant` keeps of ML-SAN's gain over MultiEMO cannot come from who speaks. It comes from the additional parameters, from the noise that training adds to the features, or from calibrating everyone alike. **Predict:** how many points does each control keep?

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb04_ablations import control_findings

lessons.listed(control_findings(design, counts))

# %% [markdown]
# ## What we learned
#
# - A drop in a table that leaves out one part at a time is that part's contribution *given the other two*: its main effect plus its interactions. A main effect is the average over all settings of the other parts.
# - The verdicts above say for the corpora at hand which parts help, and whether it is the speaker. *Undecided* means that this many seeds and dialogues are too few, not that there is no effect.
# - A gain that a shuffled or constant speaker keeps is no evidence of speaker adaptation.
#
# ## What would change our mind
#
# - *A part that is undecided here.* Its interval shrinks with the square root of the number of seeds and dialogues: four times as many of both would halve it.
# - *It is the speaker.* Shuffled speakers have nearly the same style, so this control also lacks the variety of styles. If it kept the gain with wrong styles that differ as much as the real ones, the variety would help (as augmentation) and not the speaker.
# - *The parts make the difference.* All cells are trained with the same settings. If some cells gained from a learning rate of their own, the comparison would be of settings and not of parts.
#
# ## Further reading
#
# - Box, Hunter and Hunter, *Statistics for Experimenters*, 2nd edition, 2005, chapter 5: factorial designs at two levels.
# - Melis, Dyer and Blunsom, *On the State of the Art of Evaluation in Neural Language Models*, ICLR 2018: what is left of differences once every system is tuned alike.
# - Lipton and Steinhardt, *Troubling Trends in Machine Learning Scholarship*, 2018 (arXiv 1807.03341), on failure to identify the sources of empirical gains.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/04_ablations.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **A paired bootstrap.** Two systems were tested on the same dialogues. Write the 95 % interval of the difference of their weighted F1 by resampling: draw as many dialogues as there are with replacement, add up the counts of both systems over *these same* dialogues, and take the difference of the scores; the interval is from the 2.5 % to the 97.5 % percentile of many such differences. Use `weighted_f1(counts)`. Predict: how much wider is the interval if each system gets dialogues of its own?
#
# 2. **Effects of a 2³ design.** There is a score for each of the eight combinations of FiLM, gate and auxiliary loss. Write the effect of a set of parts from all eight: each cell's score, signed by the product of $+1$ (on) or $-1$ (off) over these parts, summed and divided by four. For one part this is its main effect: the mean of the four cells with it, minus the mean of the four without. Then predict: noise of standard deviation $s$ in each cell gives the difference of two single cells a standard deviation of $1.41\,s$; what does it give a main effect?
#
# 3. **The paper's test, and what three seeds can show.** Write the paired $t$ statistic and its two-sided $p$: with $\bar d$ the mean and $s$ the sample standard deviation of $n$ differences, $t = \bar d / (s / \sqrt n)$, with $n - 1$ degrees of freedom (`stats.t.sf`). Then find the smallest $\bar d$ for which three seeds with $s = 0.5$ reach $p < .05$.
#
# <details><summary>Solutions</summary>
#
# 1. The unpaired interval is several times as wide and includes zero. A dialogue that is hard for one system is hard for the other; in a paired difference this cancels. `mlsan.evaluation.resampling` draws seeds as well, in the same resamples, because another seed would have given another model.
#
#    ```python
#    def paired_interval(first, second, resamples, generator):
#        """Ends of the interval of second minus first; counts are [dialogue, true, predicted]."""
#        gaps = []
#        for _ in range(resamples):
#            drawn = generator.integers(len(first), size=len(first))
#            gaps.append(weighted_f1(second[drawn].sum(axis=0)) - weighted_f1(first[drawn].sum(axis=0)))
#        return np.percentile(gaps, [2.5, 97.5])
#    ```
#
# 2. $\sqrt{8\,s^2/16} = 0.71\,s$, half of the noise of a single difference: every run counts for every effect. This is why notebook 4 reads the parts from all eight cells rather than from ML-SAN with one part left out.
#
#    ```python
#    def effect(cells, parts):
#        """`cells` maps (film, gate, aux), each True or False, to a score; `parts` has places 0 to 2."""
#        total = 0.0
#        for on, score in cells.items():
#            total += np.prod([1 if on[part] else -1 for part in parts]) * score
#        return total / 4
#    ```
#
# 3. $t_{.975,2} = 4.30$, so the mean difference has to be $4.30\,s/\sqrt 3 = 2.48\,s$: 1.24 points for $s = 0.5$. For the paper's $p < .01$ it is $9.92\,s/\sqrt 3 = 5.73\,s$. A smaller difference may be real, but three seeds cannot show it.
#
#    ```python
#    def paired_t(first, second):
#        """t and two-sided p of first minus second, one score per seed."""
#        gap = first - second
#        t = gap.mean() / (gap.std(ddof=1) / np.sqrt(len(gap)))
#        return t, 2 * stats.t.sf(abs(t), len(gap) - 1)
#    ```
#
# </details>
