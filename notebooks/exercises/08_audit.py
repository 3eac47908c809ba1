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
# # Exercises 8 · Audit
#
# They belong to [notebook 8](../08_audit.ipynb) and take about an hour. You need numpy and PyTorch. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
from dataclasses import replace

import numpy as np
import torch

from mlsan.evaluation.audit import text_audit
from mlsan.evaluation.probes import probe_predictions
from mlsan.evaluation.resampling import resampled_means
from mlsan.scores import weighted_f1
from mlsan.study import open_study

# %% [markdown]
# ## 1. The same words in training
#
# "Yeah." occurs in training and in test, with the very same text features. Write which test utterances have a row that is, bit for bit, a row of training. There are 10,000 × 2,600 pairs in MELD with hundreds of features each, so do not compare all pairs.


# %% tags=["solution"]
def occurs_in_training(train, test):
    """Whether each row of test [utterance, feature] is a row of train."""
    ### BEGIN SOLUTION
    known = {row.tobytes() for row in train}
    return np.array([row.tobytes() in known for row in test])
    ### END SOLUTION


# %% tags=["mistake"]
# `np.isin` compares single numbers, not rows.
def occurs_in_training(train, test):
    return np.isin(test, train).all(axis=1)


# %% tags=["check"]
train = np.array([[1, 2], [3, 4]], dtype=np.float32)
test = np.array([[3, 4], [1, 4], [5, 6]], dtype=np.float32)
found = np.asarray(occurs_in_training(train, test)).tolist()
assert found == [True, False, False], (
    f"of the rows [3, 4], [1, 4] and [5, 6] only the first is in training: got {found}"
)
corpus = open_study("08_audit", profile="smoke").corpora["MELD"]
first = corpus.test[0]
copied = corpus.train[0].feature["text"][:1]
text = np.concatenate([copied, first.feature["text"][1:]])
corpus = replace(
    corpus, test=(replace(first, feature=first.feature | {"text": text}), *corpus.test[1:])
)
rows = [np.concatenate([d.feature["text"] for d in part]) for part in (corpus.train, corpus.test)]
found, expected = occurs_in_training(*rows), text_audit(corpus)["duplicate"].to_numpy()
assert np.array_equal(found, expected), (
    f"{np.sum(expected)} test utterance of the corpus should be found, not {np.sum(found)}"
)
print("1: correct")

# %% [markdown] tags=["answer"]
# A set of the rows' bytes makes it one look-up per test utterance. A repeated utterance is not a mistake of the corpus, people do say "Yeah."; but a model can remember its label, so report the score without repeated utterances too: the rows of `study.result(run).predictions` whose split is test are in the order of `text_audit`.

# %% [markdown]
# ## 2. The linear probe itself
#
# A probe is a logistic regression. Write the objective that scikit-learn minimises for weights $W$, offsets $b$ and strength $C$: $\frac12 \lVert W \rVert^2 + C \sum_i -\log p_i$, where $p_i$ is the probability, by the softmax of $W x_i + b$, of the true class. The offsets are not penalised. The code below minimises it.


# %%
def fit(objective, x, y, classes, strength):
    """The W and b that minimise an objective, by L-BFGS."""
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = objective(weight, bias, x, y, strength)
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach(), bias.detach()


# %% tags=["solution"]
def objective(weight, bias, x, y, strength):
    """One number, from weight [class, feature], bias [class], x [utterance, feature] and y."""
    ### BEGIN SOLUTION
    logits = x @ weight.T + bias
    return 0.5 * weight.square().sum() + strength * torch.nn.functional.cross_entropy(
        logits, y, reduction="sum"
    )
    ### END SOLUTION


# %% tags=["mistake"]
# The mean over utterances makes the penalty as many times as strong as there are utterances.
def objective(weight, bias, x, y, strength):
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, y)
    return 0.5 * weight.square().sum() + strength * loss


# %% tags=["check"]
generator = np.random.default_rng(0)
y = generator.choice(3, size=500, p=[0.6, 0.3, 0.1])
x = generator.normal(size=(500, 6)) + generator.normal(0, 0.5, size=(3, 6))[y]
x = (x - x.mean(axis=0)) / x.std(axis=0)
tested = generator.normal(size=(400, 6))
zero = objective(torch.zeros(3, 6), torch.zeros(3), torch.ones(10, 6), torch.zeros(10).long(), 0.1)
assert abs(float(zero) - np.log(3)) < 1e-5, (
    f"ten utterances, equal logits and C = 0.1 should give log 3 = 1.099, not {float(zero):.3f}: "
    "is it the sum over utterances, times C?"
)
weight, bias = fit(objective, torch.tensor(x), torch.tensor(y), 3, strength=0.01)
found = (torch.tensor(tested) @ weight.T + bias).argmax(dim=1).numpy()
agree = np.mean(found == probe_predictions(x, y, tested, strength=0.01))
assert agree > 0.99, (
    f"the probe agrees with scikit-learn's on {agree:.0%} of new utterances: is W penalised, by "
    "half of its square, and b not?"
)
print(f"2: correct. It agrees with scikit-learn's on {agree:.1%} of new utterances")

# %% [markdown] tags=["answer"]
# $C$ multiplies a *sum*, so the same $C$ penalises less in a larger corpus. The probe has no context and no speaker: what it scores was in the features before any model of conversation was trained.

# %% [markdown]
# ## 3. How large must a test set be?
#
# MELD has 280 test dialogues, IEMOCAP 31. Write the standard deviation of a system's weighted F1 over test sets of `size` dialogues, drawn with replacement from the given ones. Predict by what factor it grows from 280 to 31 dialogues.


# %% tags=["solution"]
def spread(counts, size, times, generator):
    """Standard deviation of the score; counts are [dialogue, true, predicted]."""
    ### BEGIN SOLUTION
    scores = []
    for _ in range(times):
        drawn = generator.integers(len(counts), size=size)
        scores.append(weighted_f1(counts[drawn].sum(axis=0)))
    return np.std(scores)
    ### END SOLUTION


# %% tags=["mistake"]
# The spread of single dialogues' scores is not that of a test set.
def spread(counts, size, times, generator):
    drawn = generator.integers(len(counts), size=size)
    return np.nanstd([weighted_f1(counts[d]) for d in drawn])


# %% tags=["check"]
generator = np.random.default_rng(0)
counts = np.zeros((280, 3, 3), dtype=int)
for table in counts:
    label = generator.choice(3, size=generator.integers(4, 16), p=[0.5, 0.3, 0.2])
    right = generator.random(len(label)) < generator.normal(0.6, 0.1)
    np.add.at(table, (label, np.where(right, label, (label + 1) % 3)), 1)
large, small = (spread(counts, size, 1000, generator) for size in (280, 31))
expected = resampled_means(counts[None], resamples=2000).std()
assert abs(large / expected - 1) < 0.1, (
    f"280 dialogues should have a standard deviation of about {expected:.2f} points, not "
    f"{large:.2f}: score the summed counts of each drawn test set"
)
assert abs(small / large / np.sqrt(280 / 31) - 1) < 0.15, (
    f"31 dialogues should spread about {np.sqrt(280 / 31):.1f} times as much as 280, not "
    f"{small / large:.1f} times"
)
print(f"3: correct. 280 dialogues: {large:.2f} points, 31 dialogues: {small:.2f}")

# %% [markdown] tags=["answer"]
# By $\sqrt{280/31} = 3.0$: it falls with the square root of the number of dialogues. For a single system 1.96 of these standard deviations are half of a 95 % interval. A difference of two systems varies less, since both are tested on the same dialogues (exercise 1 of notebook 4).
