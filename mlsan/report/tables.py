"""The paper's tables, made from tidy rows of runs. Each is a numeric frame and a readable one."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlsan.corpus import Corpus
from mlsan.evaluation import difference, interval, mean_interval_by, mean_sd
from mlsan.report import paper
from mlsan.vocabulary import EMOTIONS, Benchmark

BY = ["corpus", "benchmark", "system", "speaker"]


class Table(NamedTuple):
    """`data` has plain numbers, for the CSV; `shown` is for reading, in Markdown and LaTeX."""

    data: pd.DataFrame
    shown: pd.DataFrame


def plus_minus(mean: float, sd: float | None) -> str:
    """`66.34 ± 0.04`; the mean alone where there is no spread, a dash where there is no number."""
    if not np.isfinite(mean):
        return "–"
    return f"{mean:.2f}" + (f" ± {sd:.2f}" if sd is not None and np.isfinite(sd) else "")


def change(delta: float, low: float, high: float) -> str:
    """`+1.20 [-0.10, +2.30]`; a dash where there is no number."""
    return "–" if not np.isfinite(delta) else f"{delta:+.2f} [{low:+.2f}, {high:+.2f}]"


def corpora_table(corpora: Mapping[Benchmark, Corpus]) -> Table:
    """Table 0: what each split holds. Speakers are names; a dash where the corpus has none."""
    columns = {}
    for benchmark, corpus in corpora.items():
        trained = {name for d in corpus.train for name in d.speaker or () if name}
        for split in ("train", "dev", "test"):
            dialogues = getattr(corpus, split)
            label = np.concatenate([d.label for d in dialogues])
            names = [name for d in dialogues for name in d.speaker or () if name]
            column = {
                "dialogues": len(dialogues),
                "utterances": len(label),
                "utterances a dialogue": round(len(label) / len(dialogues), 1),
            }
            if corpus.named:
                column |= {
                    "speakers": len(set(names)),
                    "speakers unseen in training": len(set(names) - trained),
                    "utterances of unseen speakers": sum(name not in trained for name in names),
                }
            emotions = EMOTIONS[benchmark]
            counts = np.bincount(label, minlength=len(emotions))
            column |= {f"label {e}": int(n) for e, n in zip(emotions, counts, strict=True)}
            columns[f"{corpus.name} {split}"] = column
    data = pd.DataFrame(columns).rename_axis("count").reset_index()
    shown = data.set_index("count").map(lambda n: "–" if pd.isna(n) else f"{n:,.10g}").reset_index()
    return Table(data, shown)


def main_table(runs: pd.DataFrame) -> Table:
    """Table 1: each system's weighted F1, ours over seeds beside the paper's printed figures.

    A system without runs is "quoted": it has the paper's figures only.
    """
    ours = mean_sd(runs, BY, ["test_wf1", "best_test_wf1"]).set_index(["benchmark", "system"])
    rows = [
        {"corpus": corpus, **_measured(ours, benchmark, system, printed[benchmark])}
        for corpus, benchmark in runs[["corpus", "benchmark"]].drop_duplicates().to_numpy()
        for system, printed in paper.TABLE1.items()
    ]
    data = pd.DataFrame(rows)
    shown = {"system": list(paper.TABLE1)}
    for benchmark, part in data.groupby("benchmark", sort=False):
        ours = part["corpus"].iloc[0]
        shown |= {
            f"{ours}, dev-selected": _cells(part, "wf1"),
            f"{ours}, best test epoch": _cells(part, "best_test_wf1"),
            f"{benchmark} paper": _cells(part, "paper"),
        }
    shown["ours"] = _origin(data)
    return Table(data, pd.DataFrame(shown))


def _measured(ours: pd.DataFrame, benchmark: str, system: str, printed: paper.Printed) -> dict:
    found = ours.loc[(benchmark, system)] if (benchmark, system) in ours.index else None
    row = {"benchmark": benchmark, "system": system}
    row["ours"] = "quoted" if found is None else "measured"
    row["speaker"] = "" if found is None else found["speaker"]
    for name in ("test_wf1", "best_test_wf1"):
        for part in ("mean", "sd"):
            column = f"{name.removeprefix('test_')}_{part}"
            row[column] = np.nan if found is None else found[f"{name}_{part}"]
    row |= {"seeds": 0 if found is None else found["n"]}
    row |= {"failed": 0 if found is None else found["failed"]}
    return row | {"paper_mean": printed.mean, "paper_sd": printed.sd}


def _cells(part: pd.DataFrame, name: str) -> list[str]:
    return [
        plus_minus(mean, sd)
        for mean, sd in zip(part[f"{name}_mean"], part[f"{name}_sd"], strict=True)
    ]


def _origin(data: pd.DataFrame) -> list[str]:
    """For each system: quoted, or how many seeds and what a speaker was told as."""
    texts = []
    for _, part in data.groupby("system", sort=False):
        first = part.iloc[0]
        text = first["ours"]
        if text == "measured":
            text = f"{first['seeds']} seeds"
            told = part.groupby("speaker", sort=False)["benchmark"].agg(" and ".join)
            where = {kind: f" ({names})" if len(told) > 1 else "" for kind, names in told.items()}
            kinds = [f"{kind}{names}" for kind, names in where.items() if kind]
            text += ", speaker: " + ", ".join(kinds) if kinds else ""
            text += f", {part['failed'].sum()} failed" if part["failed"].sum() else ""
        texts.append(text)
    return texts


def ablation_table(runs: pd.DataFrame) -> Table:
    """Table 2: ML-SAN and each of its parts left out.

    `delta` is the mean difference to the full model, paired by seed, with its 95 % interval.
    """
    ours = mean_sd(runs, BY, ["test_wf1"]).set_index(["benchmark", "system"])
    rows = []
    for (corpus, benchmark), part in runs.groupby(["corpus", "benchmark"], sort=False):
        for system, printed in paper.TABLE2.items():
            row = {"corpus": corpus, "benchmark": benchmark, "system": system}
            found = ours.loc[(benchmark, system)]
            row |= {"speaker": found["speaker"], "seeds": found["n"], "failed": found["failed"]}
            row |= {"wf1_mean": found["test_wf1_mean"], "wf1_sd": found["test_wf1_sd"]}
            delta = difference(part, "test_wf1", system, "ML-SAN")
            low, high = interval(delta)
            full = system == "ML-SAN"
            row |= {"delta": np.nan if full or not len(delta) else delta.mean()}
            row |= {"delta_low": np.nan if full else low, "delta_high": np.nan if full else high}
            row |= {"paper_mean": printed[benchmark].mean, "paper_sd": printed[benchmark].sd}
            row["paper_delta"] = paper.TABLE2_DELTA.get(system, {}).get(benchmark, np.nan)
            rows.append(row)
    data = pd.DataFrame(rows)
    shown = {"system": list(paper.TABLE2)}
    for benchmark, part in data.groupby("benchmark", sort=False):
        ours = part["corpus"].iloc[0]
        shown |= {
            ours: _cells(part, "wf1"),
            f"{ours} Δ [95 %]": [
                change(*row) for row in part[["delta", "delta_low", "delta_high"]].to_numpy()
            ],
            f"{benchmark} paper": _cells(part, "paper"),
            f"{benchmark} Δ paper": [
                "–" if pd.isna(d) else f"{d:+.2f}" for d in part["paper_delta"]
            ],
        }
    return Table(data, pd.DataFrame(shown))


def lambda_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Fig. 6's data: for each benchmark and lambda the mean weighted F1 and its 95 % interval."""
    # Stable sorting keeps the benchmarks in the order in which they were run.
    ordered = runs.sort_values("lam", kind="stable")
    found = mean_interval_by(ordered, ["benchmark", "lam"], "test_wf1")
    return found[["benchmark", "lam", "seeds", "wf1_mean", "low", "high"]]
