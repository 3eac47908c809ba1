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
# **Question.** What do the three speaker-adaptive parts do, equation by equation, and from which initial values? Does ML-SAN beat its baseline, a one-line normalisation and the other models of Table 1?
#
# **Produces.** Fig. 2 (`fig2_architecture`), Table 1 (`table1_main`), Table A3 (`table3_significance`), Table A4 (`table4_classes`), Table A6 (`table6_seen`, if the corpus names its speakers), Fig. A7 (`fig7_selection`).
#
# **Needs.** The corpus of notebook 1. Trains every model with all seeds, or reuses finished runs; profile *paper* uses a GPU if there is one.
#
# **Time.** smoke: seconds · small: about 7 minutes on two cores the first time · paper: hours on a CPU; a GPU is recommended.

# %% [markdown]
# ## Before you start
#
# **Goals.** After this notebook you can
#
# - write FiLM, speaker gate and speaker loss from Eq. 1–4, and say what each does before it has learned anything;
# - estimate a speaker's style from a few unlabelled utterances, and explain why the estimate is moved towards the population's;
# - read a table of scores with its intervals and tests, and say which differences it supports.
#
# **Prerequisites.** Part I: notebook 2, or any model of conversations into which the three parts are put. Part II: what a confidence interval and a paired test are.
#
# **Your time.** Part I, the equations: 60 minutes. Part II, the results: 45 minutes. The exercises: another 45.
#
# The two parts can be read separately: Part II uses none of the variables of Part I. Where you read **Predict**, write down an answer before you go on: the cell below gives the number.

# %% tags=["parameters"]
import os

PROFILE = os.environ.get("PROFILE", "small")
CORPUS = os.environ.get("CORPUS", "sim")
DATA = os.environ.get("DATA", "")
JOBS = os.environ.get("JOBS", "")
DEVICE = os.environ.get("DEVICE", "")

# %%
from mlsan.study import open_notebook

study = open_notebook("03_mlsan", globals())

# %% [markdown]
# # Part I · The equations
#
# ## Three places
#
# MultiEMO uses the speaker only to select a state in DialogueRNN. ML-SAN gives each speaker $s_i$ an embedding $e_{s_i}$, a vector that is learned. It acts in three places: on the input (FiLM), on the context features that DialogueRNN returns (gate), and on the output (auxiliary loss).

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import architecture_figure

benchmark, corpus = next(iter(study.corpora.items()))
run = study.config(benchmark, "ML-SAN")
figure2 = architecture_figure(run, corpus.sizes)

# %% tags=["nbval-ignore-output"]
import pandas as pd
from IPython.display import Markdown, display

settings = run.model.model_dump(mode="json")
plain = pd.DataFrame({"setting": settings.keys(), "value": map(str, settings.values())})
note = f"As run on {corpus.name}"
note += "; the other benchmark differs in depth and context." if len(study.corpora) == 2 else "."
display(Markdown(study.save_figure(figure2, plain, "fig2_architecture", note=note)))

# %% [markdown]
# The sections below explain each part and its settings, which are by default:

# %%
parts = ("film", "gate", "aux", "film_start", "gate_start", "gate_input", "aux_input")
print({part: settings[part] for part in parts})

# %% [markdown]
# ## Input: calibration by FiLM (Eq. 1–2)
#
# $$\gamma_m = W_\gamma^m e_{s_i} + b_\gamma^m,\qquad \beta_m = W_\beta^m e_{s_i} + b_\beta^m \tag{1}$$
#
# $$\tilde x_i^m = \gamma_m \odot x_i^m + \beta_m \tag{2}$$
#
# This is FiLM, feature-wise linear modulation, for each modality $m$ of audio and visual. The paper calls it a conditional normalisation: γ adjusts the variance and β corrects the mean. It does not say from which γ and β training starts, and this decides the result. So the code adds a start, $\gamma = \gamma_0 + W_\gamma e + b_\gamma$ and likewise for β, and `film_start` has three values:
#
# - `"printed"`, as in the paper: no start ($\gamma_0 = \beta_0 = 0$), and $W$ and $b$ are random at first, as in any linear layer. γ is then random around zero, of either sign: features shrink, and some change their sign.
# - `"zero"`: $\gamma_0=1$ and $\beta_0=0$, the identity, for every speaker. $W$ and $b$ are zero at first.
# - `"statistics"`, the default: $\gamma_0=\sigma_0/\sigma$ and $\beta_0=\mu_0-\gamma_0\mu$, which take the speaker's own mean $\mu$ and standard deviation $\sigma$ to those of the population of training speakers, $\mu_0$ and $\sigma_0$. $W$ and $b$ are zero at first and learn what to add.

