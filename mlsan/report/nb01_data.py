"""Notebook 1: the corpora (Table A0) and how speakers differ (Fig. 1)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.corpus import Corpus
from mlsan.corpus.standardised import standardised
from mlsan.evaluation import Counts, difference
from mlsan.evaluation.counts import dialogue_counts
from mlsan.evaluation.heterogeneity import strangers
from mlsan.evaluation.probes import emotion_predictions
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import finding
from mlsan.report.style import DOUBLE, emotion_colours
from mlsan.report.tables import Table
from mlsan.vocabulary import Benchmark

TABLE0 = Artifact(
    "table0_corpora",
    "01_data",
    "Table A0",
    "The corpora: dialogues, utterances, speakers, test speakers unseen in training, labels.",
)


def corpora_table(corpora: Mapping[Benchmark, Corpus]) -> Table:
    """Table A0: the size of each split. Speakers are names; a dash where the corpus has none."""
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
    "01_data",
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


REAL = "nEMO (real voices)"
RAW, STANDARD, ORACLE = "all, raw", "all, standardised by speaker", "all, oracle"


def strangers_text(corpora: Mapping[Benchmark, Corpus]) -> list[str]:
    """Which share of each corpus's test utterances is by speakers whom training does not have."""
    lines = []
    for corpus in corpora.values():
        if not corpus.named:
            lines.append(f"{corpus.name} does not name its speakers.")
            continue
        new = set(strangers(corpus))
        names = [name for d in corpus.test for name in d.speaker]
        share = sum(name in new for name in names) / len(names)
        lines.append(
            f"{corpus.name}: {len(new)} of {len({*names})} test speakers never speak in training; "
            f"they have {100 * share:.1f} % of the test utterances."
        )
    return lines


def probe_counts(corpus: Corpus, oracle: Corpus | None = None) -> dict[str, Counts]:
    """Test predictions of linear probes for emotion, counted: one entry per kind of features.

    `oracle` is the corpus with its styles undone, if it is simulated.
    """
    every = corpus.modalities
    kinds = {"text alone": (corpus, ("text",))} if "text" in every else {}
    kinds |= {RAW: (corpus, every), STANDARD: (standardised(corpus), every)}
    if oracle is not None:
        kinds[ORACLE] = (oracle, every)
    classes = len(corpus.declaration.emotions)
    return {
        kind: dialogue_counts({0: emotion_predictions(one, modalities)}, classes)
        for kind, (one, modalities) in kinds.items()
    }


def probe_scores(probes: Mapping[str, Mapping[str, Counts]]) -> pd.DataFrame:
    """The weighted F1 of each corpus's `probe_counts`, one row per corpus."""
    return pd.DataFrame(
        {
            corpus: {kind: float(found.scores()[0]) for kind, found in kinds.items()}
            for corpus, kinds in probes.items()
        }
    ).T


def probe_findings(probes: Mapping[str, Mapping[str, Counts]]) -> list[str]:
    """Which features a linear probe reads best, and what removing style adds, per corpus."""
    lines = []
    for corpus, kinds in probes.items():
        scores = probe_scores({corpus: kinds}).loc[corpus]
        first, second = scores.nlargest(2).index
        lines.append(
            f'{corpus}: "{first}" is highest, {scores[first]:.1f}; next is "{second}", '
            f"{scores[second]:.1f}."
        )
        for kind, what in ((STANDARD, "standardising by speaker"), (ORACLE, "the oracle")):
            if kind in kinds:
                says = f"{corpus}: {what} helps a probe on all features"
                lines.append(finding(says, difference(kinds[kind], kinds[RAW])))
    return lines


def repetition_findings(repeated: pd.DataFrame) -> list[str]:
    """How much more often an emotion is repeated than by chance; rows are `repetition`'s."""
    return [
        f"{corpus}: a speaker's next emotion is the same {100 * again:.1f} % of the time, which is "
        f"{again / chance:.1f} times as often as by chance ({100 * chance:.1f} %)."
        for corpus, again, chance in repeated[["same emotion again", "by chance"]].itertuples()
    ]


def variance_findings(explained: pd.DataFrame) -> list[str]:
    """Whether speaker or emotion explains more of the voice, in sentences.

    `explained` has the columns speaker and emotion, in percent, by corpus and modality.
    """
    lines = []
    for (corpus, modality), row in explained.iterrows():
        if modality != "audio":
            continue
        (less, low), (more, high) = row.sort_values().items()
        lines.append(
            f"{corpus}, audio: the {more} explains {high:.1f} % of the variance, the {less} "
            f"{low:.1f} %: {high / low:.1f} times as much."
        )
    return lines


def speaker_findings(recognised: pd.DataFrame) -> list[str]:
    """What standardising leaves of a speaker probe; `recognised` has one row per corpus."""
    return [
        f"{corpus}: a linear probe for the speaker scores {row['raw']:.0f} from raw features, and "
        f"{row['standardised by speaker']:.0f} from features standardised by speaker."
        for corpus, row in recognised.iterrows()
    ]


def gap_findings(gap: pd.Series, corpus: str) -> list[str]:
    """What calibration does to the distance of two speakers; the first entry of `gap` is raw."""
    before = gap.iloc[0]
    return [
        f"{corpus}, {space}: the mean distance between the two speakers' means of an emotion goes "
        f"from {before:.2f} to {after:.2f} sd."
        for space, after in gap.iloc[1:].items()
    ]
