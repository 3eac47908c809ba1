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

# %% [markdown] tags=["badges"]
# # 0 · ML-SAN from scratch
#
# **Question.** What is ML-SAN, the Multi-Level Speaker-Adaptive Network, if you write all of it yourself in about 170 lines? And how much depends on where its calibration of each speaker starts?
#
# **Produces.** Fig. A0 (`fig0_starts`). The paper has no such figure.
#
# **Needs.** Nothing. The conversations are simulated here, whatever `CORPUS` the other notebooks use, and the real voices at the end are part of the package.
#
# **Time.** smoke: 20 seconds on one core · small: the same · paper: the same.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - write FiLM, a speaker gate and a speaker loss in PyTorch, and put them around a context encoder;
# - say what each of them reads, and what each does before it has learned anything;
# - explain why a model that knows its training speakers can fail with strangers, and repair it without labels.
#
# **Prerequisites.** PyTorch: `nn.Module`, `nn.GRU`, a training loop. Nothing about emotions or conversations.
#
# **Your time.** 60 to 90 minutes, and another 45 for the exercises.
#
# The model grows in five versions, each of which extends the last by a few lines. Wherever a part of it is also in the package `mlsan`, a cell checks that both compute the same from the same weights. Where you read **Predict**, write down an answer before you go on: the cell below gives the number.
#
# The next two cells look the same in all notebooks. They read the settings of the study: `PROFILE` is its size (*smoke* only tests that everything runs, *small* is the default, *paper* has the paper's sizes), `CORPUS` and `DATA` choose the conversations, `JOBS` and `DEVICE` the hardware. This notebook needs none of them.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("00_from_scratch", globals())

# %%
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from scipy.special import digamma, polygamma
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mlsan.model.mlsan as package
from mlsan import scores
from mlsan.corpus.style import Population
from mlsan.report.nb00_from_scratch import actors_figure, finding, starts_figure

torch.set_num_threads(1)

# %% [markdown]
# ## 1 · Conversations whose truth we know
#
# The task is **emotion recognition in conversations** (ERC). A *dialogue* is a sequence of turns, and each turn is one *utterance* of one *speaker*. The model has to predict the emotion of each utterance from a vector of features, for example of the voice. Two facts make this more than classification. Emotions last, so what a speaker felt a moment ago helps. And speakers differ: what is a raised voice for one is the normal voice of another.
#
# Both are easy to simulate. With probability .7 speakers stay in the emotion of their last turn; otherwise they draw one of four. An utterance with emotion $y$ would have the features $u = p_y + \varepsilon$, where the vector $p_y$ is the emotion's prototype and $\varepsilon$ is standard normal noise. But speaker $s$ shows $u$ in a *style* of their own: each feature is scaled by $a_s$ and shifted by $c_s$ ($\odot$ multiplies feature by feature).
#
# $$x = a_s \odot u + c_s$$
#
# The model sees $x$ only.

# %%
EMOTIONS = ("neutral", "joy", "sadness", "anger")
FEATURES, TURNS = 8, 12


def talk(rng, pair, keep=0.7):
    """One dialogue of two people: who speaks in each turn, and with which emotion."""
    last, turns = {}, []
    for _ in range(TURNS):
        s = int(rng.choice(pair))
        if s not in last or rng.random() > keep:
            last[s] = int(rng.integers(len(EMOTIONS)))
        turns.append((s, last[s]))
    return turns


# %% [markdown]
# A `World` has three sets of dialogues: one to train on, one to test on with the same eight speakers (`seen`), and one to test on with eight *strangers*, who never speak in training.


# %%
class Talks(NamedTuple):
    """Dialogues of equal length, so nothing is padded; all axes begin [dialogue, turn]."""

    speaker: np.ndarray
    emotion: np.ndarray
    x: np.ndarray


class World(NamedTuple):
    """Dialogues, and what only a simulation knows: everyone's style, and the prototypes."""

    train: Talks
    seen: Talks | None
    strangers: Talks
    a: np.ndarray | None = None
    c: np.ndarray | None = None
    prototype: np.ndarray | None = None


# %%
def simulate(seed, known=8, people=16, dialogues=80):
    """A world drawn from a seed; speakers 0 to `known` - 1 are those of training."""
    rng = np.random.default_rng(seed)
    prototype = 0.8 * rng.standard_normal((len(EMOTIONS), FEATURES))
    a = np.exp(0.5 * rng.standard_normal((people, FEATURES)))
    c = rng.standard_normal((people, FEATURES))

    def talks(group):
        pairs = [rng.choice(group, 2, replace=False) for _ in range(dialogues)]
        turns = np.array([talk(rng, pair) for pair in pairs])
        speaker, emotion = turns[..., 0], turns[..., 1]
        u = prototype[emotion] + rng.standard_normal((dialogues, TURNS, FEATURES))
        return Talks(speaker, emotion, a[speaker] * u + c[speaker])

    old, new = np.arange(known), np.arange(known, people)
    return World(talks(old), talks(old), talks(new), a, c, prototype)