# %%
from mlsan.model import reference
from mlsan.report import lessons

lessons.definition(reference.calibrate, reference.film_start)

# %% [markdown]
# **Predict** what an untrained FiLM with the starts `"zero"` and `"printed"` does to a feature vector of ones.

# %%
import torch

from mlsan.model.mlsan import FiLM

torch.manual_seed(0)
ones, e = torch.ones(1, 4), torch.randn(1, 8)
zero, printed = FiLM(8, 4, start="zero"), FiLM(8, 4, start="printed")
assert torch.equal(zero(ones, e), ones)
gamma, beta = printed.scale_shift(e)
assert torch.allclose(printed(ones, e), gamma * ones + beta)
print("zero:   ", zero(ones, e)[0].tolist())
print("printed:", [round(x, 1) for x in printed(ones, e)[0].tolist()])

# %% [markdown]
# Can FiLM remove a speaker's *style*? If a speaker shows $x = a\,u + c$ instead of $u$, then $\gamma = 1/a$ and $\beta = -c/a$ recover $u$ exactly:

# %%
u = torch.tensor([0.2, -1.0, 0.7])
a, c = torch.tensor([2.0, 0.5, 1.5]), torch.tensor([1.0, -2.0, 0.3])
expressed = a * u + c
undone = (1 / a) * expressed + (-c / a)
assert torch.allclose(undone, u)
for name, values in (("u", u), ("shown", expressed), ("recovered", undone)):
    print(f"{name:10}", [round(x, 2) for x in values.tolist()])

# %% [markdown]
# From the zero start, training has to find $a$ and $c$ of every speaker from the emotion loss alone. But they can also be estimated from the speaker's utterances, without labels. Take one feature of two speakers: −1, 0, 1 for the first and 2, 4, 6 for the second, who is louder and varies more. **Predict** $\gamma_0$ and $\beta_0$ of each for a population with mean 0 and standard deviation 1.

# %%
import numpy as np

quiet, loud = np.array([-1.0, 0.0, 1.0]), np.array([2.0, 4.0, 6.0])
for own in (quiet, loud):
    mu, sigma = own.mean(), own.std(ddof=1)
    gamma_0, beta_0 = 1 / sigma, 0 - 1 / sigma * mu
    assert np.allclose(gamma_0 * own + beta_0, [-1, 0, 1])
    print(f"mean {mu:g}, sd {sigma:g}: gamma {gamma_0:g}, beta {beta_0:g}")

# %% [markdown]
# **Drag it.** This speaker is louder than the population and varies less, $\mu = 2$ and $\sigma = 0.5$. **Predict** the γ and β for which the calibrated curve lies on the grey one of the population. In JupyterLab, run the cell and find them with the sliders; elsewhere you see the picture for γ = 1 and β = 0.

# %%
from ipywidgets import FloatSlider

from mlsan.report.explore import Explorer
from mlsan.report.sliders import calibration, started

print('FiLM with start="statistics" has gamma {:g} and beta {:g}'.format(*started()))
Explorer(
    calibration,
    gamma=FloatSlider(1, min=0.2, max=3, step=0.1, description="γ"),
    beta=FloatSlider(0, min=-6, max=3, step=0.1, description="β"),
)

# %% [markdown]
# ### Styles from few utterances
#
# Three utterances say little about a speaker: their mean $\bar x$ may be that of one emotion. So the estimate is *shrunk*: it goes only a share $k$ of the way from the population's mean to $\bar x$. The share is smaller the fewer utterances there are, and the less training speakers differ. With $n$ utterances, variance $b$ between speakers and variance $w$ within one,
#
# $$\mu = \mu_0 + k\,(\bar x - \mu_0),\qquad k = \frac{n\,b}{n\,b + w},$$
#
# and likewise for $\log\sigma^2$, with a share $q$. (This is empirical Bayes: $b$ and $w$ are themselves estimated. In the code, `scatter`, `floor` and `limit` handle speakers with one utterance or a constant feature.)

# %%
from mlsan.corpus.style import Population

lessons.definition(Population.estimate)

# %% [markdown]
# **Predict:** for $b = \frac12$ and $w = 2$, what is $k$ for $n=0$ and for $n=4$? And for $n = 4$ if speakers do not differ at all?

