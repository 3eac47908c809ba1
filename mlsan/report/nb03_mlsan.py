"""Notebook 3: the architecture (Fig. 2), comparisons with MultiEMO (Tables 3, 4, 6), Fig. 7."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mlsan.evaluation import Counts, mean_over_seeds, mean_score, mean_sd
from mlsan.evaluation.classes import compare_classes
from mlsan.evaluation.significance import NO_TEST, adjusted, compared, holm, t_needed
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.style import DOUBLE, SYSTEM
from mlsan.report.tables import (
    BASE,
    FULL,
    Table,
    change,
    estimate,
    of_asked,
    p_text,
    plus_minus,
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

FIG2 = Artifact("fig2_architecture", ("03_mlsan",), "Fig. 2", "The architecture of ML-SAN.")


def architecture_figure(run: RunSettings, sizes: Mapping[str, int]) -> Figure:
    """Fig. 2: ML-SAN as this run builds it, with the sizes of its features.

    `run` is of ML-SAN, with or without some of its parts; `sizes` are features by modality.
    """
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
    across = f"cross-\nattention:\neach\nmodality\nqueries\nthe others\n× {model.layers}"
    _box(axis, 72, lowest, 9, highest - lowest + 8, across, plain)
    _arrow(axis, (81, middle + 4), (84, middle + 4))
    _box(axis, 84, middle, 6, 8, f"$z$\n{model.d}", plain)
    _box(axis, 91.5, middle + 12, 8.5, 8, "emotion\n" + r"$\mathcal{L}_{ERC}$", plain)
    _arrow(axis, (87, middle + 8), (91.5, middle + 16))
    if model.aux:
        text = "speaker  Eq. 4\n" + rf"$\lambda\,\mathcal{{L}}_{{spk}}$, $\lambda$={model.lam:g}"
        _box(axis, 87, middle - 12, 13, 8, text, part)
        _arrow(axis, (87, middle), (91.5, middle - 4))
    _box(axis, 36, 0, 24, 5, rf"speaker embedding $e_s$ ({run.speaker}, {model.speaker_dim})", part)
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


TABLE3 = Artifact(
    "table3_significance",
    ("03_mlsan",),
    "Table 3",
    "Each row of Table 1 against MultiEMO, and ML-SAN with strangers enrolled against MultiEMO on "
    "standardised features: mean difference in weighted F1 (points) with its 95 % interval over "
    "seeds and test dialogues, the paired t-test over seeds, a permutation test over dialogues, "
    "and both with Holm's correction. A linear probe is the same for every seed. Unlabelled test "
    "utterances are used as in Table 1.",
)


def significance_table(comparisons: pd.DataFrame) -> Table:
    """Table 3: every system against MultiEMO, with the paper's own differences and claim.

    `comparisons` is `compare_all` of all benchmarks at once, so that Holm's adjustment spans the
    table.
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
            "system": row["system"],
            "against": row["reference"],
            "W-F1": plus_minus(row["wf1_mean"], row["wf1_sd"]),
            "seeds": of_asked(row["seeds"], row["asked"]),
            "Δ [95 %]": change(row["delta"], row["low"], row["high"]),
            "t (p of .01 needs)": _t_text(row["t"], row["t_needed"]),
            "t-test p": p_text(row["p_t"]),
            "t-test p, Holm": p_text(row["p_t_holm"]),
            "permutation p": p_text(row["p_perm"]),
            "permutation p, Holm": p_text(row["p_perm_holm"]),
            "paper Δ": "–" if np.isnan(row["paper_delta"]) else f"{row['paper_delta']:+.2f}",
            "paper's claim": "–"
            if np.isnan(row["paper_p_below"])
            else f"p below {row['paper_p_below']:g}, so t above {row['paper_t_needed']:.2f} from "
            f"{paper.RUNS} runs",
        }
        for row in data.to_dict("records")
    ]
    benchmarks = data["benchmark"].unique()
    return Table(*(without_paper(frame, benchmarks) for frame in (data, pd.DataFrame(shown))))


def _t_text(t: float, needed: float) -> str:
    return "–" if np.isnan(t) else f"{t:.2f} ({needed:.2f})"


