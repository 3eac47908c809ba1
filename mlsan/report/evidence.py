"""What the parts do and where they fail: dose, probes, speakers and robustness."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsan.evaluation import difference, interval, mean_interval_by
from mlsan.evaluation.neutrality import STAGES
from mlsan.report.style import DOUBLE, SYSTEM
from mlsan.report.tables import Table, change, plus_minus
from mlsan.training import system_of
from mlsan.training.settings import RunSettings

ADVERSARY = "ML-SAN + adversary"
WITHHELD = "ML-SAN, identity withheld"
COLOUR = SYSTEM | {ADVERSARY: "0.45", WITHHELD: SYSTEM["ML-SAN"]}
MARKER = {"MultiEMO": "s", "ML-SAN": "o", "w/o Aux": "^", ADVERSARY: "D", WITHHELD: "o"}
DODGE = 0.14  # between systems at the same place, the distance of two places being 1


def arm_of(run: RunSettings) -> str:
    """A run's name in Fig. 9: its system, and whether it has an adversary."""
    return system_of(run.model) + (" + adversary" if getattr(run.model, "adversary", False) else "")


def way_of(run: RunSettings) -> str:
    """A run's name in Table 5: what its model is told of the speaker, MultiEMO where nothing."""
    return run.speaker if run.model.name == "ML-SAN" else system_of(run.model)


def dose_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Fig. 8's data: ML-SAN minus MultiEMO at each heterogeneity, paired by seed.

    `runs` has benchmark, heterogeneity, system, seed, test_wf1. Returns one row a benchmark and
    heterogeneity: seeds (that both finished), multiemo and mlsan (mean weighted F1, percent), and
    delta (points) with its 95 % Student interval low and high, NaN for one seed.
    """
    rows = []
    for benchmark, doses in runs.groupby("benchmark", sort=False):
        for dose, part in doses.groupby("heterogeneity"):
            delta = difference(part, "test_wf1", "ML-SAN", "MultiEMO")
            mean = part.groupby("system")["test_wf1"].mean()
            low, high = interval(delta)
            row = {"benchmark": benchmark, "heterogeneity": dose, "seeds": len(delta)}
            row |= {"multiemo": mean.get("MultiEMO"), "mlsan": mean.get("ML-SAN")}
            row |= {"delta": delta.mean() if len(delta) else np.nan, "low": low, "high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def dose_figure(table: pd.DataFrame) -> Figure:
    """Fig. 8: `dose_table`, a panel a benchmark. At 0 there is nothing to adapt to: a control."""
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
        _points(
            axis,
            line["heterogeneity"].to_numpy(),
            line,
            "delta",
            color=COLOUR["ML-SAN"],
        )
        axis.set(xlabel="heterogeneity of speakers", title=benchmark, xlim=(-0.08, 1.08))
        axis.set_xticks(sorted(table["heterogeneity"].unique()))
    axes[0, 0].set_ylabel("ML-SAN − MultiEMO,\nW-F1 (points)")
    return figure


def probes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Fig. 9's data: each probe's mean over seeds with its 95 % interval, and its chance level.

    `rows` are `stage_probes` of each run with benchmark, system and seed beside them. Returns one
    row a benchmark, target, system and stage: wf1_mean, low, high, seeds, chance, modalities.
    """
    keys = ["benchmark", "target", "system", "stage"]
    table = mean_interval_by(rows, keys, "wf1")
    beside = rows.groupby(keys, sort=False).agg({"chance": "mean", "modalities": "first"})
    return table.join(beside, on=keys)


