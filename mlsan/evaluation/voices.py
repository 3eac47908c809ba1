"""Real voices (nEMO): folds scored as one test set, actors one by one, calibration in Hz and dB."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mlsan.corpus.standardised import standardise_by_speaker
from mlsan.evaluation.counts import Counts, dialogue_counts
from mlsan.evaluation.probes import STRENGTH, probe
from mlsan.evaluation.stages import Stages

PITCH = "F0semitoneFrom27.5Hz_sma3nz_amean"
LEVEL = "equivalentSoundLevel_dBp"


def pooled(folds: Sequence[Counts]) -> Counts:
    """The counts of several test sets as those of one: runs of equal seeds are one run.

    A seed that some fold lacks is left out. Dialogues are named by fold and id.
    """
    seeds = sorted(set.intersection(*(set(counts.seeds) for counts in folds)))
    tables = [counts.table[[counts.seeds.index(s) for s in seeds]] for counts in folds]
    dialogues = [f"{i} {name}" for i, counts in enumerate(folds, 1) for name in counts.dialogues]
    asked = max(counts.asked for counts in folds)
    return Counts(tuple(seeds), tuple(dialogues), np.concatenate(tables, axis=1), asked)


def pooled_unseen(found: Mapping[str, Mapping[str, Counts]], seen: str) -> dict[str, Counts]:
    """Every system's `gathered` counts, pooled over all benchmarks but `seen`."""
    folds = [systems for benchmark, systems in found.items() if benchmark != seen]
    return {system: pooled([systems[system] for systems in folds]) for system in folds[0]}


def by_actor(
    runs: pd.DataFrame, read: Callable[[str], pd.DataFrame], classes: int
) -> dict[str, Counts]:
    """One system's counts on each actor's test utterances, by the actor's name.

    `runs` has one row per finished run of the system, on any number of folds; `read` returns a
    run's predictions given its key.
    """
    found: dict[str, Counts] = {}
    for _, fold in runs.groupby("benchmark", sort=False):
        predictions = {seed: read(key) for seed, key in fold[["seed", "run"]].to_numpy()}
        first = next(iter(predictions.values()))
        for actor in first.loc[first["split"] == "test", "speaker"].unique():
            own = {seed: rows[rows["speaker"] == actor] for seed, rows in predictions.items()}
            found[actor] = dialogue_counts(own, classes)
    return found


def moves(
    seen: Stages, names: Shaped[np.ndarray, "feature"], modality: str = "audio"
) -> pd.DataFrame:
    """How far calibration moves each feature of each speaker: speaker, feature and move.

    A move is the median absolute change over the speaker's utterances, in the features' own unit:
    some features, such as ratios to a mean, have outliers that would dominate a mean.
    """
    change = np.abs(seen.at["calibrated"][modality] - seen.at["raw"][modality])
    medians = pd.DataFrame(change, columns=names).groupby(seen.speaker).median()
    rows = medians.rename_axis("speaker").reset_index()
    return rows.melt("speaker", var_name="feature", value_name="move")


def pitch_and_level(
    seen: Stages,
    names: Shaped[np.ndarray, "feature"],
    mean: Float[np.ndarray, "feature"],
    sd: Float[np.ndarray, "feature"],
) -> pd.DataFrame:
    """Mean pitch in Hz and sound level in dB of every utterance, before and after calibration.

    The features are eGeMAPS' `PITCH`, in semitones above 27.5 Hz, and `LEVEL`, in dB relative to
    the largest number that the file can hold. `mean` and `sd` undo the corpus's standardisation.
    One row per stage (raw, calibrated) and utterance: stage, speaker, label, pitch, level.
    """
    places = [names.tolist().index(name) for name in (PITCH, LEVEL)]
    tables = []
    for stage in ("raw", "calibrated"):
        x = seen.at[stage]["audio"].astype(float)[:, places] * sd[places] + mean[places]
        columns = {"stage": stage, "speaker": seen.speaker, "label": seen.label}
        tables.append(pd.DataFrame({**columns, "pitch": hertz(x[:, 0]), "level": x[:, 1]}))
    return pd.concat(tables, ignore_index=True)


def hertz(semitones: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """A pitch in Hz, from semitones above 27.5 Hz."""
    return 27.5 * 2 ** (semitones / 12)


def speaker_probes(train: Stages, dev: Stages, modality: str = "audio") -> dict[str, float]:
    """Weighted F1 (percent) of linear probes that name the speaker, fitted on train, scored on dev.

    They read the raw features, the raw ones standardised by speaker over train and dev together,
    and the calibrated ones.
    """
    spaces = {s: [p.at[s][modality] for p in (train, dev)] for s in ("raw", "calibrated")}
    speaker = np.concatenate([train.speaker, dev.speaker])
    flat = standardise_by_speaker(np.concatenate(spaces["raw"]), speaker)
    spaces["standardised"] = np.split(flat, [len(train.speaker)])
    return {
        name: probe(x, train.speaker, tested, dev.speaker, STRENGTH)
        for name, (x, tested) in spaces.items()
    }