# %% [markdown]
# **Predict.** Take the mean features of each speaker's utterances of each emotion. Which two are farther apart: the same emotion of two speakers, or two emotions of the same speaker?


# %%
def spread(points):
    """Mean distance between different points, of [..., point, feature]."""
    gap = np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)
    return gap[..., ~np.eye(gap.shape[-1], dtype=bool)].mean()


world = simulate(0)
known = world.train.speaker.max() + 1
x, speaker, emotion = world.train.x, world.train.speaker.ravel(), world.train.emotion.ravel()
means = pd.DataFrame(x.reshape(-1, FEATURES)).groupby([speaker, emotion]).mean()
mean = means.to_numpy().reshape(known, len(EMOTIONS), FEATURES)
same_emotion, same_speaker = spread(mean.swapaxes(0, 1)), spread(mean)
assert same_emotion > same_speaker
print(f"same emotion, two speakers: {same_emotion:.1f}", end="; ")
print(f"same speaker, two emotions: {same_speaker:.1f}")

# %% [markdown]
# The same emotion of two speakers is farther apart: 4.1 against 3.6. Who speaks changes the features more than what they feel. In real voices the difference is larger: in nEMO, the corpus of section 11, the speaker explains 18 % of the variance of the median feature and the emotion 6 % ([notebook 1](01_data.ipynb)).
#
# ## 2 · The score
#
# In real corpora some emotions are much more frequent than others. The field reports **weighted F1** (W-F1): the F1 of each class, averaged over classes with each class's share of the true labels as its weight. The F1 of a class with $t$ true labels, $p$ predictions and $tp$ true positives (predictions that are right) is $2\,tp / (t + p)$.
#
# **Predict** it by hand for the labels 0 0 0 1 and the predictions 0 0 1 1.


# %%
def weighted_f1(label, predicted):
    """Weighted F1 in percent."""
    total = 0.0
    for c in np.unique(label):
        true, said = label == c, predicted == c
        total += true.mean() * 2 * (true & said).sum() / (true.sum() + said.sum())
    return 100 * total


label, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
theirs = scores.weighted_f1(scores.confusion_counts(label, predicted, classes=2))
assert np.isclose(weighted_f1(label, predicted), theirs)
print(f"{weighted_f1(label, predicted):.2f}")

# %% [markdown]
# By hand: class 0 has F1 $2\cdot2/(3+2) = .80$ and share ¾, class 1 has $2\cdot1/(1+2) = .67$ and share ¼; together $.60 + .17 = .77$, or 77 %.
#
# ## 3 · Version 1: one utterance at a time
#
# Version 1 is a linear layer, a ReLU and a linear classifier. So that all five versions are called in the same way, it already has the argument `who`, which says who speaks: the number of the speaker (the *code*), and two vectors $\gamma_0$ and $\beta_0$, explained in section 5. Versions 1 and 2 ignore it. For the same reason, `forward` returns a second value beside the logits of the emotions; it is `None` until version 5.


# %%
class Who(NamedTuple):
    """The speaker of each utterance: code 0 stands for everyone whom training does not know."""

    code: Tensor
    gamma_0: Tensor
    beta_0: Tensor


# %%
class Utterance(nn.Module):
    """Version 1: an emotion for each utterance on its own."""

    def __init__(self, features, classes, speakers, width=32):
        super().__init__()
        self.project = nn.Linear(features, width)
        self.classify = nn.Linear(width, classes)

    def represent(self, x, who):
        return torch.relu(self.project(x))

    def forward(self, x, who):
        return self.classify(self.represent(x, who)), None


# %% [markdown]
# ## 4 · Version 2: context
#
# A bidirectional GRU reads the dialogue, so that each utterance is classified with the turns before and after it. The paper puts its speaker-adaptive parts into a larger model, MultiEMO, which reads three *modalities*: text, audio and visual. It has a recurrent network for the context of each and cross-attention between them ([notebook 2](02_baseline.ipynb)). One GRU on one modality is enough to see what the speaker does.


# %%
class Context(Utterance):
    """Version 2: the turns before and after it as well."""

    def __init__(self, features, classes, speakers, width=32):
        super().__init__(features, classes, speakers, width)
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def represent(self, x, who):
        h = super().represent(x, who)
        return h + self.gru(h)[0]


# %% [markdown]
# Check that version 2 reads context and version 1 does not: change the last turn, and look at the first.

# %%
torch.manual_seed(0)
nobody = Who(torch.zeros(1, TURNS, dtype=int), torch.ones(FEATURES), torch.zeros(FEATURES))
before = torch.randn(1, TURNS, FEATURES)
after = before.clone()
after[:, -1] += 1
moved = {}
for version in (Utterance, Context):
    model = version(FEATURES, len(EMOTIONS), known + 1)
    change = model(after, nobody)[0] - model(before, nobody)[0]
    moved[version.__name__] = bool(change[0, 0].abs().max() > 0)