# %%
b, w = 0.5, 2.0
shrunk = {n: n * b / (n * b + w) for n in (0, 1, 4, 10, 100)}
assert (shrunk[0], shrunk[4]) == (0, 0.5)
print("k by n:", {n: round(k, 2) for n, k in shrunk.items()}, "- if b = 0:", 4 * 0 / (4 * 0 + w))

# %% [markdown]
# `Population.fit` estimates $b$, $w$ and the rest from training speakers, and `style` then gives $\mu$ and $\sigma$ of anybody, from any number of unlabelled utterances. Here forty simulated speakers give $\mu_0 = -.2$, $b = 2.6$ and $w = 1.8$. A *stranger*, who is not among them, has the mean 5. **Predict** the estimate after one utterance, after three and after ten.

# %%
draw = np.random.default_rng(0)
who = np.repeat([f"speaker {i}" for i in range(40)], 50)
level, spread = draw.normal(0, 2, 40).repeat(50), np.exp(draw.normal(0, 0.4, 40)).repeat(50)
population = Population.fit((level + spread * draw.standard_normal(2000))[:, None], who)
stranger = (5 + 0.5 * draw.standard_normal(200))[:, None]
moved = {n: float(population.style(stranger[:n])[0][0]) for n in (0, 1, 3, 10, 200)}
found = population.mu_0, population.b, population.w
assert [round(float(x[0]), 1) for x in found] == [-0.2, 2.6, 1.8]
assert abs(moved[0] - population.mu_0[0]) < 1e-9
assert abs(moved[200] - 5) < 0.1
assert abs(moved[10] - 5) < abs(moved[0] - 5)
print("estimate by n:", {n: round(mu, 1) for n, mu in moved.items()})

# %% [markdown]
# FiLM with this start, before any training, takes the stranger's features to the population's mean and standard deviation:

# %%
film = FiLM(8, 1, start="statistics")
film.start_from(population)
style = torch.tensor(np.stack(population.style(stranger))[None], dtype=torch.float32)
x = torch.tensor(stranger, dtype=torch.float32)
calibrated = film(x, e.expand(len(x), -1), style.expand(len(x), -1, -1))
assert abs(calibrated.mean().item() - population.mu_0[0]) < 0.2
assert abs(calibrated.std().item() - population.sigma_0[0]) < 0.2
before, after = x.mean().item(), calibrated.mean().item()
print(f"mean {before:.1f} before, {after:.1f} after; population {population.mu_0[0]:.1f}")

# %% [markdown]
# ## Interaction: the speaker gate (Eq. 3)
#
# The second part acts after DialogueRNN, on the context features $h_i^m$ of utterance $i$ in modality $m$. The gate multiplies each of them by a number between 0 and 1 that depends on the speaker, so that the model may rely on the voice of one speaker and on the face of another:
#
# $$g_m = \sigma(W_{gate}^m e_{s_i} + b_{gate}^m),\qquad \tilde h_i^m = g_m \odot h_i^m \tag{3}$$

# %%
lessons.definition(reference.gate)

# %% [markdown]
# In Eq. 3 the gate depends only on the speaker. The paper's Fig. 3 shows weights of 0.22 for audio and 0.78 for visual *in one utterance*, which sum to one. **Predict** whether Eq. 3 can produce this: how much does the gate differ between two utterances of one speaker, and what do the weights of three modalities sum to if $W = 0$ and $b = 0$?

# %%
from mlsan.model.mlsan import SpeakerGate

torch.manual_seed(0)
gate = SpeakerGate(modalities=3, speaker_dim=8, d=4, context=False, start="random")
g = gate.weights(e.expand(2, -1))
assert ((g > 0) & (g < 1)).all()
assert torch.equal(g[:, 0], g[:, 1]), "two utterances of one speaker have one gate"
difference, total = (g[:, 0] - g[:, 1]).abs().max(), 3 * torch.sigmoid(torch.tensor(0.0))
print(f"two utterances differ by {difference:g}; the sum is {total:g}")

# %% [markdown]
# It cannot: neither need the weights sum to one, nor do they depend on the utterance.
#
# Like FiLM, the gate needs a start. With random initial weights it weights each speaker's features differently for no reason. The default, `gate_start="open"`, starts with $W=0$ and $b=3$: the same gate for everybody, almost open. **Predict** $\sigma(3)$.

