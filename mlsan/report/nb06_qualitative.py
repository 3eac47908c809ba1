"""Notebook 6: inside the trained models (Figs. 3, 4, 5, A9, A15 and Table A7)."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure

from mlsan.corpus.simulate.expression import STYLED
from mlsan.evaluation import Counts, Estimate, difference, mean_over_seeds
from mlsan.evaluation.claims import verdict
from mlsan.evaluation.neutrality import STAGES
from mlsan.evaluation.qualitative import speaker_distance
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import finding
from mlsan.report.style import (
    DOUBLE,
    MODALITY,
    QUIET,
    SMALL,
    emotion_colours,
    legend_below,
    points,
)
from mlsan.report.tables import BASE, FULL, Table, by_corpus, change
from mlsan.scores import class_recall
from mlsan.training import AS_PRINTED, system_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Benchmark, Modality

ADVERSARY = f"{AS_PRINTED} + adversary"
WITHHELD = "ML-SAN, identity withheld"

FIG3 = Artifact(
    "fig3_gate",
    "06_qualitative",
    "Fig. 3",
    "Gate and FiLM weights by speaker and modality, each panel with its scale; the utterances of a "
    "conversation's speakers before and after calibration, in the plane of their first two "
    "principal components, with the conversation's turns numbered and coloured by emotion; and "
    "the conversation turn by turn: what each modality contributes, and what both systems predict "
    "(wrong emotions in red). Strangers are enrolled with all of their unlabelled test utterances.",
)
WRONG = "#C0232C"


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
    figure = plt.figure(figsize=(DOUBLE, 8.2), layout="constrained")
    height = 0.8 + 0.18 * len(case)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(2.3, 2.8, height))
    _weights(top, weights)
    _places(middle, places, emotion_colours(emotions))
    _case(bottom, case, title, emotion_colours(emotions))
    return figure


def _weights(figure: SubFigure, weights: pd.DataFrame) -> None:
    """A heat map each of gate, scale and shift. The gate's scale is its range, 0 to 1."""
    both = weights[["scale", "shift"]].max(axis=None)
    most = 1.0 if np.isnan(both) else max(0.5, np.ceil(2 * both) / 2)
    parts = (("gate", "gate: mean of $g_m$", 1.0), ("scale", r"FiLM: rms $\gamma_m - 1$", most))
    parts += (("shift", r"FiLM: rms $\beta_m$", most),)
    order = list(weights["speaker"].unique()), list(weights["modality"].unique())
    figure.suptitle("what the model has learned by speaker")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (value, name, high) in zip(axes, parts, strict=True):
        grid = weights.pivot(index="speaker", columns="modality", values=value)
        grid = grid.loc[order[0], order[1]].dropna(axis=1, how="all")
        if grid.empty:
            axis.axis("off")
            continue
        sns.heatmap(
            grid,
            annot=True,
            fmt=".2f",
            cmap="Blues",
            vmin=0,
            vmax=high,
            cbar_kws={"ticks": [0, high / 2, high], "aspect": 25},
            annot_kws={"fontsize": SMALL},
            ax=axis,
        )
        axis.set(title=name, xlabel="", ylabel="")
        axis.tick_params(axis="y", rotation=0, length=0)
        axis.tick_params(axis="x", length=0)


def _places(figure: SubFigure, places: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """The speakers' utterances in each stage: small dots, and the conversation's turns numbered."""
    speakers = list(places["speaker"].unique())
    shapes = dict(zip(speakers, cycle("osD^vP"), strict=False))
    stages = places["stage"].unique()
    distance = speaker_distance(places)
    axes = figure.subplots(1, len(stages), sharex=True, sharey=True)
    for axis, stage in zip(axes, stages, strict=True):
        part = places[places["stage"] == stage]
        for speaker, own in part.groupby("speaker", sort=False):
            look = {"marker": shapes[speaker], "linewidths": 0.5}
            axis.scatter(own["x"], own["y"], s=5, color=QUIET, **look)
            turns = own[own["turn"] > 0]
            shades = [colours[name] for name in turns["emotion"]]
            axis.scatter(turns["x"], turns["y"], s=90, c=shades, edgecolors="black", **look)
            for row in turns.itertuples():
                text = {"color": _ink(colours[row.emotion]), "fontsize": SMALL}
                axis.annotate(str(row.turn), (row.x, row.y), ha="center", va="center", **text)
        axis.set(xlabel="1st principal component (sd)")
        axis.set_title(f"{stage}: distance of the speakers' centres {distance[stage]:.2f}")
    axes[0].set_ylabel("2nd principal component (sd)")
    shown = [name for name in colours if name in set(places.loc[places["turn"] > 0, "emotion"])]
    shape = {"linestyle": "", "markersize": 6, "markeredgecolor": "black"}
    handles = [
        *(plt.Line2D([], [], marker=shapes[s], color="white", label=s, **shape) for s in speakers),
        *(plt.Line2D([], [], marker="o", color=colours[e], label=e, **shape) for e in shown),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7))


