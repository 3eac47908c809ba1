"""The second half of the story: emotions show in latent channels, styled by who speaks.

For speaker s, modality m and latent channels z (emotion's prototype, as strongly as the utterance
shows it, plus unit noise), voice and face show gain_sm * z + shift_sm; text shows z. Features are
a sparse mix of the channels shown, plus noise. Style is drawn once and multiplied by the
heterogeneity dial.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus.simulate.conversations import Person
from mlsan.corpus.simulate.settings import Simulation
from mlsan.vocabulary import MODALITIES, Modality

STYLED: tuple[Modality, ...] = ("audio", "visual")


@dataclass(frozen=True)
class Expression:
    """One modality of all utterances, and the truth behind it."""

    prototype: Float[np.ndarray, "class channel"]
    latent: Float[np.ndarray, "utterance channel"]
    gain: Float[np.ndarray, "speaker channel"]
    shift: Float[np.ndarray, "speaker channel"]
    loading: Float[np.ndarray, "channel feature"]
    feature: Float[np.ndarray, "utterance feature"]


def express(
    settings: Simulation,
    people: Sequence[Person],
    speaker: Int[np.ndarray, "utterance"],
    label: Int[np.ndarray, "utterance"],
) -> dict[Modality, Expression]:
    """What text, voice and face show of each utterance.

    All three show its emotion equally strongly. Where they show little of it, only the utterances
    around it tell.
    """
    intensity = settings.generator("intensity").uniform(
        1 - settings.fading, 1 + settings.fading, size=len(label)
    )
    return {
        modality: express_in(settings, modality, people, speaker, label, intensity)
        for modality in MODALITIES
    }


def express_in(
    settings: Simulation,
    modality: Modality,
    people: Sequence[Person],
    speaker: Int[np.ndarray, "utterance"],
    label: Int[np.ndarray, "utterance"],
    intensity: Float[np.ndarray, "utterance"],
) -> Expression:
    """One modality."""
    draw = settings.generator(f"{modality} latents")
    prototype = prototypes(draw, settings, modality)
    latent = intensity[:, None] * prototype[label]
    latent = latent + draw.standard_normal((len(label), settings.channels))
    gain, shift = style(settings, modality, people)
    loading = loadings(settings, modality)
    noise = settings.generator(f"{modality} noise").standard_normal(
        (len(label), settings.sizes[modality]), dtype=np.float32
    )
    shown = gain[speaker] * latent + shift[speaker]
    feature = (shown @ loading).astype(np.float32) + np.float32(
        settings.unit * settings.noise
    ) * noise
    return Expression(prototype, latent, gain, shift, loading, feature)


def prototypes(
    draw: np.random.Generator, settings: Simulation, modality: Modality
) -> Float[np.ndarray, "class channel"]:
    """Each emotion's place in the channels: at right angles, then scaled by `prominence`.

    So there must be at least as many channels as emotions.
    """
    axes, _ = np.linalg.qr(draw.standard_normal((settings.channels, settings.channels)))
    contrast = settings.contrast if modality in STYLED else settings.text_contrast
    axes = np.sqrt(settings.channels) * axes[: len(settings.prior)]
    return contrast * prominence(settings) * axes


def prominence(settings: Simulation) -> Float[np.ndarray, "channel"]:
    """How much each channel shows of the emotion and of the speaker alike; mean square 1.

    The squares are quantiles of an exponential distribution: a few channels show much of both, as
    pitch and loudness do, and many show little. In nEMO too, features that owe more of their
    variance to the speaker owe more to the emotion (correlation .38).
    """
    square = -np.log1p(-(np.arange(settings.channels) + 0.5) / settings.channels)
    return np.sqrt(square / square.mean())


def style(
    settings: Simulation, modality: Modality, people: Sequence[Person]
) -> tuple[Float[np.ndarray, "speaker channel"], Float[np.ndarray, "speaker channel"]]:
    """Everyone's gain and shift: 1 and 0 for text, and for all at heterogeneity 0."""
    shape = (len(people), settings.channels)
    if modality not in STYLED:
        return np.ones(shape), np.zeros(shape)
    draw = settings.generator(f"{modality} style")
    log_gain = settings.log_gain * traits(draw, settings, people, settings.channels)
    shift = settings.shift * traits(draw, settings, people, settings.channels)
    shift = shift * prominence(settings)
    # Drawn alike for both modalities: what shows more in the voice shows less in the face.
    tilt = settings.balance * traits(settings.generator("balance"), settings, people, 1)
    log_gain = log_gain + (tilt if modality == "audio" else -tilt)
    return np.exp(settings.heterogeneity * log_gain), settings.heterogeneity * shift


def traits(
    draw: np.random.Generator, settings: Simulation, people: Sequence[Person], channels: int
) -> Float[np.ndarray, "speaker channel"]:
    """Traits of which one part is shared by gender and one is individual.

    They have mean 0 and variance 1 over the main characters or the actors of the training
    sessions, and over all others. So how much speakers differ depends less on a few draws.
    """
    men = draw.choice([-1.0, 1.0], size=channels)
    shared = np.stack([men if person.gender == "M" else -men for person in people])
    own = draw.standard_normal((len(people), channels))
    trait = np.sqrt(settings.gender_share) * shared + np.sqrt(1 - settings.gender_share) * own
    leading = np.array([person.leading for person in people])
    for group in (leading, ~leading):
        trait[group] = (trait[group] - trait[group].mean(axis=0)) / trait[group].std(axis=0)
    return trait


def loadings(settings: Simulation, modality: Modality) -> Float[np.ndarray, "channel feature"]:
    """A sparse mix: every feature shows one channel, half of them a little of a second one."""
    draw = settings.generator(f"{modality} loadings")
    size = settings.sizes[modality]
    loading = np.zeros((settings.channels, size))
    column = np.arange(size)
    first = draw.permutation(column % settings.channels)
    second = (first + draw.integers(1, settings.channels, size=size)) % settings.channels
    loading[first, column] = draw.choice([-1.0, 1.0], size=size)
    loading[second, column] = 0.5 * draw.choice([-1.0, 1.0, 0.0, 0.0], size=size)
    return settings.unit * loading
