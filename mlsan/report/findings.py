"""Findings in words: a number, its interval, and the verdict that follows from both by rule."""

from collections.abc import Iterable

import numpy as np

from mlsan.evaluation import Estimate
from mlsan.evaluation.claims import verdict
from mlsan.report.tables import change


def stated(
    what: str, found: Estimate, yes: str, no: str, unclear: str, unit: str = "points"
) -> str:
    """A finding about a difference: `**what yes**: +1.20 [+0.30, +2.10] points, …`.

    `yes`, `no` and `unclear` continue the sentence `what` where the 95 % interval lies above zero,
    below zero, or includes it. Without a number the finding says that nothing was measured.
    """
    if not np.isfinite(found.value):
        return f"**{what}: cannot be tested here.**"
    above, below = certain(found)
    words = yes if above else no if below else unclear
    interval = "excludes" if above or below else "includes"
    numbers = change(found.value, found.low, found.high)
    return f"**{what} {words}**: {numbers} {unit}; the interval {interval} zero."


def certain(found: Estimate) -> tuple[bool, bool]:
    """Whether the whole interval lies above zero, and whether it lies below."""
    return verdict(found) == "holds", verdict(found, -np.inf, 0.0) == "holds"


def listed(sentences: Iterable[str]) -> str:
    """Sentences as a Markdown list; without any, that nothing is finished."""
    return "\n".join(f"- {line}" for line in sentences) or "Nothing is finished that could tell."
