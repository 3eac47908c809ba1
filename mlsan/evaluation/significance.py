"""Is a difference between two systems more than luck? Differences, tests and their correction.

Systems are paired: the same seeds and the same test dialogues for both. `resampling` describes how
the intervals are made.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from mlsan.evaluation.counts import Counts, Score, Tally
from mlsan.evaluation.resampling import SEED, Estimate, percentiles, resampled_means, weighted_sums
from mlsan.scores import weighted_f1
from mlsan.vocabulary import Benchmark

PERMUTATIONS = 9999
NO_TEST = dict.fromkeys(("delta", "low", "high", "t", "t_needed", "p_t", "p_perm"), np.nan)


def difference(system: Counts, reference: Counts, score: Score = weighted_f1) -> Estimate:
    """`system` minus `reference` over their common seeds, with its paired interval."""
    return contrast((system, reference), np.array([1.0, -1.0]), score)


def contrast(
    cells: Sequence[Counts], weights: Float[np.ndarray, "*effect cell"], score: Score = weighted_f1
) -> Estimate:
    """Weighted sums of the cells' mean scores over their common seeds, with joint intervals.

    NaN where no seed is common or there are no utterances. Raises ValueError as `paired` does.
    """
    tallies = paired(*cells)
    seeds = len(tallies[0])
    if not tallies[0].any():
        value = np.shape(score(np.zeros(cells[0].table.shape[2:])))
        nothing = np.full(weights.shape[:-1] + value, np.nan)[()]
        return Estimate(nothing, nothing, nothing, seeds)
    means = np.stack([score(tally.sum(axis=1)).mean(axis=0) for tally in tallies])
    resampled = np.stack([resampled_means(tally, score) for tally in tallies])
    sums = np.moveaxis(np.tensordot(weights, resampled, 1), weights.ndim - 1, 0)
    return Estimate(np.tensordot(weights, means, 1)[()], *percentiles(sums), seeds)


def paired(*systems: Counts) -> list[Tally]:
    """The counts of the seeds that all systems finished, in the seeds' order; empty without any.

    Raises ValueError where dialogues or true labels differ.
    """
    common = sorted(set.intersection(*(set(counts.seeds) for counts in systems)))
    if not common:
        return [counts.table[:0] for counts in systems]
    if len({counts.dialogues for counts in systems}) > 1:
        raise ValueError("the systems were tested on different dialogues")
    found = [counts.table[[counts.seeds.index(s) for s in common]] for counts in systems]
    if any(not np.array_equal(found[0].sum(axis=-1), tally.sum(axis=-1)) for tally in found):
        raise ValueError("the systems were tested on different labels")
    return found


def compared(system: Counts, reference: Counts) -> dict[str, int | float]:
    """`system` minus `reference` in weighted F1, with every test of it.

    Returns seeds, delta with its interval low and high, t, t_needed (for p < .01), p_t and
    p_perm; NaN where there is nothing to compare.
    """
    one, other = paired(system, reference)
    if not one.any():
        return {"seeds": len(one), **NO_TEST}
    found = difference(system, reference)
    t, p_t = paired_t(*(weighted_f1(tally.sum(axis=1)) for tally in (one, other)))
    return {
        "seeds": found.seeds,
        **dict(zip(("delta", "low", "high"), map(float, found[:3]), strict=True)),
        "t": t,
        "t_needed": t_needed(found.seeds),
        "p_t": p_t,
        "p_perm": permutation_p(one, other),
    }


def compare_all(
    benchmarks: Mapping[Benchmark, Mapping[str, Counts]],
    reference: str,
    pairs: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Every system against `reference` on every benchmark: one row each, one family of tests.

    `pairs` are further comparisons, (system, reference), where a benchmark has both. Columns:
    benchmark, system, reference, wf1_mean, wf1_sd (over all its runs), asked, those of `compared`,
    and p_t_holm and p_perm_holm, adjusted over all rows.
    """
    rows = []
    for benchmark, systems in benchmarks.items():
        wanted = [(name, reference) for name in systems if name != reference]
        wanted += [pair for pair in pairs if set(pair) <= set(systems)]
        for name, other in wanted:
            counts = systems[name]
            row = {"benchmark": benchmark, "system": name, "reference": other}
            row |= {**counts.mean_and_sd(), "asked": counts.asked}
            rows.append(row | compared(counts, systems[other]))
    return adjusted(pd.DataFrame(rows))


def adjusted(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with p_t_holm and p_perm_holm over all of their rows, if there are any."""
    if comparisons.empty:
        return comparisons
    columns = {f"{p}_holm": holm(comparisons[p].to_numpy(dtype=float)) for p in ("p_t", "p_perm")}
    return comparisons.assign(**columns)


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


def permutation_p(
    first: Tally, second: Tally, score: Score = weighted_f1, permutations: int = PERMUTATIONS
) -> float:
    """Sign-flip test: swap the two systems' predictions dialogue by dialogue, all seeds together.

    Two-sided p of the difference of mean scores, (1 + as extreme) / (1 + permutations); exact
    where there are no more sign patterns than `permutations`. The flips are over dialogues: five
    seeds have 32 sign patterns, so that no two-sided p could fall below 2/32 = .0625. The p is
    therefore about these trained runs on other dialogues; the t-test and the intervals are about
    other seeds too. NaN for fewer than two dialogues, or where the score itself is NaN.
    """
    if first.shape[1] < 2 or np.isnan(score(first.sum(axis=1))).any():
        return np.nan
    # A flipped dialogue changes the sign of its half difference from the two systems' middle.
    middle, half = (first + second).sum(axis=1) / 2, (first - second) / 2

    def distance(sign: np.ndarray, axis: int) -> np.ndarray:
        swing = weighted_sums(np.moveaxis(np.atleast_2d(sign), axis, -1), half)
        gap = (score(middle + swing) - score(middle - swing)).mean(axis=-1)
        return np.abs(gap).reshape(sign.shape[:-1])

    found = stats.permutation_test(
        (np.ones(first.shape[1]),),
        distance,
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=permutations,
        batch=1000,
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)


def holm(p: Float[np.ndarray, "test"]) -> Float[np.ndarray, "test"]:
    """Holm's step-down adjustment; NaN stands for no test and stays NaN."""
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