assert moved == {"Utterance": False, "Context": True}
print("does the first turn's prediction depend on the last turn?", moved)

# %% [markdown]
# ## 5 · Version 3: calibration by FiLM (the paper's Eq. 1–2)
#
# Now the speaker. Each speaker of the training set has an embedding $e_s$, a vector that is learned. ML-SAN uses it in three places: before the context encoder (version 3), after it (version 4) and in the loss (version 5).
#
# The first is FiLM, feature-wise linear modulation. It turns the embedding into a scale $\gamma$ and a shift $\beta$ for each feature:
#
# $$\gamma = \gamma_0 + W_\gamma e_s + b_\gamma,\qquad \beta = \beta_0 + W_\beta e_s + b_\beta \tag{1}$$
#
# $$\tilde x = \gamma \odot x + \beta \tag{2}$$
#
# This *calibrates* the speaker: the scale and shift of a style can be undone by another scale and shift. The paper's Eq. 1 has no $\gamma_0$ and $\beta_0$ and does not say where training starts. We write the start into the equation and let $W$ and $b$ start at zero, so an untrained FiLM computes $\gamma_0 \odot x + \beta_0$.


# %%
class FiLM(nn.Module):
    """Scale and shift each feature by speaker (Eq. 1-2), from a given start."""

    def __init__(self, speaker_dim, features):
        super().__init__()
        self.project = nn.Linear(speaker_dim, 2 * features)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x, e, gamma_0, beta_0):
        gamma, beta = self.project(e).chunk(2, -1)  # Eq. 1
        return (gamma_0 + gamma) * x + (beta_0 + beta)  # Eq. 2


# %% [markdown]
# **Predict.** If $\gamma_0 = 1/a_s$ and $\beta_0 = -c_s/a_s$, what is $\tilde x$ for $x = a_s u + c_s$?

# %%
torch.manual_seed(0)
u, e = torch.randn(5, FEATURES), torch.randn(5, 16)
a, c = (torch.tensor(style[3], dtype=torch.float32) for style in (world.a, world.c))
film = FiLM(16, FEATURES)
assert torch.allclose(film(a * u + c, e, 1 / a, -c / a), u, atol=1e-5)
print("x~ = u: this start, the oracle, removes the style exactly")

# %% [markdown]
# Only a simulation knows $a_s$ and $c_s$; hence the name oracle. For real speakers there are two starts:
#
# - the **zero** start, $\gamma_0 = 1$, $\beta_0 = 0$: nothing is calibrated until $W$, $b$ and $e_s$ have learned it from the emotion labels;
# - the **statistics** start: read the style off the speaker's own features. Let their mean be $\mu_s$ and their standard deviation $\sigma_s$, and those of the *population* of speakers $\mu_0$ and $\sigma_0$. Then $\gamma_0 = \sigma_0/\sigma_s$ and $\beta_0 = \mu_0 - \gamma_0\mu_s$ take every speaker to the population's mean and standard deviation. This needs utterances of the speaker, but no labels.
#
# How far can one trust the mean $\bar x$ of three utterances? They may all be angry. So it is *shrunk*: moved towards the population's mean, the more so the fewer utterances there are. With $n$ utterances, variance $b$ between speakers and variance $w$ within a speaker,
#
# $$\mu_s = \mu_0 + k\,(\bar x - \mu_0), \qquad k = \frac{n\,b}{n\,b + w}.$$
#
# The logarithm of the variance is shrunk in the same way. `Population.fit` estimates $b$, $w$ and the rest from the training speakers. (This is called empirical Bayes. `digamma` and `polygamma` give the mean and the variance of the logarithm of a sample variance.)


# %%
def style(x, p):
    """mu and sigma of one speaker from unlabelled utterances [utterance, feature], n > 1.

    `p` is the population; `tail` is 1 for Gaussian features and larger for heavier tails.
    """
    n, half = len(x), (len(x) - 1) / 2
    k = n * p.b / (n * p.b + p.w)
    mu = p.mu_0 + k * (x.mean(0) - p.mu_0)
    log_s2 = np.log(x.var(0, ddof=1)) - p.tail * (digamma(half) - np.log(half))  # unbiased
    q = p.v / (p.v + p.tail * polygamma(1, half))
    return mu, np.exp((p.log_0 + q * (log_s2 - p.log_0)) / 2)


# %% [markdown]
# **Predict.** Here the variance between speakers is .43 of that within one ($b = .43\,w$). What is $k$ for 1, 3, 10 and 100 utterances?

# %%
x, speaker = world.train.x.reshape(-1, FEATURES), world.train.speaker.ravel()
population = Population.fit(x, speaker.astype(str))
for n in (2, 10, 100):
    for ours, theirs in zip(style(x[:n], population), population.style(x[:n]), strict=True):
        assert np.allclose(ours, theirs)
shares = [n * population.b / (n * population.b + population.w) for n in (1, 3, 10, 100)]
assert round(float(np.median(population.b / population.w)), 2) == 0.43
print("k of the median feature:", [round(float(np.median(k)), 2) for k in shares])

