"""The paper's figures, each drawn from a tidy frame that is saved beside it."""

from collections.abc import Mapping
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mlsan.report import paper
from mlsan.report.style import DOUBLE, EMOTION, MODALITY, SYSTEM
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import EMOTIONS

Number = int | float


def heterogeneity(plane: pd.DataFrame, gap: pd.Series) -> Figure:
    """Fig. 1 as data: two speakers' same emotions in each space of `emotion_plane`.

    Dots are utterances, large marks a speaker's mean of an emotion, lines join the two speakers.
    """
    spaces = plane["space"].unique()
    speakers = plane["speaker"].unique()
    markers = dict(zip(speakers, ("o", "s"), strict=False))
    figure, axes = plt.subplots(
        1, len(spaces), figsize=(DOUBLE, 2.6), squeeze=False, layout="constrained"
    )
    for axis, space in zip(axes[0], spaces, strict=True):
        points = plane[plane["space"] == space]
        sns.scatterplot(
            points,
            x="x",
            y="y",
            hue="emotion",
            style="speaker",
            markers=markers,
            palette=EMOTION,
            s=8,
            alpha=0.35,
            linewidth=0,
            ax=axis,
            legend=False,
        )
        means = points.groupby(["emotion", "speaker"], sort=False)[["x", "y"]].mean()
        for (emotion, speaker), (x, y) in means.iterrows():
            axis.scatter(
                x, y, s=55, marker=markers[speaker], color=EMOTION[emotion], edgecolor="black"
            )
        for emotion, pair in means.groupby("emotion", sort=False):
            axis.plot(pair["x"], pair["y"], color=EMOTION[emotion], linewidth=1.5)
        axis.set(title=f"{space}\ndistance {gap[space]:.2f}", xlabel="", ylabel="")
        axis.set(xticks=[], yticks=[])
    handles = [
        plt.Line2D([], [], marker="o", linestyle="", color=EMOTION[e], label=e)
        for e in plane["emotion"].unique()
    ] + [
        plt.Line2D([], [], marker=markers[s], linestyle="", color="white", mec="black", label=s)
        for s in speakers
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def lambda_curve(curve: pd.DataFrame) -> Figure:
    """Fig. 6: weighted F1 against lambda, with 95 % intervals over seeds and the paper's optima.

    `curve` has benchmark, lam, wf1_mean, low, high. Lambda 0 is ML-SAN without the head.
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
        optimum = paper.LAMBDA_OPTIMUM[benchmark]
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


def confusions(shares: pd.DataFrame) -> Figure:
    """Fig. 4: row-normalised confusion matrices on one scale, with counts.

    `shares` has benchmark, system, emotion, predicted, count, share (of the true emotion).
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
        order = list(EMOTIONS[benchmark])
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


def feature_maps(points: pd.DataFrame) -> Figure:
    """Fig. 5: 2-D maps of z, one row a system, coloured by emotion and by speaker.

    `points` has benchmark, system, emotion, speaker (the most frequent, "others" for the rest),
    x, y.
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
                (row[2 * column], "emotion", EMOTION),
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


def gates(weights: pd.DataFrame, case: pd.DataFrame, title: str) -> Figure:
    """Fig. 3: gate and FiLM weights by speaker and modality, and one dialogue's case study.

    `weights` is `speaker_weights` of one or more runs averaged, `case` is `case_study`.
    """
    figure = plt.figure(figsize=(DOUBLE, 5.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.1))
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
            cbar=False,
            annot_kws={"fontsize": 6},
            ax=axis,
        )
        axis.set(title=name, xlabel="", ylabel="")
        axis.tick_params(axis="y", rotation=0)
    _case(bottom.subplots(), case, title)
    return figure


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


def architecture(run: RunSettings, sizes: Mapping[str, int]) -> Figure:
    """Fig. 2: ML-SAN as this run builds it, with the sizes of its features."""
    figure, axis = plt.subplots(figsize=(DOUBLE, 3.4), layout="constrained")
    axis.set(xlim=(0, 100), ylim=(0, 50))
    axis.axis("off")
    model = run.model
    plain, part = "0.93", "#f7d9a8"
    rows = {m: 38 - 14 * i for i, m in enumerate(m for m in model.modalities if m in sizes)}
    middle = np.mean(list(rows.values()))
    for modality, y in rows.items():
        calibrated = model.film and modality in model.film_modalities
        in_context = modality != "text" or model.text_context
        direction = "two-way " if model.bidirectional else ""
        chain = [
            (0, 11, f"{modality}\n$x^m$: {sizes[modality]}", plain),
            (14, 13, "FiLM  Eq. 1–2\n" + r"$\gamma_m \odot x^m + \beta_m$", part)
            if calibrated
            else None,
            (30, 8, f"Linear\n{model.d}", plain),
            (41, 13, f"{direction}\nDialogueRNN".strip(), plain) if in_context else None,
            (57, 12, "gate  Eq. 3\n" + r"$g_m \odot h^m$", part) if model.gate else None,
        ]
        boxes = [box for box in chain if box]
        for x, width, text, shade in boxes:
            _box(axis, x, y, width, 8, text, shade)
        for (x, width, *_), (after, *_) in pairwise(boxes):
            _arrow(axis, (x + width, y + 4), (after, y + 4))
        x, width, *_ = boxes[-1]
        _arrow(axis, (x + width, y + 4), (72, y + 4))
    lowest, highest = min(rows.values()), max(rows.values())
    across = f"cross-\nattention:\neach\nmodality\nasks the\nothers\n× {model.layers}"
    _box(axis, 72, lowest, 9, highest - lowest + 8, across, plain)
    _arrow(axis, (81, middle + 4), (84, middle + 4))
    _box(axis, 84, middle, 6, 8, f"$z$\n{model.d}", plain)
    _box(axis, 91.5, middle + 12, 8.5, 8, "emotion\n" + r"$\mathcal{L}_{ERC}$", plain)
    _arrow(axis, (87, middle + 8), (91.5, middle + 16))
    if model.aux:
        text = "speaker  Eq. 4\n" + rf"$\lambda\,\mathcal{{L}}_{{spk}}$, $\lambda$={run.loss.lam:g}"
        _box(axis, 87, middle - 12, 13, 8, text, part)
        _arrow(axis, (87, middle), (91.5, middle - 4))
    _box(
        axis, 36, 0, 24, 5, rf"speaker embedding $e_s$ ({model.speaker}, {model.speaker_dim})", part
    )
    if model.film:
        _arrow(axis, (40, 5), (21, lowest), dashed=True)
    if model.gate:
        _arrow(axis, (56, 5), (63, lowest), dashed=True)
    return figure


def _box(axis: Axes, x: Number, y: Number, width: Number, height: Number, text: str, shade) -> None:
    style = "round,pad=0,rounding_size=0.8"
    axis.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=shade, edgecolor="0.3")
    )
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=6)


def _arrow(axis: Axes, start: tuple, end: tuple, dashed: bool = False) -> None:
    line = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 0.8}
    axis.annotate("", end, start, arrowprops=line | {"linestyle": "--" if dashed else "-"})
