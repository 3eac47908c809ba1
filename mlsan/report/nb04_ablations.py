"""Notebook 4: ML-SAN without some of its parts, all cells, controls (Table 2, Figs. A13, A14)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlsan.evaluation import Counts, Estimate, difference
from mlsan.evaluation.factorial import SWITCHES, cell_name, effects
from mlsan.evaluation.significance import adjusted, compare_all
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import delta_of, finding
from mlsan.report.style import DOUBLE, SYSTEM
from mlsan.report.tables import (
    BASE,
    FULL,
    Table,
    by_corpus,
    change,
    estimate,
    means,
    p_text,
    score_text,
    without_paper,
)
from mlsan.vocabulary import BENCHMARKS, Benchmark

TABLE2 = Artifact(
    "table2_ablation",
    "04_ablations",
    "Table 2",
    "ML-SAN and each of its parts left out: weighted F1 (points), mean ± sd over seeds, and the "
    "difference to the full model with its 95 % interval over seeds and test dialogues, beside "
    "the numbers that the paper prints. Strangers are enrolled with all of their unlabelled test "
    "utterances.",
)


def ablation_table(
    runs: pd.DataFrame, benchmarks: Mapping[Benchmark, Mapping[str, Counts]]
) -> Table:
    """Table 2: ML-SAN and each of its parts left out.

    `runs` has one row per run, `benchmarks` are the same runs, `gathered` by system, from which all
    numbers come. `delta` is the difference to the full model with its interval.
    """
    ours = runs.drop_duplicates(["benchmark", "system"]).set_index(["benchmark", "system"])
    rows = []
    for corpus, benchmark in runs[["corpus", "benchmark"]].drop_duplicates().to_numpy():
        counts = benchmarks[benchmark]
        for system, printed in paper.TABLE2.items():
            found, seeds = counts[system], len(counts[system].seeds)
            row = {"corpus": corpus, "benchmark": benchmark, "system": system}
            row |= {"speaker": ours.loc[(benchmark, system), "speaker"], "seeds": seeds}
            row |= {"failed": found.asked - seeds, **found.mean_and_sd()}
            delta = difference(counts[system], counts[FULL]).columns("delta")
            row |= dict.fromkeys(delta, np.nan) if system == FULL else delta
            theirs = printed.get(benchmark, paper.Printed(np.nan))
            row |= {"paper_mean": theirs.mean, "paper_sd": theirs.sd}
            row["paper_delta"] = paper.TABLE2_DELTA.get(system, {}).get(benchmark, np.nan)
            rows.append(row)
    data = pd.DataFrame(rows)
    shown = {"system": list(paper.TABLE2)}
    for benchmark, part in data.groupby("benchmark", sort=False):
        corpus = part["corpus"].iloc[0]
        shown |= {
            corpus: means(part, "wf1"),
            f"{corpus} Δ [95 %]": [change(*estimate(r, "delta")) for r in part.to_dict("records")],
        }
        if benchmark in BENCHMARKS:
            delta = ["–" if pd.isna(d) else f"{d:+.2f}" for d in part["paper_delta"]]
            shown |= {f"{benchmark} paper": means(part, "paper"), f"{benchmark} paper Δ": delta}
    return Table(without_paper(data, benchmarks), pd.DataFrame(shown))


TABLE2_ALL = Artifact(
    "table2_factorial",
    "04_ablations",
    "Table 2, all cells",
    "Every combination of FiLM, gate and auxiliary loss, main effects and interactions, and ML-SAN "
    "given other kinds of speaker: weighted F1 (points), mean ± sd over seeds, and differences "
    "with 95 % intervals over seeds and test dialogues. Strangers are enrolled with all of their "
    'unlabelled test utterances, in the rows marked "strangers not enrolled" with none.',
)


Cells = Mapping[tuple[bool, bool, bool, str], Counts]


def factorial_table(
    benchmarks: Mapping[Benchmark, Cells], alone: Mapping[Benchmark, Cells] | None = None
) -> Table:
    """Table 2's other half: all 2³ cells, the parts' effects, and other kinds of speaker.

    Keys are (film, gate, aux, speaker); the speaker of the cell without parts does not matter. A
    cell's Δ is to MultiEMO, an effect is a contrast of cells, and a control is ML-SAN given another
    kind of speaker, against the kind of the other cells. `alone` are the same cells evaluated
    without enrolment, of the benchmarks that have strangers. Holm's adjustment is over all rows
    that have a test. Raises ValueError where cells with one or two parts are missing or were given
    two kinds of speaker.
    """
    parts = []
    for benchmark, cells in benchmarks.items():
        default = _default_speaker(benchmark, cells)
        design = {key[:3]: c for key, c in cells.items() if key[3] == default or not any(key[:3])}
        systems = {benchmark: {cell_name(*on): design[on] for on in SWITCHES}}
        compared = compare_all(systems, BASE)
        base = {"benchmark": benchmark, "system": BASE, "asked": design[SWITCHES[0]].asked}
        base |= {"seeds": len(design[SWITCHES[0]].seeds), **design[SWITCHES[0]].mean_and_sd()}
        parts += [
            pd.concat([pd.DataFrame([base]), compared]).assign(kind="cell"),
            effects(design)
            .rename(columns={"effect": "system"})
            .assign(
                benchmark=benchmark,
                kind="effect",
                asked=max(counts.asked for counts in design.values()),
            ),
        ]
        strange = (alone or {}).get(benchmark, {})
        if strange:
            keys = {on: (*on, default if any(on) else "") for on in SWITCHES}
            rows = {cell_name(*on): strange[key] for on, key in keys.items() if key in strange}
            parts.append(compare_all({benchmark: rows}, BASE).assign(kind=ALONE))
        kinds = {key[3]: counts for key, counts in cells.items() if all(key[:3])}
        if len(kinds) > 1:
            controls = compare_all({benchmark: kinds}, default)
            controls["system"] = f"{FULL}, " + controls["system"]
            parts.append(controls.assign(kind="control", reference=f"{FULL}, {default}"))
    data = adjusted(pd.concat(parts, ignore_index=True))
    data.insert(0, "kind", data.pop("kind"))
    place = data["kind"].map(_KINDS.index) + len(_KINDS) * pd.factorize(data["benchmark"])[0]
    data = data.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)
    shown = [
        {
            "benchmark": row["benchmark"],
            "kind": row["kind"],
            "system": row["system"],
            "W-F1": score_text(row),
            "Δ [95 %]": _delta_text(row),
            "permutation p, Holm": p_text(row["p_perm_holm"]),
        }
        for row in data.to_dict("records")
    ]
    return Table(data, pd.DataFrame(shown))


FIG13 = Artifact(
    "fig13_ablation",
    "04_ablations",
    "Fig. A13",
    "Every combination of FiLM, gate and auxiliary loss: weighted F1 (points) of each seed (dots) "
    "and their mean (bars). Strangers are enrolled with all of their unlabelled test utterances.",
)


def ablation_points(benchmarks: Mapping[Benchmark, Mapping[str, Counts]]) -> pd.DataFrame:
    """Fig. A13's data: benchmark, system, seed and wf1 (percent) of the eight cells."""
    return pd.DataFrame(
        {"benchmark": benchmark, "system": system, "seed": seed, "wf1": score}
        for benchmark, cells in benchmarks.items()
        for system in (cell_name(*on) for on in SWITCHES)
        for seed, score in zip(cells[system].seeds, cells[system].scores(), strict=True)
    )


