"""Notebooks 2 and 3: our scores beside the paper's (Table 1), and the literature's (Table A9)."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mlsan.corpus import Corpus, Dialogue, SpeakerCode, collate
from mlsan.corpus.batch import pack
from mlsan.corpus.types import Batch
from mlsan.evaluation import Counts, mean_over_seeds, mean_sd
from mlsan.model import MODELS, reference
from mlsan.model.checkpoints import published_state
from mlsan.model.interface import EmotionModel, Output
from mlsan.report import literature, paper
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import finding
from mlsan.report.style import DOUBLE, SYSTEM
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
    plus_minus,
    without_paper,
)
from mlsan.training import AS_PRINTED, SYSTEMS, VARIANTS, run_settings
from mlsan.training.loop import enrolment_of, new_model
from mlsan.vocabulary import BENCHMARKS, Benchmark

BY = ["corpus", "benchmark", "system", "speaker"]
SCORES = ("test_wf1", "best_test_wf1")


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
            yield from (STANDARDISED, *VARIANTS)


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


TABLE9 = Artifact(
    "table9_literature",
    "02_baseline",
    "Table A9",
    "What the literature reports: weighted F1 (points) of published systems on MELD and on IEMOCAP "
    "(in brackets the number of its emotions; Li et al.'s six are our reading), on which split the "
    "reported epoch was chosen where that is known, and whether this project measures the system. "
    "Splits, features and numbers of runs differ between rows. Systems that report accuracy alone "
    "are left out, except those that this project measures. No number here is ours.",
    origin="",
)


def literature_table(
    reported: Sequence[literature.Reported] = literature.SYSTEMS,
    measured: Container[str] = SYSTEMS,
) -> Table:
    """Table A9: published systems with their own scores, by year.

    `measured` holds the names of this project's systems. Where the ML-SAN paper's Table 1 prints
    other numbers than the source, the source's cell gives them too.
    """
    rows = []
    for system in sorted(reported, key=lambda system: system.year):
        here = bool(system.system) and system.system in measured
        row = {"system": system.name, "year": system.year, "inputs": system.inputs}
        row |= {"chosen_on": system.chosen_on, "how": system.how, "source": system.source}
        for column, name in LITERATURE_SCORES.items():
            row[column] = system.reported.get(name, np.nan)
        for benchmark in BENCHMARKS:
            printed = system.in_table1.get(benchmark, paper.Printed(np.nan))
            row[f"table1_{benchmark.lower()}"] = printed.mean
        row["measured"] = here
        row["why_not"] = "" if here else system.why_not or "not implemented yet"
        rows.append(row)
    data = pd.DataFrame(rows)
    shown = [
        {
            "system": f"{row['system']} ({row['year']})",
            "input": row["inputs"],
            "epoch chosen on": ": ".join(filter(None, (row["chosen_on"], row["how"]))) or "–",
            "MELD": plus_minus(row["meld"], None),
            "IEMOCAP": _iemocap_text(row),
            "source": row["source"] + _other_numbers(row),
            "measured here": "yes" if row["measured"] else "no",
            "why not": row["why_not"] or "–",
        }
        for row in rows
    ]
    return Table(data, pd.DataFrame(shown))


LITERATURE_SCORES = {"meld": "MELD", "iemocap": "IEMOCAP", "iemocap_4": literature.FOUR}


def _iemocap_text(row: dict) -> str:
    found = ((row["iemocap"], 6), (row["iemocap_4"], 4))
    return ", ".join(f"{x:.2f} ({emotions})" for x, emotions in found if np.isfinite(x)) or "–"


def _other_numbers(row: dict) -> str:
    """The ML-SAN paper's numbers where they are others than the source's."""
    pairs = {"MELD": "meld", "IEMOCAP": "iemocap"}
    other = [
        f"{row[f'table1_{column}']:.2f} on {name}"
        for name, column in pairs.items()
        if np.isfinite(row[f"table1_{column}"]) and row[column] != row[f"table1_{column}"]
    ]
    return f" ({literature.TABLE1} prints {' and '.join(other)})" if other else ""


def selection_text(data: pd.DataFrame) -> str:
    """How many systems of Table A9 chose their epoch on test, in a sentence."""
    known = data[data["chosen_on"] != ""]
    test = (known["chosen_on"] == "test").sum()
    return (
        f"Of {len(data)} systems, the choice of the epoch is known for {len(known)}; "
        f"{test} of these chose it on the test set."
    )


def both_forms(
    corpus: Corpus, system: str = BASE, dialogues: int = 4
) -> tuple[Output, Output, Tensor]:
    """What MultiEMO or ML-SAN computes of some training dialogues, in double precision.

    Returns the output of the fast form, that of the definitions in `mlsan.model.reference`, and
    the labels. Both have the same weights, an untrained model's plus noise so that no part is at
    its start, and the settings of profile smoke.
    """
    run = run_settings(corpus.benchmark, "smoke", system, 0, named=corpus.named)
    enrolment = enrolment_of(run, corpus)
    some = corpus.train[:dialogues]
    batch = collate(some, enrolment.evaluation(some))
    batch = replace(
        batch,
        feature={m: x.double() for m, x in batch.feature.items()},
        style={m: x.double() for m, x in batch.style.items()},
    )
    model = new_model(run, corpus, enrolment.code.size)
    if enrolment.population:
        model.start_from(enrolment.population)
    model.double().eval()
    generator = torch.Generator().manual_seed(0)
    define = reference.mlsan if system == FULL else reference.multiemo
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        fast, defined = model(batch), define(published_state(model), batch, run.model)
    return fast, defined, pack(batch.label, batch.mask)


def padding_shift(corpus: Corpus, mask_padding: bool) -> float:
    """How much a short dialogue's logits move when a long one joins its batch: the largest change.

    The model is untrained, with the settings of profile smoke.
    """
    short, *_, long = sorted(corpus.train[:20], key=len)
    model = _untrained(corpus, mask_padding=mask_padding)
    with torch.no_grad():
        alone = model(_batch(corpus, (short,))).logits
        together = model(_batch(corpus, (short, long))).logits[: len(short)]
    return (alone - together).abs().max().item()


def _untrained(corpus: Corpus, **changes) -> EmotionModel:
    run = run_settings(corpus.benchmark, "smoke", BASE, 0, **changes)
    return new_model(run, corpus, speakers=2).eval()


def _batch(corpus: Corpus, dialogues: Sequence[Dialogue]) -> Batch:
    return collate(dialogues, SpeakerCode.fit("constant", corpus, 1, 0).encode(dialogues))


def recurrence_weights(name: str) -> dict[str, Tensor]:
    """Weights of a DialogueRNN of width 1 with which its numbers can be worked by hand.

    Every gate is one half, and each cell reads the first number of its input: GRU(x, h) is
    (tanh(x) + h) / 2. The context is not read.
    """
    state = {f"{name}.attention.scalar.weight": torch.zeros(1, 1)}
    for cell, inputs in (("g_cell", 2), ("p_cell", 2), ("e_cell", 1)):
        weight = torch.zeros(3, inputs)
        weight[2, 0] = 1  # rows: the reset gate, the update gate, the candidate
        state[f"{name}.{cell}.weight_ih"] = weight
        state[f"{name}.{cell}.weight_hh"] = torch.zeros(3, 1)
        state |= {f"{name}.{cell}.bias_{of}": torch.zeros(3) for of in ("ih", "hh")}
    return state


def training_figure(history: pd.DataFrame) -> Figure:
    """One MultiEMO run: its losses, and weighted F1 on dev and test, by epoch.

    The dot is the run's result, the test score at the best dev epoch; the ring is the best test
    epoch.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE, 2.2), layout="constrained")
    for name, label in (("ce", "cross-entropy"), ("swfc", "SWFC"), ("hgr", "Soft-HGR")):
        left.plot(history["epoch"], history[f"train_{name}"], label=label)
    left.set(xlabel="epoch", ylabel="training loss")
    left.legend()
    score = history.set_index("epoch")[["dev_wf1", "test_wf1"]]
    for split, line in (("dev", "-"), ("test", ":")):
        right.plot(score[f"{split}_wf1"], line, color=SYSTEM[BASE], label=split)
    for split, size, face in (("test", 9, "none"), ("dev", 5, SYSTEM[BASE])):
        best = score[f"{split}_wf1"].idxmax()
        look = {"color": SYSTEM[BASE], "markerfacecolor": face, "markersize": size}
        name = f"test at the best {split} epoch"
        right.plot(best, score.loc[best, "test_wf1"], "o", label=name, **look)
    right.set(xlabel="epoch", ylabel="W-F1 (%)")
    right.legend()
    return figure


def baseline_findings(runs: pd.DataFrame) -> list[str]:
    """What choosing the epoch on test adds, and how much seeds differ, one line per corpus.

    `runs` are the rows of one system's sweep; failed runs are left out.
    """
    lines = []
    for corpus, part in runs.dropna(subset="test_wf1").groupby("corpus", sort=False):
        system, scores = part["system"].iloc[0], part["test_wf1"]
        gained = mean_over_seeds((part["best_test_wf1"] - scores).to_numpy())
        says = f"{corpus}: the best test epoch overstates {system} by more than 0.5 points"
        lines.append(finding(says, gained, low=0.5))
        if len(scores) > 1:
            lines.append(
                f"{corpus}: seeds of {system} differ by {scores.max() - scores.min():.2f} points "
                f"(lowest {scores.min():.2f}, highest {scores.max():.2f})."
            )
    return lines