# %% [markdown]
# With one utterance $k = .43/(.43 + 1) = .30$: the estimate goes 30 % of the way from the population's mean to the utterance. With three it goes more than half of the way, with ten four fifths.
#
# Here are the three starts, for every speaker at once. A stranger's statistics come from the stranger's own test utterances, without their labels. Estimating a stranger's style from such utterances is called *enrolment*.


# %%
def start_table(start, world, enrolled=None):
    """gamma_0 and beta_0 of every speaker, each [speaker, feature].

    Strangers are enrolled with their first `enrolled` utterances, or with all of them.
    """
    both = (world.train, world.strangers)
    x = np.concatenate([part.x.reshape(-1, part.x.shape[-1]) for part in both])
    speaker = np.concatenate([part.speaker.ravel() for part in both])
    known, people = world.train.speaker.max() + 1, speaker.max() + 1
    if start == "zero":
        return np.ones((people, x.shape[1])), np.zeros((people, x.shape[1]))
    if start == "oracle":
        return 1 / world.a, -world.c / world.a
    population = Population.fit(x[speaker < known], speaker[speaker < known].astype(str))
    own = [x[speaker == s][: enrolled if s >= known else None] for s in range(people)]
    mu, sigma = (np.array(part) for part in zip(*(style(x, population) for x in own), strict=True))
    gamma_0 = population.sigma_0 / sigma
    return gamma_0, population.mu_0 - gamma_0 * mu


# %% [markdown]
# Is this the FiLM of the package? Give both the same weights and inputs. The package's module computes the start itself: `"zero"`; `"statistics"`, from $\mu_s$ and $\sigma_s$; or `"printed"`, Eq. 1 as the paper prints it, with $\gamma_0 = \beta_0 = 0$ and random initial $W$ and $b$.

# %%
own = [x[speaker == s] for s in range(5)]
pair = torch.tensor(np.array([style(rows, population) for rows in own]), dtype=torch.float32)
start = {name: start_table(name, world) for name in ("zero", "statistics")}
start["printed"] = (np.zeros((5, FEATURES)),) * 2
nn.init.normal_(film.project.weight)
for name, table in start.items():
    theirs = package.FiLM(16, FEATURES, start=name)
    theirs.project.load_state_dict(film.project.state_dict())
    if name == "statistics":
        theirs.start_from(population)
    gamma_0, beta_0 = (torch.tensor(part[:5], dtype=torch.float32) for part in table)
    assert torch.allclose(film(u, e, gamma_0, beta_0), theirs(u, e, pair), atol=1e-5)
print("our FiLM computes what the package's does, for the starts", ", ".join(start))

# %% [markdown]
# Version 3 calibrates the features by speaker, then does what version 2 did.


# %%
class Calibrated(Context):
    """Version 3: FiLM on the features."""

    def __init__(self, features, classes, speakers, width=32, speaker_dim=16):
        super().__init__(features, classes, speakers, width)
        self.embedding = nn.Embedding(speakers, speaker_dim)
        self.film = FiLM(speaker_dim, features)

    def represent(self, x, who):
        x = self.film(x, self.embedding(who.code), who.gamma_0, who.beta_0)
        return super().represent(x, who)


# %% [markdown]
# ## 6 · Version 4: the speaker gate (Eq. 3)
#
# The second place is after the context encoder. A gate between 0 and 1 multiplies each of its output features $h$, so that the model can rely on different features for different speakers.
#
# $$g = \sigma(W e_s + b),\qquad h' = g \odot h \tag{3}$$
#
# **Predict.** If $W$ starts at zero and $b$ at 3, what does the gate do to everyone's features before training?


# %%
class Gate(nn.Module):
    """Weight each context feature by speaker (Eq. 3); it starts open."""

    def __init__(self, speaker_dim, width):
        super().__init__()
        self.by_speaker = nn.Linear(speaker_dim, width)
        nn.init.zeros_(self.by_speaker.weight)
        nn.init.constant_(self.by_speaker.bias, 3.0)

    def forward(self, h, e):
        return torch.sigmoid(self.by_speaker(e)) * h  # Eq. 3


gate, h = Gate(16, 32), torch.randn(5, 32)
opened = (gate(h, e) / h).unique().mean().item()
assert np.isclose(opened, 1 / (1 + np.exp(-3)))
print(f"every feature of every speaker is multiplied by {opened:.2f}")

# %% [markdown]
# The gate lets .95 of everything pass: an untrained gate is almost no gate. The package's `SpeakerGate` has one such gate for each modality. Give both the same random weights:

# %%
theirs = package.SpeakerGate(modalities=1, speaker_dim=16, d=32, context=False, start="random")
with torch.no_grad():
    gate.by_speaker.weight.copy_(theirs.by_speaker.weight[0])
    gate.by_speaker.bias.copy_(theirs.by_speaker.bias[0])
