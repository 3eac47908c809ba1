"""Notebook 8: what the text features explain (shown, not saved), and the claims (Table A12)."""

from collections.abc import Iterable, Mapping
from typing import get_args

import numpy as np
import pandas as pd

from mlsan.evaluation import mean_over_seeds, mean_sd, score_table
from mlsan.evaluation.claims import NOTHING, Verdict, verdict
from mlsan.evaluation.expressiveness import mean_correlation
from mlsan.evaluation.significance import t_needed
from mlsan.report import paper
from mlsan.report.claims import CLAIMS, Claim, Evidence, gate_evidence, in_order, printed_t
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import Text, listed
from mlsan.report.tables import TEXT_PROBE, Table, estimate, with_interval
from mlsan.vocabulary import BENCHMARKS, Benchmark


def wf1(part: pd.DataFrame) -> float:
    """Weighted F1 in percent of some rows of `text_audit`; NaN where there are none."""
    if part.empty:
        return float("nan")
    return score_table(part)["wf1"]


def probe_and_models(probed: dict[str, pd.DataFrame], runs: pd.DataFrame) -> pd.DataFrame:
    """By benchmark and system: test weighted F1, and its distance from the text probe.

    `probed` has the `text_audit` of each benchmark, `runs` one row per finished run; without any,
    the probe's rows stand alone.
    """
    rows = [
        {"benchmark": benchmark, "system": TEXT_PROBE, "wf1": wf1(audit), "sd": np.nan, "seeds": 1}
        for benchmark, audit in probed.items()
    ]
    if len(runs):
        found = mean_sd(runs, ["benchmark", "system"], ["test_wf1"])
        named = {"test_wf1_mean": "wf1", "test_wf1_sd": "sd", "n": "seeds"}
        rows += found.rename(columns=named).to_dict("records")
    table = pd.DataFrame(rows)[["benchmark", "system", "wf1", "sd", "seeds"]]
    floor = table[table["system"] == TEXT_PROBE].set_index("benchmark")["wf1"]
    table["above probe"] = table["wf1"] - table["benchmark"].map(floor)
    return table.sort_values("benchmark", kind="stable", ignore_index=True)


def probe_answer(table: pd.DataFrame, names: Mapping[Benchmark, str]) -> list[str]:
    """How much the best model adds to the probe: `probe_and_models`, by corpus."""
    lines = []
    for benchmark, part in table.groupby("benchmark", sort=False):
        scores = part.set_index("system")["wf1"]
        probe, models = scores[TEXT_PROBE], scores.drop(TEXT_PROBE)
        text = f"**{names[benchmark]}: the probe scores {probe:.1f}**"
        if len(models):
            best = models.idxmax()
            text += f" and the best model, {best}, {models[best]:.1f}"
            text += f": the model adds {models[best] - probe:.1f} points"
        lines.append(f"{text}.")
    return lines


def duplicates(audit: pd.DataFrame) -> dict[str, int | float]:
    """How many test texts occur in training, and the probe's score on them and without them."""
    return {
        "test utterances": len(audit),
        "text also in training": int(audit["duplicate"].sum()),
        "with the same label there": int(audit["same_label"].sum()),
        "probe W-F1, all": wf1(audit),
        "probe W-F1, repeated": wf1(audit[audit["duplicate"]]),
        "probe W-F1, the others": wf1(audit[~audit["duplicate"]]),
    }


def by_exposure(audit: pd.DataFrame, seen: set[str]) -> pd.DataFrame:
    """The probe's score on test dialogues that the text features may have seen, and on others."""
    known = audit["dialogue"].isin(seen).to_numpy()
    rows = {"in the list": audit[known], "not in the list": audit[~known]}
    return pd.DataFrame(
        {
            name: {
                "dialogues": part["dialogue"].nunique(),
                "utterances": len(part),
                "probe W-F1": wf1(part),
            }
            for name, part in rows.items()
        }
    ).T


TABLE12 = Artifact(
    "table12_claims",
    "08_audit",
    "Table A12",
    "The claims of the ML-SAN paper (by section), what it prints, and our evidence: a verdict with "
    "the number and its 95 % interval. A claim holds if the whole interval lies where the claim "
    "says, does not hold if none of it does, and is undecided otherwise. Intervals are over seeds "
    "and test dialogues, those of speaker probes and standard deviations over seeds, and those of "
    "correlations and slopes over seeds and speakers. Best and worst settings are chosen by their "
    "mean on test, which widens their distance.",
)


def claims_table(evidence: Iterable[Evidence], corpora: Mapping[Benchmark, str]) -> Table:
    """Table A12: one row per claim and tested system, one column per corpus.

    `corpora` has the name of each benchmark's corpus. The data have one row per evidence: claim,
    says, where, tested, benchmark, corpus, paper, value, low, high, seeds, unit, against, verdict,
    notebook, artifact.
    """
    rows = []
    for one in in_order(evidence):
        claim = CLAIMS[one.claim]
        row = {"claim": one.claim, "says": claim.says, "where": claim.where, "tested": one.tested}
        row |= {"benchmark": one.benchmark, "corpus": corpora[one.benchmark], "paper": one.printed}
        row |= {**one.found.columns("value"), "seeds": one.found.seeds, "unit": claim.unit}
        row |= {"against": one.against, "verdict": one.verdict}
        row["notebook"] = claim.shown.notebook if claim.shown else TABLE12.notebook
        rows.append(row | {"artifact": claim.shown.name if claim.shown else ""})
    data = pd.DataFrame(rows)
    shown = []
    for (name, tested), part in data.groupby(["claim", "tested"], sort=False):
        claim, by_corpus = CLAIMS[name], part.set_index("benchmark")
        cells = {"claim": claim.says, "section": claim.where, "paper": _paper_cell(part)}
        cells["tested"] = tested
        for benchmark, corpus in corpora.items():
            there = benchmark in by_corpus.index
            cells[corpus] = _evidence_cell(by_corpus.loc[benchmark]) if there else "–"
        shown.append(cells | {"see": _link(claim)})
    return Table(data, pd.DataFrame(shown))


