"""Notebook 6: inside the trained models (Figs. 3, 4, 5, 9 and Table 7)."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mlsan.evaluation import mean_over_seeds
from mlsan.evaluation.neutrality import STAGES
from mlsan.evaluation.qualitative import speaker_distance
from mlsan.report.declaration import Artifact
from mlsan.report.style import (
    DOUBLE,
    MODALITY,
    SYSTEM,
    dodge,
    emotion_colours,
    legend_below,
    look_of,
    points,
)
from mlsan.report.tables import FULL, Table
from mlsan.training import AS_PRINTED, system_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Benchmark

ADVERSARY = f"{AS_PRINTED} + adversary"
WITHHELD = "ML-SAN, identity withheld"
EXTRA = {
    ADVERSARY: {"color": "0.45", "marker": "D"},
    WITHHELD: {"color": SYSTEM["ML-SAN"], "marker": "o"},
}

FIG3 = Artifact(
    "fig3_gate",
    ("06_qualitative",),
    "Fig. 3",
    "Gate and FiLM weights by speaker and modality; the utterances of a conversation's speakers "
    "before and after calibration, in the plane of their first two principal components, with the "
    "conversation's turns numbered and coloured by emotion; and its emotions, turn by turn. "
    "Strangers are enrolled with all of their unlabelled test utterances.",
)


def gate_figure(
    weights: pd.DataFrame,
    places: pd.DataFrame,
    case: pd.DataFrame,
    title: str,
    emotions: Sequence[str],
) -> Figure:
    """Fig. 3: weights by speaker and modality, and one conversation as a case study.

    `weights` is `speaker_weights`, `places` is `before_and_after` with the column emotion, `case`
    is `case_study`, `emotions` are those of the corpus in label order.
    """
    figure = plt.figure(figsize=(DOUBLE, 7.8), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1, 1.1, 1.1))
    parts = (("gate", "gate: mean of $g_m$"), ("scale", r"FiLM: rms $\gamma_m - 1$"))
    parts += (("shift", r"FiLM: rms $\beta_m$"),)
    for axis, (value, name) in zip(top.subplots(1, 3), parts, strict=True):
        order = weights["speaker"].unique(), weights["modality"].unique()
        grid = weights.pivot(index="speaker", columns="modality", values=value)
        sns.heatmap(
            grid.loc[order[0], order[1]],
            annot=True,
            fmt=".2f",
            cmap="cividis",
            vmin=0,
            vmax=1 if value == "gate" else None,
            cbar=False,
            annot_kws={"fontsize": 6},
            ax=axis,
        )
        axis.set(title=name, xlabel="", ylabel="")
        axis.tick_params(axis="y", rotation=0)
    _places(middle, places, emotion_colours(emotions))
    _case(bottom.subplots(), case, title)
    return figure


def _places(figure: SubFigure, places: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """The speakers' utterances in each stage: small dots, and the conversation's turns numbered."""
    speakers = list(places["speaker"].unique())
    shapes = dict(zip(speakers, cycle("osD^vP"), strict=False))
    stages = places["stage"].unique()
    distance = speaker_distance(places)
    for axis, stage in zip(figure.subplots(1, len(stages)), stages, strict=True):
        part = places[places["stage"] == stage]
        for speaker, own in part.groupby("speaker", sort=False):
            look = {"marker": shapes[speaker], "linewidths": 0.5}
            axis.scatter(own["x"], own["y"], s=5, color="0.75", **look)
            turns = own[own["turn"] > 0]
            shades = [colours[name] for name in turns["emotion"]]
            axis.scatter(turns["x"], turns["y"], s=45, c=shades, edgecolors="black", **look)
            for row in turns.itertuples():
                axis.annotate(str(row.turn), (row.x, row.y), fontsize=5, ha="center", va="center")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{stage}: distance of the speakers' centres {distance[stage]:.2f}")
    handles = [
        plt.Line2D([], [], marker=shapes[s], linestyle="", color="white", mec="black", label=s)
        for s in speakers
    ]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize=6)


def _case(axis: Axes, case: pd.DataFrame, title: str) -> None:
    shares = [column for column in case if column.startswith("weight_")]
    systems = [
        c for c in case if c not in ("turn", "speaker", "emotion") and not c.startswith("weight_")
    ]
    left = np.zeros(len(case))
    for column in shares:
        modality = column.removeprefix("weight_")
        shade = MODALITY[modality]
        axis.barh(case["turn"], case[column], left=left, color=shade, label=modality, height=0.8)
        left += case[column].to_numpy()
    names = [
        f"{turn} {speaker}: {emotion}"
        for turn, speaker, emotion in case[["turn", "speaker", "emotion"]].to_numpy()
    ]
    axis.set_yticks(case["turn"], names)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.75), xlabel="share of the gated context features' norm", title=title)
    axis.set_xticks([0, 0.5, 1])
    for column, system in enumerate(systems):
        x = 1.05 + 0.35 * column
        axis.text(x, 0.3, system, fontweight="bold", fontsize=6, va="bottom")
        for turn, true, found in case[["turn", "emotion", system]].to_numpy():
            axis.text(
                x,
                turn,
                found,
                va="center",
                fontsize=6,
                color="black" if found == true else "tab:red",
            )
    axis.xaxis.set_label_coords(0.29, -0.11)
    axis.legend(loc="upper center", bbox_to_anchor=(0.29, -0.16), ncols=len(shares), frameon=False)


FIG4 = Artifact(
    "fig4_confusion",
    ("06_qualitative",),
    "Fig. 4",
    "Confusion matrices of MultiEMO and ML-SAN, each row as shares of the true emotion, with "
    "counts. ML-SAN has strangers enrolled with all of their unlabelled test utterances.",
)


def confusion_figure(shares: pd.DataFrame) -> Figure:
    """Fig. 4: row-normalised confusion matrices on one scale, with counts.

    `shares` has benchmark, system, emotion, predicted, count, share (of the true emotion). The
    emotions stay in the order of its rows.
    """
    benchmarks, systems = shares["benchmark"].unique(), shares["system"].unique()
    figure, axes = plt.subplots(
        len(benchmarks),
        len(systems),
        figsize=(DOUBLE, 3.2 * len(benchmarks)),
        squeeze=False,
        layout="constrained",
    )
    for row, benchmark in zip(axes, benchmarks, strict=True):
        order = list(shares.query("benchmark == @benchmark")["emotion"].unique())
        for axis, system in zip(row, systems, strict=True):
            part = shares.query("benchmark == @benchmark and system == @system")
            share, count = (
                part.pivot(index="emotion", columns="predicted", values=value).loc[order, order]
                for value in ("share", "count")
            )
            text = [
                [f"{100 * s:.0f}\n({n:.0f})" for s, n in zip(ss, ns, strict=True)]
                for ss, ns in zip(share.to_numpy(), count.to_numpy(), strict=True)
            ]
            sns.heatmap(
                share,
                annot=text,
                fmt="",
                vmin=0,
                vmax=1,
                cmap="viridis",
                square=True,
                cbar=False,
                annot_kws={"fontsize": 5.5},
                ax=axis,
            )
            axis.set(title=f"{benchmark}: {system}", xlabel="predicted", ylabel="true")
            axis.tick_params(axis="x", rotation=45)
            axis.tick_params(axis="y", rotation=0)
    return figure


FIG5 = Artifact(
    "fig5_features",
    ("06_qualitative",),
    "Fig. 5",
    "The feature z of MultiEMO and ML-SAN in two dimensions, by emotion and by speaker. ML-SAN has "
    "strangers enrolled with all of their unlabelled test utterances.",
)


def feature_figure(points: pd.DataFrame, emotions: Mapping[Benchmark, Sequence[str]]) -> Figure:
    """Fig. 5: 2-D maps of z, one row per system, coloured by emotion and by speaker.

    `points` has benchmark, system, emotion, speaker (the most frequent, "others" for the rest),
    x, y; `emotions` are those of each benchmark in label order.
    """
    benchmarks, systems = points["benchmark"].unique(), points["system"].unique()
    figure, axes = plt.subplots(
        len(systems),
        2 * len(benchmarks),
        figsize=(DOUBLE, 1.9 * len(systems) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for row, system in zip(axes, systems, strict=True):
        for column, benchmark in enumerate(benchmarks):
            part = points.query("system == @system and benchmark == @benchmark")
            speakers = [s for s in part["speaker"].unique() if s != "others"]
            shades = sns.color_palette("colorblind", len(speakers))
            by_speaker = dict(zip(speakers, shades, strict=True)) | {"others": "0.8"}
            for axis, hue, palette in (
                (row[2 * column], "emotion", emotion_colours(emotions[benchmark])),
                (row[2 * column + 1], "speaker", by_speaker),
            ):
                sns.scatterplot(
                    part, x="x", y="y", hue=hue, palette=palette, s=5, linewidth=0, ax=axis
                )
                axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
                axis.set_title(f"{benchmark}, {system}\nby {hue}")
                handles, labels = axis.get_legend_handles_labels()
                axis.get_legend().remove()
                if system == systems[-1]:
                    axis.legend(
                        handles,
                        labels,
                        loc="upper center",
                        bbox_to_anchor=(0.5, -0.02),
                        ncols=2,
                        frameon=False,
                        fontsize=6,
                        handletextpad=0.1,
                        columnspacing=0.5,
                    )
    return figure


TABLE7 = Artifact(
    "table7_recovery",
    ("06_qualitative",),
    "Table 7",
    "How close calibrated features are to features without any style, of simulated speakers: "
    "squared correlation, mean over features and seeds, on training utterances of seen speakers "
    "and on test utterances of strangers who are enrolled with all of their unlabelled test "
    'utterances. "by speaker" standardises each speaker\'s features over the utterances scored, '
    '"best" is the bound of Eq. 2.',
    needs="simulation",
)
SEEN, STRANGERS = "seen", "strangers, enrolled with all"


def recovery_table(found: pd.DataFrame) -> Table:
    """Table 7: R² of each calibration with the features without style.

    `found` are `recovery_by_modality` of each run, with benchmark, system (as printed or ours) and
    speakers added. One row per benchmark, speakers and calibrated modality, with the columns none,
    by speaker, learned as printed, learned (statistics start) and best. NaN without such runs, no
    row where nobody has enough utterances.
    """
    learned = {AS_PRINTED: "learned as printed", FULL: "learned (statistics start)"}
    kind = found["calibration"].where(
        found["calibration"] != "learned", found["system"].map(learned)
    )
    keys = ["benchmark", "speakers", "modality"]
    means = found.assign(kind=kind).groupby([*keys, "kind"], sort=False)["r2_mean"].mean()
    columns = ["none", "by speaker", *learned.values(), "best"]
    wide = means.unstack("kind", sort=False).reindex(columns=columns).dropna(how="all")
    data = wide.drop("text", level="modality", errors="ignore").reset_index()
    return Table(data.rename_axis(columns=None), data.rename_axis(columns=None))


FIG9 = Artifact(
    "fig9_probes",
    ("06_qualitative",),
    "Fig. 9",
    "What a linear probe reads of the speaker, of strangers and of the emotion at each stage of "
    "the model: weighted F1 (%), mean over seeds with 95 % intervals over seeds alone. Strangers "
    "are enrolled with all of their unlabelled test utterances.",
)


def arm_of(run: RunSettings) -> str:
    """A run's name in Fig. 9: its system, and whether it has an adversary."""
    return system_of(run.model) + (" + adversary" if getattr(run.model, "adversary", False) else "")


