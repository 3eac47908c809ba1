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
# # Exercises 4 · Ablations
#
# They belong to [notebook 4](../04_ablations.ipynb) and take about an hour. You need numpy. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np
from scipy import stats

from mlsan.evaluation import significance
from mlsan.evaluation.counts import Counts
from mlsan.evaluation.factorial import SWITCHES, coefficients
from mlsan.scores import weighted_f1


def simulated_counts(generator, dialogues, accuracy):
    """Two systems' confusion counts [dialogue, true, predicted] on the same utterances.

    The second system predicts as the first does, except that it corrects a few mistakes.
    """
    counts = np.zeros((2, dialogues, 3, 3), dtype=int)
    for d in range(dialogues):
        ease = generator.normal(0, 0.15)  # some dialogues are harder for both
        label = generator.choice(3, size=generator.integers(4, 16), p=[0.5, 0.3, 0.2])
        right = generator.random(len(label)) < accuracy + ease
        corrected = right | (generator.random(len(label)) < 0.05)
        for system, good in enumerate((right, corrected)):
            predicted = np.where(good, label, (label + 1) % 3)
            np.add.at(counts[system, d], (label, predicted), 1)
    return counts


# %% [markdown]
# ## 1. A paired bootstrap
#
# Two systems were tested on the same dialogues. Write the 95 % interval of the difference of their weighted F1 by resampling: draw as many dialogues as there are with replacement, add up the counts of both systems over *these same* dialogues, and take the difference of the scores; the interval is from the 2.5 % to the 97.5 % percentile of many such differences. Use `weighted_f1(counts)`. Predict: how much wider is the interval if each system gets dialogues of its own?


# %% tags=["solution"]
def paired_interval(first, second, resamples, generator):
    """Ends of the interval of second minus first; counts are [dialogue, true, predicted]."""
    ### BEGIN SOLUTION
    gaps = []
    for _ in range(resamples):
        drawn = generator.integers(len(first), size=len(first))
        gaps.append(weighted_f1(second[drawn].sum(axis=0)) - weighted_f1(first[drawn].sum(axis=0)))
    return np.percentile(gaps, [2.5, 97.5])
    ### END SOLUTION


# %% tags=["mistake"]
# Draws dialogues for each system separately, so that the dialogues' difficulty does not cancel.
def paired_interval(first, second, resamples, generator):
    def score(counts):
        return weighted_f1(counts[generator.integers(len(counts), size=len(counts))].sum(axis=0))

    return np.percentile([score(second) - score(first) for _ in range(resamples)], [2.5, 97.5])


# %% tags=["check"]
first, second = simulated_counts(np.random.default_rng(2), dialogues=60, accuracy=0.6)
low, high = paired_interval(first, second, 1500, np.random.default_rng(0))
one, other = (Counts((0,), tuple(map(str, range(60))), t[None], 1) for t in (first, second))
expected = significance.difference(other, one)
width, right = high - low, expected.high - expected.low
assert low < high, f"the interval runs from {low:.2f} to {high:.2f}: give the lower end first"
assert width < 1.5 * right, (
    f"the interval is {width:.1f} points wide instead of {right:.1f}: do both systems get the "
    "same dialogues in each resample?"
)
assert max(abs(low - expected.low), abs(high - expected.high)) < 0.3, (
    f"the interval should be about {expected.low:.2f} to {expected.high:.2f}, not {low:.2f} to "
    f"{high:.2f}: is it the score of summed counts, of second minus first?"
)
print(f"1: correct. The difference is {expected.value:.1f} points, {low:.1f} to {high:.1f}")

# %% [markdown] tags=["answer"]
# The unpaired interval is several times as wide and includes zero. A dialogue that is hard for one system is hard for the other; in a paired difference this cancels. `mlsan.evaluation.resampling` draws seeds as well, in the same resamples, because another seed would have given another model.

# %% [markdown]
# ## 2. Effects of a 2³ design
#
# There is a score for each of the eight combinations of FiLM, gate and auxiliary loss. Write the effect of a set of parts from all eight: each cell's score, signed by the product of $+1$ (on) or $-1$ (off) over these parts, summed and divided by four. For one part this is its main effect: the mean of the four cells with it, minus the mean of the four without. Then predict: noise of standard deviation $s$ in each cell gives the difference of two single cells a standard deviation of $1.41\,s$; what does it give a main effect?


