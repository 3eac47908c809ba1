"""Speakers' true expressiveness, and what models make of it. Only a simulation knows it.

A simulated speaker shows gain * z + shift in voice and face. The gain says how strongly: speakers
below the middle are introverts, those above it extroverts, and some show more in the voice than in
the face.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import stats
from torch import nn

from mlsan.corpus import Corpus
from mlsan.corpus.simulate import Truth
from mlsan.corpus.simulate.expression import STYLED
from mlsan.evaluation.claims import NOTHING
from mlsan.evaluation.counts import Counts, Score, dialogue_counts
from mlsan.evaluation.resampling import Estimate, draws, percentiles, resampled_means
from mlsan.training.loop import divided, enrolment_of
from mlsan.training.settings import RunSettings


def true_gains(truth: Truth) -> pd.DataFrame:
    """Each speaker's mean log-gain in voice and face, indexed by name.

    A channel counts as much as it shows of the emotions: by the mean square of their prototypes.
    Columns: audio, visual, `strength` (their mean) and `balance` (audio minus visual).
    """
    columns = {}
    for modality in STYLED:
        shown = truth.expression[modality]
        weights = np.square(shown.prototype).mean(axis=0)
        columns[modality] = np.average(np.log(shown.gain), axis=1, weights=weights)
    table = pd.DataFrame(columns, index=pd.Index(truth.name, name="speaker"))
    table["strength"] = table[list(STYLED)].mean(axis=1)
    table["balance"] = table["audio"] - table["visual"]
    return table


def introverts(strength: pd.Series, speaker: Sequence[str]) -> set[str]:
    """The less expressive speakers: those with about half of the utterances between them.

    `strength` is by speaker, `speaker` names that of each utterance. The speaker in the middle is
    an introvert if more than half of their utterances lie below it.
    """
    spoken = pd.Series(list(speaker)).value_counts()
    order = strength.loc[list(spoken.index)].sort_values().index
    middle = (spoken[order].cumsum() - spoken[order] / 2) / spoken.sum()
    return set(order[(middle < 0.5).to_numpy()])


def counts_of(
    predictions: Mapping[int, pd.DataFrame], classes: int, speakers: Collection[str]
) -> Counts:
    """The counts of test utterances of some speakers; all dialogues stay, to be resampled alike."""
    marked = {
        seed: frame.assign(seen=frame["speaker"].isin(list(speakers)))
        for seed, frame in predictions.items()
    }
    return dialogue_counts(marked, classes, seen=True)


def called_neutral(counts: np.ndarray, neutral: int) -> np.ndarray:
    """Percent of the emotional utterances that are predicted to be neutral."""
    emotional = np.delete(counts, neutral, axis=-2)
    with np.errstate(invalid="ignore"):
        return 100 * emotional[..., neutral].sum(-1) / emotional.sum((-2, -1))


def called_emotional(counts: np.ndarray, neutral: int) -> np.ndarray:
    """Percent of the neutral utterances that are predicted to be emotional."""
    row = counts[..., neutral, :]
    with np.errstate(invalid="ignore"):
        return 100 * (1 - row[..., neutral] / row.sum(-1))


def signed_sum(parts: Sequence[Counts], signs: Sequence[float], score: Score) -> Estimate:
    """The sum of the parts' mean scores times their signs, over common seeds, with its interval.

    The parts may be different utterances, but of the same dialogues: all are resampled with the
    same seeds and dialogues. NaN without common seeds. Raises ValueError for other dialogues.
    """
    if len({part.dialogues for part in parts}) > 1:
        raise ValueError("the parts come from different dialogues")
    common = sorted(set.intersection(*(set(part.seeds) for part in parts)))
    if not common:
        return NOTHING
    tables = [part.table[[part.seeds.index(seed) for seed in common]] for part in parts]
    means = [score(table.sum(axis=1)).mean() for table in tables]
    resampled = np.stack([resampled_means(table, score) for table in tables])
    ends = percentiles(np.tensordot(np.asarray(signs), resampled, 1))
    return Estimate(float(np.dot(signs, means)), *map(float, ends), len(common))


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
    """Pearson's r over speakers, mean over seeds; its interval is over seeds and speakers.

    NaN for fewer than three speakers, or where either does not vary.
    """
    seeds, speakers = learned.shape
    if speakers < 3 or not seeds or np.ptp(true) == 0 or (np.ptp(learned, axis=1) == 0).any():
        return NOTHING._replace(seeds=seeds)
    drawn = draws(seeds, speakers)  # speakers are drawn as dialogues are elsewhere
    value = float(_correlations(np.ones((1, speakers)), learned, true).mean())
    by_seed = _correlations(drawn.dialogue.astype(float), learned, true)
    weights = drawn.seed / drawn.seed.sum(axis=1, keepdims=True)
    return Estimate(value, *map(float, percentiles((weights * by_seed).sum(axis=1))), seeds)


def _correlations(
    weights: Float[np.ndarray, "resample speaker"],
    learned: Float[np.ndarray, "seed speaker"],
    true: Float[np.ndarray, "speaker"],
) -> Float[np.ndarray, "resample seed"]:
    """Weighted correlations of each seed's values with the true ones.

    NaN where the drawn speakers do not differ.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    x = stats.zscore(learned, axis=1)
    y = stats.zscore(true)
    mean_x, mean_y = weights @ x.T, (weights @ y)[:, None]
    both = weights @ (x * y).T - mean_x * mean_y
    spread = (weights @ (x**2).T - mean_x**2) * ((weights @ y**2)[:, None] - mean_y**2)
    return both / np.sqrt(np.where(spread > 1e-9, spread, np.nan))
