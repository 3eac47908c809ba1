"""Four pictures for sliders: heterogeneity, FiLM's gamma and beta, shrinkage, and lambda.

Each takes the sliders' values, and returns a figure and a sentence with its numbers, for
`mlsan.report.explore.Explorer`. They are drawn from formulas and from simulated utterances, so
they are the same for every corpus and profile.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch.nn.functional import cross_entropy

from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.simulate import simulation
from mlsan.corpus.simulate.conversations import people
from mlsan.corpus.simulate.expression import express_in
from mlsan.corpus.standardised import standardise_by_speaker
from mlsan.corpus.style import Population
from mlsan.model.mlsan import FiLM, speaker_loss
from mlsan.report.style import DOUBLE, EMOTION, QUIET, SYSTEM
from mlsan.report.tables import FULL

EMOTIONS = ("sad", "angry")
MARKS = ("o", "s")  # of two speakers
OURS, PLAIN = SYSTEM[FULL], "black"


def axes(columns: int) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a page, which pyplot does not know and so does not show twice."""
    figure = Figure(figsize=(DOUBLE, 2.9), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def scatter(
    axis: Axes,
    x: Float[np.ndarray, "utterance 2"],
    speaker: Int[np.ndarray, "utterance"],
    emotion: Int[np.ndarray, "utterance"],
) -> None:
    """Utterances of two speakers and EMOTIONS, both numbered from 0."""
    for who, mark in enumerate(MARKS):
        for what, name in enumerate(EMOTIONS):
            own = x[(speaker == who) & (emotion == what)]
            label = f"{name}, speaker {'AB'[who]}"
            axis.scatter(
                *own.T, s=14, marker=mark, facecolors="none", edgecolors=EMOTION[name], label=label
            )


# How much speakers differ


def two_voices(
    heterogeneity: float, each: int = 40
) -> tuple[
    Float[np.ndarray, "utterance 2"], Int[np.ndarray, "utterance"], Int[np.ndarray, "utterance"]
]:
    """Features, speaker and emotion of the `each` utterances that two speakers say in each emotion.

    Voices of the simulator, in the two channels in which EMOTIONS differ most.
    """
    settings = simulation("IEMOCAP", "smoke", heterogeneity=heterogeneity)
    speaker, emotion = np.repeat([0, 1], 2 * each), np.tile([0, 1], 2 * each)
    label = np.array([BUILT_IN["IEMOCAP"].emotions.index(name) for name in EMOTIONS])
    clearly = np.full(len(speaker), 2.0)  # as strongly as an utterance can show its emotion
    voice = express_in(settings, "audio", people(settings), speaker, label[emotion], clearly)
    shown = voice.gain[speaker] * voice.latent + voice.shift[speaker]
    apart = np.abs(np.subtract(*voice.prototype[label]))
    return shown[:, np.argsort(-apart)[:2]], speaker, emotion


def heterogeneity(h: float) -> tuple[Figure, str]:
    """Two speakers as they express two emotions, and each speaker standardised."""
    x, speaker, emotion = two_voices(h)
    spaces = {"as expressed": x, "each speaker standardised": standardise_by_speaker(x, speaker)}
    figure, panels = axes(2)
    wrong = []
    for axis, (title, points) in zip(panels, spaces.items(), strict=True):
        line = LinearDiscriminantAnalysis().fit(points, emotion)
        wrong.append(100 * np.mean(line.predict(points) != emotion))
        scatter(axis, points, speaker, emotion)
        normal = line.coef_[0]
        foot = -line.intercept_[0] * normal / (normal @ normal)
        axis.axline(foot, foot + np.array([-normal[1], normal[0]]), color=PLAIN)
        axis.set(title=title, xlabel="channel 1 of the voice")
    every = np.concatenate([two_voices(end)[0] for end in (0.0, 1.0)])
    low, high = every.min(axis=0) - 0.3, every.max(axis=0) + 0.3
    panels[0].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), ylabel="channel 2 of the voice")
    panels[1].set(xlim=(-3.3, 3.3), ylim=(-3.3, 3.3))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return figure, (
        f"Heterogeneity {h:.1f}: the best straight line is wrong for {wrong[0]:.0f} % of the "
        f"simulated utterances as expressed, and for {wrong[1]:.0f} % with each speaker "
        "standardised."
    )