assert torch.allclose(gate(h, e), theirs(h[None], e)[0], atol=1e-6)
print("our gate computes what the package's does")


# %%
class Gated(Calibrated):
    """Version 4: the gate on the context features."""

    def __init__(self, features, classes, speakers, width=32, speaker_dim=16):
        super().__init__(features, classes, speakers, width, speaker_dim)
        self.gate = Gate(speaker_dim, width)

    def represent(self, x, who):
        return self.gate(super().represent(x, who), self.embedding(who.code))


# %% [markdown]
# ## 7 · Version 5: the speaker loss (Eq. 4)
#
# The third place is the loss. A linear head on the representation, beside the classifier of emotions, predicts who speaks. Its cross-entropy $\mathcal L_{spk}$ is added to that of the emotions, $\mathcal L_{ERC}$, with a small weight λ, so that the representation retains who speaks.
#
# $$\mathcal L = \mathcal L_{ERC} + \lambda\,\mathcal L_{spk} \tag{4}$$
#
# Utterances of unknown speakers (code 0) have no target, so they do not count.
#
# **Predict** $\mathcal L_{spk}$ for a head that has learned nothing, so that all its logits are zero. It has nine classes: eight known speakers and code 0.


# %%
def speaker_loss(logits, code):
    """Cross-entropy averaged over utterances of known speakers; 0 if there are none."""
    known = code != 0
    picked = logits.log_softmax(-1)[known].gather(1, code[known, None])
    return -picked.sum() / known.sum().clamp_min(1)


code = torch.tensor([1, 2, 0, 8, 0])
for logits, who in ((torch.randn(5, 9), code), (torch.randn(5, 9), 0 * code)):
    assert torch.isclose(speaker_loss(logits, who), package.speaker_loss(logits, who))
blank = speaker_loss(torch.zeros(5, 9), code).item()
assert np.isclose(blank, np.log(9))
print(f"L_spk = log 9 = {blank:.2f}")


# %%
class MLSAN(Gated):
    """Version 5: all three places."""

    def __init__(self, features, classes, speakers, width=32, speaker_dim=16):
        super().__init__(features, classes, speakers, width, speaker_dim)
        self.speaker_head = nn.Linear(width, speakers)

    def forward(self, x, who):
        h = self.represent(x, who)
        return self.classify(h), self.speaker_head(h)


# %% [markdown]
# ## 8 · Training
#
# Two details of the training loop are part of the method.
#
# - **Strangers in training.** At test time strangers have code 0. Its embedding would never be trained, because everybody in training has a code of their own. So in each batch, each speaker of each dialogue gets code 0 with probability ½. The target of the speaker loss remains the true speaker.
# - **FiLM has a tenth of the learning rate**, so that it stays near its start. Exercise 2 asks what this does.
#
# There is no validation set and nothing is selected: every model is trained for twelve epochs and then tested.


# %%
def as_strangers(who, rate, generator):
    """The same, with each speaker of each dialogue unknown with probability `rate`."""
    drawn = torch.rand(len(who.code), int(who.code.max()) + 1, generator=generator) < rate
    return who._replace(code=who.code.masked_fill(drawn.gather(1, who.code), 0))


def optimiser_of(model, lr, film_rate):
    """Adam, with FiLM's own learning rate."""
    film = [p for name, p in model.named_parameters() if name.startswith("film.")]
    others = [p for name, p in model.named_parameters() if not name.startswith("film.")]
    groups = [{"params": others, "lr": lr}, {"params": film, "lr": lr * film_rate}]
    return torch.optim.Adam([group for group in groups if group["params"]])


# %%
def train(model, x, who, emotion, seed, epochs=12, lr=0.02, film_rate=0.1, lam=0.02):
    """Minimise Eq. 4 in batches of 40 dialogues; returns the loss of each step."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = optimiser_of(model, lr, film_rate)
    losses = []
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(40):
            part = Who(*(field[rows] for field in who))
            logits, named = model(x[rows], as_strangers(part, 0.5, generator))
            loss = cross_entropy(logits.flatten(0, 1), emotion[rows].flatten())
            if named is not None:
                loss = loss + lam * speaker_loss(named.flatten(0, 1), part.code.flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses


# %% [markdown]
# Two helpers turn a world into tensors and train a model on it; a third predicts.


# %%
def inputs(talks, table, known):
    """x, and who speaks: speakers from `known` on are strangers, of code 0."""
    gamma_0, beta_0 = (torch.tensor(part[talks.speaker], dtype=torch.float32) for part in table)
    code = torch.tensor(np.where(talks.speaker < known, talks.speaker + 1, 0))
    return torch.tensor(talks.x, dtype=torch.float32), Who(code, gamma_0, beta_0)


def trained(version, world, table, classes, seed, **options):
    """A model of this version, trained on the world's training dialogues."""
    known = int(world.train.speaker.max()) + 1
    torch.manual_seed(seed)
    model = version(world.train.x.shape[-1], classes, known + 1)
    x, who = inputs(world.train, table, known)
    train(model, x, who, torch.tensor(world.train.emotion), seed, **options)
    return model


