"""Resampled scores: the hierarchical bootstrap over seeds × dialogues, and dialogue-wise swaps.

All of it works on counts `[seed, dialogue, true, predicted]`, so that a resample is a weighted sum.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from mlsan.evaluation.counts import Counts, Score
from mlsan.scores import weighted_f1

RESAMPLES = 2000
PERMUTATIONS = 9999
Table = Int[np.ndarray, "seed dialogue class class"]


class Draws(NamedTuple):
    """How often each resample holds each seed and each dialogue.

    Scores of several systems under the same draws are joint: differences and contrasts of them
    are paired.
    """

    seed: Int[np.ndarray, "resample seed"]
    dialogue: Int[np.ndarray, "resample dialogue"]


def draw(
    seeds: int, dialogues: int, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Draws:
    """Hierarchical bootstrap: seeds and dialogues drawn with replacement, crossed.

    All seeds share the resampled dialogues, as they share the test set. Of n seeds n - 1 are
    drawn, since n of few would understate their variance by (n - 1) / n (Rao and Wu, 1988). Where
    runs differ utterance by utterance more than as a whole, crossed intervals are too wide rather
    than too narrow (Owen, 2007).
    """

    def times(size: int, drawn: int) -> np.ndarray:
        return generator.multinomial(drawn, np.full(size, 1 / size), size=resamples)

    return Draws(times(seeds, max(seeds - 1, 1)), times(dialogues, dialogues))


def bootstrap(
    table: Table, draws: Draws, score: Score = weighted_f1
) -> Float[np.ndarray, "resample *value"]:
    """The mean over seeds of `score`, once a resample."""
    values = score(_summed(draws.dialogue, table))
    weights = draws.seed / draws.seed.sum(axis=1, keepdims=True)
    return np.einsum("rs,rs...->r...", weights, values)


def percentiles(
    values: Float[np.ndarray, "resample *value"], level: float = 0.95
) -> tuple[Float[np.ndarray, "*value"], Float[np.ndarray, "*value"]]:
    """The interval of the middle `level` of the resamples; resamples of NaN are left out."""
    flat = pd.DataFrame(values.reshape(len(values), -1))
    low, high = flat.quantile([(1 - level) / 2, (1 + level) / 2]).to_numpy()
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def mean_interval(
    counts: Counts,
    generator: np.random.Generator,
    score: Score = weighted_f1,
    resamples: int = RESAMPLES,
) -> tuple[float, float, float]:
    """A system's mean score over seeds and its 95 % interval; NaN without runs."""
    if not counts.seeds:
        return np.nan, np.nan, np.nan
    draws = draw(len(counts.seeds), len(counts.dialogues), generator, resamples)
    low, high = percentiles(bootstrap(counts.table, draws, score))
    return float(counts.scores(score).mean()), float(low), float(high)


def permutation_p(
    first: Table,
    second: Table,
    generator: np.random.Generator,
    score: Score = weighted_f1,
    permutations: int = PERMUTATIONS,
) -> float:
    """Sign-flip test: swap the two systems' predictions dialogue by dialogue, all seeds together.

    Two-sided p of the difference of mean scores, (1 + as extreme) / (1 + permutations); exact
    where there are no more sign patterns than `permutations`. The flips are over dialogues, since
    over five seeds there are 32 patterns and no two-sided p can fall below 2/32 = .0625. So it
    speaks of these trained runs on other dialogues; of other seeds speak the t-test and the
    bootstrap. NaN below two dialogues, or where the score itself is NaN.
    """
    if first.shape[1] < 2 or np.isnan(score(first.sum(axis=1))).any():
        return np.nan
    # A flipped dialogue turns the sign of its half difference about the two systems' middle.
    middle, half = (first + second).sum(axis=1) / 2, (first - second) / 2

    def distance(sign: np.ndarray, axis: int) -> np.ndarray:
        swing = _summed(np.moveaxis(np.atleast_2d(sign), axis, -1), half)
        gap = (score(middle + swing) - score(middle - swing)).mean(axis=-1)
        return np.abs(gap).reshape(sign.shape[:-1])

    found = stats.permutation_test(
        (np.ones(first.shape[1]),),
        distance,
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=permutations,
        batch=2500,
        rng=generator,
    )
    return float(found.pvalue)


def _summed(
    weights: np.ndarray, table: np.ndarray
) -> Float[np.ndarray, "resample seed class class"]:
    """Weighted sums of a table over its dialogues: weights [resample, dialogue]."""
    by_dialogue = np.moveaxis(table, 1, 0)
    flat = by_dialogue.reshape(len(by_dialogue), -1).astype(float)
    return (weights.astype(float) @ flat).reshape(len(weights), *by_dialogue.shape[1:])