def _ink(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    return "black" if np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) > 0.45 else "white"


def _case(figure: SubFigure, case: pd.DataFrame, title: str, colours: Mapping[str, str]) -> None:
    """The conversation: who speaks, each modality's share, the emotion and the predictions."""
    shares = [column for column in case if column.startswith("weight_")]
    known = ["turn", "speaker", "emotion", *shares]
    systems = [column for column in case if column not in known]
    figure.suptitle(title)
    bars, words = figure.subplots(1, 2, width_ratios=(1, 1.25), sharey=True)
    left = np.zeros(len(case))
    for column in shares:
        modality = column.removeprefix("weight_")
        look = {"color": MODALITY[modality], "label": modality, "height": 0.8}
        bars.barh(case["turn"], case[column], left=left, **look)
        left += case[column].to_numpy()
    bars.set_yticks(case["turn"], [f"{turn} {who}" for turn, who in case[known[:2]].to_numpy()])
    bars.set(xlim=(0, 1), ylim=(len(case) + 0.6, 0.4))
    bars.set_xlabel("share of the gated context features' norm")
    words.axis("off")
    columns = ["emotion", *systems]
    words.set_xlim(0, len(columns))
    for place, column in enumerate(columns):
        name = "true emotion" if column == "emotion" else column
        words.text(place + 0.08, 0.3, name, fontweight="bold", fontsize=SMALL, va="bottom")
        for turn, true, found in case[["turn", "emotion", column]].to_numpy():
            colour = "black" if found == true else WRONG
            words.text(place + 0.08, turn, found, va="center", fontsize=SMALL, color=colour)
            if column == "emotion":
                words.plot(place, turn, "o", color=colours[true], clip_on=False)
    bars.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=len(shares))


FIG4 = Artifact(
    "fig4_confusion",
    "06_qualitative",
    "Fig. 4",
    "Confusion matrices of MultiEMO and ML-SAN: each row has the percentages of the true emotion, "
    "with its test utterances, counted once per seed, beside its name; and the difference, ML-SAN "
    "minus MultiEMO, in points: on the diagonal blue is better, elsewhere red. Strangers are "
    "enrolled with all of their unlabelled test utterances. Counts are in the CSV.",
)


def confusion_figure(shares: pd.DataFrame) -> Figure:
    """Fig. 4: row-normalised confusion matrices on one scale; of two systems also the difference.

    `shares` has benchmark, system, emotion, predicted, count, share (of the true emotion). The
    emotions stay in the order of its rows. The difference is the second system minus the first.
    """
    corpora, systems = list(by_corpus(shares)), list(shares["system"].unique())
    panels = len(systems) + (len(systems) == 2)
    figure, axes = plt.subplots(
        len(corpora),
        panels,
        figsize=(DOUBLE, 2.9 * len(corpora)),
        squeeze=False,
        sharey="row",
        layout="constrained",
    )
    for row, (corpus, part) in zip(axes, corpora, strict=True):
        order = list(part["emotion"].unique())
        grids = {
            system: 100
            * own.pivot(index="emotion", columns="predicted", values="share").loc[order, order]
            for system, own in part.groupby("system", sort=False)
        }
        count = part[part["system"] == systems[0]].groupby("emotion")["count"].sum()
        names = [f"{emotion} ({count[emotion]:,.0f})" for emotion in order]
        for axis, system in zip(row, systems, strict=False):
            look = {"vmin": 0, "vmax": 100, "cmap": "Blues", "fmt": ".0f"}
            _matrix(axis, grids[system], names, f"{corpus}:\n{system}", look)
        if len(systems) == 2:
            before, after = (grids[system] for system in systems)
            look = {"vmin": -30, "vmax": 30, "cmap": "RdBu", "fmt": "+.0f"}
            _matrix(row[-1], after - before, names, f"{corpus}:\ndifference (points)", look)
        row[0].set_ylabel("true (test utterances)")
    return figure


