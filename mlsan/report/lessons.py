"""What the lessons share: definitions shown as code, and findings stated with their verdict."""

import inspect
import textwrap
from collections.abc import Callable, Iterable

import numpy as np

from mlsan.evaluation import Estimate
from mlsan.evaluation.claims import verdict
from mlsan.report.tables import change

POINTS = "points of W-F1"


class Text(str):
    """Markdown that a notebook renders where a cell ends in it."""

    def __repr__(self) -> str:
        return f"<Text of {len(self)} characters>"

    def _repr_markdown_(self) -> str:
        return str(self)


def definition(*parts: Callable) -> Text:
    """The source of functions, methods or classes, to stand under the equation they compute."""
    blocks = []
    for part in parts:
        source = textwrap.dedent(inspect.getsource(part)).rstrip()
        where = f"{part.__module__}.{part.__qualname__}"
        blocks.append(f"`{where}`\n\n```python\n{source}\n```")
    return Text("\n\n".join(blocks))


def finding(
    says: str, found: Estimate, low: float = 0.0, high: float = np.inf, unit: str = POINTS
) -> str:
    """A statement, whether it holds, and the number with its interval that decides this.

    It holds if the whole interval lies between `low` and `high`: `mlsan.evaluation.claims.verdict`.
    """
    word = verdict(found, low, high)
    text = f"{says}: **{word}**"
    if not np.isfinite(found.value):
        return f"{text}."
    seeds = f", {found.seeds} seeds" if found.seeds > 1 else ""
    return f"{text}; {change(found.value, found.low, found.high)} {unit}{seeds}."


def delta_of(row: object) -> Estimate:
    """The columns delta, low, high and seeds of a row of a comparison."""
    return Estimate(row.delta, row.low, row.high, int(row.seeds))


def listed(sentences: Iterable[str], none: str = "Nothing to report on this corpus.") -> Text:
    """Sentences as a Markdown list, or `none` if there are none."""
    lines = [f"- {sentence}" for sentence in sentences]
    return Text("\n".join(lines) or none)
