"""Notebook 7: kinds of speaker (Table 5), and absent or noisy modalities (Fig. 10)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.evaluation import Counts, difference, mean_score
from mlsan.evaluation.counts import dialogue_counts
from mlsan.report.declaration import Artifact
from mlsan.report.style import DOUBLE, dodge, legend_below, look_of, points
from mlsan.report.tables import Table, change, plus_minus
from mlsan.training import system_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import EMOTIONS, Benchmark

TABLE5 = Artifact(
    "table5_speakers",
    ("07_beyond",),
    "Table 5",
    "Kinds of speaker that ML-SAN is given, beside MultiEMO: weighted F1 (points), mean ± sd over "
    "seeds, on all, seen and unseen test speakers, and differences with 95 % intervals over seeds "
    "and test dialogues.",
)


def way_of(run: RunSettings) -> str:
    """A run's name in Table 5: the kind of speaker that ML-SAN is given, else its system."""
    return run.speaker if run.model.name == "ML-SAN" else system_of(run.model)


def speakers_table(
    parts: Mapping[str, Mapping[Benchmark, Mapping[str, Counts]]],
    reference: Mapping[Benchmark, str],
) -> Table:
    """Table 5: kinds of speaker, on parts of the test set such as seen and unseen speakers.

    `parts[part][benchmark][way]` are `gathered` counts of the same dialogues. `data` has one row
    per benchmark, way and part: benchmark, system (the way), part, utterances, seeds, asked,
    wf1_mean, wf1_sd (percent, over seeds), and delta, low and high, the difference to the
    benchmark's `reference`. What has no utterances or no finished run is NaN, and so is the
    difference of the reference to itself.
    """
    rows = []
    for benchmark in next(iter(parts.values())):
        for part, found in parts.items():
            for way, counts in found[benchmark].items():
                row = {"benchmark": benchmark, "system": way, "part": part}
                row |= {"utterances": int(counts.support.sum()), "seeds": len(counts.seeds)}
                row |= {"asked": counts.asked} | counts.mean_and_sd()
                base = found[benchmark].get(reference[benchmark])
                delta = dict.fromkeys(("delta", "low", "high"), np.nan)
                if base is not None and way != reference[benchmark]:
                    delta = dict(zip(delta, difference(counts, base)[:3], strict=True))
                rows.append(row | delta)
    data = pd.DataFrame(rows)
    return Table(data, _shown(data))


def _shown(data: pd.DataFrame) -> pd.DataFrame:
    shown = []
    for benchmark, ways in data.groupby("benchmark", sort=False):
        counts = ways.groupby("part", sort=False)["utterances"].max()
        first = {"benchmark": benchmark, "speaker given as": "(utterances)"}
        shown.append(first | {part: f"{count:,}" for part, count in counts.items()})
        for way, found in ways.groupby("system", sort=False):
            line = {"benchmark": benchmark, "speaker given as": way}
            for part in found.itertuples():
                line[part.part] = plus_minus(part.wf1_mean, part.wf1_sd)
                line[f"Δ {part.part} [95 %]"] = change(part.delta, part.low, part.high)
            shown.append(line)
    order = max(shown, key=len)
    return pd.DataFrame(shown, columns=list(order)).fillna("")


FIG10 = Artifact(
    "fig10_robustness",
    ("07_beyond",),
    "Fig. 10",
    "Weighted F1 (points) with a modality absent or with noise at test time, trained with and "
    "without modality dropout, with 95 % intervals over seeds and test dialogues.",
)


def robustness_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Fig. 10's data: weighted F1 by condition, mean over seeds with its interval.

    `predictions` are `degraded_predictions` of each run, with benchmark, system, dropout (the rate
    of modality dropout in training) and seed added. Returns one row per benchmark, system, dropout
    and condition: absent, noise, wf1_mean, low, high, seeds.
    """
    keys = ["benchmark", "system", "dropout", "condition", "absent", "noise"]
    rows = []
    for key, part in predictions.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        counts = dialogue_counts(dict(iter(part.groupby("seed"))), len(EMOTIONS[row["benchmark"]]))
        value, low, high, seeds = mean_score(counts)
        rows.append(row | {"wf1_mean": value, "low": low, "high": high, "seeds": seeds})
    return pd.DataFrame(rows)


def robustness_figure(table: pd.DataFrame) -> Figure:
    """Fig. 10: `robustness_table`, one row per benchmark: absent modalities left, noise right.

    Hollow marks and dashed lines stand for models trained with modality dropout.
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
            look = look_of(system, hollow=dropout > 0) | {"label": label}
            absent = found[found["noise"] == 0].set_index("condition").reindex(kinds)
            place = np.arange(len(kinds)) + dodge(arms, arm)
            points(left, place, absent, "wf1_mean", **look | {"linestyle": ""})
            noise = found[found["absent"] == ""].sort_values("noise")
            place = noise["noise"].to_numpy() + dodge(arms, arm) / 2
            points(right, place, noise, "wf1_mean", **look)
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
    legend_below(figure, axes[0, 1], columns=2)
    return figure