def _matrix(axis: Axes, grid: pd.DataFrame, names: Sequence[str], title: str, look: dict) -> None:
    grid = grid.round(0) + 0.0  # no "-0"
    text = {"annot_kws": {"fontsize": SMALL}, "annot": True}
    sns.heatmap(grid, square=True, cbar=False, ax=axis, **text, **look)
    axis.set_yticks(np.arange(len(names)) + 0.5, names)
    axis.set(title=title, xlabel="predicted", ylabel="")
    axis.tick_params(axis="x", rotation=60, length=0)
    axis.tick_params(axis="y", rotation=0, length=0)


FIG5 = Artifact(
    "fig5_features",
    "06_qualitative",
    "Fig. 5",
    "The feature z of MultiEMO and ML-SAN: every test utterance on the first two principal "
    "components of z, in standard deviations of the first, by emotion and by speaker. The most "
    "frequent speakers have colours, the others are grey. ML-SAN has strangers enrolled with all "
    "of their unlabelled test utterances.",
)


GREY = "#949494"  # of seaborn's palette, too close to QUIET


def feature_figure(points: pd.DataFrame, emotions: Mapping[Benchmark, Sequence[str]]) -> Figure:
    """Fig. 5: 2-D maps of z, one row per system, coloured by emotion and by speaker.

    `points` has benchmark, system, emotion, speaker (the most frequent, "others (n)" for the rest),
    x, y; `emotions` are those of each benchmark in label order.
    """
    corpora, systems = list(by_corpus(points)), list(points["system"].unique())
    figure, axes = plt.subplots(
        len(systems),
        2 * len(corpora),
        figsize=(DOUBLE, 1.8 * len(systems) + 1.3),
        squeeze=False,
        layout="constrained",
    )
    for column, (corpus, part) in enumerate(corpora):
        known = emotions[part["benchmark"].iloc[0]]
        speakers = part["speaker"].value_counts().index
        others = [name for name in speakers if name.startswith("others")]
        speakers = sorted(name for name in speakers if name not in others)
        shades = [c for c in sns.color_palette("colorblind").as_hex() if c != GREY]
        by_speaker = dict.fromkeys(others, QUIET)
        by_speaker |= dict(zip(speakers, cycle(shades), strict=False))
        hues = {"emotion": emotion_colours(known), "speaker": by_speaker}
        for place, (hue, palette) in enumerate(hues.items(), start=2 * column):
            for axis, system in zip(axes[:, place], systems, strict=True):
                own = part[part["system"] == system]
                for name, colour in palette.items():  # the grey ones first, below the others
                    dots = own[own[hue] == name]
                    axis.scatter(dots["x"], dots["y"], s=3, color=colour, linewidths=0)
                axis.set(xticks=[], yticks=[])
                axis.set_title(f"{corpus}, {system}\nby {hue}")
            dot = {"marker": "o", "linestyle": "", "markersize": 4}
            handles = [plt.Line2D([], [], color=c, label=n, **dot) for n, c in palette.items()]
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12)}
            tight = {"handletextpad": 0.1, "columnspacing": 0.5, "labelspacing": 0.25}
            axes[-1, place].legend(handles=handles, ncols=1, **below, **tight)
    for axis in axes[-1]:
        axis.set_xlabel("1st component")
    for axis in axes[:, 0]:
        axis.set_ylabel("2nd component")
    return figure


TABLE7 = Artifact(
    "table7_recovery",
    "06_qualitative",
    "Table A7",
    "How close calibrated features are to features without any style, of simulated speakers: "
    "squared correlation, mean over features and seeds, on training utterances of seen speakers "
    "and on test utterances of strangers who are enrolled with all of their unlabelled test "
    'utterances. "by speaker" standardises each speaker\'s features over the utterances scored, '
    '"best" is the bound of Eq. 2.',
    needs="simulation",
)
SEEN, STRANGERS = "seen", "strangers, enrolled with all"