def _paper_cell(rows: pd.DataFrame) -> str:
    """What the paper prints: once if it is the same for all benchmarks."""
    printed = rows.loc[rows["paper"] != "", ["benchmark", "paper"]]
    if printed["paper"].nunique() < 2:
        return next(iter(printed["paper"]), "–")
    return "; ".join(f"{name} paper: {text}" for name, text in printed.to_numpy())


def _evidence_cell(row: pd.Series) -> str:
    if not np.isfinite(row["value"]):
        return row["verdict"] + (f" ({row['against']})" if row["against"] else "")
    text = f"{row['value']:.2f}"
    if row["value_low"] != row["value_high"]:
        text = with_interval(*estimate(row, "value")).replace("inf", "∞")
    return f"{row['verdict']}: {text}" + (f" ({row['against']})" if row["against"] else "")


def _link(claim: Claim) -> str:
    """A link to the table or figure and to its notebook, from the folder of the figures."""
    if claim.shown is None:
        return f"[notebook 8](../../notebooks/{TABLE12.notebook}.ipynb)"
    notebook = claim.shown.notebook
    page = claim.shown.files[1]  # the Markdown of a table, the picture of a figure
    number = notebook.partition("_")[0].lstrip("0")
    return f"[{claim.shown.title}]({page}), [notebook {number}](../../notebooks/{notebook}.ipynb)"


def verdicts(data: pd.DataFrame) -> pd.DataFrame:
    """How many claims hold, do not hold, are undecided or cannot be tested, by corpus and system.

    A claim that is tested on several systems counts once for each.
    """
    return (
        data.groupby(["corpus", "tested", "verdict"], sort=False)
        .size()
        .unstack("verdict", fill_value=0)
        .reindex(columns=get_args(Verdict), fill_value=0)
    )


def everywhere(data: pd.DataFrame) -> dict[str, list[str]]:
    """The claims by their verdict where it is the same on all corpora and systems; else "mixed"."""
    found: dict[str, list[str]] = {name: [] for name in (*get_args(Verdict), "mixed")}
    for _, part in data.groupby("claim", sort=False):
        one = part["verdict"].unique()
        found[one[0] if len(one) == 1 else "mixed"].append(part["says"].iloc[0])
    return found


def answered(evidence: Iterable[Evidence], corpora: Mapping[Benchmark, str], *claims: str) -> Text:
    """The verdicts on some claims from the evidence gathered so far, as a table.

    Each claim is written once, in the first of its rows, with what its number is.
    """
    rows = [one for one in evidence if one.claim in claims]
    if not rows:
        return listed([])
    shown = claims_table(rows, corpora).shown[["claim", "tested", *corpora.values()]]
    unit = {CLAIMS[name].says: CLAIMS[name].unit for name in claims}
    shown.insert(1, "number", shown["claim"].map(unit))
    shown.loc[shown["claim"].duplicated(), ["claim", "number"]] = ""
    return Text(shown.to_markdown(index=False, disable_numparse=True))


def printed_answer() -> list[str]:
    """Whether the paper's Table 1 allows its p < .01: one finding for each of its benchmarks."""
    needed, lines = t_needed(paper.RUNS), []
    for benchmark in BENCHMARKS:
        t = printed_t(benchmark)
        lines.append(
            f"{benchmark} paper: the printed numbers allow p < .01: **{verdict(t, low=needed)}**; "
            f"t is between {t.low:.1f} and {t.high:.1f}, and p < .01 needs {needed:.2f}."
        )
    return lines


def gates_evidence(
    gates: Mapping[tuple[Benchmark, str], list[pd.DataFrame]],
    balance: Mapping[Benchmark, pd.Series],
    by_speaker: Mapping[tuple[Benchmark, str], bool],
) -> list[Evidence]:
    """What the gates know, by benchmark and system: a frame of mean gates per run.

    Each frame has one row per speaker and a column per modality; without audio and visual, nothing
    is found. `balance` is the speakers' true balance where it is known, `by_speaker` whether the
    gate reads the speaker alone.
    """
    found = []
    for (name, system), learned in gates.items():
        sides = [one for one in learned if {"audio", "visual"} <= set(one)]
        if not sides:
            continue
        gap = np.stack([(one["audio"] - one["visual"]).to_numpy() for one in sides])
        largest = mean_over_seeds(np.abs(gap).max(axis=1))
        correlation = NOTHING
        if name in balance:
            truth = balance[name].loc[sides[0].index].to_numpy()
            correlation = mean_correlation(gap, truth)
        found += gate_evidence(name, system, largest, correlation, by_speaker[name, system])
    return found
