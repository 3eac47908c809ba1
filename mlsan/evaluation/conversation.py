"""Utterances one by one: what each system predicts, how sure it is, and where it fails."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from mlsan.corpus import Corpus
from mlsan.evaluation.stages import Stages
from mlsan.vocabulary import Modality

BOTH_RIGHT, BOTH_WRONG = "both right", "both wrong"


def answers(seen: Mapping[str, Stages], corpus: Corpus) -> pd.DataFrame:
    """One row per test utterance: what each system answers, with the probabilities.

    `seen` are the stages of each system over all test dialogues. Columns: dialogue, turn (from 1),
    speaker, emotion (the true one); and by system, named by it: the predicted emotion, its
    probability ("S p"), and the probability of the true emotion ("S p of true").
    """
    first = next(iter(seen.values()))
    emotions = np.array(corpus.declaration.emotions)
    turns = [len(d) for d in corpus.test]
    table = pd.DataFrame(
        {
            "dialogue": np.repeat([d.id for d in corpus.test], turns),
            "turn": np.concatenate([np.arange(1, n + 1) for n in turns]),
            "speaker": first.speaker,
            "emotion": emotions[first.label],
        }
    )
    for system, stages in seen.items():
        p = softmax(stages.logits.astype(float), axis=1)
        table[system] = emotions[p.argmax(axis=1)]
        table[f"{system} p"] = p.max(axis=1)
        table[f"{system} p of true"] = p[np.arange(len(p)), first.label]
    return table


def only(system: str) -> str:
    """The outcome that this system alone is right."""
    return f"only {system} right"


def outcomes(table: pd.DataFrame, systems: tuple[str, str]) -> pd.Series:
    """For each utterance of `answers`: BOTH_RIGHT, BOTH_WRONG, or `only` one of the systems."""
    first, second = (table[system] == table["emotion"] for system in systems)
    found = np.select(
        [first & second, first, second], [BOTH_RIGHT, *map(only, systems)], default=BOTH_WRONG
    )
    return pd.Series(found, index=table.index)


def surest(table: pd.DataFrame, system: str, count: int) -> pd.DataFrame:
    """The rows of `answers` whose answer by `system` is most probable, at most one per dialogue.

    Sorted by that probability, the largest first; of equals the first in the table.
    """
    rows = table.sort_values(f"{system} p", ascending=False, kind="stable")
    return rows.drop_duplicates("dialogue").head(count)


def telling_feature(
    seen: Stages, speakers: Sequence[str], modality: Modality
) -> tuple[int, pd.DataFrame]:
    """The feature that tells these speakers apart best, for all their utterances.

    That is the one with the largest share of variance between the speakers in the raw features.
    Returns its number and a frame with the utterance's place among all of `seen` as index, and the
    columns raw and calibrated: the distance from the speakers' raw mean, in standard deviations of
    the raw feature.
    """
    rows = np.flatnonzero(np.isin(seen.speaker, list(speakers)))
    raw = seen.at["raw"][modality][rows].astype(float)
    means = pd.DataFrame(raw).groupby(seen.speaker[rows]).transform("mean").to_numpy()
    sd = raw.std(axis=0)
    share = np.divide(means.std(axis=0), sd, out=np.zeros(len(sd)), where=sd > 0)
    number = int(share.argmax())
    calibrated = seen.at["calibrated"][modality][rows, number].astype(float)
    middle, scale = raw[:, number].mean(), sd[number] or 1.0
    columns = {"raw": raw[:, number], "calibrated": calibrated}
    return number, pd.DataFrame({k: (x - middle) / scale for k, x in columns.items()}, index=rows)
