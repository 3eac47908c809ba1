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
# # Exercises 5 · Sensitivity
#
# They belong to [notebook 5](../05_sensitivity.ipynb) and take about an hour. You need numpy. Replace each line `raise NotImplementedError` by your code, then run the cell below it: it says what is wrong, or prints that all is well.

# %%
import numpy as np

from mlsan.corpus.sessions import by_session
from mlsan.corpus.simulate import simulation
from mlsan.corpus.simulate.conversations import Person
from mlsan.corpus.simulate.expression import style
from mlsan.study import open_study

# %% [markdown]
# ## 1. The best of six
#
# Six values of λ are tried, and suppose that λ has no effect: every score, on dev and on test, is 60 plus noise. One report takes the λ that is best on *test* and states its test score; the other takes the λ that is best on *dev* and states the test score of that one. Write both numbers, averaged over many imagined experiments. Predict the first one for noise of standard deviation 1.


# %% tags=["solution"]
def reported(dev, test):
    """Mean reported test score if λ is chosen on test, and if on dev; arrays [experiment, λ]."""
    ### BEGIN SOLUTION
    on_dev = np.take_along_axis(test, dev.argmax(axis=1)[:, None], axis=1)
    return test.max(axis=1).mean(), on_dev.mean()
    ### END SOLUTION


# %% tags=["mistake"]
# Reports the dev score of the λ that was chosen on dev, which was chosen for being high.
def reported(dev, test):
    return test.max(axis=1).mean(), dev.max(axis=1).mean()


# %% tags=["check"]
small_dev, small_test = np.array([[1.0, 3.0, 2.0]]), np.array([[7.0, 5.0, 6.0]])
on_test, on_dev = reported(small_dev, small_test)
assert on_test == 7, f"for test scores 7, 5, 6 the best on test is 7, not {on_test:g}"
assert on_dev == 5, f"the second λ is best on dev, so its test score 5 is reported, not {on_dev:g}"
dev, test = 60 + np.random.default_rng(0).normal(size=(2, 20_000, 6))
on_test, on_dev = reported(dev, test)
assert abs(on_test - 61.27) < 0.03, f"the best of six on test should be 61.27, not {on_test:.2f}"
assert abs(on_dev - 60) < 0.03, f"chosen on dev, the test score should be 60, not {on_dev:.2f}"
share = np.mean(test.argmax(axis=1) == 3)
print(f"1: correct. Chosen on test {on_test:.2f}, on dev {on_dev:.2f}; λ no. 4 wins {share:.0%}")

# %% [markdown] tags=["answer"]
# The largest of six standard normal numbers is 1.27 on average, so choosing on test reports 1.27 standard deviations that are not there; choosing on dev reports the truth. A given λ is the best one time in six. An optimum "at 0.5" is weak evidence by itself. In notebook 5, `table.groupby(["benchmark", "lam"])["dev_wf1"].mean()` chooses λ on dev.

# %% [markdown]
# ## 2. The dial of the simulator
#
# At heterogeneity 1 a simulated speaker shows a latent channel $z$ as $g z + c$, with a gain $g$ and a shift $c$ of their own. The dial $h$ multiplies the shift and the *logarithm* of the gain. Write gain and shift at $h$. What is wrong with $1 + h(g - 1)$, which is also 1 at $h = 0$ and $g$ at $h = 1$?


# %% tags=["solution"]
def dialled(gain, shift, h):
    """Gain and shift at heterogeneity h, from those at heterogeneity 1."""
    ### BEGIN SOLUTION
    return gain**h, h * shift
    ### END SOLUTION


# %% tags=["mistake"]
# Goes from 1 to the gain in a straight line.
def dialled(gain, shift, h):
    return 1 + h * (gain - 1), h * shift


# %% tags=["check"]
people = [Person(f"person {i}", "MF"[i % 2], leading=i < 4) for i in range(8)]
gain, shift = style(simulation("MELD", "smoke"), "audio", people)
for h in (0.0, 0.25, 0.5, 1.0):
    found = dialled(gain, shift, h)
    expected = style(simulation("MELD", "smoke", heterogeneity=h), "audio", people)
    for name, mine, theirs in zip(("gain", "shift"), found, expected, strict=True):
        away = np.abs(mine - theirs).max()
        assert away < 1e-9, (
            f"the {name} at h = {h:g} is up to {away:.3f} off: the dial multiplies the shift and "
            "the logarithm of the gain"
        )
print("2: correct")

# %% [markdown] tags=["answer"]
# $g^h = e^{h \log g}$ treats a gain of 2 and a gain of ½ alike: at $h = 0.5$ they are 1.41 and 0.71, whose product is still 1. In a straight line they would be 1.5 and 0.75, so the dial would also raise gains on average, and not only make speakers more different.

# %% [markdown]
# ## 3. Dev speakers who are strangers
#
# To choose the epoch as for strangers, dev must share no speaker with train. People who talk to each other must therefore stay together, and so must people who both talk to a third. Write the session of each dialogue: equal numbers for dialogues that share a speaker, directly or through other dialogues.


# %% tags=["solution"]
def sessions(speakers):
    """The session number of each dialogue, from the set of speakers of each dialogue."""
    ### BEGIN SOLUTION
    number = list(range(len(speakers)))
    for i, some in enumerate(speakers):
        for j, others in enumerate(speakers[:i]):
            if some & others:
                old, new = number[i], number[j]
                number = [new if n == old else n for n in number]
    return number
    ### END SOLUTION


# %% tags=["mistake"]
# Joins a dialogue to the first that shares a speaker, but never two sessions to each other.
def sessions(speakers):
    number = []
    for i, some in enumerate(speakers):
        found = [number[j] for j in range(i) if some & speakers[j]]
        number.append(found[0] if found else i)
    return number


# %% tags=["check"]
def same(number):
    """Whether each pair of dialogues is of one session."""
    return np.equal.outer(np.array(number), np.array(number))


apart = [{"Ann", "Bob"}, {"Cem", "Dee"}, {"Ann"}]
assert same(sessions(apart)).tolist() == same([0, 1, 0]).tolist(), (
    f"of {apart} the first and the last dialogue are one session: got {sessions(apart)}"
)
chain = [{"Ann", "Bob"}, {"Cem", "Dee"}, {"Bob", "Cem"}, {"Eve", "Fay"}]
assert same(sessions(chain)).tolist() == same([0, 0, 0, 1]).tolist(), (
    "Bob talks to Cem in the third dialogue, which joins the first two to one session: got "
    f"{sessions(chain)}"
)
corpus = open_study("05_sensitivity", profile="smoke").corpora["IEMOCAP"]
dialogues = corpus.train + corpus.dev
number = np.array(sessions([set(d.speaker) for d in dialogues]))
for seed in range(len(np.unique(number))):
    held = {d.id for d in by_session(corpus, seed).dev}
    mine = set(number[[d.id in held for d in dialogues]].tolist())
    assert len(mine) == 1, f"mlsan holds out one session, which has your numbers {mine}"
print(f"3: correct. {corpus.name} has {len(np.unique(number))} sessions to hold out")

# %% [markdown] tags=["answer"]
# The sessions are the connected components of the graph that joins speakers who share a dialogue; `mlsan.corpus.sessions.by_session` takes them from SciPy. IEMOCAP's training actors form four pairs. In MELD the six friends talk to each other and to nearly all guests, so there is no session of its main speakers to hold out.
