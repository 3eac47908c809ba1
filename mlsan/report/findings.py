"""Findings in words: a number, its interval, and the verdict that follows from both by rule."""

from collections.abc import Iterable

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
    words = {"holds": yes, "does not hold": no, "undecided": unclear}
    rule = {"holds": "excludes zero", "does not hold": "excludes zero"}
    answer = verdict(found)
    if answer not in words:
        return f"**{what}: cannot be tested here.**"
    interval = rule.get(answer, "includes zero")
    numbers = change(found.value, found.low, found.high)
    return f"**{what} {words[answer]}**: {numbers} {unit}; the interval {interval}."


def listed(sentences: Iterable[str]) -> str:
    """Sentences as a Markdown list; without any, that nothing is finished."""
    return "\n".join(f"- {line}" for line in sentences) or "Nothing is finished that could tell."