def probes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Fig. 9's data: each probe's mean score with its interval over seeds, and its chance level.

    `rows` are `stage_probes` of each run, with benchmark, system and seed added. A probe's score is
    about one run, so that only seeds are resampled. Returns one row per benchmark, target, system
    and stage: wf1_mean, low, high, seeds, chance, modalities.
    """
    keys = ["benchmark", "target", "system", "stage"]
    table = []
    for key, part in rows.groupby(keys, sort=False):
        value, low, high, seeds = mean_over_seeds(part["wf1"].to_numpy())
        row = dict(zip(keys, key, strict=True)) | {"wf1_mean": value, "low": low, "high": high}
        row |= {"seeds": seeds, "chance": part["chance"].mean()}
        table.append(row | {"modalities": part["modalities"].iloc[0]})
    return pd.DataFrame(table)


def probes_figure(table: pd.DataFrame) -> Figure:
    """Fig. 9: `probes_table` along the stages; one row per target, dashed is chance.

    Its systems are those of `arm_of`, and WITHHELD for `withheld_stages`.
    """
    benchmarks = table["benchmark"].unique()
    targets = [t for t in ("speaker", "stranger", "emotion") if (table["target"] == t).any()]
    systems = list(table["system"].unique())
    figure, axes = plt.subplots(
        len(targets),
        len(benchmarks),
        figsize=(DOUBLE, 2.1 * len(targets)),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for row, target in zip(axes, targets, strict=True):
        for axis, benchmark in zip(row, benchmarks, strict=True):
            part = table.query("benchmark == @benchmark and target == @target")
            if part.empty:
                axis.text(1, 50, "no strangers in several dialogues", fontsize=6, color="0.4")
            for system, line in part.groupby("system", sort=False):
                line = line.set_index("stage").loc[[s for s in STAGES if s in set(line["stage"])]]
                place = [STAGES.index(stage) for stage in line.index]
                place = np.array(place) + dodge(systems, system)
                look = look_of(system, hollow=system == WITHHELD) | EXTRA.get(system, {})
                points(axis, place, line, "wf1_mean", label=system, **look)
            if len(part):
                level = part["chance"].mean()
                axis.axhline(level, color="black", linestyle="--", linewidth=0.8, label="chance")
            axis.set_xticks(range(len(STAGES)), STAGES)
            axis.set_title(f"{benchmark}: {target}")
        row[0].set_ylabel("probe's W-F1 (%)")
    for row in axes[:-1]:
        row[0].set_ylim(0, 105)
    axes[-1, 0].set_ylim(bottom=0)
    legend_below(figure, axes[0, 0], columns=5 if len(systems) < 5 else 3)
    return figure
