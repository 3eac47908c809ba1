"""Notebooks: running a copy, publishing the committed one, and the committed notebooks."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode

from mlsan.report.notebooks import KERNEL, LARGEST, NotebookError, drift, execute, publish

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
SOURCE = """# %% [markdown]
# # A title

# %% tags=["parameters"]
PROFILE = "small"
LIMIT: int = 3

# %%
import sys
from pathlib import Path

print("one"), sys.stdout.flush(), print("two")
Path.cwd().name, PROFILE, LIMIT
"""


def write(folder: Path, text: str = SOURCE, name: str = "01_tiny.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def shown(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(str(output) for cell in cells for output in cell.get("outputs", []))


def test_execute_leaves_a_copy_and_its_page(tmp_path: Path) -> None:
    source = write(tmp_path / "home")
    page = execute(source, tmp_path / "build" / "01_tiny.ipynb", {"PROFILE": "smoke"})
    assert "('home', 'smoke', 3)" in shown(tmp_path / "build" / "01_tiny.ipynb")
    assert page == tmp_path / "build" / "01_tiny.html"
    assert "smoke" in page.read_text()
    assert source.read_text() == SOURCE


def test_failing_cell_is_named_and_the_copy_left(tmp_path: Path) -> None:
    source = write(tmp_path, SOURCE + "\n# %%\nbroken = 1\nbroken / 0\n")
    target = tmp_path / "build" / "01_tiny.ipynb"
    with pytest.raises(NotebookError) as caught:
        execute(source, target, {})
    for part in ("01_tiny.py", "In [3]", "broken = 1", "ZeroDivisionError", str(target)):
        assert part in str(caught.value)
    assert "('small', 3)" in shown(target).replace(f"'{tmp_path.name}', ", "")
    assert not target.with_suffix(".html").exists()


def test_dead_kernel_is_reported(tmp_path: Path) -> None:
    source = write(tmp_path, "# %%\nimport os\n\nos._exit(9)\n")
    with pytest.raises(NotebookError, match=r"01_tiny\.py lost its kernel"):
        execute(source, tmp_path / "build" / "01_tiny.ipynb", {})


@pytest.mark.parametrize("source", [SOURCE, "# %%\n1\n"])
def test_unknown_parameter_is_refused_before_running(tmp_path: Path, source: str) -> None:
    target = tmp_path / "build" / "01_tiny.ipynb"
    with pytest.raises(ValueError, match=r"01_tiny\.py has no parameter PROFLE"):
        execute(write(tmp_path, source), target, {"PROFLE": "smoke"})
    assert not target.exists()


def test_other_files_are_no_notebooks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a py:percent source"):
        execute(write(tmp_path, name="01_tiny.md"), tmp_path / "build" / "x.ipynb", {})


def test_published_twice_gives_the_same_bytes_and_no_drift(tmp_path: Path) -> None:
    source = write(tmp_path)
    first = publish(source).read_bytes()
    assert publish(source).read_bytes() == first
    assert drift(source, source.with_suffix(".ipynb")) == []
    notebook = json.loads(first)
    assert "papermill" not in first.decode()
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["id"] for cell in notebook["cells"]] == ["01_tiny-01", "01_tiny-02", "01_tiny-03"]
    assert notebook["cells"][2]["outputs"][0]["text"] == ["one\n", "two\n"]


def test_too_large_or_failing_leaves_the_old_one(tmp_path: Path) -> None:
    source = write(tmp_path, "# %%\n" + f"'x' * {LARGEST}\n")
    source.with_suffix(".ipynb").write_text("the old one")
    with pytest.raises(NotebookError, match="smaller or fewer"):
        publish(source)
    assert source.with_suffix(".ipynb").read_text() == "the old one"


def _published() -> NotebookNode:
    """What `publish` makes of SOURCE, written by hand."""
    texts = [part.split("\n", 1)[1].strip() for part in SOURCE.split("# %%")[1:]]
    cells = [nbformat.v4.new_markdown_cell(texts[0].removeprefix("# "))]
    cells += [nbformat.v4.new_code_cell(text, execution_count=1) for text in texts[1:]]
    cells[1].metadata["tags"] = ["parameters"]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": dict(KERNEL)})


def _never_executed(notebook: NotebookNode) -> None:
    notebook.cells[2].execution_count = None


def _changed_code(notebook: NotebookNode) -> None:
    notebook.cells[2].source += "\n1"


def _changed_text(notebook: NotebookNode) -> None:
    notebook.cells[0].source = "# Another title"


def _changed_tag(notebook: NotebookNode) -> None:
    notebook.cells[1].metadata["tags"] = []


def _lost_cell(notebook: NotebookNode) -> None:
    notebook.cells.pop()


def _error(notebook: NotebookNode) -> None:
    error = nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[])
    notebook.cells[2].outputs = [error]


def _warning(notebook: NotebookNode) -> None:
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stderr", text="careful")]


def _injected(notebook: NotebookNode) -> None:
    extra = nbformat.v4.new_code_cell("PROFILE = 'smoke'", execution_count=1)
    extra.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(2, extra)


def _kernel(notebook: NotebookNode) -> None:
    notebook.metadata.kernelspec.name = "my-env"


def _large(notebook: NotebookNode) -> None:
    output = nbformat.v4.new_output("stream", name="stdout", text="x" * LARGEST)
    notebook.cells[2].outputs = [output]


def test_the_handmade_notebook_has_no_drift(tmp_path: Path) -> None:
    source = write(tmp_path)
    nbformat.write(_published(), source.with_suffix(".ipynb"))
    assert drift(source, source.with_suffix(".ipynb")) == []


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (_never_executed, "cell 3 was never executed"),
        (_changed_code, "cell 3 differs from its source"),
        (_changed_text, "cell 1 differs from its source"),
        (_changed_tag, "cell 2 differs from its source"),
        (_lost_cell, "it has 2 cells, its source 3"),
        (_error, "cell 3 shows an error"),
        (_warning, "cell 3 shows a warning"),
        (_injected, "cell 3 was injected"),
        (_kernel, "its kernel is not python3"),
        (_large, "it is over"),
    ],
)
def test_drift_finds(tmp_path: Path, spoil: Callable[[NotebookNode], None], finding: str) -> None:
    source, notebook = write(tmp_path), _published()
    spoil(notebook)
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    found = drift(source, source.with_suffix(".ipynb"))
    assert any(finding in line for line in found), found


def test_drift_finds_a_missing_notebook(tmp_path: Path) -> None:
    source = write(tmp_path)
    assert "is missing" in drift(source, source.with_suffix(".ipynb"))[0]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_committed_notebook_is_its_source_executed(source: Path) -> None:
    assert drift(source, source.with_suffix(".ipynb")) == []


def test_every_committed_notebook_has_a_source() -> None:
    assert {p.stem for p in NOTEBOOKS.glob("*.ipynb")} == {p.stem for p in NOTEBOOKS.glob("*.py")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_opens_and_closes_like_the_others(source: Path) -> None:
    cells = [cell for cell in jupytext.read(source).cells if cell.cell_type == "markdown"]
    title, *opening = cells[0].source.split("\n\n")
    assert title.startswith(f"# {int(source.stem[:2])} · ")
    starts = [paragraph.split(" ")[0] for paragraph in opening]
    assert starts == ["**Question.**", "**Produces.**", "**Needs.**", "**Time.**"]
    assert re.search(r"smoke: .* · small: .* · paper: ", opening[-1])
    learned, exercises = cells[-1].source.split("## What we learned")[1].split("## Exercises")
    assert learned.strip().startswith("- ")
    asked, solved = exercises.split("<details><summary>Solutions</summary>")
    assert solved.strip().endswith("</details>")
    numbers = [re.findall(r"^(\d)\. ", part, re.MULTILINE) for part in (asked, solved)]
    assert numbers[0] == numbers[1] == ["1", "2", "3"]
