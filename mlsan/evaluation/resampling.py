"""How intervals are made: one method for every table and figure.

A system's score is the mean of its runs' scores on the test set. With other seeds or other test
dialogues it would have been another number. So each of 20,000 resamples draws seeds and test
dialogues with replacement, crossed: all seeds share the drawn dialogues, as they share the test
set. The interval runs from the 2.5 % to the 97.5 % percentile of the resampled scores. Differences
are paired: both systems are resampled with the same seeds and the same dialogues.

Of n seeds n - 1 are drawn, since n of a few would understate their variance by (n - 1) / n (Rao
and Wu, 1988). Crossed intervals are too wide rather than too narrow where runs differ utterance by
utterance more than as a whole (Owen, 2007).

The draws depend only on the number of seeds and of dialogues. The same comparison therefore has the
same interval in every table, whatever else is computed before it.

All of this works on counts `[seed, dialogue, true, predicted]`: a resample is a weighted sum.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Num

from mlsan.evaluation.counts import Counts, Score, Tally
from mlsan.scores import weighted_f1

RESAMPLES = 20_000
LEVEL = 0.95
CHUNK = 1000  # resamples at a time: their counts take a few tens of megabytes
SEED = 0
Value = float | Float[np.ndarray, "*value"]


class Estimate(NamedTuple):
    """A value with its 95 % interval over `seeds` runs; NaN where there is nothing to average.

    For a score of several numbers, such as one per class, the first three are arrays.
    """

    value: Value
    low: Value
    high: Value
    seeds: int

    def columns(self, name: str) -> dict[str, Value]:
        """The columns `name`, `name`_low and `name`_high of a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


class Draws(NamedTuple):
    """How often each resample contains each seed and each dialogue."""

    seed: Int[np.ndarray, "resample seed"]
    dialogue: Int[np.ndarray, "resample dialogue"]


@lru_cache(maxsize=8)
def draws(seeds: int, dialogues: int, resamples: int = RESAMPLES) -> Draws:
    """The resamples of a test set of that size: the same at every call."""

    def times(size: int, drawn: int, stream: int) -> np.ndarray:
        generator = np.random.default_rng([SEED, stream])
        found = generator.multinomial(drawn, np.full(size, 1 / size), size=resamples)
        return found.astype(np.int16)

    return Draws(times(seeds, max(seeds - 1, 1), 0), times(dialogues, dialogues, 1))


def resampled_means(
    tally: Tally, score: Score = weighted_f1, resamples: int = RESAMPLES
) -> Float[np.ndarray, "resample *value"]:
    """The mean score over seeds in each resample of seeds and dialogues."""
    drawn = draws(*tally.shape[:2], resamples)
    found = []
    for start in range(0, resamples, CHUNK):
        chunk = slice(start, start + CHUNK)
        found.append(
            _mean_over(drawn.seed[chunk], score(weighted_sums(drawn.dialogue[chunk], tally)))
        )
    return np.concatenate(found)


def percentiles(
    resampled: Float[np.ndarray, "resample *value"],
) -> Float[np.ndarray, "end *value"]:
    """Both ends of the 95 % interval; resamples without a score (NaN) are left out."""
    flat = pd.DataFrame(resampled.reshape(len(resampled), -1))
    ends = flat.quantile([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).to_numpy()
    return ends.reshape(2, *resampled.shape[1:])


def mean_score(counts: Counts, score: Score = weighted_f1) -> Estimate:
    """A system's mean score over seeds with its interval; NaN without runs or utterances."""
    if not counts.table.any():
        nothing = np.full(np.shape(score(np.zeros(counts.table.shape[2:]))), np.nan)[()]
        return Estimate(nothing, nothing, nothing, len(counts.seeds))
    value = counts.scores(score).mean(axis=0)
    return Estimate(value, *percentiles(resampled_means(counts.table, score)), len(counts.seeds))


def mean_over_seeds(values: Num[np.ndarray, "seed"]) -> Estimate:
    """The mean of one value per run with its interval, where only the seeds vary.

    The test dialogues are not resampled: use it for what belongs to this very test set. NaN are
    left out. With two or three seeds the interval is their range.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(*np.full(3, np.nan), seeds=0)
    resampled = _mean_over(draws(len(values), 1).seed, values[None])
    return Estimate(values.mean(), *percentiles(resampled), len(values))


def _mean_over(
    times: Int[np.ndarray, "resample seed"], values: Float[np.ndarray, "_ seed *value"]
) -> Float[np.ndarray, "resample *value"]:
    """Means over seeds that count as often as they were drawn."""
    weights = times / times.sum(axis=1, keepdims=True)
    shape = (len(times), *values.shape[1:])
    return np.einsum("rs,rs...->r...", weights, np.broadcast_to(values, shape))


def weighted_sums(
    weights: Num[np.ndarray, "resample dialogue"], tally: Num[np.ndarray, "seed dialogue *cell"]
) -> Float[np.ndarray, "resample seed *cell"]:
    """Weighted sums of a tally over its dialogues."""
    by_dialogue = np.moveaxis(tally, 1, 0)
    flat = by_dialogue.reshape(len(by_dialogue), -1).astype(float)
    summed = (flat.T @ weights.T.astype(float)).reshape(*by_dialogue.shape[1:], len(weights))
    # Resamples lie next to each other in memory: a score's sums over classes are fast this way.
    return np.moveaxis(summed, -1, 0)
