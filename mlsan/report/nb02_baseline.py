"""Notebooks 2 and 3: every system's score beside the paper's (Table 1)."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from mlsan.evaluation import Counts, mean_sd
from mlsan.model import MODELS
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.tables import (
    BASE,
    ENROLLED,
    FULL,
    PROBE,
    STANDARDISED,
    TEXT_PROBE,
    UNLABELLED,
    Table,
    means,
    without_paper,
)
from mlsan.training import AS_PRINTED
from mlsan.vocabulary import BENCHMARKS, Benchmark

BY = ["corpus", "benchmark", "system", "speaker"]
SCORES = ("test_wf1", "best_test_wf1")

TABLE1 = Artifact(
    "table1_main",
    ("02_baseline", "03_mlsan"),
    "Table 1",
    "Weighted F1 (points) of each system, mean ± sd over seeds, at the best dev epoch and at the "
    "best test epoch, beside the numbers that the paper prints. No row uses labels of test "
    "utterances; which unlabelled ones it uses has a column of its own. Quoted rows have the "
    "paper's numbers only. UniMSE is always quoted: it generates from raw text and is not a model "
    "of utterance features.",
)


def main_table(
    runs: pd.DataFrame, more: Mapping[Benchmark, Mapping[str, Counts]] | None = None
) -> Table:
    """Table 1: each system's weighted F1 over seeds, beside the paper's printed numbers.

    `runs` has one row per run, `more` the counts of rows that have no runs of their own: linear
    probes, and ML-SAN with strangers enrolled. Probes come first, then the systems in the order of
    the registry (`mlsan.model.MODELS`), each followed by its other rows; one that the paper does
    not have has dashes in its columns. A system of the paper without runs is "quoted". Corpora that
    the paper does not have have no columns of its numbers, and alone no quoted rows.
    """
    more = more or {}
    ours = mean_sd(runs, BY, SCORES).set_index(["benchmark", "system"])
    there = set(runs["system"]).union(*more.values())
    printed = paper.TABLE1 if runs["benchmark"].isin(BENCHMARKS).any() else {}
    known = dict.fromkeys((*_in_order(), *runs["system"], *printed))
    systems = [name for name in known if name in there or name in printed]
    corpora = dict(runs[["benchmark", "corpus"]].drop_duplicates("benchmark").to_numpy())
    data = pd.DataFrame(
        {"corpus": corpus, **_row(ours, more.get(benchmark, {}), benchmark, system)}
        for benchmark, corpus in corpora.items()
        for system in systems
    )
    shown = {"system": systems}
    shown["unlabelled test utterances used"] = [
        UNLABELLED.get(name, "none") if name in there else "–" for name in systems
    ]
    for benchmark, part in data.groupby("benchmark", sort=False):
        corpus = part["corpus"].iloc[0]
        shown |= {
            f"{corpus}, dev-selected": means(part, "wf1"),
            f"{corpus}, best test epoch": means(part, "best_test_wf1"),
        }
        if benchmark in BENCHMARKS:
            shown[f"{benchmark} paper"] = means(part, "paper")
    shown["ours"] = [_origin(part) for _, part in data.groupby("system", sort=False)]
    return Table(without_paper(data, corpora), pd.DataFrame(shown))


def _in_order() -> Iterator[str]:
    yield from (TEXT_PROBE, PROBE)
    for name in MODELS:
        yield from (AS_PRINTED, FULL, ENROLLED) if name == FULL else (name,)
        if name == BASE:
            yield STANDARDISED


def _row(ours: pd.DataFrame, more: Mapping[str, Counts], benchmark: Benchmark, system: str) -> dict:
    found = ours.loc[(benchmark, system)] if (benchmark, system) in ours.index else {}
    if system in more:
        found = {f"test_{name}": x for name, x in more[system].mean_and_sd().items()}
        found |= {"n": len(more[system].seeds), "speaker": ""}
        found["failed"] = more[system].asked - found["n"]
        if system in (TEXT_PROBE, PROBE):  # the same for every seed
            found["test_wf1_sd"] = np.nan
    printed = paper.TABLE1.get(FULL if system == AS_PRINTED else system, {})
    printed = printed.get(benchmark, paper.Printed(np.nan))
    row = {"benchmark": benchmark, "system": system}
    row["ours"] = "measured" if len(found) else "quoted"
    row["unlabelled"] = UNLABELLED.get(system, "none") if len(found) else "–"
    row["speaker"] = found.get("speaker", "")
    for name in SCORES:
        for part in ("mean", "sd"):
            column = f"{name.removeprefix('test_')}_{part}"
            row[column] = found.get(f"{name}_{part}", np.nan)
    row |= {"seeds": found.get("n", 0), "failed": found.get("failed", 0)}
    return row | {"paper_mean": printed.mean, "paper_sd": printed.sd}


def _origin(rows: pd.DataFrame) -> str:
    """A system's runs on all benchmarks in words: quoted, or how many seeds and which speakers."""
    measured = rows[rows["ours"] == "measured"]
    if measured.empty:
        return "quoted"
    if rows["system"].iloc[0] in (TEXT_PROBE, PROBE):
        return "deterministic"
    text = f"{measured['seeds'].iloc[0]} seeds"
    where = measured.groupby("speaker", sort=False)["corpus"].agg(" and ".join)
    kinds = [
        f"{kind} ({names})" if len(where) > 1 else kind for kind, names in where.items() if kind
    ]
    text += ", speaker: " + ", ".join(kinds) if kinds else ""
    failed = measured["failed"].sum()
    return text + (f", {failed} failed" if failed else "")
