"""Notebook 0: it runs under papermill with its solutions, shows what it says, and says it once."""

import re
import textwrap
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode

from mlsan.report.notebooks import execute

SOURCE = Path(__file__).parents[1] / "notebooks" / "00_from_scratch.py"
# Longest cell. Most have about fifteen lines.
LINES = 18


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The notebook with its solutions as last cells, executed."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = jupytext.read(SOURCE)
    solutions = re.findall(r"```python\n(.*?)```", notebook.cells[-1].source, re.DOTALL)
    assert len(solutions) == 3
    notebook.cells += [nbformat.v4.new_code_cell(textwrap.dedent(text)) for text in solutions]
    source = folder / SOURCE.name
    jupytext.write(notebook, source, fmt="py:percent")
    target = folder / "executed.ipynb"
    execute(source, target, {"PROFILE": "smoke", "CORPUS": "sim"})
    return nbformat.read(target, as_version=4)


def text_of(cell: NotebookNode) -> str:
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        found.append(output.get("text") or data.get("text/markdown") or data.get("text/plain"))
    return "".join(found)


def everything(notebook: NotebookNode) -> str:
    return "\n".join(text_of(cell) for cell in code_cells(notebook))


def test_cells_are_short_and_show_one_thing(executed: NotebookNode) -> None:
    for cell in code_cells(executed)[:-3]:
        assert len(cell.source.splitlines()) <= LINES, cell.source
        assert len(cell.outputs) <= 1, cell.source
        assert all(output.get("name") != "stderr" for output in cell.outputs), cell.outputs


def test_every_part_is_compared_with_the_package() -> None:
    source = SOURCE.read_text()
    for call in (
        "scores.weighted_f1(",
        "population.style(",
        "package.FiLM(",
        "package.SpeakerGate(",
        "package.speaker_loss(",
    ):
        assert call in source, call


def test_numbers_in_the_text_are_those_of_the_cells(executed: NotebookNode) -> None:
    text = everything(executed)
    for stated, shown in (
        ("4.1 against 3.6", "same emotion, two speakers: 4.1; same speaker, two emotions: 3.6"),
        (".60 + .17 = .77", "76.67"),
        ("$k = .43/(.43 + 1) = .30$", "[0.3, 0.56, 0.81, 0.98]"),
        ("lets .95 of everything pass", "multiplied by 0.95"),
    ):
        assert stated in SOURCE.read_text()
        assert shown in text


def test_findings_have_an_interval_and_a_verdict(executed: NotebookNode) -> None:
    number = r"([+-]\d+\.\d)"
    line = rf"(\S.*): {number} points \[{number}, {number}\]; the interval ([a-z ]+ zero)"
    found = re.findall(line, everything(executed))
    assert len(found) >= 8
    verdicts = {name.removeprefix("- "): verdict for name, *_, verdict in found}
    for name, verdict in (
        ("Seen speakers, what the context adds", "is above zero"),
        ("Seen speakers, what the speaker adds", "is above zero"),
        ("Strangers, what the context adds", "includes zero"),
        ("Strangers, what the speaker adds", "includes zero"),
        ("Strangers, statistics minus zero start", "is above zero"),
        ("Unseen actors, statistics minus zero start", "is above zero"),
    ):
        assert verdicts[name] == verdict
    for _, mean, low, high, verdict in found:
        assert float(low) <= float(mean) <= float(high)
        assert (verdict == "includes zero") == (float(low) <= 0 <= float(high))


def test_solutions_find_what_their_text_says(executed: NotebookNode) -> None:
    enrolment, rate, printed = (text_of(cell) for cell in code_cells(executed)[-3:])
    scores = [float(line.split()[1]) for line in enrolment.splitlines()]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 5
    assert re.search(r"seen +\d", rate)
    differences = [float(x) for x in re.findall(r"zero: ([+-]\d+\.\d)", printed)]
    assert len(differences) == 2
    assert differences[1] < differences[0] < 0