# %%
@torch.no_grad()
def predict(model, talks, world, table):
    """The emotion of each utterance, [dialogue, turn]."""
    known = int(world.train.speaker.max()) + 1
    return model(*inputs(talks, table, known))[0].argmax(-1).numpy()


# %% [markdown]
# Before any experiment, check that the loop can learn at all. A healthy model starts near the loss of guessing, $\log 4 + \lambda\log 9 = 1.43$, and can learn two dialogues by heart, so that their loss falls almost to zero.

# %%
torch.manual_seed(0)
table = start_table("zero", world)
x, who = inputs(world.train, table, known)
model = MLSAN(FEATURES, len(EMOTIONS), known + 1)
few = Who(*(field[:2] for field in who))
losses = train(model, x[:2], few, torch.tensor(world.train.emotion[:2]), seed=0, epochs=150)
assert abs(losses[0] - (np.log(4) + 0.02 * np.log(9))) < 0.5
assert losses[-1] < 0.2
print(f"loss at the first step {losses[0]:.1f}, after 150 steps on two dialogues {losses[-1]:.1f}")

# %% [markdown]
# ## 9 · Five versions, zero start
#
# What does each version add? Each seed draws its own world (speakers, prototypes, dialogues) and its own initial weights. So an interval over five seeds says how the result would vary in other worlds like these. Versions are compared within each world.
#
# **Predict.** How many points of W-F1 does the context add (version 2 minus version 1), and how many the speaker (version 5 minus version 2)? Answer for the speakers of training and for strangers.

# %%
VERSIONS = (Utterance, Context, Calibrated, Gated, MLSAN)
SEEDS = range(5)
WORLDS = [simulate(seed) for seed in SEEDS]


def scored(version, start, seed, **options):
    """Weighted F1 for seen speakers and for strangers, and the model."""
    world = WORLDS[seed]
    table = start_table(start, world)
    model = trained(version, world, table, len(EMOTIONS), seed, **options)
    found = {"version": version.__name__, "start": start, "seed": seed, "model": model}
    for name in ("seen", "strangers"):
        talks = getattr(world, name)
        found[name] = weighted_f1(talks.emotion, predict(model, talks, world, table))
    return found


# %% tags=["nbval-ignore-output"]
rows = [scored(version, "zero", seed) for version in VERSIONS for seed in SEEDS]
grown = pd.DataFrame(rows)
grown.groupby("version", sort=False)[["seen", "strangers"]].mean().round(1)

# %% tags=["nbval-ignore-output"]
by_version = grown.pivot(index="seed", columns="version", values=["seen", "strangers"])
lines = []
for who, name in (("seen", "Seen speakers"), ("strangers", "Strangers")):
    score = by_version[who]
    context, speaker = score["Context"] - score["Utterance"], score["MLSAN"] - score["Context"]
    lines.append(finding(f"{name}, what the context adds", context))
    lines.append(finding(f"{name}, what the speaker adds", speaker))
text = "\n".join(f"- {line}." for line in lines)
display(Markdown(f"{text}\n\nMeans over five seeds with 95 % t intervals."))

# %% [markdown]
# Seen speakers gain from the context and from the speaker. For strangers both intervals include zero: a model that has learned how eight people express themselves does not know how a ninth does.
#
# ## 10 · Three starts
#
# Now the same version 5 from each start. Only the numbers $\gamma_0$ and $\beta_0$ differ; the code, the initial weights, the data and the order of the batches are the same.
#
# **Predict.** The oracle removes the style of strangers exactly. What share of the oracle's gain over the zero start does the statistics start reach for strangers?

# %% tags=["nbval-ignore-output"]
STARTS = ("zero", "statistics", "oracle")
rows = grown[grown["version"] == "MLSAN"].to_dict("records")
rows += [scored(MLSAN, start, seed) for start in STARTS[1:] for seed in SEEDS]
starts = pd.DataFrame(rows)
starts.groupby("start", sort=False)[["seen", "strangers"]].mean().round(1)


# %%
@torch.no_grad()
def calibrated_means(row, world):
    """Each stranger's mean x~ of each emotion in the plane that best separates the prototypes."""
    model, table = row["model"], start_table(row["start"], world)
    x, who = inputs(world.strangers, table, world.train.speaker.max() + 1)
    x = model.film(x, model.embedding(who.code), who.gamma_0, who.beta_0).numpy()
    plane = np.linalg.svd(world.prototype - world.prototype.mean(0))[2][:2].T
    speaker, emotion = world.strangers.speaker, world.strangers.emotion
    found = []
    for y, name in enumerate(EMOTIONS):
        places = {str(s): x[(speaker == s) & (emotion == y)] for s in np.unique(speaker)}
        places[""] = world.prototype[[y]]
        for who, rows in places.items():
            found.append((row["start"], who, name, *(rows.mean(0) @ plane).round(2)))
    return found