# %%
opened = SpeakerGate(modalities=3, speaker_dim=8, d=4, context=False, start="open")
two = torch.randn(2, 8)
assert (gate.weights(two)[:, 0] - gate.weights(two)[:, 1]).abs().max() > 0.1
assert torch.equal(opened.weights(two)[:, 0], opened.weights(two)[:, 1])
print(f"open gate, every speaker: {opened.weights(two).mean().item():.2f}")

# %% [markdown]
# With `gate_input="speaker+context"` the gate depends on the utterance as well, as Fig. 3 would require.
#
# ## Output: the auxiliary loss (Eq. 4)
#
# $$\mathcal L_{total} = \mathcal L_{ERC}(y_i, \hat y_i) + \lambda\,\mathcal L_{spk}(s_i, \hat s_i) \tag{4}$$
#
# The third part is a linear head on $z$, the input of the emotion classifier. It predicts the speaker $\hat s_i$, so that $z$ retains who speaks. $\lambda$ is 0.02 by default; the paper uses 0.5 on MELD and 0.2 on IEMOCAP. $\mathcal L_{ERC}$ is MultiEMO's loss on the emotions. Utterances of unknown speakers, who share code 0, are ignored:

# %%
lessons.definition(reference.speaker_loss, reference.total_loss)

# %% [markdown]
# **By hand.** Two known speakers and code 0 make three classes. Two utterances have the logit 2 for the right speaker and 0 for the others: $p = e^2/(e^2+2) = .787$, so $\mathcal L_{spk} = -\ln .787 = .2395$. **Predict** the loss when an utterance of an unknown speaker is added.

# %%
from mlsan.model.mlsan import speaker_loss

logits = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [5.0, 0.0, 0.0]])
counted = speaker_loss(logits[:2], torch.tensor([1, 2]))
with_unknown = speaker_loss(logits, torch.tensor([1, 2, 0]))
assert torch.allclose(counted, torch.tensor(0.2395), atol=1e-4)
assert torch.equal(counted, with_unknown)
assert speaker_loss(logits, torch.tensor([0, 0, 0])) == 0
print(f"L_spk {counted.item():.4f}, with the unknown speaker's utterance {with_unknown.item():.4f}")

# %% [markdown]
# ## The definitions and the model that is trained
#
# The definitions above are loops. The model that is trained, `mlsan/model/mlsan.py`, computes the same for all utterances at once. Compare both on a few dialogues of this corpus, with random weights and in double precision:

# %%
from mlsan.report.nb02_baseline import both_forms

fast, defined, _ = both_forms(corpus, "ML-SAN")
for stage in ("calibrated", "gated"):
    torch.testing.assert_close(fast.stages[stage], defined.stages[stage])
torch.testing.assert_close(fast.logits, defined.logits)
torch.testing.assert_close(fast.speaker_logits, defined.speaker_logits)
print("FiLM, gate, emotion and speaker head: the trained form gives what is defined")

# %% [markdown]
# ## Training meets what testing will meet
#
# A test speaker may be known from training, or be a stranger. A stranger is *enrolled* if the style is estimated from some unlabelled utterances of theirs; their number is the amount of *enrolment*, and it may be zero. One trained model has to serve all these cases, so training contains them. In each epoch, for each speaker of each dialogue,
#
# - the style is estimated from a random number of the speaker's training utterances: 0, 1, 3, 10, 30 or all;
# - with probability ½ the speaker is trained *as a stranger*: without an identity, and in a random voice. The voice scales and shifts the features, $ax + c$, with $a$ and $c$ drawn from the population of training speakers, so that the model meets more voices than the corpus has. Every second such stranger has no enrolment.
#
# **Predict:** how many different styles ($\mu$ and $\sigma$) is the most frequent speaker given in one epoch of training, and how many in testing?

# %% tags=["nbval-ignore-output"]
from mlsan.corpus import collate
from mlsan.corpus.batch import withhold_identities
from mlsan.report.nb03_mlsan import styles_of
from mlsan.training.loop import enrolment_of

enrolment = enrolment_of(run, corpus)
speakers = enrolment.training(np.random.default_rng(0), random=True, unknown_rate=0.5)
batch = collate(corpus.train, speakers)
hidden = withhold_identities(batch)
assert torch.equal(hidden.speaker == 0, (batch.speaker == 0) | batch.withheld)
if enrolment.population:
    drawn, tested = styles_of(speakers, 1), styles_of(enrolment.evaluation(corpus.train), 1)
    assert drawn > tested == 1
    print(f"{drawn} styles in one epoch, {tested} in testing")
