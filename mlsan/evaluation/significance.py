"""Is a difference between two systems more than luck? Intervals and tests on per-dialogue counts.

Systems are paired: the same seeds, and the same test dialogues, for both.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from mlsan.evaluation.counts import Counts, Score
from mlsan.evaluation.resampling import (
    RESAMPLES,
    Table,
    bootstrap,
    draw,
    percentiles,
    permutation_p,
)
from mlsan.scores import weighted_f1
from mlsan.vocabulary import Benchmark

NO_TEST = dict.fromkeys(("delta", "low", "high", "t", "t_needed", "p_t", "p_perm"), np.nan)


def paired_t(
    first: Float[np.ndarray, "seed"], second: Float[np.ndarray, "seed"]
) -> tuple[float, float]:
    """The paper's test, paired over seeds: t and two-sided p; NaN below two seeds."""
    gap = first - second
    if len(gap) < 2:
        return np.nan, np.nan
    if np.ptp(gap) == 0:  # no spread: scipy would divide by zero
        return (0.0, 1.0) if gap[0] == 0 else (float(np.copysign(np.inf, gap[0])), 0.0)
    found = stats.ttest_rel(first, second)
    return float(found.statistic), float(found.pvalue)


def t_needed(seeds: int, p: float = 0.01) -> float:
    """The t beyond which so many paired runs reach `p`; 9.92 for three runs and 0.01."""
    return float(stats.t.isf(p / 2, seeds - 1)) if seeds > 1 else np.nan


def holm(p: Float[np.ndarray, "test"]) -> Float[np.ndarray, "test"]:
    """Holm's step-down adjustment; a NaN is no test and stays NaN."""
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def paired(first: Counts, second: Counts) -> tuple[Table, Table]:
    """The counts of the seeds that both finished, in the same order; none if there are none.

    Raises ValueError where dialogues or true labels differ.
    """
    common = [seed for seed in first.seeds if seed in second.seeds]
    if not common:
        return first.table[:0], first.table[:0]
    if first.dialogues != second.dialogues:
        raise ValueError("the two systems were tested on different dialogues")
    one, other = (c.table[[c.seeds.index(seed) for seed in common]] for c in (first, second))
    if not np.array_equal(one.sum(axis=-1), other.sum(axis=-1)):
        raise ValueError("the two systems were tested on different labels")
    return one, other


def paired_difference(
    one: Table,
    other: Table,
    generator: np.random.Generator,
    score: Score = weighted_f1,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """`one` minus `other`, as `paired` gives them, in a score of one number: delta, low, high.

    The interval is the 95 % one of the hierarchical bootstrap.
    """
    draws = draw(*one.shape[:2], generator, resamples)
    low, high = percentiles(bootstrap(one, draws, score) - bootstrap(other, draws, score))
    delta = np.mean(score(one.sum(axis=1)) - score(other.sum(axis=1)))
    return {"delta": float(delta), "low": float(low), "high": float(high)}


def difference_of(
    system: Counts,
    reference: Counts,
    generator: np.random.Generator,
    score: Score = weighted_f1,
    resamples: int = RESAMPLES,
) -> dict[str, int | float]:
    """`system` minus `reference` in a score of one number, over their common seeds.

    Returns seeds, delta with its 95 % interval low and high, t, t_needed (for p < .01), p_t and
    p_perm; NaN where nothing is left to compare.
    """
    one, other = paired(system, reference)
    seeds = len(one)
    if not seeds or not one.any():
        return {"seeds": seeds, **NO_TEST}
    t, p_t = paired_t(*(score(table.sum(axis=1)) for table in (one, other)))
    return {
        "seeds": seeds,
        **paired_difference(one, other, generator, score, resamples),
        "t": t,
        "t_needed": t_needed(seeds),
        "p_t": p_t,
        "p_perm": permutation_p(one, other, generator, score),
    }


def compare(
    benchmarks: Mapping[Benchmark, Mapping[str, Counts]],
    reference: str,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Every system against `reference` on every benchmark: one row each, one family of tests.

    Columns: benchmark, system, reference, wf1_mean, wf1_sd (over all its runs), asked, those of
    `difference_of`, and p_t_holm and p_perm_holm, adjusted over all rows.
    """
    rows = []
    for benchmark, systems in benchmarks.items():
        for name, counts in systems.items():
            if name == reference:
                continue
            row = {"benchmark": benchmark, "system": name, "reference": reference}
            row |= mean_and_sd(counts) | {"asked": counts.asked}
            base = systems[reference]
            rows.append(row | difference_of(counts, base, generator, resamples=resamples))
    return adjusted(pd.DataFrame(rows))


def adjusted(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with p_t_holm and p_perm_holm over all of their rows, if there are any."""
    if comparisons.empty:
        return comparisons
    columns = {f"{p}_holm": holm(comparisons[p].to_numpy(dtype=float)) for p in ("p_t", "p_perm")}
    return comparisons.assign(**columns)


def mean_and_sd(counts: Counts) -> dict[str, float]:
    """Weighted F1 over a system's runs; NaN without runs, no sd for one."""
    scores = counts.scores()
    return {
        "wf1_mean": float(scores.mean()) if len(scores) else np.nan,
        "wf1_sd": float(scores.std(ddof=1)) if len(scores) > 1 else np.nan,
    }
