"""Tables of comparisons between systems: never a difference without its interval."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mlsan.evaluation.classes import compare_classes
from mlsan.evaluation.counts import Counts
from mlsan.evaluation.factorial import SWITCHES, cell_name, contrasts
from mlsan.evaluation.resampling import mean_interval
from mlsan.evaluation.significance import (
    NO_TEST,
    adjusted,
    compare,
    difference_of,
    holm,
    mean_and_sd,
    t_needed,
)
from mlsan.report import paper
from mlsan.report.tables import Table, change, plus_minus
from mlsan.vocabulary import EMOTIONS, Benchmark

BASE, FULL = "MultiEMO", "ML-SAN"
CLAIMED_P = 0.01  # the paper's paired t-test, over paper.RUNS runs
# Test utterances of the emotions of paper.FIG4_RECOGNISED in the published MELD.
MELD_TEST = {"fear": 50, "anger": 345}


def with_interval(value: float, low: float, high: float) -> str:
    """`61.20 [60.10, 62.30]`; a dash where there is no number."""
    return "–" if not np.isfinite(value) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def p_text(p: float) -> str:
    """Two significant digits."""
    return "–" if np.isnan(p) else f"{p:.2g}"


def of_asked(seeds: int, asked: int) -> str:
    """`5`, or `4 of 5` where runs are missing."""
    return f"{seeds}" if seeds == asked else f"{seeds} of {asked}"


def significance_table(comparisons: pd.DataFrame) -> Table:
    """Table 3: every system against MultiEMO, with the paper's own differences and claim.

    `comparisons` is `mlsan.evaluation.significance.compare` of all benchmarks at once, so that
    Holm's adjustment spans the table.
    """
    data = comparisons.copy()
    printed = {name: paper.TABLE1.get(name, {}) for name in data["system"]}
    data["paper_delta"] = [
        printed[system][benchmark].mean - paper.TABLE1[BASE][benchmark].mean
        if benchmark in printed[system]
        else np.nan
        for benchmark, system in data[["benchmark", "system"]].to_numpy()
    ]
    claimed = data["system"] == FULL
    data["paper_p_below"] = np.where(claimed, CLAIMED_P, np.nan)
    data["paper_t_needed"] = np.where(claimed, t_needed(paper.RUNS, CLAIMED_P), np.nan)
    data["paper_runs"] = np.where(claimed, paper.RUNS, np.nan)
    shown = [
        {
            "benchmark": row["benchmark"],
            "system": row["system"],
            "W-F1": plus_minus(row["wf1_mean"], row["wf1_sd"]),
            "seeds": of_asked(row["seeds"], row["asked"]),
            f"Δ to {BASE} [95 %]": change(row["delta"], row["low"], row["high"]),
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
    return Table(data, pd.DataFrame(shown))


def _t_text(t: float, needed: float) -> str:
    return "–" if np.isnan(t) else f"{t:.2f} ({needed:.2f})"


def classes_table(
    benchmarks: Mapping[Benchmark, Mapping[str, Counts]],
    generator: np.random.Generator,
    system: str = FULL,
    reference: str = BASE,
) -> Table:
    """Table 4: F1 and recall of each emotion, the rarest first, with 95 % intervals.

    The paper's Fig. 4 stands beside MELD's emotions that it names, as shares and as the utterances
    that these amount to in the published test set. Holm's adjustment is over all rows.
    """
    parts = []
    for benchmark, systems in benchmarks.items():
        pair = systems[system], systems[reference]
        part = compare_classes(*pair, EMOTIONS[benchmark], generator)
        part.insert(0, "benchmark", benchmark)
        part.insert(4, "asked", max(counts.asked for counts in pair))
        told = paper.FIG4_RECOGNISED if benchmark == "MELD" else {}
        for place, who in enumerate(("reference", "system")):
            share = [told[e][place] if e in told else np.nan for e in part["emotion"]]
            part[f"paper_{who}"] = share
        part["paper_support"] = [MELD_TEST[e] if e in told else np.nan for e in part["emotion"]]
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
                cells[f"{name} {title} [95 %]"] = with_interval(*_triple(row, f"{score}_{who}"))
            cells[f"Δ {title} [95 %]"] = change(*_triple(row, f"{score}_delta"))
            if score == "f1":
                cells["permutation p, Holm"] = p_text(row["p_perm_holm"])
        ours = [row["support"] * row[f"recall_{who}"] / 100 for who in names]
        cells["right"] = "–" if np.isnan(ours).any() else f"{ours[0]:.1f} to {ours[1]:.1f}"
        cells["paper"] = _paper_text(row)
        shown.append(cells)
    return Table(data, pd.DataFrame(shown))


def _triple(row: dict, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _paper_text(row: dict) -> str:
    support = row["paper_support"]
    if np.isnan(support):
        return "–"
    shares = [row[f"paper_{who}"] for who in ("reference", "system")]
    before, after = (support * share / 100 for share in shares)
    return f"{shares[0]:g} to {shares[1]:g} %: {before:.0f} to {after:.0f} of {support:.0f}"


def factorial_table(
    benchmarks: Mapping[Benchmark, Mapping[tuple[bool, bool, bool, str], Counts]],
    generator: np.random.Generator,
) -> Table:
    """Table 2's other half: all 2³ cells, the parts' effects, and what a speaker is told as.

    Keys are (film, gate, aux, speaker); the speaker of the cell without parts does not matter. A
    cell's Δ is to MultiEMO, an effect is a contrast of cells, and a control is ML-SAN told another
    kind of speaker, against the kind that the other cells are told. Intervals are 95 % ones of
    the same hierarchical bootstrap; Holm's adjustment is over all rows that have a test. Raises
    ValueError where the cells with one or two parts are not all there or were told two kinds.
    """
    parts = []
    for benchmark, cells in benchmarks.items():
        default = _default_speaker(benchmark, cells)
        design = {key[:3]: c for key, c in cells.items() if key[3] == default or not any(key[:3])}
        systems = {benchmark: {cell_name(*on): design[on] for on in SWITCHES}}
        compared = compare(systems, BASE, generator)
        base = {"benchmark": benchmark, "system": BASE, "asked": design[SWITCHES[0]].asked}
        base |= {"seeds": len(design[SWITCHES[0]].seeds), **mean_and_sd(design[SWITCHES[0]])}
        parts += [
            pd.concat([pd.DataFrame([base]), compared]).assign(kind="cell"),
            contrasts(design, generator)
            .rename(columns={"effect": "system", "estimate": "delta"})
            .assign(
                benchmark=benchmark,
                kind="effect",
                asked=max(counts.asked for counts in design.values()),
            ),
        ]
        told = {key[3]: counts for key, counts in cells.items() if all(key[:3])}
        if len(told) > 1:
            controls = compare({benchmark: told}, default, generator)
            controls["system"] = f"{FULL} told " + controls["system"]
            parts.append(controls.assign(kind="control", reference=f"{FULL} told {default}"))
    data = adjusted(pd.concat(parts, ignore_index=True))
    data.insert(0, "kind", data.pop("kind"))
    rows = data[["kind", "system"]].drop_duplicates()
    rows = rows.sort_values("kind", kind="stable", key=lambda kind: kind.map(_KINDS.index))
    shown = rows.reset_index(drop=True)
    for benchmark, part in data.groupby("benchmark", sort=False):
        found = rows.merge(part, "left").to_dict("records")
        shown[f"{benchmark} W-F1"] = [_score_text(row) for row in found]
        shown[f"{benchmark} Δ [95 %]"] = [_delta_text(row) for row in found]
        shown[f"{benchmark} permutation p, Holm"] = [p_text(row["p_perm_holm"]) for row in found]
    return Table(data, shown)


_KINDS = ("cell", "effect", "control")


def _default_speaker(benchmark: Benchmark, cells: Mapping[tuple, Counts]) -> str:
    """What a speaker is told as in the cells with one or two parts; checks that all are there."""
    some = [key for key in cells if any(key[:3]) and not all(key[:3])]
    told = {key[3] for key in some}
    if len(told) != 1:
        raise ValueError(f"{benchmark}: cells of one kind of speaker needed, found {sorted(told)}")
    (default,) = told
    there = {key[:3] for key in cells if key[3] == default or not any(key[:3])}
    missing = [cell_name(*on) for on in SWITCHES if on not in there]
    if missing:
        raise ValueError(f"{benchmark}: no runs of {', '.join(missing)}")
    return default


def _score_text(row: dict) -> str:
    text = plus_minus(row["wf1_mean"], row["wf1_sd"])
    if text == "–" or row["seeds"] == row["asked"]:
        return text
    return f"{text} ({of_asked(int(row['seeds']), int(row['asked']))})"


def _delta_text(row: dict) -> str:
    text = change(row["delta"], row["low"], row["high"])
    against = row["kind"] == "control" and text != "–"
    return f"{text} to {row['reference'].removeprefix(f'{FULL} told ')}" if against else text


_SEEN_COLUMNS = ["benchmark", "speakers", "utterances", "system", "wf1", "wf1_low", "wf1_high"]


def seen_unseen_table(
    seen: Mapping[Benchmark, Mapping[str, Counts]],
    unseen: Mapping[Benchmark, Mapping[str, Counts]],
    generator: np.random.Generator,
    reference: str = BASE,
) -> Table:
    """Weighted F1 on test speakers that training has and has not, with 95 % intervals.

    `seen` and `unseen` are the same runs counted with `seen=True` and `seen=False`. A test set
    without one of the two, or without names, has no rows for it; both frames may be empty. Δ is
    to `reference`; Holm's adjustment is over all rows.
    """
    rows = []
    for benchmark in seen:
        for speakers, systems in (("seen", seen[benchmark]), ("unseen", unseen[benchmark])):
            utterances = max(int(counts.support.sum()) for counts in systems.values())
            for system, counts in systems.items() if utterances else ():
                found = (benchmark, speakers, utterances, system, *mean_interval(counts, generator))
                row = dict(zip(_SEEN_COLUMNS, found, strict=True)) | {"asked": counts.asked}
                if system == reference:
                    rows.append(row | {"seeds": len(counts.seeds)} | NO_TEST)
                else:
                    rows.append(row | difference_of(counts, systems[reference], generator))
    data = adjusted(pd.DataFrame(rows, columns=None if rows else _SEEN_COLUMNS))
    shown = [
        {
            "benchmark": row["benchmark"],
            "test speakers": row["speakers"],
            "utterances": row["utterances"],
            "system": row["system"],
            "W-F1 [95 %]": with_interval(*_triple(row, "wf1")),
            f"Δ to {reference} [95 %]": change(row["delta"], row["low"], row["high"]),
            "permutation p, Holm": p_text(row["p_perm_holm"]),
            "seeds": of_asked(row["seeds"], row["asked"]),
        }
        for row in data.to_dict("records")
    ]
    return Table(data, pd.DataFrame(shown, columns=None if shown else _SEEN_COLUMNS))