def probes_figure(table: pd.DataFrame) -> Figure:
    """Fig. 9: `probes_table` along the stages; speaker above, emotion below, dashed is chance.

    Its systems are those of `MARKER`: what `arm_of` names, and WITHHELD for `withheld_stages`.
    """
    benchmarks, targets = table["benchmark"].unique(), ("speaker", "emotion")
    systems = list(table["system"].unique())
    figure, axes = plt.subplots(
        len(targets),
        len(benchmarks),
        figsize=(DOUBLE, 4.2),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for row, target in zip(axes, targets, strict=True):
        for axis, benchmark in zip(row, benchmarks, strict=True):
            part = table.query("benchmark == @benchmark and target == @target")
            for system, line in part.groupby("system", sort=False):
                line = line.set_index("stage").loc[[s for s in STAGES if s in set(line["stage"])]]
                place = [STAGES.index(stage) for stage in line.index]
                place = np.array(place) + _dodge(systems, system)
                look = _look(system, system, hollow=system == WITHHELD)
                _points(axis, place, line, "wf1_mean", **look)
            level = part["chance"].mean()
            axis.axhline(level, color="black", linestyle="--", linewidth=0.8, label="chance")
            axis.set_xticks(range(len(STAGES)), STAGES)
            axis.set_title(f"{benchmark}: {target}")
        row[0].set_ylabel("probe's W-F1 (%)")
    axes[0, 0].set_ylim(0, 105)
    axes[1, 0].set_ylim(bottom=0)
    _legend(figure, axes[0, 0], columns=5 if len(systems) < 5 else 3)
    return figure


def robustness_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Fig. 10's data: weighted F1 by condition, mean over seeds with its 95 % interval.

    `rows` are `robustness` of each run with benchmark, system, dropout (the rate of modality
    dropout in training) and seed beside them. Returns one row a benchmark, system, dropout and
    condition: absent, noise, wf1_mean, low, high, seeds.
    """
    keys = ["benchmark", "system", "dropout", "condition", "absent", "noise"]
    return mean_interval_by(rows, keys, "wf1")


def robustness_figure(table: pd.DataFrame) -> Figure:
    """Fig. 10: `robustness_table`, a row a benchmark: absent modalities left, noise right.

    Hollow marks and dashed lines are models trained with modality dropout.
    """
    benchmarks = table["benchmark"].unique()
    arms = list(table[["system", "dropout"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = plt.subplots(
        len(benchmarks),
        2,
        figsize=(DOUBLE, 2.1 * len(benchmarks) + 0.3),
        squeeze=False,
        sharey="row",
        layout="constrained",
    )
    for (left, right), benchmark in zip(axes, benchmarks, strict=True):
        part = table[table["benchmark"] == benchmark]
        kinds = list(dict.fromkeys(part.loc[part["noise"] == 0, "condition"]))
        levels = sorted(part.loc[part["absent"] == "", "noise"].unique())
        for arm in arms:
            system, dropout = arm
            found = part.query("system == @system and dropout == @dropout")
            label = system + (", modality dropout in training" if dropout else "")
            look = _look(system, label, hollow=dropout > 0)
            absent = found[found["noise"] == 0].set_index("condition").reindex(kinds)
            place = np.arange(len(kinds)) + _dodge(arms, arm)
            _points(left, place, absent, "wf1_mean", **look | {"linestyle": ""})
            noise = found[found["absent"] == ""].sort_values("noise")
            place = noise["noise"].to_numpy() + _dodge(arms, arm) / 2
            _points(right, place, noise, "wf1_mean", **look)
        left.set_xticks(range(len(kinds)), kinds)
        left.set(
            ylabel="W-F1 (%)",
            title=f"{benchmark}: a modality absent",
            xlim=(-0.5, len(kinds) - 0.5),
        )
        right.set(title=f"{benchmark}: noise on all features", xticks=levels)
    for axis in axes[:, 0]:
        axis.set_ylim(bottom=max(0, axis.get_ylim()[0]))
    axes[-1, 1].set_xlabel("noise, in standard deviations of the feature")
    _legend(figure, axes[0, 1], columns=2)
    return figure


def speakers_table(rows: pd.DataFrame) -> Table:
    """Table 5: ways to tell the speaker, on all test speakers, on seen and on unseen ones.

    `rows` is `acquaintance`. Shown are mean ± sd over seeds and the difference to its reference
    with its 95 % interval; a dash where there are no such speakers or no finished runs.
    """
    shown = []
    for benchmark, ways in rows.groupby("benchmark", sort=False):
        counts = ways.groupby("part", sort=False)["utterances"].max()
        told = {"benchmark": benchmark, "speaker told as": "(utterances)"}
        shown.append(told | {part: f"{count:,}" for part, count in counts.items()})
        for way, found in ways.groupby("system", sort=False):
            line = {"benchmark": benchmark, "speaker told as": way}
            for part in found.itertuples():
                line[part.part] = plus_minus(part.wf1_mean, part.wf1_sd)
                line[f"Δ {part.part} [95 %]"] = change(part.delta, part.low, part.high)
            shown.append(line)
    order = max(shown, key=len)
    return Table(rows, pd.DataFrame(shown, columns=list(order)).fillna(""))


def _dodge(names: Sequence, name: object) -> float:
    return DODGE * (names.index(name) - (len(names) - 1) / 2)


def _look(system: str, label: str, hollow: bool) -> dict[str, str]:
    """Hollow marks go with dashed lines."""
    look = {"color": COLOUR[system], "marker": MARKER[system], "label": label}
    return look | ({"markerfacecolor": "white", "linestyle": "--"} if hollow else {})


def _points(axis: Axes, x: np.ndarray, table: pd.DataFrame, value: str, **look) -> None:
    """Means with their intervals; a mean without an interval stands alone."""
    y = table[value].to_numpy(float)
    # Of equal scores the mean may lie a rounding error outside its interval.
    away = np.nan_to_num([y - table["low"], table["high"] - y]).clip(min=0)
    look = {"marker": "o", "markersize": 4, "linestyle": "-"} | look
    axis.errorbar(x, y, away, elinewidth=0.8, capsize=1.5, **look)


def _legend(figure: Figure, axis: Axes, columns: int) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
