"""Notebook 0: three starts of FiLM in pictures, and findings in sentences."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp

from mlsan.report.declaration import Artifact
from mlsan.report.style import DOUBLE, SINGLE, emotion_colours

FIG0 = Artifact(
    "fig0_starts",
    "00_from_scratch",
    "Fig. A0",
    "Strangers' features as the trained model calibrates them, by where FiLM starts (seed 0). A "
    "dot is the mean of one stranger's utterances of one emotion, a cross is the emotion without "
    "any style. Right: weighted F1 for strangers, one line per seed.",
    origin="Simulated by the notebook itself, the same for every profile and corpus.",
)


def starts_figure(points: pd.DataFrame, scores: pd.DataFrame, emotions: Sequence[str]) -> Figure:
    """Fig. A0: one panel per start, then the scores.

    `points` has the columns start, speaker, emotion, x and y, the speaker "" standing for the
    emotion without any style; `scores` has start, seed and wf1. Starts are in order of appearance.
    """
    starts = list(points["start"].unique())
    colours = emotion_colours(emotions)
    figure = plt.figure(figsize=(DOUBLE, 2.3), layout="constrained")
    *planes, right = figure.subplots(1, len(starts) + 1, width_ratios=[1] * len(starts) + [0.8])
    for axis, start in zip(planes, starts, strict=True):
        part = points[points["start"] == start]
        people, pure = part[part["speaker"] != ""], part[part["speaker"] == ""]
        look = {"x": "x", "y": "y", "hue": "emotion", "palette": colours, "ax": axis}
        sns.scatterplot(people, s=22, linewidth=0.3, edgecolor="black", legend=False, **look)
        sns.scatterplot(pure, s=90, marker="X", edgecolor="black", legend=False, **look)
        axis.set(title=f"{start} start", xlabel="direction 1", ylabel="", xticks=[], yticks=[])
        axis.set(xlim=_limits(points["x"]), ylim=_limits(points["y"]))
    planes[0].set_ylabel("direction 2")
    wide = scores.pivot(index="start", columns="seed", values="wf1").loc[starts]
    right.plot(starts, wide, color="0.6", marker="o", markersize=3, linewidth=0.8)
    right.plot(starts, wide.mean(axis=1), color="black", marker="_", markersize=14, linewidth=0)
    right.set(ylabel="W-F1 for strangers (%)")
    right.set(xlim=(-0.4, len(starts) - 0.6), title=f"{wide.shape[1]} seeds, and their mean")
    handles = [
        plt.Line2D([], [], marker="o", linestyle="", color=colours[e], label=e) for e in emotions
    ]
    handles.append(
        plt.Line2D([], [], marker="X", linestyle="", color="white", mec="black", label="no style")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    below = {"ha": "right", "va": "top", "fontsize": 5, "color": "0.4", "gid": "simulated"}
    figure.text(1, -0.01, "simulated data", **below)
    return figure


def actors_figure(scores: pd.DataFrame, starts: Sequence[str]) -> Figure:
    """One line per actor from the first start's weighted F1 to the second's.

    `scores` is indexed by actor and has one column per start.
    """
    ordered = scores.sort_values(starts[1])
    figure, axis = plt.subplots(figsize=(SINGLE, 2.2), layout="constrained")
    place = np.arange(len(ordered))
    axis.hlines(place, ordered[starts[0]], ordered[starts[1]], color="0.7", linewidth=1.5)
    for start, face in zip(starts, ("white", "black"), strict=True):
        axis.plot(ordered[start], place, "o", color="black", markerfacecolor=face, label=start)
    axis.set(yticks=place, yticklabels=ordered.index, xlabel="W-F1 (%)", ylabel="unseen actor")
    axis.legend(title="start", loc="lower right")
    return figure


def finding(name: str, differences: Float[np.ndarray, "pair"]) -> str:
    """A difference in points with its 95 % t interval over pairs, and the verdict in words."""
    low, high = ttest_1samp(differences, 0).confidence_interval()
    where = "is above zero" if low > 0 else "is below zero" if high < 0 else "includes zero"
    points = f"{np.mean(differences):+.1f} points [{low:+.1f}, {high:+.1f}]"
    return f"{name}: {points}; the interval {where}"


def _limits(values: pd.Series) -> tuple[float, float]:
    """The same for all panels, with a margin."""
    margin = 0.08 * (values.max() - values.min())
    return values.min() - margin, values.max() + margin