# %% tags=["solution"]
def effect(cells, parts):
    """`cells` maps (film, gate, aux), each True or False, to a score; `parts` has places 0 to 2."""
    ### BEGIN SOLUTION
    total = 0.0
    for on, score in cells.items():
        total += np.prod([1 if on[part] else -1 for part in parts]) * score
    return total / 4
    ### END SOLUTION


# %% tags=["mistake"]
# Compares a single pair of cells and ignores the other six.
def effect(cells, parts):
    full = tuple(part in parts for part in range(3))
    return cells[full] - cells[False, False, False]


# %% tags=["check"]
scores = np.random.default_rng(3).normal(60, 1, size=8)
cells = dict(zip(SWITCHES, scores.tolist(), strict=True))
alike = {on: 60.0 + 2.0 * on[0] for on in SWITCHES}
assert abs(effect(alike, (0,)) - 2) < 1e-9, (
    f"if FiLM adds 2 points everywhere its main effect is 2, not {effect(alike, (0,)):g}"
)
assert abs(effect(alike, (0, 1))) < 1e-9, "if FiLM adds the same everywhere nothing interacts"
places = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
for parts, (name, weights) in zip(places, coefficients().items(), strict=True):
    found, expected = effect(cells, parts), weights @ scores
    assert abs(found - expected) < 1e-9, (
        f"the effect {name} should be {expected:.3f}, not {found:.3f}: do all eight cells count?"
    )
print("2: correct")

# %% [markdown] tags=["answer"]
# $\sqrt{8\,s^2/16} = 0.71\,s$, half of the noise of a single difference: every run counts for every effect. This is why notebook 4 reads the parts from all eight cells rather than from ML-SAN with one part left out.

# %% [markdown]
# ## 3. The paper's test, and what three seeds can show
#
# Write the paired $t$ statistic and its two-sided $p$: with $\bar d$ the mean and $s$ the sample standard deviation of $n$ differences, $t = \bar d / (s / \sqrt n)$, with $n - 1$ degrees of freedom (`stats.t.sf`). Then find the smallest $\bar d$ for which three seeds with $s = 0.5$ reach $p < .05$.


# %% tags=["solution"]
def paired_t(first, second):
    """t and two-sided p of first minus second, one score per seed."""
    ### BEGIN SOLUTION
    gap = first - second
    t = gap.mean() / (gap.std(ddof=1) / np.sqrt(len(gap)))
    return t, 2 * stats.t.sf(abs(t), len(gap) - 1)
    ### END SOLUTION


# %% tags=["mistake"]
# numpy's default divides by n; with three seeds t is then 22 % too large.
def paired_t(first, second):
    gap = first - second
    t = gap.mean() / (gap.std() / np.sqrt(len(gap)))
    return t, 2 * stats.t.sf(abs(t), len(gap) - 1)


# %% tags=["check"]
first = np.array([61.2, 60.1, 62.0])
second = np.array([60.0, 59.8, 60.2])
for pair in ((first, second), (second, first)):
    (t, p), (t_right, p_right) = paired_t(*pair), significance.paired_t(*pair)
    assert abs(t - t_right) < 1e-9, (
        f"t should be {t_right:.3f}, not {t:.3f}: is s the sample standard deviation (n - 1) of "
        "the differences?"
    )
    assert abs(p - p_right) < 1e-9, f"p should be {p_right:.4f}, not {p:.4f}: is it two-sided?"
needed = significance.t_needed(3, p=0.05) * 0.5 / np.sqrt(3)
gap = np.array([needed - 0.5, needed, needed + 0.5])  # mean `needed`, standard deviation 0.5
assert abs(paired_t(gap, np.zeros(3))[1] - 0.05) < 1e-9, "p should be .05 at the smallest gap"
print(f"3: correct. Three seeds with s = 0.5 need a mean difference of {needed:.2f} points")

# %% [markdown] tags=["answer"]
# $t_{.975,2} = 4.30$, so the mean difference has to be $4.30\,s/\sqrt 3 = 2.48\,s$: 1.24 points for $s = 0.5$. For the paper's $p < .01$ it is $9.92\,s/\sqrt 3 = 5.73\,s$. A smaller difference may be real, but three seeds cannot show it.
