"""The one-line normalisation that speaker adaptation has to be compared with."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Shaped

from mlsan.corpus.types import Corpus, Dialogue
from mlsan.vocabulary import Modality

STANDARDISED: tuple[Modality, ...] = ("audio", "visual")


def speaker_names(corpus: Corpus, dialogue: Dialogue) -> tuple[str, ...]:
    """The speaker of each utterance: names where the corpus has them, else roles."""
    roles = corpus.declaration.roles
    return dialogue.speaker or tuple(roles[party] for party in dialogue.party)


def standardise_by_speaker(
    features: Float[np.ndarray, "utterance feature"], speaker: Shaped[np.ndarray, "utterance"]
) -> Float[np.ndarray, "utterance feature"]:
    """Each speaker's features to mean 0 and standard deviation 1.

    A feature that a speaker never changes, and a speaker's only utterance, become 0.
    """
    x = features.astype(float)
    for name in np.unique(speaker):
        rows = speaker == name
        away = x[rows] - x[rows].mean(axis=0)
        sd = away.std(axis=0, ddof=1) if rows.sum() > 1 else np.zeros(x.shape[1])
        x[rows] = away / np.where(sd > 1e-6, sd, 1)
    return x.astype(np.float32)


def standardised(corpus: Corpus, modalities: Sequence[Modality] = STANDARDISED) -> Corpus:
    """The corpus with each speaker's features at mean 0 and standard deviation 1.

    Statistics are taken over all utterances of a speaker, those of dev and test included: no
    labels, but every speaker is fully known. Without names, roles are the speakers.
    """
    dialogues = corpus.train + corpus.dev + corpus.test
    speaker = np.array([name for d in dialogues for name in speaker_names(corpus, d)])
    ends = np.cumsum([len(d) for d in dialogues])[:-1]
    changed = {}
    for modality in (m for m in modalities if m in corpus.sizes):
        x = np.concatenate([d.feature[modality] for d in dialogues])
        changed[modality] = np.split(standardise_by_speaker(x, speaker), ends)
    new = [
        replace(d, feature=d.feature | {modality: rows[i] for modality, rows in changed.items()})
        for i, d in enumerate(dialogues)
    ]
    train, dev = len(corpus.train), len(corpus.train) + len(corpus.dev)
    return replace(
        corpus, train=tuple(new[:train]), dev=tuple(new[train:dev]), test=tuple(new[dev:])
    )
