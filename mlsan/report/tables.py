"""What the tables share: a pair of frames, and how numbers are written."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlsan.vocabulary import BENCHMARKS, Benchmark

BASE, FULL = "MultiEMO", "ML-SAN"  # what every comparison is about
# Rows that are no system of their own: a probe, other features, or another evaluation of ML-SAN.
TEXT_PROBE, PROBE = "linear probe, text", "linear probe, all features"
STANDARDISED = "MultiEMO, features standardised by speaker"
ENROLLED = "ML-SAN, strangers enrolled"
# Which unlabelled test utterances a row has used; every other row has used none.
UNLABELLED = {STANDARDISED: "every speaker's", ENROLLED: "the strangers'"}


def without_paper(frame: pd.DataFrame, benchmarks: Iterable[Benchmark]) -> pd.DataFrame:
    """The frame; without its columns "paper…" if none of the benchmarks is one of the paper's."""
    if set(benchmarks) & set(BENCHMARKS):
        return frame
    return frame.drop(columns=[column for column in frame if column.startswith("paper")])


def labelled(frame: pd.DataFrame, names: Mapping[Benchmark, str]) -> pd.DataFrame:
    """The frame with a column `corpus` before `benchmark`: the name that readers are shown.

    Simulated conversations are kept under the benchmark that they are modelled on, so that they
    have its emotions, roles and settings. What is shown of them says sim-meld or sim-iemocap.
    A frame without `benchmark`, or with `corpus`, comes back as it is.
    """
    if "benchmark" not in frame or "corpus" in frame:
        return frame
    found = frame.copy()
    corpus = [names.get(benchmark, benchmark) for benchmark in frame["benchmark"]]
    found.insert(found.columns.get_loc("benchmark"), "corpus", corpus)
    return found


def by_corpus(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each corpus and its name: its column `corpus`, or else `benchmark`."""
    column = "corpus" if "corpus" in frame else "benchmark"
    return iter(frame.groupby(column, sort=False))


class Table(NamedTuple):
    """`data` has plain numbers, for the CSV; `shown` is for reading, in Markdown and LaTeX."""

    data: pd.DataFrame
    shown: pd.DataFrame


def plus_minus(mean: float, sd: float | None) -> str:
    """`66.34 ± 0.04`; the mean alone where there is no spread, a dash where there is no number."""
    if not np.isfinite(mean):
        return "–"
    return f"{mean:.2f}" + (f" ± {sd:.2f}" if sd is not None and np.isfinite(sd) else "")


def score_text(row: dict) -> str:
    """A row's weighted F1, `66.34 ± 0.04`, with `(2 of 3)` where runs are missing."""
    text = plus_minus(row["wf1_mean"], row["wf1_sd"])
    if text == "–" or row["seeds"] == row["asked"]:
        return text
    return f"{text} ({of_asked(int(row['seeds']), int(row['asked']))})"


def against(system: str, reference: str) -> str:
    """What a row compares: the system alone stands for a comparison with MultiEMO."""
    return system if reference in ("", BASE) else f"{system}, against {reference}"


def means(part: pd.DataFrame, name: str) -> list[str]:
    """`plus_minus` of the columns `name`_mean and `name`_sd."""
    pairs = zip(part[f"{name}_mean"], part[f"{name}_sd"], strict=True)
    return [plus_minus(mean, sd) for mean, sd in pairs]


def change(delta: float, low: float, high: float) -> str:
    """`+1.20 [-0.10, +2.30]`; a dash where there is no number."""
    if not np.isfinite(delta):
        return "–"
    delta, low, high = (round(number, 2) + 0.0 for number in (delta, low, high))  # no "-0.00"
    return f"{delta:+.2f} [{low:+.2f}, {high:+.2f}]"


def with_interval(value: float, low: float, high: float) -> str:
    """`61.20 [60.10, 62.30]`; a dash where there is no number."""
    return "–" if not np.isfinite(value) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def estimate(row: dict | pd.Series, name: str) -> tuple[float, float, float]:
    """A row's value and the ends of its interval: `name`, `name`_low and `name`_high."""
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def p_text(p: float) -> str:
    """Two significant digits."""
    return "–" if np.isnan(p) else f"{p:.2g}"


def of_asked(seeds: int, asked: int) -> str:
    """`5`, or `4 of 5` where runs are missing."""
    return f"{seeds}" if seeds == asked else f"{seeds} of {asked}"