# Gamma and beta against a speaker's style

MU, SIGMA = 2.0, 0.5  # of the speaker; the population's are 0 and 1


def gaussian(mu_0: float = 0.0, b: float = 1.0, w: float = 1.0) -> Population:
    """A population of one Gaussian feature, whose speakers all vary as much."""
    return Population(*(np.array([value]) for value in (mu_0, b, w, np.log(w), 0.0, 1.0)))


def started() -> tuple[float, float]:
    """gamma and beta with which FiLM starts for this speaker."""
    film = FiLM(1, 1, start="statistics")
    film.start_from(gaussian())
    style = torch.tensor([[[MU], [SIGMA]]])
    gamma, beta = film.scale_shift(torch.zeros(1, 1), style)
    return gamma.item(), beta.item()


def calibrated(
    x: Float[np.ndarray, "point"], gamma: float, beta: float
) -> Float[np.ndarray, "point"]:
    """What a FiLM layer with this gamma and beta makes of one feature."""
    film = FiLM(1, 1, start="zero")
    with torch.no_grad():
        film.project.bias.copy_(torch.tensor([gamma - 1, beta]))
        column = torch.tensor(x, dtype=torch.float32)[:, None]
        return film(column, torch.zeros(len(x), 1))[:, 0].double().numpy()


def calibration(gamma: float, beta: float) -> tuple[Figure, str]:
    """The distribution of one feature over the population, and of one speaker calibrated."""
    u = np.linspace(-4, 4, 161)  # standard normal
    density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    mean, above = calibrated(np.array([MU, MU + SIGMA]), gamma, beta)
    sd = above - mean
    figure, (axis,) = axes(1)
    axis.fill_between(u, density, color=QUIET, label="population")
    moved, label = calibrated(MU + SIGMA * u, gamma, beta), r"calibrated, $\gamma x + \beta$"
    axis.plot(moved, density / sd, color=OURS, label=label)
    axis.plot(MU + SIGMA * u, density / SIGMA, "--", color=PLAIN, label="the speaker, $x$")
    axis.set(xlim=(-6, 6), ylim=(0, 1), xlabel="feature", ylabel="density")
    axis.legend(loc="upper left")
    divergence = -np.log(sd) + (sd**2 + mean**2) / 2 - 0.5  # of two normal distributions
    text = (
        f"γ = {gamma:.1f}, β = {beta:.1f}: the calibrated mean is {mean:.1f} and the standard "
        f"deviation {sd:.2f}. The divergence from the population is {divergence:.2f}."
    )
    found = np.allclose(started(), (gamma, beta), atol=0.01)
    return figure, f"{text} Found: FiLM starts here." if found else text


# Shrinkage against the number of enrolment utterances

MOST = 50  # utterances


def shrinkage_errors(n: Int[np.ndarray, "amount"], ratio: float) -> dict[str, np.ndarray]:
    """k, and expected squared errors of three estimates of a speaker's mean from n utterances.

    The unit is the variance between speakers, b; `ratio` is w / b, the variance within a speaker.
    The plain mean of no utterances has no error: it is NaN.
    """
    ones = np.ones((len(n), 1))
    k = gaussian(w=ratio).estimate(n, ones, ones)[0][:, 0]  # of a mean 1 where mu_0 is 0
    plain = ratio / np.where(n > 0, n, np.nan)
    shrunk = np.where(n > 0, k**2 * plain, 0) + (1 - k) ** 2
    return {"k": k, "plain mean": plain, "population's mean": np.ones(len(n)), "shrunk": shrunk}