else:
    print("skipped: the corpus has neither audio nor visual features to calibrate")

# %% [markdown]
# ## With all three parts off, ML-SAN is MultiEMO
#
# Is a difference in scores due to the parts, and not to the rest of the code or to other initial values? With the parts off, the parameters, their initial values and the outputs are MultiEMO's to the last bit:

# %%
from mlsan.training import run_settings
from mlsan.training.loop import new_model

full = run_settings(corpus.benchmark, "smoke", "ML-SAN", 0)
parts_off = full.model.model_copy(update={"film": False, "gate": False, "aux": False})
none = full.model_copy(update={"model": parts_off})
base = run_settings(corpus.benchmark, "smoke", "MultiEMO", 0)
on, off, multiemo = (new_model(r, corpus, enrolment.code.size).eval() for r in (full, none, base))
few = collate(corpus.train[:8], enrolment.code.encode(corpus.train[:8]))
assert type(off) is not type(multiemo)
assert torch.equal(off(few).logits, multiemo(few).logits)
print("with all three parts off, the outputs are MultiEMO's to the last bit")

# %%
shared = {name: w for name, w in on.state_dict().items() if name in off.state_dict()}
assert shared.keys() == off.state_dict().keys()
assert all(torch.equal(w, off.state_dict()[name]) for name, w in shared.items())
print("switching the parts on adds parameters and changes none of the backbone's initial values")

# %% [markdown]
# ## What Part I leaves open
#
# - Eq. 1–3 say what is learned, but not from which initial values. As printed, FiLM first multiplies each feature by a random number around zero, and the gate by a random number between 0 and 1. With statistics start and open gate the equations are the same, and only the initial values differ.
# - Eq. 1–2 can undo any style that scales and shifts features, and no other.
# - Eq. 4 asks $z$ to keep the speaker, while FiLM is meant to remove the speaker from the input. Notebook 6 measures both.
#
# # Part II · The results
#
# ## Training the models of Table 1
#
# Table 1 compares ML-SAN with published models of conversations, trained here on the same features, batches, splits and selection of the epoch. BC-LSTM and DialogueRNN are recurrent networks; DialogueGCN, MMGCN and COGMEN are graph networks over the turns of a dialogue; M2FNet, SDT and Li et al. use attention between modalities. Most know the speaker as a role within the dialogue; BC-LSTM and M2FNet know no speaker. MultiEMO has two more rows, trained with CGGM (which balances the modalities' gradients) and with speaker normalisation (a speaker head with reversed gradient on the features before fusion). UniMSE generates from raw text and is not a model of utterance features, so its row is *quoted*: it has the paper's number only.
#
# Four more rows show how much of a difference is ML-SAN's own:
#
# - a **linear probe**, a linear classifier on the features of one utterance, from text alone and from all modalities: what the features give without any context;
# - **MultiEMO on standardised features**: each speaker's audio and visual features at mean 0 and standard deviation 1 over all their utterances, those of test included (without labels). This one-line normalisation is what speaker adaptation has to be compared with;
# - **ML-SAN as printed**: random initial weights for FiLM and gate, and the paper's λ;
# - **ML-SAN** with its statistics start, once without enrolment of strangers and once with strangers *enrolled* from all of their unlabelled test utterances. It is the same trained model.
#
# **Predict** the sign of ML-SAN minus MultiEMO on each corpus, with strangers enrolled and without. Remember that in the corpus modelled on IEMOCAP all test speakers are strangers. The runs of these two systems, one row per seed (the answer is in the findings below Table A3):

# %% tags=["nbval-ignore-output"]
plan = study.plan("main")
table = study.sweep(plan)
shown = ["corpus", "system", "speaker", "seed", "status", "dev_wf1", "test_wf1", "best_test_wf1"]
table.loc[table["system"].isin(["MultiEMO", "ML-SAN"]), shown].round(2)

# %%
assert set(table["seed"]) == set(study.seeds)
failed = (table["status"] == "failed").sum()
print(f"{', '.join(table['system'].unique())}: every seed, {failed} runs failed")

# %% tags=["nbval-ignore-output"]
from mlsan.report.tables import ENROLLED, PROBE, STANDARDISED, TEXT_PROBE

other = study.standardised()
standardised = other.sweep(other.standardised_plan()).assign(system=STANDARDISED)
standardised[["corpus", "system", "seed", "status", "test_wf1"]].round(2)

