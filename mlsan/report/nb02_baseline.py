"""Notebooks 2 and 3: every system's score beside the paper's (Table 1)."""

import numpy as np
import pandas as pd

from mlsan.evaluation import mean_sd
from mlsan.model import MODELS
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.tables import Table, means

BY = ["corpus", "benchmark", "system", "speaker"]
SCORES = ("test_wf1", "best_test_wf1")

TABLE1 = Artifact(
    "table1_main",
    ("02_baseline", "03_mlsan"),
    "Table 1",
    "Weighted F1 (points) of each system, mean ± sd over seeds, at the best dev epoch and at the "
    "best test epoch, beside the numbers that the paper prints. Quoted rows have the paper's "
    "numbers only. UniMSE is always quoted: it generates from raw text and is not a model of "
    "utterance features.",
)


def main_table(runs: pd.DataFrame) -> Table:
    """Table 1: each system's weighted F1 over seeds, beside the paper's printed numbers.

    `runs` has one row per run. The systems that were run come in the order of the registry
    (`mlsan.model.MODELS`); one that the paper does not have has dashes in its columns. A system of
    the paper without runs is "quoted".
    """
    ours = mean_sd(runs, BY, SCORES).set_index(["benchmark", "system"])
    trained = set(runs["system"])
    known = dict.fromkeys((*MODELS, *runs["system"], *paper.TABLE1))
    systems = [name for name in known if name in trained or name in paper.TABLE1]
    data = pd.DataFrame(
        {"corpus": corpus, **_row(ours, benchmark, system)}
        for corpus, benchmark in runs[["corpus", "benchmark"]].drop_duplicates().to_numpy()
        for system in systems
    )
    shown = {"system": systems}
    for benchmark, part in data.groupby("benchmark", sort=False):
        corpus = part["corpus"].iloc[0]
        shown |= {
            f"{corpus}, dev-selected": means(part, "wf1"),
            f"{corpus}, best test epoch": means(part, "best_test_wf1"),
            f"{benchmark} paper": means(part, "paper"),
        }
    shown["ours"] = [_origin(part) for _, part in data.groupby("system", sort=False)]
    return Table(data, pd.DataFrame(shown))


def _row(ours: pd.DataFrame, benchmark: str, system: str) -> dict:
    found = ours.loc[(benchmark, system)] if (benchmark, system) in ours.index else {}
    printed = paper.TABLE1.get(system, {}).get(benchmark, paper.Printed(np.nan))
    row = {"benchmark": benchmark, "system": system}
    row["ours"] = "measured" if len(found) else "quoted"
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
    text = f"{measured['seeds'].iloc[0]} seeds"
    where = measured.groupby("speaker", sort=False)["benchmark"].agg(" and ".join)
    kinds = [
        f"{kind} ({names})" if len(where) > 1 else kind for kind, names in where.items() if kind
    ]
    text += ", speaker: " + ", ".join(kinds) if kinds else ""
    failed = measured["failed"].sum()
    return text + (f", {failed} failed" if failed else "")
