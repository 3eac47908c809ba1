"""The second half of the story: emotions show in latent channels, styled by who speaks.

For speaker s, modality m and latent channels z (emotion's prototype plus unit noise), voice and
face show gain_sm * z + shift_sm; text shows z. Features are a sparse mix of the channels shown,
plus noise. Style is drawn once and multiplied by the heterogeneity dial.
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
    """What text, voice and face show of each utterance."""
    return {
        modality: express_in(settings, modality, people, speaker, label) for modality in MODALITIES
    }


def express_in(
    settings: Simulation,
    modality: Modality,
    people: Sequence[Person],
    speaker: Int[np.ndarray, "utterance"],
    label: Int[np.ndarray, "utterance"],
) -> Expression:
    """One modality."""
    draw = settings.generator(f"{modality} latents")
    prototype = prototypes(draw, settings, modality)
    latent = prototype[label] + draw.standard_normal((len(label), settings.channels))
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
    """Each emotion's place in the channels: at right angles, so all are equally far apart.

    So there must be at least as many channels as emotions.
    """
    axes, _ = np.linalg.qr(draw.standard_normal((settings.channels, settings.channels)))
    contrast = settings.contrast if modality in STYLED else settings.text_contrast
    return contrast * np.sqrt(settings.channels) * axes[: len(settings.prior)]


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
    # Drawn alike for both modalities: what shows more in the voice shows less in the face.
    tilt = settings.balance * traits(settings.generator("balance"), settings, people, 1)
    log_gain = log_gain + (tilt if modality == "audio" else -tilt)
    return np.exp(settings.heterogeneity * log_gain), settings.heterogeneity * shift


def traits(
    draw: np.random.Generator, settings: Simulation, people: Sequence[Person], channels: int
) -> Float[np.ndarray, "speaker channel"]:
    """Unit-variance traits of which one part is shared by gender and one is individual."""
    by_gender = dict(zip("MF", draw.standard_normal((2, channels)), strict=True))
    shared = np.stack([by_gender[person.gender] for person in people])
    own = draw.standard_normal((len(people), channels))
    return np.sqrt(settings.gender_share) * shared + np.sqrt(1 - settings.gender_share) * own


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