# %% [markdown]
# The linear probes are deterministic, and ML-SAN with strangers enrolled needs no training: the same models predict again, now with enrolment. The next two cells collect, for each row of Table 1, how often each emotion was predicted in each test dialogue. All scores and intervals below are computed from these counts.

# %%
from mlsan.evaluation.counts import dialogue_counts, gathered
from mlsan.evaluation.probes import emotion_predictions

strange = [name for name, who in study.strangers.items() if who]
own = table[(table["system"] == "ML-SAN") & table["benchmark"].isin(strange)]
own = own.assign(system=ENROLLED)
read = study.reader(plan, "all")
probed = {
    name: {
        probe: emotion_predictions(corpus, modalities)
        for probe, modalities in ((TEXT_PROBE, ("text",)), (PROBE, corpus.modalities))
        if set(modalities) <= set(corpus.modalities)
    }
    for name, corpus in study.corpora.items()
}


# %% tags=["nbval-ignore-output"]
def counted(seen=None):
    """Counts of every row of Table 1, on all, seen or unseen test speakers."""
    found = gathered(table, study.predictions, study.emotions, seen=seen)
    for rows, reader in ((standardised, other.predictions), (own, read)):
        for name, systems in gathered(rows, reader, study.emotions, seen=seen).items():
            found[name] |= systems
    for name, probes in probed.items():
        for probe, rows in probes.items():
            every = dict.fromkeys(study.seeds, rows)
            found[name][probe] = dialogue_counts(every, len(study.emotions[name]), seen=seen)
    return found


counts = counted()

# %%
for name, systems in counts.items():
    for system, found in systems.items():
        assert found.dialogues == systems["MultiEMO"].dialogues, system
    print(f"{study.names[name]}: all rows are scored on the same test dialogues")

# %% [markdown]
# ## Table 1
#
# *Dev-selected* is the test score at the epoch that is best on dev, which is the result of a run; the best test epoch is there for comparison with papers that report it. On simulated corpora compare rows within a column, not with the paper's MELD and IEMOCAP.

# %% tags=["nbval-ignore-output"]
import pandas as pd
from IPython.display import Markdown, display

from mlsan.report.nb02_baseline import main_table

more = {
    name: {row: found for row, found in systems.items() if row in (TEXT_PROBE, PROBE, ENROLLED)}
    for name, systems in counts.items()
}
trained = pd.concat([table, standardised])
behind = pd.concat([trained, own])
table1 = main_table(trained, more)
display(Markdown(study.save_table(table1, "table1_main", behind, study.caveats)))

# %%
used = table1.shown.set_index("system")["unlabelled test utterances used"]
assert (used[["MultiEMO", "ML-SAN", "ML-SAN as printed"]] == "none").all()
print(used[[row for row in (STANDARDISED, ENROLLED) if row in used.index]].to_dict())

# %% [markdown]
# What does each system cost? The seconds are rough, because the runs shared the machine with each other and with other work:

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import cost_table

first = {(study.names[r.benchmark], study.system(r)): r for r in plan if r.seed == study.seeds[0]}
cost_table(table, {key: study.parameters(run) for key, run in first.items()})

# %% [markdown]
# ## Is a difference significant?
#
# Two things vary by chance: the seed, and which dialogues are in the test set. Table A3 has, for each difference,
#
# - a **95 % interval**, which resamples seeds and test dialogues; both systems are scored on the same resample (a paired bootstrap);
# - the paper's **paired t-test**, over seeds alone;
# - a **permutation test** over dialogues alone, which swaps the two systems' predictions dialogue by dialogue. It is valid for *these* trained runs and not for other seeds, so read it together with the interval;
# - both p-values with **Holm's correction** for the number of comparisons in the table.
#
# **Predict:** how large must $t$ be for the paper's $p < .01$ from its three runs?

# %%
from mlsan.evaluation.significance import t_needed

assert round(t_needed(3), 2) == 9.92
print(f"p < 0.01 needs |t| > {t_needed(3):.2f} from three runs, {t_needed(5):.2f} from five")

# %% tags=["nbval-ignore-output"]
from mlsan.evaluation.significance import compare_all
from mlsan.report.nb03_mlsan import significance_table

tests = study.labelled(compare_all(counts, "MultiEMO", [(ENROLLED, STANDARDISED)]))
text = study.save_table(significance_table(tests), "table3_significance", behind, study.caveats)
display(Markdown(text))