def recovery_table(found: pd.DataFrame) -> Table:
    """Table A7: R² of each calibration with the features without style.

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
    "06_qualitative",
    "Fig. A9",
    "What a linear probe reads of the speaker, of strangers and of the emotion at each stage of "
    "the model, one column per model: weighted F1 (%), mean over seeds with 95 % intervals over "
    "seeds alone. Dotted lines are chance. Strangers are enrolled with all of their unlabelled "
    "test utterances.",
)


def arm_of(run: RunSettings) -> str:
    """A run's name in Fig. A9: its system, and whether it has an adversary."""
    return system_of(run.model) + (" + adversary" if getattr(run.model, "adversary", False) else "")


def probes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Fig. A9's data: each probe's mean score with its interval over seeds, and its chance level.

    `rows` are `stage_probes` of each run, with benchmark, system and seed added. A probe's score is
    about one run, so that only seeds are resampled. Returns one row per benchmark, target, system
    and stage: wf1_mean, low, high, seeds, chance, above (the score minus chance) with its interval
    above_low and above_high, and modalities.
    """
    keys = ["benchmark", "target", "system", "stage"]
    table = []
    for key, part in rows.groupby(keys, sort=False):
        value, low, high, seeds = mean_over_seeds(part["wf1"].to_numpy())
        row = dict(zip(keys, key, strict=True)) | {"wf1_mean": value, "low": low, "high": high}
        row |= {"seeds": seeds, "chance": part["chance"].mean()}
        row |= mean_over_seeds((part["wf1"] - part["chance"]).to_numpy()).columns("above")
        table.append(row | {"modalities": part["modalities"].iloc[0]})
    return pd.DataFrame(table)


def probes_figure(table: pd.DataFrame) -> Figure:
    """Fig. A9: `probes_table`, one panel per target and system, one line per corpus.

    Its systems are those of `arm_of`, and WITHHELD for `withheld_stages`. Dotted lines are chance.
    """
    corpora = [name for name, _ in by_corpus(table)]
    targets = [t for t in ("speaker", "stranger", "emotion") if (table["target"] == t).any()]
    systems = list(table["system"].unique())
    figure, axes = plt.subplots(
        len(targets),
        len(systems),
        figsize=(DOUBLE, 1.45 * len(targets) + 0.9),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    looks = dict(zip(corpora, cycle(CORPUS_LOOKS), strict=False))
    for row, target in zip(axes, targets, strict=True):
        for axis, system in zip(row, systems, strict=True):
            own = table[(table["system"] == system) & (table["target"] == target)]
            for corpus, part in by_corpus(own):
                line = part.set_index("stage")
                line = line.loc[[stage for stage in STAGES if stage in line.index]]
                place = np.array([STAGES.index(stage) for stage in line.index])
                points(axis, place, line, "wf1_mean", label=corpus, **looks[corpus])
                chance = {"color": looks[corpus]["color"], "linestyle": ":", "linewidth": 0.9}
                axis.axhline(part["chance"].mean(), **chance)
            if own.empty:
                axis.text(2, 50, "not probed", ha="center", fontsize=SMALL, color="0.4")
        row[0].set_ylabel(f"{target}\nprobe's W-F1 (%)")
    for axis, system in zip(axes[0], systems, strict=True):
        axis.set_title("\n".join(textwrap.wrap(system, 14)), fontsize=SMALL)
    for axis in axes[-1]:
        axis.set_xticks(range(len(STAGES)), STAGES, rotation=60)
    axes[0, 0].set_ylim(0, 105)
    handles = [plt.Line2D([], [], label=name, **look) for name, look in looks.items()]
    handles.append(plt.Line2D([], [], color="0.3", linestyle=":", label="chance"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


CORPUS_LOOKS = (
    {"color": "#332288", "marker": "o", "markersize": 3},
    {"color": "#999933", "marker": "s", "markersize": 3},
    {"color": "#882255", "marker": "^", "markersize": 3},
)


FIG15 = Artifact(
    "fig15_balance",
    "06_qualitative",
    "Fig. A15",
    "The gate of each training speaker (mean over channels and seeds) against how much more the "
    "simulated speaker shows in the voice than in the face (mean log gain of audio minus that of "
    "visual). A gate that follows the truth opens audio and closes visual to the right. The "
    "correlation is Spearman's, of the difference of the two gates with the truth, mean over seeds "
    "with its 95 % interval over seeds; sd is that of the difference over speakers.",
    needs="simulation",
)


def balance_figure(table: pd.DataFrame) -> Figure:
    """Fig. A15: `gates_and_truth`, one row per corpus and one column per system."""
    corpora, systems = list(by_corpus(table)), list(table["system"].unique())
    figure, axes = plt.subplots(
        len(corpora),
        len(systems),
        figsize=(DOUBLE, 1.9 * len(corpora) + 0.5),
        squeeze=False,
        sharex="row",
        sharey=True,
        layout="constrained",
    )
    for row, (corpus, part) in zip(axes, corpora, strict=True):
        for axis, system in zip(row, systems, strict=True):
            own = part[part["system"] == system]
            for side, mark in zip(STYLED, ("o", "x"), strict=True):
                look = {"color": MODALITY[side], "marker": mark, "label": side}
                axis.scatter(own["balance"], own[side], s=18, linewidths=0.8, **look)
            rho = own.iloc[0]
            text = f"correlation {rho['rho']:+.2f} [{rho['rho_low']:+.2f}, {rho['rho_high']:+.2f}]"
            text += f"\nsd over speakers {(own['audio'] - own['visual']).std():.3f}"
            axis.text(0.03, 0.06, text, transform=axis.transAxes, fontsize=SMALL)
            axis.set(title=f"{corpus}: {system}", ylim=(0, 1))
        row[0].set_ylabel("gate: mean of $g_m$")
    for axis in axes[-1]:
        axis.set_xlabel("true balance: voice − face (log gain)")
    legend_below(figure, axes[0, 0], columns=2)
    return figure


# -- findings --


def identity_answer(weights: pd.DataFrame) -> str:
    """For whom FiLM does least, by the scales and shifts of `speaker_weights`."""
    if weights["scale"].isna().all():
        return "Nothing is calibrated here: the corpus has neither audio nor visual features."
    far = weights.groupby("speaker", sort=False)[["scale", "shift"]].mean().max(axis=1)
    known = far.drop("unknown")
    least = "does" if far["unknown"] <= known.min() else "does not do"
    return (
        f"**FiLM {least} least for the unknown speaker.** Its γ is away from 1, or its β from 0, "
        f"by {far['unknown']:.2f} (mean over modalities, the larger of the two); for the known "
        f"speakers that is {known.min():.2f} to {known.max():.2f}."
    )


def correct(case: pd.DataFrame, systems: Sequence[str]) -> str:
    """How many turns of a `case_study` each system gets right: `MultiEMO 7, ML-SAN 6`."""
    return ", ".join(f"{name} {(case[name] == case['emotion']).sum()}" for name in systems)


def distance_answer(places: pd.DataFrame, modality: Modality) -> str:
    """Whether calibration brings a conversation's speakers together: `before_and_after`."""
    before, after = speaker_distance(places)
    nearer = "come closer" if after < before else "do not come closer"
    return (
        f"**The speakers of this conversation {nearer}.** Their centres are {before:.2f} standard "
        f"deviations apart in the raw {modality} features and {after:.2f} after calibration."
    )