# %% tags=["nbval-ignore-output"]
first = starts[starts["seed"] == 0].to_dict("records")
points = pd.DataFrame(
    [place for row in first for place in calibrated_means(row, WORLDS[0])],
    columns=["start", "speaker", "emotion", "x", "y"],
)
figure0 = starts_figure(points, starts.rename(columns={"strangers": "wf1"}), EMOTIONS)

# %% tags=["nbval-ignore-output"]
plotted = starts[["start", "seed", "seen", "strangers"]].round(1)
display(Markdown(study.save_figure(figure0, pd.concat([points, plotted]), "fig0_starts")))

# %% tags=["nbval-ignore-output"]
score = starts.pivot(index="seed", columns="start", values="strangers")
seen = starts.pivot(index="seed", columns="start", values="seen")
closed = (score["statistics"] - score["zero"]).mean() / (score["oracle"] - score["zero"]).mean()
lines = [
    finding("Strangers, statistics minus zero start", score["statistics"] - score["zero"]),
    finding("Strangers, oracle minus statistics start", score["oracle"] - score["statistics"]),
    finding("Seen speakers, statistics minus zero start", seen["statistics"] - seen["zero"]),
    f"For strangers the statistics start reaches {closed:.0%} of the oracle's gain over zero",
]
assert (score["statistics"] > score["zero"]).all()
assert closed > 0.5
display(Markdown("\n".join(f"- {line}." for line in lines)))

# %% [markdown]
# Look at the panels of Fig. A0 from left to right. With the zero start each emotion is a cloud of eight strangers' dots, and the clouds overlap. All strangers share embedding 0, so FiLM does the same to all of them, whatever it has learned. With the statistics start the dots of one colour come together, although no stranger's label was used. With the oracle only the noise of the means is left.
#
# The statistics start is not the oracle, because a speaker's mean also contains the emotions that happen to occur in it, and $\mu_0$ and $\sigma_0$ stand for the population, not for the style-free $u$.
#
# ## 11 · Real voices
#
# Does this help outside of a simulation? In nEMO (Christop 2024) nine actors say the same ninety sentences in six emotions, and the program openSMILE measured 88 features of each recording ([notebook 9](09_voices.ipynb)). There is no oracle, because nobody knows a real person's $a_s$ and $c_s$. There is no context either: recordings in random order, twelve at a time, stand in for dialogues. In each of five folds one or two actors are strangers, so that each actor is a stranger once.

# %%
from mlsan.corpus.nemo.protocols import FOLDS, splits
from mlsan.corpus.nemo.recordings import EMOTIONS as VOICED
from mlsan.corpus.nemo.recordings import recordings

clips = recordings()
emotion = np.array([VOICED.index(name) for name in clips.emotion])
print(f"{len(clips.clip)} recordings, {clips.features.shape[1]} features")


