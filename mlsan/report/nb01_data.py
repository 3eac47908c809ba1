"""Notebook 1: the corpora (Table 0) and how speakers differ (Fig. 1)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.corpus import Corpus
from mlsan.report.declaration import Artifact
from mlsan.report.style import DOUBLE, emotion_colours
from mlsan.report.tables import Table
from mlsan.vocabulary import Benchmark

TABLE0 = Artifact(
    "table0_corpora",
    ("01_data",),
    "Table 0",
    "The corpora: dialogues, utterances, speakers, test speakers unseen in training, labels.",
)


def corpora_table(corpora: Mapping[Benchmark, Corpus]) -> Table:
    """Table 0: the size of each split. Speakers are names; a dash where the corpus has none."""
    columns = {}
    for corpus in corpora.values():
        trained = {name for d in corpus.train for name in d.speaker or () if name}
        for split in ("train", "dev", "test"):
            dialogues = getattr(corpus, split)
            label = np.concatenate([d.label for d in dialogues])
            names = [name for d in dialogues for name in d.speaker or () if name]
            column = {
                "dialogues": len(dialogues),
                "utterances": len(label),
                "utterances per dialogue": round(len(label) / len(dialogues), 1),
            }
            if corpus.named:
                column |= {
                    "speakers": len(set(names)),
                    "speakers unseen in training": len(set(names) - trained),
                    "utterances of unseen speakers": sum(name not in trained for name in names),
                }
            emotions = corpus.declaration.emotions
            counts = np.bincount(label, minlength=len(emotions))
            column |= {f"label {e}": int(n) for e, n in zip(emotions, counts, strict=True)}
            columns[f"{corpus.name} {split}"] = column
    data = pd.DataFrame(columns).rename_axis("count").reset_index()
    shown = data.set_index("count").map(lambda n: "–" if pd.isna(n) else f"{n:,.10g}").reset_index()
    return Table(data, shown)


FIG1 = Artifact(
    "fig1_heterogeneity",
    ("01_data",),
    "Fig. 1",
    "The same emotions of two speakers, before and after calibration: large marks are a speaker's "
    "mean of an emotion, lines join the two speakers' means, and dots are utterances. Each panel "
    "is the plane that best separates the emotions of all speakers, in standard deviations within "
    "an emotion.",
)


def heterogeneity_figure(plane: pd.DataFrame, gap: pd.Series, emotions: Sequence[str]) -> Figure:
    """Fig. 1 as data: the same emotions of two speakers in each space of `emotion_plane`.

    Dots are utterances, large marks a speaker's mean of an emotion, lines join the two speakers.
    `gap` is `speaker_gap` of the plane, `emotions` are all of the corpus in label order. The
    panels show the middle 90 % of all utterances in each direction, where the means are.
    """
    colours = emotion_colours(emotions)
    spaces, speakers = plane["space"].unique(), plane["speaker"].unique()
    markers = dict(zip(speakers, ("o", "s"), strict=False))
    figure, axes = plt.subplots(
        1,
        len(spaces),
        figsize=(DOUBLE, 2.7),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axis, space in zip(axes[0], spaces, strict=True):
        points = plane[plane["space"] == space]
        for (emotion, speaker), own in points.groupby(["emotion", "speaker"], sort=False):
            look = {"color": colours[emotion], "marker": markers[speaker]}
            axis.scatter(own["x"], own["y"], s=3, alpha=0.18, linewidths=0, **look)
        means = points.groupby(["emotion", "speaker"], sort=False)[["x", "y"]].mean()
        for emotion, pair in means.groupby("emotion", sort=False):
            axis.plot(pair["x"], pair["y"], color="black", linewidth=3.2, zorder=3)
            axis.plot(pair["x"], pair["y"], color=colours[emotion], linewidth=2, zorder=4)
        for (emotion, speaker), (x, y) in means.iterrows():
            look = {"color": colours[emotion], "marker": markers[speaker]}
            axis.scatter(x, y, s=60, edgecolor="black", zorder=5, **look)
        axis.set(xlabel="1st discriminant (sd)", title=f"{space}\ndistance {gap[space]:.2f} sd")
    low, high = plane[["x", "y"]].quantile([0.05, 0.95]).to_numpy()
    axes[0, 0].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes[0, 0].set_ylabel("2nd discriminant (sd)")
    shape = {"linestyle": "", "color": "white", "markeredgecolor": "black"}
    handles = [
        *(
            plt.Line2D([], [], marker="o", linestyle="", color=colours[e], label=e)
            for e in plane["emotion"].unique()
        ),
        *(plt.Line2D([], [], marker=markers[s], label=s, **shape) for s in speakers),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
