"""Speakers' true expressiveness, and what models make of it. Only a simulation knows it.

A simulated speaker shows gain * z + shift in voice and face. The gain says how strongly: introverts
have low ones and extroverts high ones, and some show more in the voice than in the face.
Intervals are over seeds and speakers: other people are drawn, with all of their utterances.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Num
from scipy import stats
from torch import nn

from mlsan.corpus import Corpus
from mlsan.corpus.simulate import Truth
from mlsan.corpus.simulate.expression import STYLED
from mlsan.evaluation.claims import NOTHING
from mlsan.evaluation.resampling import Estimate, draws, percentiles
from mlsan.training.loop import divided, enrolment_of
from mlsan.training.settings import RunSettings


def true_gains(truth: Truth) -> pd.DataFrame:
    """Each speaker's mean gain in voice and face in doublings (log2), indexed by name.

    A channel counts as much as it shows of the emotions: by the mean square of their prototypes.
    Columns: audio, visual, `strength` (their mean) and `balance` (audio minus visual).
    """
    columns = {}
    for modality in STYLED:
        shown = truth.expression[modality]
        weights = np.square(shown.prototype).mean(axis=0)
        columns[modality] = np.average(np.log2(shown.gain), axis=1, weights=weights)
    table = pd.DataFrame(columns, index=pd.Index(truth.name, name="speaker"))
    table["strength"] = table[list(STYLED)].mean(axis=1)
    table["balance"] = table["audio"] - table["visual"]
    return table


def confusions(
    predictions: Mapping[int, pd.DataFrame], neutral: int, emotional: bool
) -> tuple[pd.DataFrame, pd.Series]:
    """How often each test speaker's utterances are confused with neutral, and of how many.

    `predictions` are tables of a system's runs by seed. With `emotional` it is the percent of a
    speaker's emotional utterances that are predicted to be neutral; without, the percent of neutral
    ones that are predicted to be emotional. The first table has one row per speaker who has any
    such utterance and one column per seed, the second their number of such utterances.
    """
    rates, utterances = {}, pd.Series(dtype=int)
    for seed, frame in predictions.items():
        test = frame[(frame["split"] == "test") & (frame["speaker"] != "")]
        asked = test[(test["label"] != neutral) == emotional]
        confused = (asked["predicted"] == neutral) == emotional
        by_speaker = confused.groupby(asked["speaker"])
        rates[seed], utterances = 100 * by_speaker.mean(), by_speaker.size()
    return pd.DataFrame(rates), utterances


@torch.no_grad()
def mean_gates(run: RunSettings, corpus: Corpus, model: nn.Module) -> pd.DataFrame:
    """Eq. 3's gate, mean over channels: one row per training speaker, a column per modality.

    Raises ValueError for a model without a gate.
    """
    names = enrolment_of(run, divided(run, corpus)).code.names
    known = torch.arange(1, len(names))
    columns = {m: model.gate_weights(known, m).mean(dim=1).numpy() for m in model.modalities}
    return pd.DataFrame(columns, index=pd.Index(names[1:], name="speaker"))


def mean_correlation(
    learned: Float[np.ndarray, "seed speaker"], true: Float[np.ndarray, "speaker"]
) -> Estimate:
    """Pearson's r over speakers, mean over seeds, with its interval.

    NaN for fewer than three speakers, or where either does not vary.
    """
    if (np.ptp(learned, axis=1) == 0).any():
        return NOTHING._replace(seeds=len(learned))
    y = stats.zscore(learned, axis=1)

    def correlation(weights: np.ndarray) -> np.ndarray:
        xx, xy, yy = _moments(weights, stats.zscore(true), y)
        product = xx[:, None] * yy
        return np.clip(xy / np.sqrt(np.where(product > 1e-9, product, np.nan)), -1, 1)

    return _over_speakers(correlation, y, true)


def mean_slope(
    values: Float[np.ndarray, "seed speaker"],
    true: Float[np.ndarray, "speaker"],
    utterances: Num[np.ndarray, "speaker"],
) -> Estimate:
    """By how much values change per unit of `true`: weighted least squares, mean over seeds.

    Speakers count as often as they have utterances. NaN for fewer than three speakers, or where
    `true` does not vary. Slopes are linear in the values: that of a difference is their difference.
    """

    def slope(weights: np.ndarray) -> np.ndarray:
        xx, xy, _ = _moments(weights * utterances, true - true.mean(), values)
        return xy / np.where(xx > 1e-9, xx, np.nan)[:, None]

    return _over_speakers(slope, values, true)


def _over_speakers(
    statistic: Callable[[np.ndarray], np.ndarray],
    values: Float[np.ndarray, "seed speaker"],
    true: Float[np.ndarray, "speaker"],
) -> Estimate:
    """A statistic of weighted speakers, one per seed, over resamples of seeds and speakers.

    `statistic` takes [resample, speaker] weights and returns [resample, seed].
    """
    seeds, speakers = values.shape
    if speakers < 3 or not seeds or np.ptp(true) == 0:
        return NOTHING._replace(seeds=seeds)
    value = float(statistic(np.ones((1, speakers))).mean())
    drawn = draws(seeds, speakers)  # speakers are drawn as dialogues are elsewhere
    seed_weights = drawn.seed / drawn.seed.sum(axis=1, keepdims=True)
    resampled = (seed_weights * statistic(drawn.dialogue.astype(float))).sum(axis=1)
    return Estimate(value, *map(float, percentiles(resampled)), seeds)


def _moments(
    weights: Float[np.ndarray, "resample speaker"],
    x: Float[np.ndarray, "speaker"],
    y: Float[np.ndarray, "seed speaker"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted variance of x [resample], covariance and variance of y [resample, seed]."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ x, weights @ y.T
    return (
        weights @ x**2 - mean_x**2,
        weights @ (x * y).T - mean_x[:, None] * mean_y,
        weights @ (y**2).T - mean_y**2,
    )