# %%
def voices(fold):
    """The world of one fold, and the actors' names; speakers are numbered, strangers last."""
    parts, rng = splits(fold), np.random.default_rng(0)
    training = parts["train"] | parts["dev"]
    names = list(np.unique(clips.speaker[training])) + list(np.unique(clips.speaker[parts["test"]]))
    speaker = np.array([names.index(name) for name in clips.speaker])
    mean, sd = clips.features[training].mean(0), clips.features[training].std(0)
    x = (clips.features - mean) / np.where(sd > 1e-8, sd, 1)

    def sessions(rows):
        rows = rng.permutation(np.flatnonzero(rows))
        rows = rows[: len(rows) // TURNS * TURNS].reshape(-1, TURNS)
        return Talks(speaker[rows], emotion[rows], x[rows])

    return World(sessions(training), None, sessions(parts["test"])), names


# %% [markdown]
# **Predict.** With six emotions, guessing scores about 17. What do the zero start and the statistics start score on an actor who is not in training?

# %% tags=["nbval-ignore-output"]
found = {}
for fold in FOLDS:
    world, names = voices(fold)
    for start in STARTS[:2]:
        table = start_table(start, world)
        model = trained(MLSAN, world, table, len(VOICED), seed=0, epochs=6, lr=0.01)
        said = predict(model, world.strangers, world, table)
        for s in np.unique(world.strangers.speaker):
            at = world.strangers.speaker == s
            score = weighted_f1(world.strangers.emotion[at], said[at])
            found.setdefault(start, {})[str(names[s])] = score
actors = pd.DataFrame(found)
actors.T.assign(mean=actors.mean()).round(0)

# %% tags=["nbval-ignore-output"]
figure = actors_figure(actors, STARTS[:2])

# %% tags=["nbval-ignore-output"]
difference = actors["statistics"] - actors["zero"]
assert len(difference) == 9
assert difference.mean() > 0
zero, statistics = actors[["zero", "statistics"]].mean()
line = finding("Unseen actors, statistics minus zero start", difference)
better = f"It is better for {(difference > 0).sum()} of 9 actors; the means are {zero:.1f} and"
note = "one seed; the actors of a fold share a model, so the interval is somewhat too narrow"
display(Markdown(f"{line}. {better} {statistics:.1f}. (95 % t interval over nine actors; {note}.)"))

# %% [markdown]
# ## What we learned
#
# - ML-SAN is a context encoder with a speaker embedding in three places: FiLM before it, a gate after it, a loss on its output. The package's parts compute the same as the few lines above.
# - A speaker embedding can only learn people who are in training. Strangers share one embedding, so with the zero start the model does not adapt to them. Sections 9 to 11 state the differences with their intervals.
# - The style of a stranger can be read off unlabelled utterances. Used as the *start* of FiLM, it closes most of the gap to the oracle in the simulation, and it helps on real voices.
# - The comparison is not even-handed: the statistics start uses the strangers' unlabelled test utterances, and the zero start does not. For this reason Table 1 in [notebook 3](03_mlsan.ipynb) has the column "unlabelled test utterances used". A fair comparison is with a plain normalisation of each speaker's features; notebook 3 makes it.
#
# ## What would change our mind
#
# - If strangers were enrolled with utterances of a single emotion, and the statistics start still helped: then it would be removing something other than style.
# - If the zero start, trained on hundreds of speakers instead of eight, came close to the statistics start: then the problem would be too few speakers, not where FiLM starts.
# - If real speakers' styles were not affine, for example if they expressed an emotion by different features altogether: then no $\gamma$ and $\beta$ would bring them together. The actors in section 11 who gain least are where to look.
#
# ## Further reading
#
# - Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018, [arXiv 1709.07871](https://arxiv.org/abs/1709.07871): Eq. 1–2.
# - Majumder et al., *DialogueRNN*, AAAI 2019, [arXiv 1811.00405](https://arxiv.org/abs/1811.00405): context with a state for each speaker.
# - Shi and Huang, *MultiEMO*, [ACL 2023](https://aclanthology.org/2023.acl-long.824): the backbone.
# - Efron and Morris, *Stein's Paradox in Statistics*, Scientific American, 1977: why the mean of a few utterances should be shrunk.
# - In the package: [`mlsan/model/mlsan.py`](../mlsan/model/mlsan.py) for the three parts, [`mlsan/corpus/style.py`](../mlsan/corpus/style.py) for the statistics.
#
# ## Exercises
#
# 1. How many utterances does enrolment need? Score the statistics models on strangers who are enrolled with their first 2, 5 and 20 utterances. Use `start_table("statistics", world, enrolled=n)`; no training is needed.
# 2. Train version 5 from the zero start with `film_rate=1.0`. Does it now catch up with the statistics start, for seen speakers and for strangers?
# 3. Train Eq. 1 *as printed*: $\gamma_0 = \beta_0 = 0$, and `FiLM.project` with PyTorch's random start, at both rates of FiLM. What does it cost on seen speakers?
#
# <details><summary>Solutions</summary>
#
# 1. Above the zero start, two utterances bring 8 points, five 9, twenty 16, and all of them, on average 120, bring 22:
#
#    ```python
#    models = [row["model"] for row in starts.to_dict("records") if row["start"] == "statistics"]
#    for n in (2, 5, 20, None):
#        found = []
#        for world, model in zip(WORLDS, models, strict=True):
#            table = start_table("statistics", world, enrolled=n)
#            said = predict(model, world.strangers, world, table)
#            found.append(weighted_f1(world.strangers.emotion, said))
#        print(n, round(np.mean(found), 1))
#    ```
#
#    The model was trained with well-enrolled speakers only. The package draws the number of utterances anew in each epoch, so that one model serves every amount of enrolment.
# 2. No: both gain half a point. A faster FiLM learns its own speakers a little better, and code 0 still has one $\gamma$ and one $\beta$ for all strangers.
#
#    ```python
#    fast = pd.DataFrame(scored(MLSAN, "zero", seed, film_rate=1.0) for seed in SEEDS)
#    print(fast[["seen", "strangers"]].mean().round(1))
#    ```
# 3. At the full rate −3.3 points [−7.0, +0.4], an interval that includes zero; at a tenth of it −15.1 [−23.9, −6.2]. A random linear layer gives each speaker small and random γ and β: most of each feature is lost at the start, and a slow FiLM does not recover it in twelve epochs.
#
#    ```python
#    class Printed(MLSAN):
#        def __init__(self, *sizes):
#            super().__init__(*sizes)
#            self.film.project.reset_parameters()
#
#
#    for rate in (1.0, 0.1):
#        printed = []
#        for seed, world in enumerate(WORLDS):
#            table = [0 * part for part in start_table("zero", world)]
#            model = trained(Printed, world, table, len(EMOTIONS), seed, film_rate=rate)
#            said = predict(model, world.seen, world, table)
#            printed.append(weighted_f1(world.seen.emotion, said))
#        print(rate, finding("printed against zero", np.array(printed) - seen["zero"]))
#    ```
#
# </details>
