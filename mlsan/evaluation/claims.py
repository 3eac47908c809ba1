"""Does a claim hold? A rule on intervals, and what printed means and deviations imply."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from mlsan.evaluation.resampling import LEVEL, Estimate

Verdict = Literal["holds", "does not hold", "undecided", "cannot be tested here"]
NOTHING = Estimate(np.nan, np.nan, np.nan, 0)


def verdict(found: Estimate, low: float = 0.0, high: float = np.inf) -> Verdict:
    """Whether the claim holds that a value lies between `low` and `high`.

    It holds if the whole interval lies between them, does not hold if none of it does, and is
    undecided otherwise. A value without an interval, NaN, means that it cannot be tested.
    """
    if not np.isfinite(found.value):
        return "cannot be tested here"
    if (found.low > low or low == -np.inf) and (found.high < high or high == np.inf):
        return "holds"
    if found.high <= low or found.low >= high:
        return "does not hold"
    return "undecided"


def implied_t(gap: float, sds: tuple[float, float], runs: int) -> Estimate:
    """The paired t of two systems of which only means and standard deviations are printed.

    t = gap sqrt(runs) / sd of the differences, which lies between |sd1 - sd2| and sd1 + sd2. The
    ends of the interval are the t at these; the value is that of uncorrelated runs. `sds` are
    sample standard deviations (divided by runs - 1).
    """
    first, second = sds
    with np.errstate(divide="ignore"):
        most, least, value = (
            float(gap * np.sqrt(runs) / np.float64(sd))
            for sd in (abs(first - second), first + second, np.hypot(first, second))
        )
    return Estimate(value, min(least, most), max(least, most), runs)


def sd_interval(scores: Float[np.ndarray, "seed"]) -> Estimate:
    """The standard deviation of scores over seeds with its 95 % interval for normal scores.

    NaN below two seeds.
    """
    free = len(scores) - 1
    if free < 1:
        return NOTHING._replace(seeds=len(scores))
    sd = float(np.std(scores, ddof=1))
    ends = stats.chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], free)
    low, high = sd * np.sqrt(free / ends)
    return Estimate(sd, float(low), float(high), len(scores))


def exactly(value: float, seeds: int) -> Estimate:
    """A value that needs no interval, such as a test statistic."""
    return Estimate(value, value, value, seeds)
