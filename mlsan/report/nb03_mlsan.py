"""Notebook 3: the architecture (Fig. 2), comparisons with MultiEMO (Tables A3, A4, A6), Fig. A7."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mlsan.corpus.types import Speakers
from mlsan.evaluation import Counts, Estimate, difference, mean_over_seeds, mean_score, mean_sd
from mlsan.evaluation.classes import compare_classes
from mlsan.evaluation.significance import NO_TEST, adjusted, compared, holm, t_needed
from mlsan.model.losses import MultiEMOLoss
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import delta_of, finding
from mlsan.report.style import DOUBLE, SMALL, SYSTEM
from mlsan.report.tables import (
    BASE,
    ENROLLED,
    FULL,
    PROBE,
    STANDARDISED,
    Table,
    against,
    by_corpus,
    change,
    estimate,
    of_asked,
    p_text,
    plus_minus,
    score_text,
    with_interval,
    without_paper,
)
from mlsan.training import AS_PRINTED
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import BENCHMARKS, Benchmark

CLAIMED_P = 0.01  # the paper's paired t-test, over paper.RUNS runs
# Test utterances of the emotions of paper.FIG4_RECOGNISED in the published MELD.
MELD_TEST = {"fear": 50, "anger": 345}
Number = int | float

TABLE1 = Artifact(
    "table1_main",
    "03_mlsan",
    "Table 1",
    "Weighted F1 (points) of each system, mean ± sd over seeds, at the best dev epoch and at the "
    "best test epoch, beside the numbers that the paper prints. No row uses labels of test "
    "utterances; which unlabelled ones it uses has a column of its own. Quoted rows have the "
    "paper's numbers only. UniMSE is always quoted: it generates from raw text and is not a model "
    "of utterance features.",
)
FIG2 = Artifact(
    "fig2_architecture",
    "03_mlsan",
    "Fig. 2",
    "The architecture of ML-SAN: its own parts are orange, MultiEMO's grey. Dashed arrows carry "
    "the speaker. Numbers are widths.",
)
PLAIN, PART, SPEAKER = "0.93", "#f7d9a8", "#a85a00"
HEIGHT, MIDDLE = 8, 27  # of a box, and where the middle row is


def architecture_figure(run: RunSettings, sizes: Mapping[str, int]) -> Figure:
    """Fig. 2: ML-SAN as this run builds it, with the sizes of its features and its losses.

    `run` is of ML-SAN, with or without some of its parts; `sizes` are features by modality.
    """
    model = run.model
    figure, axis = plt.subplots(figsize=(DOUBLE, 3.3), layout="constrained")
    axis.set(xlim=(-0.5, 100.5), ylim=(-0.5, 49.5))
    axis.axis("off")
    used = [m for m in model.modalities if m in sizes]
    rows = {m: MIDDLE + 14 * ((len(used) - 1) / 2 - i) for i, m in enumerate(used)}
    calibrated = [m for m in rows if model.film and m in model.film_modalities]
    low, high = min(rows.values()), max(rows.values())
    for modality, y in rows.items():
        in_context = modality != "text" or model.text_context
        direction = "two-way\n" if model.bidirectional else ""
        encoder = f"Linear, {model.d}" + f"\n{direction}DialogueRNN" * in_context
        gate = (54, 14, "gate  Eq. 3\n" + r"$g_m \odot h^m$", PART)
        boxes = [
            (0, 11, f"{modality}\n$x^m$: {sizes[modality]}", PLAIN),
            *([(15, 15, _FILM, PART)] if modality in calibrated else []),
            (34, 16, encoder, PLAIN),
            *([gate] if model.gate else []),
        ]
        for x, width, text, shade in boxes:
            _box(axis, x, y, width, HEIGHT, text, shade)
        ends = [(x, x + width) for x, width, *_ in boxes] + [(72, 82)]
        for (_, start), (end, _) in pairwise(ends):
            _arrow(axis, (start, y + 5), (end, y + 5))
    across = f"cross-\nattention:\neach\nmodality\nqueries\nthe others\n× {model.layers}"
    _box(axis, 72, low, 10, high - low + HEIGHT, across, PLAIN)
    _heads(axis, run)
    _speaker(axis, run, rows, calibrated)
    return figure


_FILM = "FiLM  Eq. 1–2\n" + r"$\gamma_m \odot x^m + \beta_m$"


def _heads(axis: Axes, run: RunSettings) -> None:
    """z, what is predicted from it, and the losses."""
    model, high, low = run.model, MIDDLE + 14, MIDDLE - 14
    _arrow(axis, (82, MIDDLE + 4), (86, MIDDLE + 4))
    _box(axis, 86, MIDDLE, 14, HEIGHT, f"$z$: {model.d}", PLAIN)
    parts = " CE,\nSWFC, Soft-HGR" if isinstance(run.loss, MultiEMOLoss) else ""
    _box(axis, 84, high - 1, 16, HEIGHT + 1, "emotion\n" + r"$\mathcal{L}_{ERC}$:" + parts, PLAIN)
    _arrow(axis, (93, MIDDLE + HEIGHT), (93, high - 1))
    if model.aux:
        _box(axis, 84, low, 16, HEIGHT, "speaker  Eq. 4\n" + r"$\mathcal{L}_{spk}$", PART)
        _arrow(axis, (93, MIDDLE), (93, low + HEIGHT))
        total = rf"loss: $\mathcal{{L}}_{{ERC}} + {model.lam:g}\,\mathcal{{L}}_{{spk}}$"
    else:
        total = r"loss: $\mathcal{L}_{ERC}$"
    axis.text(100, 3.5, total, ha="right", va="center", fontsize=SMALL)


def _speaker(
    axis: Axes, run: RunSettings, rows: Mapping[str, Number], calibrated: Sequence[str]
) -> None:
    """What is known of the speaker, and the arrows to every part that reads it."""
    model = run.model
    text = rf"embedding $e_s$: {model.speaker_dim}" + f"\nof the speaker ({run.speaker})"
    if calibrated or model.gate:
        _box(axis, 31, 0, 23, 7, text, PART)
    if calibrated:
        _bus(axis, 32, 30, [rows[m] + 2 for m in calibrated])
    if model.gate:
        _bus(axis, 52, 54, [y + 2 for y in rows.values()])
    if calibrated and model.styled:
        style = "the speaker's style\n" + r"$\mu_s$, $\sigma_s$ of utterances"
        _box(axis, 4, 0, 22, 7, style, PART)
        _bus(axis, 13, 15, [rows[m] + 2 for m in calibrated])


def _bus(axis: Axes, x: Number, end: Number, heights: Sequence[Number]) -> None:
    """A dashed line up along `x`, with an arrow to `end` at each height."""
    line = {"color": SPEAKER, "linewidth": 0.8, "linestyle": "--"}
    axis.plot([x, x], [7, max(heights)], **line)
    for y in heights:
        _arrow(axis, (x, y), (end, y), color=SPEAKER)


def _box(axis: Axes, x: Number, y: Number, width: Number, height: Number, text: str, shade) -> None:
    style = "round,pad=0,rounding_size=0.8"
    look = {"boxstyle": style, "facecolor": shade, "edgecolor": "0.3", "linewidth": 0.7}
    axis.add_patch(FancyBboxPatch((x, y), width, height, **look))
    middle = {"ha": "center", "va": "center", "fontsize": SMALL}
    axis.text(x + width / 2, y + height / 2, text, **middle)


def _arrow(axis: Axes, start: tuple, end: tuple, color: str = "0.3") -> None:
    line = {"arrowstyle": "-|>", "color": color, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=line | {"mutation_scale": 8})


TABLE3 = Artifact(
    "table3_significance",
    "03_mlsan",
    "Table A3",
    "Each row of Table 1 against MultiEMO, and ML-SAN with strangers enrolled against MultiEMO on "
    "standardised features: mean difference in weighted F1 (points) with its 95 % interval over "
    "seeds and test dialogues, the paired t-test over seeds, a permutation test over dialogues, "
    "and both with Holm's correction in parentheses. t has in parentheses what p < .01 needs. A "
    "linear probe is the same for every seed. Unlabelled test utterances are used as in Table 1.",
)


def significance_table(comparisons: pd.DataFrame) -> Table:
    """Table A3: every system against MultiEMO, with the paper's own differences and claim.

    `comparisons` is `compare_all` of all benchmarks at once, so that Holm's adjustment spans the
    table. `data` also has the paper's claim for ML-SAN, p < .01, and the t that this needs with the
    paper's number of runs.
    """
    data = comparisons.copy()
    known = {name: FULL if name == AS_PRINTED else name for name in data["system"]}
    printed = {name: paper.TABLE1.get(named, {}) for name, named in known.items()}
    data["paper_delta"] = [
        printed[system][benchmark].mean - paper.TABLE1[BASE][benchmark].mean
        if benchmark in printed[system]
        else np.nan
        for benchmark, system in data[["benchmark", "system"]].to_numpy()
    ]
    claimed = data["system"].isin((FULL, AS_PRINTED)) & data["benchmark"].isin(BENCHMARKS)
    data["paper_p_below"] = np.where(claimed, CLAIMED_P, np.nan)
    data["paper_t_needed"] = np.where(claimed, t_needed(paper.RUNS, CLAIMED_P), np.nan)
    data["paper_runs"] = np.where(claimed, paper.RUNS, np.nan)
    shown = [
        {
            "benchmark": row["benchmark"],
            "system": against(row["system"], row["reference"]),
            "W-F1": score_text(row),
            "Δ [95 %]": change(row["delta"], row["low"], row["high"]),
            "t": _t_text(row["t"], row["t_needed"]),
            "t-test p (Holm)": _p_pair(row["p_t"], row["p_t_holm"]),
            "permutation p (Holm)": _p_pair(row["p_perm"], row["p_perm_holm"]),
            "paper Δ": "–" if np.isnan(row["paper_delta"]) else f"{row['paper_delta']:+.2f}",
        }
        for row in data.to_dict("records")
    ]
    benchmarks = data["benchmark"].unique()
    return Table(*(without_paper(frame, benchmarks) for frame in (data, pd.DataFrame(shown))))


def _p_pair(p: float, holm: float) -> str:
    return "–" if np.isnan(p) else f"{p_text(p)} ({p_text(holm)})"


def _t_text(t: float, needed: float) -> str:
    return "–" if np.isnan(t) else f"{t:.2f} ({needed:.2f})"


TABLE4 = Artifact(
    "table4_classes",
    "03_mlsan",
    "Table A4",
    "Each emotion, rare ones first: test utterances; F1 and recall (%) of MultiEMO and ML-SAN with "
    "95 % intervals over seeds and test dialogues, p by a permutation test with Holm's correction; "
    "and how many utterances are right, mean over seeds. Strangers are not enrolled: no unlabelled "
    "test utterance is used.",
)


def classes_table(
    benchmarks: Mapping[Benchmark, Mapping[str, Counts]],
    emotions: Mapping[Benchmark, Sequence[str]],
    system: str = FULL,
    reference: str = BASE,
) -> Table:
    """Table A4: F1 and recall of each emotion, the rarest first, with 95 % intervals.

    `emotions` are those of each benchmark in label order. Below MELD's emotions that the paper's
    Fig. 4 names stand its shares, and how many utterances of the published test set they amount to.
    `data` has one row per emotion, `shown` one per emotion and score. Holm's adjustment is over all
    emotions.
    """
    parts = []
    for benchmark, systems in benchmarks.items():
        pair = systems[system], systems[reference]
        part = compare_classes(*pair, emotions[benchmark])
        part.insert(0, "benchmark", benchmark)
        part.insert(4, "asked", max(counts.asked for counts in pair))
        printed = paper.FIG4_RECOGNISED if benchmark == "MELD" else {}
        for place, who in enumerate(("reference", "system")):
            share = [printed[e][place] if e in printed else np.nan for e in part["emotion"]]
            part[f"paper_{who}"] = share
        part["paper_support"] = [
            MELD_TEST.get(e, np.nan) if printed else np.nan for e in part["emotion"]
        ]
        parts.append(part)
    data = pd.concat(parts, ignore_index=True)
    data.insert(data.columns.get_loc("p_perm") + 1, "p_perm_holm", holm(data["p_perm"].to_numpy()))
    lines = [line for row in data.to_dict("records") for line in _class_lines(row)]
    shown = pd.DataFrame(lines).rename(columns={"reference": reference, "system": system})
    return Table(without_paper(data, benchmarks), shown)


def _class_lines(row: dict) -> list[dict]:
    """One emotion: a line each for F1, recall, the number of right utterances, and the paper."""
    who, pair = f"{row['emotion']} ({row['support']})", ("reference", "system")
    emotion = {"benchmark": row["benchmark"], "emotion (utterances)": who}
    blank, p = dict.fromkeys((*pair, "Δ [95 %]", "p"), "–"), p_text(row["p_perm_holm"])
    if row["seeds"] != row["asked"]:
        emotion["emotion (utterances)"] += f", {of_asked(row['seeds'], row['asked'])} seeds"
    lines = []
    for score, name, tested in (("f1", "F1", {"p": p}), ("recall", "recall", {})):
        found = {side: with_interval(*estimate(row, f"{score}_{side}")) for side in pair}
        found["Δ [95 %]"] = change(*estimate(row, f"{score}_delta"))
        lines.append(emotion | {"score": name} | blank | found | tested)
    right = {side: row["support"] * row[f"recall_{side}"] / 100 for side in pair}
    if not np.isnan(list(right.values())).any():
        counted = {side: f"{number:.1f}" for side, number in right.items()}
        lines.append(emotion | {"score": "right"} | blank | counted)
    if not np.isnan(row["paper_support"]):
        text = {side: _paper_text(row[f"paper_{side}"], row["paper_support"]) for side in pair}
        lines.append(emotion | {"score": "MELD paper, recall"} | blank | text)
    return lines


def _paper_text(share: float, support: float) -> str:
    return f"{share:g} % ({support * share / 100:.0f} of {support:.0f})"


TABLE6 = Artifact(
    "table6_seen",
    "03_mlsan",
    "Table A6",
    "Each system on test speakers that occur in training and on those that do not: weighted F1 "
    "(points) and difference to MultiEMO, with 95 % intervals over seeds and test dialogues. "
    "Unlabelled test utterances are used as in Table 1.",
    needs="names",
)
_SEEN_COLUMNS = ["benchmark", "speakers", "utterances", "system", "wf1", "wf1_low", "wf1_high"]


def seen_unseen_table(
    seen: Mapping[Benchmark, Mapping[str, Counts]],
    unseen: Mapping[Benchmark, Mapping[str, Counts]],
    reference: str = BASE,
) -> Table:
    """Table A6: weighted F1 on test speakers that occur in training, and on those that do not.

    `seen` and `unseen` are the same runs counted with `seen=True` and `seen=False`. A test set
    without one of the two, or without names, has no rows for it; both frames may be empty. Δ is
    the difference to `reference`; Holm's adjustment is over all rows.
    """
    rows = []
    for benchmark in seen:
        for speakers, systems in (("seen", seen[benchmark]), ("unseen", unseen[benchmark])):
            utterances = max(int(counts.support.sum()) for counts in systems.values())
            for system, counts in systems.items() if utterances else ():
                row = {"benchmark": benchmark, "speakers": speakers, "utterances": utterances}
                row |= {"system": system, **mean_score(counts).columns("wf1")}
                row |= {"asked": counts.asked, "seeds": len(counts.seeds)}
                same = system == reference
                rows.append(row | (NO_TEST if same else compared(counts, systems[reference])))
    data = adjusted(pd.DataFrame(rows, columns=None if rows else _SEEN_COLUMNS))
    shown = [
        {
            "benchmark": row["benchmark"],
            "test speakers": row["speakers"],
            "utterances": row["utterances"],
            "system": row["system"],
            "W-F1 [95 %]": with_interval(*estimate(row, "wf1")),
            f"Δ to {reference} [95 %]": change(row["delta"], row["low"], row["high"]),
            "permutation p, Holm": p_text(row["p_perm_holm"]),
            "seeds": of_asked(row["seeds"], row["asked"]),
        }
        for row in data.to_dict("records")
    ]
    return Table(data, pd.DataFrame(shown, columns=None if shown else _SEEN_COLUMNS))


FIG7 = Artifact(
    "fig7_selection",
    "03_mlsan",
    "Fig. A7",
    "What reporting the best test epoch instead of the best dev epoch is worth on this test set: "
    "weighted F1 (points) of each system, thin bars for the sd over seeds, and the mean gain with "
    "its 95 % interval over seeds.",
)


def selection_table(runs: pd.DataFrame) -> Table:
    """Each system's test weighted F1 at the best dev epoch and at the best test epoch.

    `runs` has one row per run. `gain` is the mean difference over seeds. It is what the choice is
    worth on this very test set, so its interval is over seeds alone, and neither can be negative.
    """
    by = ["corpus", "benchmark", "system"]
    data = mean_sd(runs, by, ["test_wf1", "best_test_wf1"])
    gains = [
        mean_over_seeds((part["best_test_wf1"] - part["test_wf1"]).to_numpy()).columns("gain")
        for _, part in runs.groupby(by, sort=False)
    ]
    data = pd.concat([data, pd.DataFrame(gains)], axis=1)
    shown = [
        {
            "corpus": row["corpus"],
            "system": row["system"],
            "dev-selected": plus_minus(row["test_wf1_mean"], row["test_wf1_sd"]),
            "best test epoch": plus_minus(row["best_test_wf1_mean"], row["best_test_wf1_sd"]),
            "gain [95 %]": change(*estimate(row, "gain")),
            "seeds": of_asked(row["n"], row["n"] + row["failed"]),
        }
        for row in data.to_dict("records")
    ]
    return Table(data, pd.DataFrame(shown))


def selection_figure(data: pd.DataFrame) -> Figure:
    """Fig. A7: from the dev-selected score (filled) to the best test epoch's (hollow), by system.

    `data` is that of `selection_table`. Thin bars are standard deviations over seeds; the number
    is the mean gain with its 95 % interval.
    """
    corpora = list(by_corpus(data))
    most = max(len(part) for _, part in corpora)
    figure, axes = plt.subplots(
        1, len(corpora), figsize=(DOUBLE, 0.9 + 0.27 * most), squeeze=False, layout="constrained"
    )
    for axis, (corpus, part) in zip(axes[0], corpora, strict=True):
        for place, row in enumerate(part.to_dict("records")):
            colour = SYSTEM.get(row["system"], "0.4")
            ends = [row["test_wf1_mean"], row["best_test_wf1_mean"]]
            axis.plot(ends, [place] * 2, color=colour)
            for score, offset, face in (("test", 0.14, colour), ("best_test", -0.14, "white")):
                mean, sd = row[f"{score}_wf1_mean"], row[f"{score}_wf1_sd"]
                axis.plot([mean - sd, mean + sd], [place + offset] * 2, color=colour, linewidth=0.6)
                axis.plot(mean, place, "o", color=colour, markerfacecolor=face)
            text = change(*estimate(row, "gain"))
            where = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL}
            axis.annotate(text, (1.01, place), annotation_clip=False, **where)
        axis.set_yticks(range(len(part)), part["system"])
        axis.set_ylim(len(part) - 0.5, -0.5)
        axis.set(title=corpus, xlabel="test W-F1 (%)")
    for axis, (_, part) in zip(axes[0, 1:], corpora[1:], strict=True):
        if list(part["system"]) == list(corpora[0][1]["system"]):
            axis.set_yticklabels([])
    handles = [
        plt.Line2D([], [], marker="o", color="0.3", markerfacecolor=face, label=label)
        for face, label in (("0.3", "best dev epoch"), ("white", "best test epoch"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


# What Table 1 can tell: a statement, and the two rows whose difference decides it.
COMPARED = (
    ("ML-SAN as printed is better than MultiEMO", AS_PRINTED, BASE),
    ("ML-SAN, strangers not enrolled, is better than MultiEMO", FULL, BASE),
    ("ML-SAN, strangers enrolled, is better than MultiEMO", ENROLLED, BASE),
    (
        "ML-SAN, strangers enrolled, is better than MultiEMO on features standardised by speaker",
        ENROLLED,
        STANDARDISED,
    ),
    ("where FiLM and gate start matters: ML-SAN is better than as printed", FULL, AS_PRINTED),
    ("context and fusion help: MultiEMO is better than the linear probe", BASE, PROBE),
)


def result_findings(
    benchmarks: Mapping[Benchmark, Mapping[str, Counts]], names: Mapping[Benchmark, str]
) -> list[str]:
    """The statements of `COMPARED` for which a corpus has both rows, each with its verdict.

    `benchmarks` are the counts of Table 1's rows by system, `names` what readers call the corpora.
    """
    return [
        finding(f"{names[benchmark]}: {says}", difference(systems[system], systems[reference]))
        for benchmark, systems in benchmarks.items()
        for says, system, reference in COMPARED
        if {system, reference} <= set(systems)
    ]


def seen_findings(data: pd.DataFrame, names: Mapping[Benchmark, str]) -> list[str]:
    """Whether ML-SAN is better than MultiEMO for seen and for unseen speakers.

    `data` is that of `seen_unseen_table`; empty where the corpus does not name its speakers.
    """
    rows = data[data["system"].isin((FULL, ENROLLED))]
    return [
        finding(
            f"{names[row.benchmark]}, {row.speakers} speakers: "
            f"{row.system.replace(', ', ' with ')} is better than {BASE}",
            delta_of(row),
        )
        for row in rows.itertuples()
    ]


def class_findings(
    data: pd.DataFrame, names: Mapping[Benchmark, str], rarest: int = 2
) -> list[str]:
    """Whether ML-SAN recognises the rarest emotions better. `data` is that of `classes_table`."""
    lines = []
    for benchmark, part in data.groupby("benchmark", sort=False):
        for row in part.nsmallest(rarest, "support").to_dict("records"):
            found = Estimate(*estimate(row, "f1_delta"), int(row["seeds"]))
            says = f"{names[benchmark]}: F1 of {row['emotion']} ({row['support']} utterances) rises"
            lines.append(finding(says, found, unit="points of F1"))
    return lines


def selection_findings(data: pd.DataFrame) -> list[str]:
    """Whether choosing the epoch on test is worth more than ML-SAN's difference to MultiEMO.

    `data` is that of `selection_table`. Corpora without both systems are left out.
    """
    lines = []
    for corpus, part in by_corpus(data):
        score = part.set_index("system")["test_wf1_mean"]
        if not {FULL, BASE} <= set(score.dropna().index):
            continue
        most = part.loc[part["gain"].idxmax()]
        apart = score[FULL] - score[BASE]
        word = "more" if most["gain"] > abs(apart) else "less"
        lines.append(
            f"{corpus}: the best test epoch adds {part['gain'].mean():.2f} points on average and "
            f"at most {most['gain']:.2f} ({most['system']}). That is {word} than the difference of "
            f"{apart:+.2f} between {FULL} and {BASE}."
        )
    return lines


def styles_of(speakers: Speakers, code: int) -> int:
    """In how many styles the utterances of one speaker code come."""
    return len(
        {
            b"".join(x[turn].tobytes() for x in style.values())
            for codes, style in zip(speakers.code, speakers.style, strict=True)
            for turn in np.flatnonzero(codes == code)
        }
    )


def cost_table(runs: pd.DataFrame, parameters: Mapping[tuple[str, str], int]) -> pd.DataFrame:
    """By system and corpus: thousands of parameters, and the median seconds of a run's training.

    `runs` are rows of a sweep. `parameters` counts them by corpus and system. The seconds are those
    of the machine that trained the runs, so this table is shown and not saved.
    """
    seconds = runs.groupby(["corpus", "system"], sort=False)["seconds"].median()
    cost = pd.DataFrame({"parameters (thousands)": pd.Series(parameters) / 1000})
    cost["seconds per run"] = seconds
    cost.index.names = ["corpus", "system"]
    return cost.round(1).unstack("corpus", sort=False).swaplevel(axis=1).sort_index(axis=1)
