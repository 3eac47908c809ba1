"""Runs summarised over seeds: mean and standard deviation, paired differences, intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats


def mean_sd(
    table: pd.DataFrame, by: Sequence[str], columns: Sequence[str], missing: str = "failed"
) -> pd.DataFrame:
    """Mean, sample standard deviation and number of finished runs of each column in each group.

    Groups keep the order of their first row. A group whose runs all failed has NaN and n = 0;
    `missing` counts the runs without a score.
    """
    grouped = table.groupby(list(by), sort=False)
    parts = {}
    for column in columns:
        parts[f"{column}_mean"] = grouped[column].mean()
        parts[f"{column}_sd"] = grouped[column].std(ddof=1)
    parts["n"] = grouped[columns[0]].count()
    parts[missing] = grouped[columns[0]].size() - parts["n"]
    return pd.DataFrame(parts).reset_index()


def difference(
    table: pd.DataFrame, column: str, system: str, reference: str
) -> Float[np.ndarray, "seed"]:
    """`system` minus `reference`, paired by seed; only seeds that both finished."""
    paired = table.pivot_table(index="seed", columns="system", values=column)
    for name in (system, reference):
        if name not in paired:
            return np.array([], dtype=float)
    return (paired[system] - paired[reference]).dropna().to_numpy(dtype=float)


def interval(values: Float[np.ndarray, "seed"], level: float = 0.95) -> tuple[float, float]:
    """Student-t confidence interval of the mean over seeds; NaN for fewer than two values."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    low, high = stats.t.interval(level, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return float(low), float(high)


def mean_interval_by(table: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Mean of `column` over the finished runs of each group, with `interval`.

    Returns one row a group, in the order of first rows: `by`, wf1_mean, low, high, seeds.
    """
    found = []
    for key, part in table.groupby(list(by), sort=False):
        wf1 = part[column].dropna().to_numpy(dtype=float)
        low, high = interval(wf1)
        row = {"wf1_mean": wf1.mean() if len(wf1) else np.nan, "low": low, "high": high}
        found.append(dict(zip(by, key, strict=True)) | row | {"seeds": len(wf1)})
    return pd.DataFrame(found)
