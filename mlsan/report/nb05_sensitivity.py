"""Notebook 5: scores against lambda (Fig. 6), how much speakers differ (Fig. 8), dev (Table 10)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.evaluation import Counts, difference, mean_score
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.style import DOUBLE, SYSTEM, points
from mlsan.report.tables import Table, change, plus_minus
from mlsan.vocabulary import Benchmark

FIG6 = Artifact(
    "fig6_lambda",
    ("05_sensitivity",),
    "Fig. 6",
    "Weighted F1 (points) of ML-SAN against λ with 95 % intervals over seeds and test dialogues; "
    "the paper's optima are marked. Strangers are enrolled with all of their unlabelled test "
    "utterances.",
)


def lambda_table(benchmarks: Mapping[Benchmark, Mapping[float, Counts]]) -> pd.DataFrame:
    """Fig. 6's data: for each benchmark and lambda the mean weighted F1 and its interval.

    `benchmarks` are runs `gathered` by lam. Columns: benchmark, lam, seeds, wf1_mean, low, high.
    """
    rows = []
    for benchmark, lams in benchmarks.items():
        for lam in sorted(lams):
            value, low, high, seeds = mean_score(lams[lam])
            row = {"benchmark": benchmark, "lam": lam, "seeds": seeds}
            rows.append(row | {"wf1_mean": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def lambda_figure(curve: pd.DataFrame) -> Figure:
    """Fig. 6: `lambda_table` as a line with its band, and the paper's optima.

    Lambda 0 is ML-SAN without the speaker head.
    """
    benchmarks = curve["benchmark"].unique()
    figure, axes = plt.subplots(
        1, len(benchmarks), figsize=(DOUBLE, 2.3), squeeze=False, layout="constrained"
    )
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        line = curve[curve["benchmark"] == benchmark].sort_values("lam")
        place = np.arange(len(line))
        colour = SYSTEM["ML-SAN"]
        axis.plot(place, line["wf1_mean"], marker="o", markersize=4, color=colour)
        axis.fill_between(place, line["low"], line["high"], alpha=0.2, color=colour, linewidth=0)
        optimum = paper.LAMBDA_OPTIMUM.get(benchmark, np.nan)
        where = np.flatnonzero(np.isclose(line["lam"], optimum))
        for x in where:
            axis.axvline(x, color="black", linestyle=":", linewidth=1)
            axis.annotate(
                f"paper's optimum {optimum:g}",
                (x, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -9),
                textcoords="offset points",
            )
        axis.set_xticks(place, [f"{lam:g}" for lam in line["lam"]])
        axis.set(xlabel=r"$\lambda$", ylabel="W-F1 (%)", title=benchmark)
    return figure


FIG8 = Artifact(
    "fig8_dose",
    ("05_sensitivity",),
    "Fig. 8",
    "ML-SAN minus MultiEMO in weighted F1 (points) against how much simulated speakers differ, "
    "with 95 % intervals over seeds and test dialogues; 0 is the negative control. Strangers are "
    "enrolled with all of their unlabelled test utterances.",
    needs="simulation",
)


def dose_table(benchmarks: Mapping[Benchmark, Mapping[tuple[float, str], Counts]]) -> pd.DataFrame:
    """Fig. 8's data: ML-SAN minus MultiEMO at each heterogeneity.

    `benchmarks` are runs `gathered` by heterogeneity and system. Returns one row per benchmark and
    heterogeneity: seeds (that both finished), multiemo and mlsan (mean weighted F1, percent), and
    delta (points) with its interval low and high.
    """
    rows = []
    for benchmark, runs in benchmarks.items():
        for dose in sorted({dose for dose, _ in runs}):
            full, base = runs[dose, "ML-SAN"], runs[dose, "MultiEMO"]
            value, low, high, seeds = difference(full, base)
            row = {"benchmark": benchmark, "heterogeneity": dose, "seeds": seeds}
            row |= {"multiemo": base.mean_and_sd()["wf1_mean"]}
            row |= {"mlsan": full.mean_and_sd()["wf1_mean"]}
            rows.append(row | {"delta": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def dose_figure(table: pd.DataFrame) -> Figure:
    """Fig. 8: `dose_table`, one panel per benchmark. At 0 there is nothing to adapt to."""
    benchmarks = table["benchmark"].unique()
    figure, axes = plt.subplots(
        1,
        len(benchmarks),
        figsize=(DOUBLE, 2.4),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        line = table[table["benchmark"] == benchmark]
        axis.axhline(0, color="black", linewidth=0.8)
        axis.axvspan(-0.05, 0.05, color="0.92", linewidth=0)
        axis.annotate(
            "negative\ncontrol",
            (0, 1),
            xycoords=("data", "axes fraction"),
            xytext=(11, -2),
            textcoords="offset points",
            va="top",
            color="0.4",
            fontsize=7,
        )
        points(axis, line["heterogeneity"].to_numpy(), line, "delta", color=SYSTEM["ML-SAN"])
        axis.set(xlabel="heterogeneity of speakers", title=benchmark, xlim=(-0.08, 1.08))
        axis.set_xticks(sorted(table["heterogeneity"].unique()))
    axes[0, 0].set_ylabel("ML-SAN − MultiEMO,\nW-F1 (points)")
    return figure


TABLE10 = Artifact(
    "table10_dev",
    ("05_sensitivity",),
    "Table 10",
    "The epoch chosen on dialogues of the training speakers, as published, or on a session whose "
    "speakers training does not have: chosen epoch, weighted F1 (points) on dev and on test, mean "
    "± sd over seeds, and the difference on test with its 95 % interval over seeds and test "
    "dialogues. Dev strangers are enrolled with all of their unlabelled dev utterances, test "
    "strangers with none.",
    needs="sessions",
)


def dev_table(
    runs: pd.DataFrame, benchmarks: Mapping[Benchmark, Mapping[tuple[str, str], Counts]]
) -> Table:
    """Table 10: what the dev split changes.

    `runs` has one row per run, with the column dev ("official" or "session"); `benchmarks` are the
    same runs `gathered` by system and dev. `delta` is session minus official on test.
    """
    rows = []
    for (benchmark, system, dev), part in runs.groupby(["benchmark", "system", "dev"], sort=False):
        row = {"benchmark": benchmark, "system": system, "dev": dev}
        for name in ("epoch", "dev_wf1", "test_wf1"):
            row |= {f"{name}_mean": part[name].mean(), f"{name}_sd": part[name].std(ddof=1)}
        row |= {"seeds": int(part["test_wf1"].count()), "asked": len(part)}
        row |= dict.fromkeys(("delta", "low", "high"), np.nan)
        if dev == "session":
            pair = (benchmarks[benchmark][system, which] for which in ("session", "official"))
            row |= dict(zip(("delta", "low", "high"), difference(*pair)[:3], strict=True))
        rows.append(row)
    data = pd.DataFrame(rows)
    shown = [
        {
            "benchmark": row["benchmark"],
            "system": row["system"],
            "dev dialogues": DEV[row["dev"]],
            "epoch": plus_minus(row["epoch_mean"], row["epoch_sd"]),
            "dev W-F1": plus_minus(row["dev_wf1_mean"], row["dev_wf1_sd"]),
            "test W-F1": plus_minus(row["test_wf1_mean"], row["test_wf1_sd"]),
            "Δ test [95 %]": change(row["delta"], row["low"], row["high"]),
        }
        for row in data.to_dict("records")
    ]
    return Table(data, pd.DataFrame(shown))


DEV = {"official": "training speakers'", "session": "a session of strangers"}
