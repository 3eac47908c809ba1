"""How much it flatters to report the best test epoch in place of the one that dev chose."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.evaluation import interval, mean_sd
from mlsan.report.comparisons import of_asked
from mlsan.report.style import DOUBLE, SYSTEM
from mlsan.report.tables import Table, change, plus_minus

BY = ["corpus", "benchmark", "system"]


def selection_table(runs: pd.DataFrame) -> Table:
    """Each system's test weighted F1 at the best dev epoch and at the best test epoch.

    `runs` has one row a run. `gain` is the mean difference over seeds, which cannot be negative,
    with its 95 % Student interval.
    """
    data = mean_sd(runs, BY, ["test_wf1", "best_test_wf1"])
    rows = []
    for _, part in runs.groupby(BY, sort=False):
        gain = (part["best_test_wf1"] - part["test_wf1"]).dropna().to_numpy(dtype=float)
        low, high = interval(gain)
        mean = gain.mean() if len(gain) else np.nan
        rows.append({"gain": mean, "gain_low": low, "gain_high": high})
    data = pd.concat([data, pd.DataFrame(rows)], axis=1)
    shown = [
        {
            "corpus": row["corpus"],
            "system": row["system"],
            "dev-selected": plus_minus(row["test_wf1_mean"], row["test_wf1_sd"]),
            "best test epoch": plus_minus(row["best_test_wf1_mean"], row["best_test_wf1_sd"]),
            "gain [95 %]": change(row["gain"], row["gain_low"], row["gain_high"]),
            "seeds": of_asked(row["n"], row["n"] + row["failed"]),
        }
        for row in data.to_dict("records")
    ]
    return Table(data, pd.DataFrame(shown))


def selection_figure(data: pd.DataFrame) -> Figure:
    """Fig. 7: from the dev-selected score (filled) to the best test epoch's (hollow), by system.

    `data` is that of `selection_table`. Thin bars are standard deviations over seeds; the number
    is the mean gain with its 95 % interval.
    """
    benchmarks = data["benchmark"].unique()
    most = data.groupby("benchmark").size().max()
    figure, axes = plt.subplots(
        1, len(benchmarks), figsize=(DOUBLE, 0.9 + 0.27 * most), squeeze=False, layout="constrained"
    )
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = data[data["benchmark"] == benchmark].reset_index(drop=True)
        for place, row in part.iterrows():
            colour = SYSTEM.get(row["system"], "0.4")
            ends = [row["test_wf1_mean"], row["best_test_wf1_mean"]]
            axis.plot(ends, [place] * 2, color=colour)
            for score, offset, face in (("test", 0.14, colour), ("best_test", -0.14, "white")):
                mean, sd = row[f"{score}_wf1_mean"], row[f"{score}_wf1_sd"]
                axis.plot([mean - sd, mean + sd], [place + offset] * 2, color=colour, linewidth=0.6)
                axis.plot(mean, place, "o", color=colour, markerfacecolor=face)
            text = change(row["gain"], row["gain_low"], row["gain_high"])
            where = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 6}
            axis.annotate(text, (1.01, place), annotation_clip=False, **where)
        axis.set_yticks(range(len(part)), part["system"])
        axis.set_ylim(len(part) - 0.5, -0.5)
        axis.set(title=benchmark, xlabel="test W-F1 (%)")
    handles = [
        plt.Line2D([], [], marker="o", color="0.3", markerfacecolor=face, label=label)
        for face, label in (("0.3", "best dev epoch"), ("white", "best test epoch"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