def ablation_figure(scores: pd.DataFrame) -> Figure:
    """Fig. A13: `ablation_points`, one panel per corpus."""
    corpora = list(by_corpus(scores))
    figure, axes = plt.subplots(
        1, len(corpora), figsize=(DOUBLE, 2.4), squeeze=False, sharey=True, layout="constrained"
    )
    names = [cell_name(*on) for on in SWITCHES]
    with_film = {cell_name(*on): on[0] for on in SWITCHES}
    for axis, (corpus, part) in zip(axes[0], corpora, strict=True):
        for place, name in enumerate(names):
            own = part.loc[part["system"] == name, "wf1"]
            colour = SYSTEM[FULL] if with_film[name] else SYSTEM[BASE]
            axis.plot(own, [place] * len(own), "o", color=colour, alpha=0.6)
            axis.plot(own.mean(), place, "|", markersize=14, markeredgewidth=1.5, color="black")
        axis.set(title=corpus, xlabel="W-F1 (%)")
        axis.grid(axis="y", linewidth=0.4)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    shown = ((FULL, "with FiLM"), (BASE, "without FiLM"))
    look = {"linestyle": "", "marker": "o", "alpha": 0.6}
    handles = [plt.Line2D([], [], color=SYSTEM[name], label=text, **look) for name, text in shown]
    bar = {"linestyle": "", "marker": "|", "markersize": 10, "markeredgewidth": 1.5}
    handles.append(plt.Line2D([], [], color="black", label="mean over seeds", **bar))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


FIG14 = Artifact(
    "fig14_effects",
    "04_ablations",
    "Fig. A14",
    "Main effects and interactions of FiLM, gate and auxiliary loss over all eight cells: weighted "
    "F1 (points) with 95 % intervals over seeds and test dialogues; filled where the interval "
    "excludes zero. Strangers are enrolled with all of their unlabelled test utterances.",
)


