"""Notebooks: run a copy, publish the committed one, and check that source and copy agree.

A notebook is written as a jupytext py:percent source; the `.ipynb` beside it is that source,
executed with its default parameters.
"""

import ast
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from mlsan.files import write_atomically
from mlsan.report.badges import badges, repository

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LARGEST = 1_500_000  # bytes of a committed notebook
TRACEBACK = 12  # lines of a traceback that an error message shows
INJECTED = "injected-parameters"
WIDGET = "application/vnd.jupyter.widget-view+json"
BADGES = "badges"  # tag of the cell below which the links to Colab and Binder go
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(RuntimeError):
    """A notebook did not run to its end. The message names the notebook and the cell."""


def execute(source: Path, target: Path, parameters: Mapping[str, object]) -> Path:
    """Run a copy of `source` (py:percent or ipynb) at `target`, and render it as HTML beside it.

    The kernel runs in the source's folder. Returns the path of the HTML. Raises ValueError before
    anything runs for a parameter that the notebook does not have, and NotebookError when a cell
    fails; `target` then holds the copy up to that cell.
    """
    notebook = _read(source)
    _refuse_unknown(source, notebook, parameters)
    page = target.with_suffix(".html")
    page.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    executed = _run(source, notebook, target, parameters)
    write_atomically(target, nbformat.writes(executed) + "\n")
    html, _ = HTMLExporter().from_notebook_node(executed, {"metadata": {"name": source.stem}})
    write_atomically(page, html)
    return page


def publish(source: Path) -> Path:
    """Write the `.ipynb` beside a source: executed with default parameters, nothing transient.

    Raises NotebookError when a cell fails or the result is larger than `LARGEST`; the old file
    then stays.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / f"{source.stem}.ipynb"
        notebook = _tidy(_run(source, _read(source), copy, {}), source.stem)
    content = (nbformat.writes(notebook) + "\n").encode()
    if len(content) > LARGEST:
        raise NotebookError(
            f"{source.name} has {len(content):,} bytes when executed, more than {LARGEST:,}: show "
            "smaller or fewer pictures"
        )
    target = source.with_suffix(".ipynb")
    write_atomically(target, content)
    return target


def drift(source: Path, committed: Path) -> list[str]:
    """How a committed notebook differs from its source; empty if it does not."""
    if not committed.exists():
        return [f"{committed.name} is missing: run `make notebooks`"]
    wanted, notebook = _read(source), nbformat.read(committed, as_version=4)
    found = []
    if notebook.metadata.get("kernelspec", {}).get("name") != KERNEL["name"]:
        found.append(f"its kernel is not {KERNEL['name']}")
    if committed.stat().st_size > LARGEST:
        found.append(f"it is over {LARGEST:,} bytes")
    for number, cell in enumerate(notebook.cells, start=1):
        found += [f"cell {number} {fault}" for fault in _faults(cell)]
    if len(wanted.cells) != len(notebook.cells):
        found.append(f"it has {len(notebook.cells)} cells, its source {len(wanted.cells)}")
    for number, pair in enumerate(zip(wanted.cells, notebook.cells, strict=False), start=1):
        if len({_essence(cell) for cell in pair}) > 1:
            found.append(f"cell {number} differs from its source")
    return [f"{committed.name}: {fault}; run `make notebooks`" for fault in found]


def _read(source: Path) -> NotebookNode:
    """The notebook of a source, with badges below the cells that are tagged so.

    Raises FileNotFoundError or ValueError for any other file.
    """
    if source.suffix not in (".py", ".ipynb"):
        raise ValueError(f"{source} is neither a py:percent source nor an .ipynb file")
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = dict(KERNEL)
    links = badges(source.stem, repository())
    for cell in notebook.cells:
        if source.suffix == ".py" and links and BADGES in _tags(cell):
            cell.source += f"\n\n{links}"
    return notebook


def _refuse_unknown(source: Path, notebook: NotebookNode, parameters: Mapping[str, object]) -> None:
    names = [
        target.id
        for cell in notebook.cells
        if "parameters" in _tags(cell)
        for line in ast.parse(cell.source).body
        for target in getattr(line, "targets", [getattr(line, "target", None)])
        if isinstance(target, ast.Name)
    ]
    unknown = [name for name in parameters if name not in names]
    if unknown:
        found = ", ".join(names) or "none: no cell is tagged parameters"
        raise ValueError(f"{source.name} has no parameter {', '.join(unknown)}; it has {found}")


def _run(
    source: Path, notebook: NotebookNode, target: Path, parameters: Mapping[str, object]
) -> NotebookNode:
    plain = {name: str(v) if isinstance(v, Path) else v for name, v in parameters.items()}
    try:
        executed = papermill.execute_notebook(
            notebook,
            target,
            parameters=plain,
            kernel_name=KERNEL["name"],
            cwd=source.parent.resolve(),
            progress_bar=False,
            # The kernel warns about its own local sockets and the interrupt that ends it.
            extra_arguments=["--log-level=CRITICAL"],
        )
        return _still(executed)
    except PapermillExecutionError as error:
        lines = COLOUR.sub("", "\n".join(error.traceback)).splitlines()[-TRACEBACK:]
        raise NotebookError(
            "\n".join(
                (
                    f"{source.name}, In [{error.exec_count}], which begins "
                    f"{error.source.strip().splitlines()[0]!r}, failed:",
                    *lines,
                    f"The notebook up to that cell: {target}",
                )
            )
        ) from error
    except (DeadKernelError, CellTimeoutError) as error:
        raise NotebookError(
            f"{source.name} lost its kernel ({error}); the machine may have run out of memory. "
            f"The notebook up to that point: {target}"
        ) from error


def _still(notebook: NotebookNode) -> NotebookNode:
    """The same notebook without widgets, which are dead without their kernel.

    An output that has a picture beside its widget keeps it (`mlsan.report.explore`).
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def _tidy(notebook: NotebookNode, stem: str) -> NotebookNode:
    """The same notebook without what differs between two runs or belongs to papermill."""
    cells = [cell for cell in notebook.cells if INJECTED not in _tags(cell)]
    for number, cell in enumerate(cells, start=1):
        tags = _tags(cell)
        cell.id = f"{stem}-{number:02d}"
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    notebook.cells = cells
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(KERNEL), language_info=NotebookNode(name="python")
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _joined(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Outputs with neighbouring pieces of one stream joined: where they break is random."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else NotebookNode()
        if output.output_type == "stream" == last.get("output_type") and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _faults(cell: NotebookNode) -> list[str]:
    if INJECTED in _tags(cell):
        return ["was injected"]
    if cell.cell_type != "code" or not cell.source.strip():
        return []
    faults = ["was never executed"] if cell.execution_count is None else []
    kinds = {"stderr" if o.get("name") == "stderr" else o.output_type for o in cell.outputs}
    faults += ["shows an error"] if "error" in kinds else []
    return faults + (["shows a warning or other stderr output"] if "stderr" in kinds else [])


def _essence(cell: NotebookNode) -> tuple[str, str, tuple[str, ...]]:
    return cell.cell_type, cell.source.strip(), tuple(_tags(cell))


def _tags(cell: NotebookNode) -> list[str]:
    return [tag for tag in cell.metadata.get("tags", []) if tag != "papermill-error-cell-tag"]


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(f"executing {os.path.relpath(given)}", flush=True)
        publish(Path(given))