TABLE4 = Artifact(
    "table4_classes",
    ("03_mlsan",),
    "Table 4",
    "Each emotion, rare ones first: test utterances, and F1 and recall (%) of MultiEMO and ML-SAN "
    "with 95 % intervals over seeds and test dialogues. Strangers are not enrolled: no unlabelled "
    "test utterance is used.",
)


def classes_table(
    benchmarks: Mapping[Benchmark, Mapping[str, Counts]],
    emotions: Mapping[Benchmark, Sequence[str]],
    system: str = FULL,
    reference: str = BASE,
) -> Table:
    """Table 4: F1 and recall of each emotion, the rarest first, with 95 % intervals.

    `emotions` are those of each benchmark in label order.

    Beside MELD's emotions that the paper's Fig. 4 names stand its shares, and how many utterances
    of the published test set they amount to. Holm's adjustment is over all rows.
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
    names = {"reference": reference, "system": system}
    shown = []
    for row in data.to_dict("records"):
        cells = {"benchmark": row["benchmark"], "emotion": row["emotion"]}
        cells |= {"utterances": row["support"], "seeds": of_asked(row["seeds"], row["asked"])}
        for score, title in (("f1", "F1"), ("recall", "recall")):
            for who, name in names.items():
                cells[f"{name} {title} [95 %]"] = with_interval(*estimate(row, f"{score}_{who}"))
            cells[f"Δ {title} [95 %]"] = change(*estimate(row, f"{score}_delta"))
            if score == "f1":
                cells["permutation p, Holm"] = p_text(row["p_perm_holm"])
        ours = [row["support"] * row[f"recall_{who}"] / 100 for who in names]
        cells["right"] = "–" if np.isnan(ours).any() else f"{ours[0]:.1f} to {ours[1]:.1f}"
        cells["paper"] = _paper_text(row)
        shown.append(cells)
    return Table(*(without_paper(frame, benchmarks) for frame in (data, pd.DataFrame(shown))))


def _paper_text(row: dict) -> str:
    support = row["paper_support"]
    if np.isnan(support):
        return "–"
    shares = [row[f"paper_{who}"] for who in ("reference", "system")]
    before, after = (support * share / 100 for share in shares)
    return f"{shares[0]:g} to {shares[1]:g} %: {before:.0f} to {after:.0f} of {support:.0f}"


TABLE6 = Artifact(
    "table6_seen",
    ("03_mlsan",),
    "Table 6",
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
    """Table 6: weighted F1 on test speakers that occur in training, and on those that do not.

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
    ("03_mlsan",),
    "Fig. 7",
    "What reporting the best test epoch instead of the best dev epoch is worth on this test set: "
    "weighted F1 (points) of each system, and the mean gain with its 95 % interval over seeds.",
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
    """Fig. 7: from the dev-selected score (filled) to the best test epoch's (hollow), by system.

    `data` is that of `selection_table`. Thin bars are standard deviations over seeds; the number
    is the mean gain with its 95 % interval.
    """
    benchmarks = data["benchmark"].unique()
    most = data.groupby("benchmark").size().max()
    figure, axes = plt.subplots(
        1, len(benchmarks), figsize=(DOUBLE, 0.9 + 0.27 * most), squeeze=False, layout="constrained"
    )
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = data[data["benchmark"] == benchmark]
        for place, row in enumerate(part.to_dict("records")):
            colour = SYSTEM.get(row["system"], "0.4")
            ends = [row["test_wf1_mean"], row["best_test_wf1_mean"]]
            axis.plot(ends, [place] * 2, color=colour)
            for score, offset, face in (("test", 0.14, colour), ("best_test", -0.14, "white")):
                mean, sd = row[f"{score}_wf1_mean"], row[f"{score}_wf1_sd"]
                axis.plot([mean - sd, mean + sd], [place + offset] * 2, color=colour, linewidth=0.6)
                axis.plot(mean, place, "o", color=colour, markerfacecolor=face)
            text = change(*estimate(row, "gain"))
            where = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 6}
            axis.annotate(text, (1.01, place), annotation_clip=False, **where)
        axis.set_yticks(range(len(part)), part["system"])
        axis.set_ylim(len(part) - 0.5, -0.5)
        axis.set(title=benchmark, xlabel="test W-F1 (%)")
    handles = [
        plt.Line2D([], [], marker="o", color="0.3", markerfacecolor=face, label=label)
        for face, label in (("0.3", "best dev epoch"), ("white", "best test epoch"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