def balance_findings(table: pd.DataFrame) -> list[str]:
    """Whether the gate follows what speakers show: one finding per row of panels in Fig. A15.

    `table` is `gates_and_truth` with the column corpus.
    """
    lines = []
    swing = abs(paper.FIG3_WEIGHTS["audio"] - paper.FIG3_WEIGHTS["visual"])
    for (name, system), own in table.groupby(["corpus", "system"], sort=False):
        row, apart = own.iloc[0], (own["audio"] - own["visual"]).std()
        rho = Estimate(row["rho"], row["rho_low"], row["rho_high"], row["seeds"])
        says = f"{name}, {system}: the gate follows what a speaker shows"
        text = finding(says, rho, unit="(Spearman's correlation)")
        lines.append(
            f"{text} Audio minus visual has a standard deviation of {apart:.4f} over speakers; in "
            f"the paper's Fig. 3 the two differ by {swing:.2f}."
        )
    return lines


def recall_changes(
    systems: Mapping[str, Counts], emotions: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Recall of each emotion with both systems, rarest first, and the changes that are certain.

    `systems` has the counts of MultiEMO and ML-SAN. The table is for reading: emotion, test
    utterances, the recalls in percent, and the difference in points with its 95 % interval. The
    sentences name the emotions whose interval excludes zero.
    """
    base, ours = systems[BASE], systems[FULL]
    support = base.support
    found = np.stack(difference(ours, base, class_recall)[:3], axis=1)
    recall = [counts.scores(class_recall).mean(axis=0) for counts in (base, ours)]
    order = [int(k) for k in np.argsort(support, kind="stable") if support[k]]
    shown = pd.DataFrame(
        {
            "emotion": [emotions[k] for k in order],
            "test utterances": [int(support[k]) for k in order],
            f"{BASE}, recall %": [f"{recall[0][k]:.1f}" for k in order],
            f"{FULL}, recall %": [f"{recall[1][k]:.1f}" for k in order],
            "Δ [95 %]": [change(*found[k]) for k in order],
        }
    )
    lines = []
    ways = ((0.0, np.inf, "rises", "above"), (-np.inf, 0.0, "falls", "below"))
    for low, high, word, side in ways:
        each = {k: verdict(Estimate(*found[k], len(base.seeds)), low, high) for k in order}
        sure = [k for k in order if each[k] == "holds"]
        names = ", ".join(f"{emotions[k]} {change(*found[k])}" for k in sure)
        where = names or "no emotion"
        lines.append(f"recall {word} (interval {side} zero): {where}.")
    return shown, lines


def probe_findings(table: pd.DataFrame, within: float) -> list[str]:
    """Where ML-SAN hides the speaker and where it shows them: `probes_table` with corpus.

    A stage is neutral if the whole interval of the probe is at most `within` points above chance.
    """
    lines = []
    words = {"holds": "neutral", "does not hold": "not neutral", "undecided": "undecided"}
    for name, part in by_corpus(table[table["target"] == "speaker"]):
        own = part[part["system"] == FULL].dropna(subset="wf1_mean").set_index("stage")
        if own.empty:
            continue
        above = own[["above", "above_low", "above_high"]]
        low, high = above["above"].idxmin(), above["above"].idxmax()
        said = []
        for stage in ("calibrated", "z"):
            found = Estimate(*above.loc[stage], int(own.loc[stage, "seeds"]))
            word, text = words[verdict(found, -np.inf, within)], change(*found[:3])
            said.append(f'"{stage}" is {word} ({text})')
        lines.append(
            f'**{name}, {FULL}: the speaker is hardest to name at "{low}" and easiest at "{high}"**'
            f" ({above.loc[low, 'above']:+.1f} and {above.loc[high, 'above']:+.1f} points of "
            f"W-F1 above chance). By the rule (at most {within:g} points above chance), "
            f"{' and '.join(said)}."
        )
    return lines


def calibrated_sentences(table: pd.DataFrame) -> list[str]:
    """What the probes of `probes_table` read before and after calibration, model by model."""
    lines = []
    who = {"speaker": "the training speakers who speak most", "stranger": "enrolled strangers"}
    for name, corpus in by_corpus(table):
        for target, part in corpus[corpus["target"] != "emotion"].groupby("target", sort=False):
            line = part.set_index(["system", "stage"])["wf1_mean"]
            found = ", ".join(
                f"{system} {line[system, 'calibrated']:.1f}"
                for system in dict.fromkeys(part["system"])
                if system not in (BASE, WITHHELD)
            )
            lines.append(
                f"{name}, {who[target]}: the probe's W-F1 is {line[FULL, 'raw']:.1f} on raw "
                f"features. On calibrated features: {found}. Chance is {part['chance'].mean():.1f}."
            )
    return lines


def recovery_findings(quality: pd.DataFrame) -> list[str]:
    """Which start is closer to the bound, by corpus and speakers: the data of Table A7 with corpus.

    R² of one seed or their mean without an interval, so no verdict is drawn.
    """
    lines = []
    for (name, speakers), part in quality.groupby(["corpus", "speakers"], sort=False):
        closer = part["learned (statistics start)"] > part["learned as printed"]
        many = f"in {closer.sum()} of {len(part)} modalities"
        where = "in every modality" if closer.all() else many
        each = "; ".join(
            f"{row['modality']}: {row['learned (statistics start)']:.2f}, best {row['best']:.2f}, "
            f"as printed {row['learned as printed']:.2f}, none {row['none']:.2f}"
            for row in part.to_dict("records")
        )
        says = f"{name}, {speakers}: the statistics start is closer to the best {where}"
        lines.append(f"**{says}** ({each}).")
    return lines
