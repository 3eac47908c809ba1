"""Predictions as confusion counts by seed and dialogue: a resample's score needs only their sum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mlsan.scores import weighted_f1
from mlsan.vocabulary import Benchmark

Score = Callable[[np.ndarray], np.ndarray]  # [*many, class, class] -> [*many, *value]
Tally = Int[np.ndarray, "seed dialogue class class"]


@dataclass(frozen=True)
class Counts:
    """One system's predictions: `table[seed, dialogue, true, predicted]` counts utterances.

    `seeds` are those of the finished runs, `asked` is how many runs there should be.
    """

    seeds: tuple[int, ...]
    dialogues: tuple[str, ...]
    table: Tally
    asked: int

    @property
    def support(self) -> Int[np.ndarray, "class"]:
        """Utterances of each true class, the same in every run; zeros without any run."""
        return self.table[:1].sum(axis=(0, 1, 3))

    def scores(self, score: Score = weighted_f1) -> Float[np.ndarray, "seed *value"]:
        """Each run's score."""
        return score(self.table.sum(axis=1))

    def mean_and_sd(self) -> dict[str, float]:
        """Weighted F1 over the runs: wf1_mean and wf1_sd; NaN without runs, no sd for one."""
        scores = self.scores()
        return {
            "wf1_mean": float(scores.mean()) if len(scores) else np.nan,
            "wf1_sd": float(scores.std(ddof=1)) if len(scores) > 1 else np.nan,
        }


def dialogue_counts(
    predictions: Mapping[int, pd.DataFrame],
    classes: int,
    split: str = "test",
    column: str = "predicted",
    seen: bool | None = None,
    asked: int | None = None,
) -> Counts:
    """Count the predictions tables of a system's runs, given by seed.

    `column` is `predicted` or `predicted_best_test`. `seen` keeps the utterances of named speakers
    that do (True) or do not (False) occur in training; the dialogues stay, so that both parts are
    resampled alike. Raises ValueError if two runs differ in utterances or labels.
    """
    seeds = tuple(int(seed) for seed in predictions)
    frames = [frame[frame["split"] == split] for frame in predictions.values()]
    where = [frame[["dialogue", "turn", "label"]].reset_index(drop=True) for frame in frames]
    for seed, found in zip(seeds, where, strict=True):
        for what in ("dialogue", "turn", "label"):
            if not found[what].equals(where[0][what]):
                raise ValueError(f"seeds {seeds[0]} and {seed} differ in their {what}s ({split})")
    code, dialogues = pd.factorize(where[0]["dialogue"]) if frames else ([], [])
    table = np.zeros((len(seeds), len(dialogues), classes, classes), dtype=int)
    for counted, frame in zip(table, frames, strict=True):
        kept = slice(None)
        if seen is not None:
            kept = ((frame["speaker"] != "") & (frame["seen"] == seen)).to_numpy()
        predicted = pd.to_numeric(frame[column]).to_numpy(dtype=int)
        np.add.at(counted, (code[kept], frame["label"].to_numpy()[kept], predicted[kept]), 1)
    return Counts(seeds, tuple(dialogues), table, len(seeds) if asked is None else asked)


def gathered(
    runs: pd.DataFrame,
    read: Callable[[str], pd.DataFrame],
    emotions: Mapping[Benchmark, Sequence[str]],
    by: str | Sequence[str] = "system",
    column: str = "predicted",
    seen: bool | None = None,
) -> dict[Benchmark, dict]:
    """Count all runs of a sweep: benchmark -> `by` -> `Counts`, in the order of the rows.

    `runs` has one row per run, `read` returns a run's predictions given its key, `emotions` are the
    classes of each benchmark. With a list in `by` the inner keys are tuples. Failed runs count in
    `asked` and are not among the seeds.
    """
    found: dict[Benchmark, dict] = {}
    keys = by if isinstance(by, str) else list(by)
    for benchmark, part in runs.groupby("benchmark", sort=False):
        found[benchmark] = {
            key: dialogue_counts(
                {
                    seed: read(run)
                    for seed, run, status in group[["seed", "run", "status"]].to_numpy()
                    if status != "failed"
                },
                len(emotions[benchmark]),
                column=column,
                seen=seen,
                asked=len(group),
            )
            for key, group in part.groupby(keys, sort=False)
        }
    return found