def shrinkage(n: int, ratio: float) -> tuple[Figure, str]:
    """The expected errors of three estimates against the number of utterances."""
    amounts = np.arange(MOST + 1)
    errors = shrinkage_errors(amounts, ratio)
    k = errors.pop("k")
    looks = ({"color": PLAIN, "linestyle": "--"}, {"color": "0.5"}, {"color": OURS})
    figure, (axis,) = axes(1)
    for (label, error), look in zip(errors.items(), looks, strict=True):
        axis.plot(amounts, error, **look, label=label)
        axis.plot(n, error[n], "o", color=look["color"])
    axis.axvline(n, color=QUIET, zorder=0)
    axis.set(xlim=(-1, MOST), ylim=(0, 2), xlabel="utterances", ylabel="expected squared error / b")
    axis.legend(loc="upper right")
    plain, _, shrunk = (error[n] for error in errors.values())
    return figure, (
        f"n = {n}, w = {ratio:g} b: k = {k[n]:.2f}. Expected squared errors: plain mean "
        f"{f'{plain:.2f} b' if n else 'not defined'}, population's mean 1.00 b, shrunk "
        f"{shrunk:.2f} b."
    )


# Lambda

ANGLES = range(91)  # degrees between z and the direction of the emotion
SURE = 2.0  # logit per unit of z


@cache
def crossed(each: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Utterances that show the emotion in their first feature and the speaker in the second.

    They lie around -1 or 1 like a sample of standard deviation 0.5, but in a spiral, which is the
    same in any programming language: the site draws the same picture.
    """
    speaker, emotion = np.divmod(np.repeat(np.arange(4), each), 2)
    place = np.tile(np.arange(each), 4)
    radius = 0.5 * np.sqrt(-2 * np.log1p(-(place + 0.5) / each))
    turn = place * np.pi * (3 - np.sqrt(5)) + (2 * speaker + emotion) * np.pi / 2
    away = radius * np.array([np.cos(turn), np.sin(turn)])
    return (np.array([emotion, speaker]) * 2 - 1 + away).T, speaker, emotion


def read_from(angle: int) -> Float[np.ndarray, "utterance"]:
    """z of the utterances: one number each, the features in a direction at this angle."""
    return crossed()[0] @ [np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]


@cache
def both_losses() -> Float[np.ndarray, "2 angle"]:
    """L_ERC, a cross-entropy, and L_spk with z in the direction of each of ANGLES."""
    _, speaker, emotion = crossed()
    rows = []
    for angle in ANGLES:
        z = torch.tensor(SURE * read_from(angle))
        nobody = torch.full_like(z, -torch.inf)  # the entry of unknown speakers
        erc = cross_entropy(torch.stack([-z, z], 1), torch.tensor(emotion))
        spk = speaker_loss(torch.stack([nobody, -z, z], 1), torch.tensor(speaker) + 1)
        rows.append((erc.item(), spk.item()))
    return np.array(rows).T


def trade_off(lam: float) -> tuple[Figure, str]:
    """The direction of a one-dimensional z that minimises Eq. 4."""
    x, speaker, emotion = crossed()
    erc, spk = both_losses()
    total = erc + lam * spk
    angle = int(total.argmin())
    z = read_from(angle)
    right = [100 * np.mean((z > 0) == truth) for truth in (emotion, speaker)]
    figure, (plane, curves) = axes(2)
    scatter(plane, x, speaker, emotion)
    along = 2.2 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    look = {"arrowstyle": "->", "color": OURS, "linewidth": 2}
    plane.annotate("", along, -along, arrowprops=look)
    plane.annotate("z", 1.1 * along, color=OURS, weight="bold", ha="center", va="center")
    plane.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), xlabel="emotion", ylabel="speaker")
    plane.set_aspect("equal")
    figure.legend(*plane.get_legend_handles_labels(), loc="outside right center")
    curves.plot(ANGLES, erc, "--", color=PLAIN, label=r"$L_{ERC}$")
    curves.plot(ANGLES, lam * spk, color="0.6", label=r"$\lambda\,L_{spk}$")
    curves.plot(ANGLES, total, color=OURS, label="sum")
    curves.plot(angle, total.min(), "o", color=OURS)
    curves.set(ylim=(0, 4), xticks=[0, 30, 60, 90], xlabel="angle of z (degrees)", ylabel="loss")
    curves.legend(loc="upper right")
    return figure, (
        f"λ = {lam:.1f}: the loss is smallest at {angle}°. There z shows the emotion of "
        f"{right[0]:.0f} % of the utterances and the speaker of {right[1]:.0f} % (by chance 50 %)."
    )