# %% [markdown]
# In words. A statement *holds* if its whole interval agrees with it, *does not hold* if none of it does, and is *undecided* otherwise:

# %% tags=["nbval-ignore-output"]
from mlsan.report import lessons
from mlsan.report.nb03_mlsan import result_findings

done = tests.dropna(subset="delta")
assert len(done), "ML-SAN or MultiEMO has no finished runs: see the table of runs above"
assert ((done["low"] <= done["delta"]) & (done["delta"] <= done["high"])).all()
lessons.listed(result_findings(counts, study.names))

# %% [markdown]
# ## Speakers seen and unseen in training
#
# A single score for the test set can hide a difference: a model may do well for the speakers of training and fail with the others, unless they are enrolled. **Predict:** for whom does ML-SAN without enrolment fall behind MultiEMO: for seen speakers, for unseen ones, or for neither?

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import seen_unseen_table

split = seen_unseen_table(counted(seen=True), counted(seen=False))
assert set(split.data["speakers"]) <= {"seen", "unseen"}
text = "The corpora do not name their speakers."
if study.named:
    text = study.save_table(split, "table6_seen", behind, study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import seen_findings

lessons.listed(seen_findings(split.data, study.names))

# %% [markdown]
# ## Emotion by emotion
#
# Weighted F1 weights an emotion by its frequency, so it can rise while the F1 of rare emotions, such as fear and disgust, stays at zero. The paper reports for MELD that the recall of fear rises from 12 % to 18 % and that of anger from 55 % to 57 %. Of 50 and 345 test utterances, these are three and seven more. **Predict:** does ML-SAN recognise the two rarest emotions of this corpus better than MultiEMO?

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import classes_table

classes = classes_table(counts, study.emotions)
assert (classes.data.groupby("benchmark")["support"].diff().dropna() >= 0).all()
pair = table[table["system"].isin(["MultiEMO", "ML-SAN"])]
text = study.save_table(classes, "table4_classes", pair, study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import class_findings

lessons.listed(class_findings(classes.data, study.names))

# %% [markdown]
# Macro F1 weights all emotions equally, so rare emotions count as much as *neutral*. Means over seeds, in percent:

# %% tags=["nbval-ignore-output"]
finished = set(table.loc[table["status"] != "failed", "run"])
runs = [run for run in study.plan("main") if study.key(run) in finished]
metrics = pd.DataFrame(
    {"corpus": study.names[run.benchmark], "system": study.system(run), **study.scores(run)}
    for run in runs
)
metrics.groupby(["corpus", "system"], sort=False).mean().round(2)

# %% [markdown]
# ## How much does selecting the epoch on test add?
#
# Notebook 2 asked this for MultiEMO; here is the answer for all systems. **Predict:** does the best test epoch add more or less to a score than the difference between ML-SAN and MultiEMO?

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import selection_figure, selection_table

selection = selection_table(table)
figure7 = selection_figure(selection.data)

# %% tags=["nbval-ignore-output"]
assert (selection.data["gain"].dropna() >= 0).all()
text = study.save_figure(figure7, selection.data, "fig7_selection", table, study.caveats)
display(Markdown(text))

# %% tags=["nbval-ignore-output"]
from mlsan.report.nb03_mlsan import selection_findings

lessons.listed(selection_findings(selection.data))

# %% [markdown]
# ## What we learned
#
# - Whether ML-SAN is better than MultiEMO is stated above for the corpora at hand, with the interval that decides each verdict.
# - Three other comparisons matter as much: with the same equations as printed, with a one-line normalisation, and for speakers who are not in training.
# - Where choosing the epoch on test adds more than the difference between two systems, the choice decides their ranking.
# - For a stranger, what a model learned about individual people is of no use, but the stranger's own unlabelled utterances are. The column "unlabelled test utterances used" says which row used them.
#
# ## What would change our mind
#
# - *The start decides.* If ML-SAN as printed, trained longer or with another learning rate for FiLM, reached ML-SAN's score, the start would only save time. `study.config(..., film_start="printed", gate_start="random")` trains it.
# - *Enrolment helps because of the speaker.* If the style of another speaker helped as much, the gain would come from something else, such as regularisation. Notebook 4's controls test this.
# - *ML-SAN against the normalisation.* The verdict is for these features. On features that hardly depend on the speaker there is nothing for either to remove, and both should do nothing.
#
# ## Further reading
#
# - Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018, and de Vries et al., *Modulating Early Visual Processing by Language*, NeurIPS 2017: Eq. 1–2.
# - Busso, Mariooryad, Metallinou and Narayanan, *Iterative Feature Normalization Scheme for Automatic Emotion Detection from Speech*, IEEE Transactions on Affective Computing 4(4), 2013: an affine map per speaker, without embeddings.
# - Gales, *Maximum Likelihood Linear Transformations for HMM-Based Speech Recognition*, Computer Speech and Language, 1998: one affine transform per speaker, the ancestor of FiLM by speaker.
# - Triantafyllopoulos and Schuller, *Enrolment-Based Personalisation for Improving Individual-Level Fairness in Speech Emotion Recognition*, Interspeech 2024.
# - Efron and Morris, *Stein's Paradox in Statistics*, Scientific American, 1977: why the estimates are shrunk.
# - Dror et al., *The Hitchhiker's Guide to Testing Statistical Significance in Natural Language Processing*, ACL 2018.
#
# ## Exercises
#
# `make exercises` writes them as a notebook, `exercises/03_mlsan.ipynb`, with a stub for each function and a check that says what is wrong.
#
# 1. **FiLM's start from statistics.** Before training, γ and β of Eq. 1 should take the features of a speaker with mean $\mu_s$ and standard deviation $\sigma_s$ to the population's mean $\mu_0$ and standard deviation $\sigma_0$. Solve $\gamma x + \beta$ for these two conditions and write γ₀ and β₀. What do they become for a speaker who is like the population?
#
# 2. **A gate that starts open.** Write the speaker gate of Eq. 3 for one modality, $h' = \sigma(W e_s + b) \odot h$, as a module. It should start open: each gate is $\sigma(3) = .953$ for every speaker, whatever the embedding. And it must be able to learn. Predict which of the gradients of $W$, $b$ and $e_s$ are zero in the first step.
#
# 3. **The speaker loss, with strangers.** Write $\mathcal L_{spk}$ of Eq. 4: the cross-entropy of the speaker head, averaged over the utterances of *known* speakers. Code 0 (`UNKNOWN`) is shared by everyone without an identity, so the head must not learn to recognise it. A batch may have no known speaker at all; the loss is then 0, and not NaN.
#
# <details><summary>Solutions</summary>
#
# 1. For a speaker like the population γ₀ = 1 and β₀ = 0: the identity. `mlsan.model.mlsan.FiLM` adds to them what Eq. 1 learns, $W e_s + b$, which starts at zero; it therefore starts calibrated, also for speakers whom training has never seen, and training learns only the departure. `film_start="zero"` in `study.config` trains the same model from the identity.
#
#    ```python
#    def film_start(mu, sigma, mu_0, sigma_0):
#        """γ₀ and β₀ of each feature; mu and sigma are [speaker, feature], the others [feature]."""
#        gamma = sigma_0 / sigma
#        return gamma, mu_0 - gamma * mu
#    ```
#
# 2. Only the embedding's gradient is zero in the first step, since it is $W^\top$ times something and $W = 0$. After that step $W$ is not zero any more, and the embeddings learn as well. A gate that starts at random passes about half of every feature, with different noise for each speaker, and training first has to undo this.
#
#    ```python
#    class Gate(nn.Module):
#        """Scale d context features by speaker; called with h [utterance, d] and e [utterance, e]."""
#
#        def __init__(self, speaker_dim, d):
#            super().__init__()
#            self.by_speaker = nn.Linear(speaker_dim, d)
#            nn.init.zeros_(self.by_speaker.weight)
#            nn.init.constant_(self.by_speaker.bias, 3.0)
#
#        def forward(self, h, e):
#            return torch.sigmoid(self.by_speaker(e)) * h
#    ```
#
# 3. `mlsan.model.mlsan.speaker_loss` sums and divides by `clamp_min(1)` instead of branching, which gives the same without waiting for the device. The total is $\mathcal L = \mathcal L_{ERC} + \lambda\,\mathcal L_{spk}$; its target is the true speaker even where training hides the identity from the input. With `speaker="role"` it is the role, which is a different person in each dialogue and cannot stand for anybody's style.
#
#    ```python
#    def speaker_loss(logits, speaker):
#        """From logits [utterance, speaker] and the speakers' codes [utterance]."""
#        known = speaker != UNKNOWN
#        if not known.any():
#            return logits.sum() * 0
#        return nn.functional.cross_entropy(logits[known], speaker[known])
#    ```
#
# </details>
