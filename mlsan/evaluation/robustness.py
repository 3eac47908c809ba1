"""What a trained model loses when test differs from training: absent modalities, noisy features."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from mlsan.corpus import Corpus, Dialogue
from mlsan.evaluation.stages import stages_of
from mlsan.training.runs import utterances
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Modality

NOISE = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Condition:
    """What is done to the test features: one modality absent, or noise on all; else nothing."""

    absent: Modality | None = None
    noise: float = 0.0

    @property
    def name(self) -> str:
        """In words."""
        if self.absent:
            return f"no {self.absent}"
        return f"noise {self.noise:g}" if self.noise else "clean"


def without(
    corpus: Corpus, modality: Modality, generator: np.random.Generator, share: float = 1.0
) -> Corpus:
    """The corpus with one modality of a share of its test dialogues absent: features all zero.

    Modality dropout in training does the same. `generator` draws the dialogues. Raises ValueError
    for a modality that the corpus lacks, and for its only one.
    """
    if modality not in corpus.sizes:
        raise ValueError(f"{corpus.name} has no {modality}; it has {', '.join(corpus.sizes)}")
    if len(corpus.sizes) == 1:
        raise ValueError(f"{corpus.name} has only {modality}: nothing is left without it")
    gone = generator.permutation(len(corpus.test)) < round(share * len(corpus.test))
    chosen = iter(gone)
    return _changed(
        corpus, lambda d: {modality: np.zeros_like(d.feature[modality])} if next(chosen) else {}
    )


def noisy(
    corpus: Corpus,
    level: float,
    generator: np.random.Generator,
    modalities: Sequence[Modality] = (),
) -> Corpus:
    """The corpus with white Gaussian noise on the test features of `modalities` (all, if empty).

    Its standard deviation is `level` times each feature's own over the training utterances.
    """
    chosen = tuple(modalities) or corpus.modalities
    sigma = {
        m: level * np.std(np.concatenate([d.feature[m] for d in corpus.train]), axis=0)
        for m in chosen
    }

    def add(dialogue: Dialogue) -> dict[Modality, np.ndarray]:
        clean = {m: dialogue.feature[m] for m in chosen}
        drawn = {m: generator.standard_normal(x.shape, dtype=np.float32) for m, x in clean.items()}
        return {m: (x + sigma[m] * drawn[m]).astype(x.dtype) for m, x in clean.items()}

    return _changed(corpus, add)


def conditions(corpus: Corpus, generator: np.random.Generator) -> dict[Condition, Corpus]:
    """The corpus clean, with each modality absent in turn, and with noise at each of `NOISE`.

    Draw them once and give them to every model, so that all get the same noise. A corpus with a
    single modality has no condition without it.
    """
    modalities = corpus.modalities if len(corpus.sizes) > 1 else ()
    return {
        Condition(): corpus,
        **{Condition(absent=m): without(corpus, m, generator) for m in modalities},
        **{Condition(noise=level): noisy(corpus, level, generator) for level in NOISE},
    }


def degraded_predictions(
    run: RunSettings, model: nn.Module, degraded: Mapping[Condition, Corpus]
) -> pd.DataFrame:
    """What a trained model predicts in each condition, one row per test utterance.

    The columns are those of a run's predictions, and condition, absent ("" for none) and noise.
    """
    tables = []
    for condition, corpus in degraded.items():
        found = stages_of(run, corpus, model, corpus.test)
        table = utterances(corpus, "test").assign(
            predicted=found.logits.argmax(axis=1),
            condition=condition.name,
            absent=condition.absent or "",
            noise=condition.noise,
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _changed(corpus: Corpus, change: Callable[[Dialogue], dict[Modality, np.ndarray]]) -> Corpus:
    """The corpus with some features of each test dialogue replaced."""
    test = tuple(dataclasses.replace(d, feature=d.feature | change(d)) for d in corpus.test)
    return dataclasses.replace(corpus, test=test)
