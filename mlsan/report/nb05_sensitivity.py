"""Notebook 5: lambda (Fig. 6), how much speakers differ (Fig. A8), the dev split (Table A10)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.evaluation import Counts, Estimate, difference, mean_score
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import delta_of, finding
from mlsan.report.style import DOUBLE, SMALL, SYSTEM, legend_below, look_of, points
from mlsan.report.tables import BASE, FULL, Table, by_corpus, change, plus_minus, with_interval
from mlsan.vocabulary import Benchmark

FIG6 = Artifact(
    "fig6_lambda",
    "05_sensitivity",
    "Fig. 6",
    "Weighted F1 (points) of ML-SAN against λ, and of MultiEMO, with 95 % intervals over seeds and "
    "test dialogues; λ is to scale, linear from 0 to .02 and logarithmic from there. Dotted "
    "lines are at the paper's optima. Strangers are enrolled with all of their unlabelled test "
    "utterances.",
)
LINEAR = 0.02  # up to this lambda the axis is linear: a logarithm has no 0


def lambda_table(
    benchmarks: Mapping[Benchmark, Mapping[float, Counts]],
    base: Mapping[Benchmark, Mapping[str, Counts]] | None = None,
) -> pd.DataFrame:
    """Fig. 6's data: for each benchmark and lambda the mean weighted F1 and its interval.

    `benchmarks` are ML-SAN's runs `gathered` by lam, `base` MultiEMO's by system. Columns:
    benchmark, system, lam (NaN for MultiEMO), seeds, wf1_mean, low, high, and paper_optimum: the
    lambda that the paper reports as the best, NaN where it reports none.
    """
    rows = []
    for benchmark, lams in benchmarks.items():
        curves = [(FULL, lam, lams[lam]) for lam in sorted(lams)]
        curves += [(system, np.nan, c) for system, c in (base or {}).get(benchmark, {}).items()]
        for system, lam, counts in curves:
            value, low, high, seeds = mean_score(counts)
            row = {"benchmark": benchmark, "system": system, "lam": lam, "seeds": seeds}
            row |= {"wf1_mean": value, "low": low, "high": high}
            rows.append(row | {"paper_optimum": paper.LAMBDA_OPTIMUM.get(benchmark, np.nan)})
    return pd.DataFrame(rows)


def lambda_figure(curve: pd.DataFrame) -> Figure:
    """Fig. 6: `lambda_table` as a line with its band, MultiEMO's line, and the paper's optima.

    Lambda 0 is ML-SAN without the speaker head.
    """
    corpora = list(by_corpus(curve))
    figure, axes = plt.subplots(
        1, len(corpora), figsize=(DOUBLE, 2.6), squeeze=False, layout="constrained"
    )
    for axis, (corpus, part) in zip(axes[0], corpora, strict=True):
        for row in part[part["lam"].isna()].itertuples():
            colour = SYSTEM.get(row.system, "0.4")
            axis.axhspan(row.low, row.high, color=colour, alpha=0.12, linewidth=0)
            axis.axhline(row.wf1_mean, color=colour, label=row.system)
        line = part.dropna(subset="lam").sort_values("lam")
        colour = SYSTEM[FULL]
        axis.plot(line["lam"], line["wf1_mean"], "o-", color=colour, label=FULL)
        axis.fill_between(
            line["lam"], line["low"], line["high"], alpha=0.2, color=colour, linewidth=0
        )
        optimum = line[np.isclose(line["lam"], line["paper_optimum"])]
        for row in optimum.itertuples():
            axis.axvline(row.lam, color="black", linestyle=":", linewidth=1)
            where = {"xytext": (-3, -2), "textcoords": "offset points", "ha": "right", "va": "top"}
            text, top = f"paper's optimum {row.lam:g}", ("data", "axes fraction")
            axis.annotate(text, (row.lam, 1), xycoords=top, fontsize=SMALL, **where)
        axis.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
        axis.set_xticks(line["lam"], [f"{lam:g}" for lam in line["lam"]])
        axis.minorticks_off()
        axis.margins(x=0.04, y=0.16)
        axis.set(xlabel=r"$\lambda$", title=corpus)
    axes[0, 0].set_ylabel("W-F1 (%)")
    legend_below(figure, axes[0, 0], columns=2)
    return figure


FIG8 = Artifact(
    "fig8_dose",
    "05_sensitivity",
    "Fig. A8",
    "Weighted F1 (points) of ML-SAN and MultiEMO against how much simulated speakers differ, and "
    "their difference, with 95 % intervals over seeds and test dialogues. At 0 all speakers are "
    "alike and there is nothing to adapt to: the negative control. Strangers are enrolled with all "
    "of their unlabelled test utterances.",
    needs="simulation",
)


def dose_table(benchmarks: Mapping[Benchmark, Mapping[tuple[float, str], Counts]]) -> pd.DataFrame:
    """Fig. A8's data: both systems and ML-SAN minus MultiEMO at each heterogeneity.

    `benchmarks` are runs `gathered` by heterogeneity and system. Returns one row per benchmark and
    heterogeneity: seeds (that both finished), multiemo and mlsan (mean weighted F1, percent) with
    their intervals _low and _high, and delta (points) with its interval low and high.
    """
    rows = []
    for benchmark, runs in benchmarks.items():
        for dose in sorted({dose for dose, _ in runs}):
            full, base = runs[dose, FULL], runs[dose, BASE]
            value, low, high, seeds = difference(full, base)
            row = {"benchmark": benchmark, "heterogeneity": dose, "seeds": seeds}
            row |= mean_score(base).columns("multiemo") | mean_score(full).columns("mlsan")
            rows.append(row | {"delta": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def dose_figure(table: pd.DataFrame) -> Figure:
    """Fig. A8: `dose_table`, one column per corpus: both systems' scores, and their difference."""
    corpora = list(by_corpus(table))
    figure, axes = plt.subplots(
        2,
        len(corpora),
        figsize=(DOUBLE, 3.9),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for (scores, gain), (corpus, part) in zip(axes.T, corpora, strict=True):
        dose = part["heterogeneity"].to_numpy()
        for name, system in (("mlsan", FULL), ("multiemo", BASE)):
            ends = {f"{name}_low": "low", f"{name}_high": "high"}
            line = part.drop(columns=["low", "high"]).rename(columns=ends)
            points(scores, dose, line, name, **look_of(system), label=system)
        points(gain, dose, part, "delta", color="black", marker="D")
        gain.axhline(0, color="0.5", linewidth=0.8, zorder=0)
        for x, row in zip(dose, part.itertuples(), strict=True):
            offset = {"xytext": (5, -4), "textcoords": "offset points", "fontsize": SMALL}
            gain.annotate(f"{row.delta:+.1f}", (x, row.delta), va="top", **offset)
        scores.set_title(corpus)
        gain.set(xlabel="how much speakers differ", xlim=(-0.08, 1.16))
        names = {0: "0\nall alike", 1: "1\nas elsewhere"}
        gain.set_xticks(dose, [names.get(level, f"{level:g}") for level in dose])
    axes[0, 0].set_ylabel("W-F1 (%)")
    axes[1, 0].set_ylabel(f"{FULL} − {BASE}\n(points)")
    legend_below(figure, axes[0, 0], columns=2)
    return figure


TABLE10 = Artifact(
    "table10_dev",
    "05_sensitivity",
    "Table A10",
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
    """Table A10: what the dev split changes.

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


def lambda_findings(
    curve: pd.DataFrame,
    benchmarks: Mapping[Benchmark, Mapping[float, Counts]],
    names: Mapping[Benchmark, str],
) -> list[str]:
    """Where the score peaks over lambda, and whether best and worst can be told apart.

    `curve` is `lambda_table` and `benchmarks` the runs that it was made of. The best lambda is
    chosen on the scores that are compared, which the sentences say.
    """
    lines = []
    for benchmark, line in curve.dropna(subset="lam").groupby("benchmark", sort=False):
        line = line.dropna(subset="wf1_mean")
        if len(line) < 2:
            continue
        best, worst = (line.loc[i] for i in (line["wf1_mean"].idxmax(), line["wf1_mean"].idxmin()))
        word = "overlap" if best["low"] <= worst["high"] else "do not overlap"
        counts = benchmarks[benchmark]
        noise = np.nanmean([found.mean_and_sd()["wf1_sd"] for found in counts.values()])
        lines.append(
            f"{names[benchmark]}: λ = {best['lam']:g} is best "
            f"({with_interval(*_ends(best))}), λ = {worst['lam']:g} worst "
            f"({with_interval(*_ends(worst))}); their intervals {word}. The standard deviation "
            f"over seeds is {noise:.2f} points."
        )
        apart = difference(counts[best["lam"]], counts[worst["lam"]])
        says = f"{names[benchmark]}: the best λ is better than the worst (chosen on these scores)"
        lines.append(finding(says, apart))
    return lines


def _ends(row: pd.Series) -> tuple[float, float, float]:
    return row["wf1_mean"], row["low"], row["high"]


def dose_findings(response: pd.DataFrame) -> list[str]:
    """Whether ML-SAN gains at each heterogeneity, and whether the gain rises with it.

    `response` is `dose_table` with the column corpus.
    """
    lines = []
    for corpus, line in response.groupby("corpus", sort=False):
        for row in line.itertuples():
            level = f"{row.heterogeneity:g}"
            says = f"{corpus}, heterogeneity {level}: ML-SAN is better than MultiEMO"
            lines.append(finding(says, delta_of(row)))
        first, last = line.iloc[0], line.iloc[-1]
        steps = "rises" if line["delta"].is_monotonic_increasing else "does not rise"
        lines.append(
            f"{corpus}: from heterogeneity {first['heterogeneity']:g} to "
            f"{last['heterogeneity']:g} the gain changes by {last['delta'] - first['delta']:+.2f} "
            f"points; it {steps} with each step."
        )
    return lines


def dev_findings(data: pd.DataFrame, names: Mapping[Benchmark, str]) -> list[str]:
    """Which dev split chooses the later epoch, how far dev overstates test, what it changes.

    `data` is that of `dev_table`.
    """
    lines = []
    for (benchmark, system), part in data.groupby(["benchmark", "system"], sort=False):
        rows = part.set_index("dev")
        known, held = rows.loc["official"], rows.loc["session"]
        gaps = [row["dev_wf1_mean"] - row["test_wf1_mean"] for row in (known, held)]
        who = f"{names[benchmark]}, {system}"
        lines.append(
            f"{who}: the epoch chosen is {known['epoch_mean']:.1f} with the training speakers' "
            f"dialogues and {held['epoch_mean']:.1f} with strangers'; dev minus test is "
            f"{gaps[0]:+.1f} and {gaps[1]:+.1f} points."
        )
        says = f"{who}: choosing the epoch on strangers raises the test score"
        found = Estimate(held["delta"], held["low"], held["high"], int(held["seeds"]))
        lines.append(finding(says, found))
    return lines
