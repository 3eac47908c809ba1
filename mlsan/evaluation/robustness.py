"""What a trained model loses when test differs from training: absent modalities, noisy features,
speakers never heard before."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from torch import nn

from mlsan.corpus import Corpus, Dialogue
from mlsan.evaluation.counts import Counts
from mlsan.evaluation.metrics import scores
from mlsan.evaluation.resampling import RESAMPLES
from mlsan.evaluation.significance import mean_and_sd, paired, paired_difference
from mlsan.evaluation.stages import stages
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Benchmark, Modality

NOISE = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Condition:
    """What is done to the test features: a modality absent, or noise on all; clean if neither."""

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

    That is what modality dropout in training shows a model. Which dialogues is drawn by
    `generator`. Raises ValueError for a modality that the corpus lacks, or its only one.
    """
    if modality not in corpus.sizes:
        raise ValueError(f"{corpus.name} has no {modality}; it has {', '.join(corpus.sizes)}")
    if len(corpus.sizes) == 1:
        raise ValueError(f"{corpus.name} has nothing but {modality}: without it nothing is left")
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

    Drawn once and given to every model, so that all meet the same noise. A corpus of one modality
    has no absent ones.
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
    """What a trained model predicts in each condition, one row a test utterance.

    Columns: condition, absent ("" for none), noise, dialogue, turn, label, predicted.
    """
    tables = []
    for condition, corpus in degraded.items():
        seen = stages(run, corpus, model, corpus.test)
        tables.append(
            pd.DataFrame(
                {
                    "condition": condition.name,
                    "absent": condition.absent or "",
                    "noise": condition.noise,
                    "dialogue": [d.id for d in corpus.test for _ in d.label],
                    "turn": [turn for d in corpus.test for turn in range(len(d))],
                    "label": seen.label,
                    "predicted": seen.logits.argmax(axis=1),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def robustness(
    run: RunSettings, model: nn.Module, degraded: Mapping[Condition, Corpus]
) -> pd.DataFrame:
    """One row a condition: condition, absent, noise, and test wf1, macro_f1, accuracy (percent)."""
    predicted = degraded_predictions(run, model, degraded)
    rows = [
        dict(zip(("condition", "absent", "noise"), key, strict=True))
        | scores(part["label"].to_numpy(), part["predicted"].to_numpy())
        for key, part in predicted.groupby(["condition", "absent", "noise"], sort=False)
    ]
    return pd.DataFrame(rows)


def acquaintance(
    parts: Mapping[str, Mapping[Benchmark, Mapping[str, Counts]]],
    reference: str,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Ways to tell a model who speaks, on parts of the test set such as seen and unseen speakers.

    `parts[part][benchmark][way]` are `gathered` counts, all of the same dialogues. Returns one row
    a benchmark, way and part: benchmark, system (the way), part, utterances, seeds, asked,
    wf1_mean, wf1_sd (percent, over seeds), and delta with low and high: the difference to the way
    `reference` with its 95 % interval by the hierarchical paired bootstrap. What has no utterances
    or no finished run is NaN, and so are differences where `reference` is missing, and its own.
    """
    rows = []
    for benchmark, part in product(next(iter(parts.values())), parts):
        ways = parts[part][benchmark]
        for way, counts in ways.items():
            row = {"benchmark": benchmark, "system": way, "part": part}
            row |= {"utterances": int(counts.support.sum()), "seeds": len(counts.seeds)}
            row |= {"asked": counts.asked} | mean_and_sd(counts)
            base = ways.get(reference) if way != reference else None
            rows.append(row | _difference(counts, base, generator, resamples))
    return pd.DataFrame(rows)


def _difference(
    counts: Counts, base: Counts | None, generator: np.random.Generator, resamples: int
) -> dict[str, float]:
    one, other = paired(counts, base) if base is not None else (counts.table[:0],) * 2
    if not one.any():
        return dict.fromkeys(("delta", "low", "high"), np.nan)
    return paired_difference(one, other, generator, resamples=resamples)


def _changed(corpus: Corpus, change: Callable[[Dialogue], dict[Modality, np.ndarray]]) -> Corpus:
    """The corpus with some features of each test dialogue replaced."""
    test = tuple(dataclasses.replace(d, feature=d.feature | change(d)) for d in corpus.test)
    return dataclasses.replace(corpus, test=test)