def effects_figure(table: pd.DataFrame) -> Figure:
    """Fig. A14: the rows "effect" of `factorial_table`, one panel per corpus."""
    corpora = list(by_corpus(table[table["kind"] == "effect"]))
    figure, axes = plt.subplots(
        1, len(corpora), figsize=(DOUBLE, 2.4), squeeze=False, sharey=True, layout="constrained"
    )
    names = list(dict.fromkeys(table.loc[table["kind"] == "effect", "system"]))
    for axis, (corpus, part) in zip(axes[0], corpora, strict=True):
        axis.axvline(0, color="0.5", linewidth=0.8)
        for row in part.itertuples():
            place, apart = names.index(row.system), row.low > 0 or row.high < 0
            axis.plot([row.low, row.high], [place] * 2, color=SYSTEM[FULL], linewidth=1)
            face = SYSTEM[FULL] if apart else "white"
            axis.plot(row.delta, place, "o", color=SYSTEM[FULL], markerfacecolor=face)
        axis.set(title=corpus, xlabel="effect on W-F1 (points)")
        axis.grid(axis="y", linewidth=0.4)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    return figure


ALONE = "cell, strangers not enrolled"
_KINDS = ("cell", ALONE, "effect", "control")


def _default_speaker(benchmark: Benchmark, cells: Mapping[tuple, Counts]) -> str:
    """The kind of speaker of the cells with one or two parts; checks that all are there."""
    some = [key for key in cells if any(key[:3]) and not all(key[:3])]
    kinds = {key[3] for key in some}
    if len(kinds) != 1:
        raise ValueError(f"{benchmark}: cells need one kind of speaker, found {sorted(kinds)}")
    (default,) = kinds
    there = {key[:3] for key in cells if key[3] == default or not any(key[:3])}
    missing = [cell_name(*on) for on in SWITCHES if on not in there]
    if missing:
        raise ValueError(f"{benchmark}: no runs of {', '.join(missing)}")
    return default


def _delta_text(row: dict) -> str:
    text = change(row["delta"], row["low"], row["high"])
    against = row["kind"] == "control" and text != "–"
    return f"{text} to {row['reference'].removeprefix(f'{FULL}, ')}" if against else text


def paper_gains() -> pd.DataFrame:
    """The paper's ablations minus its MultiEMO, in points: rows are systems, columns corpora."""
    return pd.DataFrame(
        {
            benchmark: {
                system: round(cells[benchmark].mean - paper.TABLE1[BASE][benchmark].mean, 2)
                for system, cells in paper.TABLE2.items()
                if system != FULL
            }
            for benchmark in BENCHMARKS
        }
    )


def drop_findings(data: pd.DataFrame) -> list[str]:
    """Which part costs most, if any does, and whether ML-SAN is worse without each.

    `data` is that of `ablation_table`.
    """
    lines = []
    for corpus, part in data[data["system"] != FULL].groupby("corpus", sort=False):
        if (part["delta"] < 0).any():
            most = part.loc[part["delta"].astype(float).idxmin()]
            name = most["system"].removeprefix("w/o ")
            cost = f"{-most['delta']:.2f} points"
            lines.append(f"{corpus}: leaving out {name} costs most, {cost}.")
        for row in part.to_dict("records"):
            says = f"{corpus}: ML-SAN is worse {row['system'].replace('w/o', 'without')}"
            found = Estimate(*estimate(row, "delta"), row["seeds"])
            lines.append(finding(says, found, low=-np.inf, high=0.0))
    return lines


def effect_findings(design: pd.DataFrame) -> list[str]:
    """Whether each part helps on average over all cells, and which interactions are not zero.

    `design` is the data of `factorial_table`, with the column corpus.
    """
    lines = []
    for corpus, part in design[design["kind"] == "effect"].groupby("corpus", sort=False):
        together = part["system"].str.contains("×")
        for row in part[~together].itertuples():
            lines.append(finding(f"{corpus}: {row.system} helps", delta_of(row)))
        clear = part[together & ((part["low"] > 0) | (part["high"] < 0))]
        named = [f"{r.system} ({change(r.delta, r.low, r.high)})" for r in clear.itertuples()]
        lines.append(
            f"{corpus}: interactions whose interval excludes zero: {', '.join(named) or 'none'}."
        )
    return lines


def control_findings(design: pd.DataFrame, benchmarks: Mapping[Benchmark, Cells]) -> list[str]:
    """Whether ML-SAN is better with the speaker than with each control, and what a control keeps.

    `design` is the data of `factorial_table` with the column corpus, `benchmarks` its cells.
    """
    lines = []
    for row in design[design["kind"] == "control"].itertuples():
        default, kind = (text.removeprefix(f"{FULL}, ") for text in (row.reference, row.system))
        cells = benchmarks[row.benchmark]
        keys = ((True, True, True, default), (True, True, True, kind), (False, False, False, ""))
        full, control, base = (cells[key].scores().mean() for key in keys)
        better = Estimate(-row.delta, -row.high, -row.low, int(row.seeds))
        lines.append(
            finding(f"{row.corpus}: ML-SAN is better with {default} than with {kind}", better)
            + f" Gain over {BASE}: {full - base:+.2f} with {default}, {control - base:+.2f} with "
            f"{kind}."
        )
    return lines
