"""Conversations and failures as Markdown tables that a person can read."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from mlsan.evaluation.conversation import BOTH_RIGHT, BOTH_WRONG, only, outcomes
from mlsan.report.words import Words

WRONG = "✗"
WIDEST = 8  # columns that still fit on a page
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def conversation_table(
    turns: pd.DataFrame,
    systems: Sequence[str],
    said: Words | None,
    moved: pd.DataFrame,
    feature: str,
) -> str:
    """A conversation turn by turn: who, what, one feature before and after, and the answers.

    `turns` are one dialogue's rows of `answers`, `moved` the rows of `telling_feature` for the same
    turns, `feature` what the feature is called.
    """
    shown = {"turn": turns["turn"].astype(str), "speaker": turns["speaker"]}
    if said:
        shown[said.heading] = [plain(line) for line in said.lines]
    shown["true emotion"] = turns["emotion"]
    pairs = zip(moved["raw"], moved["calibrated"], strict=True)
    shown[f"{feature} (sd)"] = [f"{_signed(raw)} → {_signed(after)}" for raw, after in pairs]
    shown |= {system: _answers(turns, system) for system in systems}
    return _markdown(pd.DataFrame(shown))


def failure_table(
    rows: pd.DataFrame, systems: Sequence[str], said: Callable[[str], Words | None]
) -> str:
    """Some rows of `answers` from different dialogues; `said` gives the words of a dialogue."""
    shown = {"dialogue, turn": rows["dialogue"] + ", " + rows["turn"].astype(str)}
    shown["speaker"] = rows["speaker"]
    found = [said(name) for name in rows["dialogue"]]
    if found and all(found):
        pairs = zip(found, rows["turn"], strict=True)
        shown[found[0].heading] = [plain(words.lines[turn - 1]) for words, turn in pairs]
    shown["true emotion"] = rows["emotion"]
    shown |= {system: _answers(rows, system) for system in systems}
    return _markdown(pd.DataFrame(shown))


def outcome_sentences(name: str, table: pd.DataFrame, systems: tuple[str, str]) -> list[str]:
    """How often which system is right, and how sure each is when it is right and when not.

    `table` is `answers` of a corpus called `name`, of one run of each system.
    """
    count = outcomes(table, systems).value_counts()
    kinds = (BOTH_RIGHT, *map(only, systems), BOTH_WRONG)
    each = ", ".join(f"{kind} {100 * count.get(kind, 0) / len(table):.0f} %" for kind in kinds)
    lines = [f"{name}, {len(table):,} test utterances: {each}."]
    for system in systems:
        right = table[system] == table["emotion"]
        means = [table.loc[part, f"{system} p"].mean() for part in (right, ~right)]
        surer = "surer where it is right" if means[0] > means[1] else "no surer where it is right"
        sure = ["–" if np.isnan(mean) else f"{mean:.2f}" for mean in means]
        lines.append(
            f"**{name}: {system} is {surer}.** The mean probability of its answer is {sure[0]} "
            f"there, and {sure[1]} where it is wrong."
        )
    return lines


def plain(line: str) -> str:
    """A line as Markdown shows it unchanged, in one row of a table."""
    return _MARKUP.sub(r"\\\1", " ".join(line.split()))


def _answers(rows: pd.DataFrame, system: str) -> list[str]:
    """`joy .81`, or `anger .52 ✗ (true .20)`: the answer, its probability, the truth's if wrong."""
    found = []
    columns = ["emotion", system, f"{system} p", f"{system} p of true"]
    for true, answer, p, p_true in rows[columns].itertuples(index=False, name=None):
        wrong = f" {WRONG} (true {p_true:.2f})" if answer != true else ""
        found.append(f"{answer} {p:.2f}{wrong}")
    return found


def _signed(number: float) -> str:
    """One decimal with its sign; no minus zero."""
    return f"{round(number, 1) + 0.0:+.1f}"


def _markdown(shown: pd.DataFrame) -> str:
    if shown.shape[1] > WIDEST:
        raise ValueError(f"{shown.shape[1]} columns are more than a page has room for ({WIDEST})")
    return shown.to_markdown(index=False, disable_numparse=True)
