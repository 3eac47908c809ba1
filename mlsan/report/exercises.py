"""Exercises: one source gives the student's notebook and the answers at the end of a chapter.

A source is a jupytext py:percent file, `notebooks/exercises/NN_name.py`. It begins with cells that
are given. Each exercise is then a sequence of cells, in this order, most of which have a tag:

- a markdown cell that begins `## N. Title` and asks the question;
- code cells that are given, if any;
- `solution`: code in which `### BEGIN SOLUTION` and `### END SOLUTION`, the marks of nbgrader,
  enclose what the student writes;
- `mistake`: the same function or class with a likely mistake, which the check must reject;
- `check`: assertions whose messages say what is wrong;
- `answer`: markdown on what the solution shows.

The student's notebook contains neither mistakes nor answers. The chapter, `notebooks/NN_name.py`,
ends with the questions, and with the solutions and answers folded.
"""

import hashlib
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mlsan.files import write_atomically
from mlsan.report.notebooks import KERNEL

ROLES = ("solution", "mistake", "check", "answer")
WRITTEN = re.compile(
    r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION\n?", re.DOTALL | re.MULTILINE
)
MARK = re.compile(r"^ *### (BEGIN|END) SOLUTION\n?", re.MULTILINE)
TITLE = re.compile(r"## (\d)\. (.+)\n\n")
SECTION = re.compile(r"^# ## Exercises\n.*\Z", re.DOTALL | re.MULTILINE)


class ExerciseError(ValueError):
    """A source of exercises is not in the form that this module describes."""


@dataclass(frozen=True)
class Exercise:
    """One exercise. `given` is code that comes before the solution; all code is source text."""

    number: int
    title: str
    question: str
    given: tuple[str, ...]
    solution: str
    mistake: str
    check: str
    answer: str

    @property
    def stub(self) -> str:
        """The solution with an error that names the exercise in place of the student's code."""
        what = f"Exercise {self.number} ({self.title}): replace this line by your code"
        line = f"raise NotImplementedError({json.dumps(what, ensure_ascii=False)})\n"
        return WRITTEN.sub(lambda part: part[1] + line, self.solution).rstrip()

    @property
    def solved(self) -> str:
        """The solution without its marks."""
        return MARK.sub("", self.solution).rstrip()


@dataclass(frozen=True)
class Chapter:
    """The exercises of one chapter, and the cells before the first of them."""

    name: str
    opening: tuple[NotebookNode, ...]
    exercises: tuple[Exercise, ...]


def read_chapter(source: Path) -> Chapter:
    """Read a source. Raises ExerciseError, with the file and exercise, if its form is wrong."""
    cells = jupytext.read(source).cells
    starts = [i for i, cell in enumerate(cells) if cell.source.startswith("## ")]
    opening = cells[: starts[0]] if starts else cells
    parts = [cells[i:j] for i, j in zip(starts, [*starts[1:], len(cells)], strict=True)]
    found = [_exercise(source, number, part) for number, part in enumerate(parts, start=1)]
    return Chapter(source.stem, tuple(opening), tuple(found))


def _exercise(source: Path, number: int, cells: Sequence[NotebookNode]) -> Exercise:
    where = f"{source.name}, exercise {number}"
    title = TITLE.match(cells[0].source)
    if title is None or int(title[1]) != number:
        raise ExerciseError(f"{where}: begin it with a markdown cell `## {number}. Title`")
    roles = [_role(cell) for cell in cells[1:]]
    given = roles.index("solution") if "solution" in roles else 0
    if roles != ["given"] * given + list(ROLES):
        raise ExerciseError(
            f"{where} has cells {', '.join(roles)}: write given code, if any, and then one cell "
            f"with each of the tags {', '.join(ROLES)}"
        )
    *code, solution, mistake, check, answer = (cell.source for cell in cells[1:])
    marks = MARK.findall(solution)
    if not marks or marks != ["BEGIN", "END"] * (len(marks) // 2):
        raise ExerciseError(
            f"{where}: enclose what the student writes in ### BEGIN SOLUTION and ### END SOLUTION"
        )
    question = cells[0].source[title.end() :]
    texts = (question, tuple(code), solution, mistake, check, answer)
    return Exercise(number, title[2], *texts)


def _role(cell: NotebookNode) -> str:
    tags = [tag for tag in cell.metadata.get("tags", []) if tag in ROLES]
    return tags[0] if tags else "given" if cell.cell_type == "code" else "text"


def student_notebook(chapter: Chapter) -> NotebookNode:
    """The chapter's exercises without solutions. Equal sources give equal notebooks."""
    cells = [_copied(cell) for cell in chapter.opening]
    for exercise in chapter.exercises:
        heading = f"## {exercise.number}. {exercise.title}"
        cells.append(new_markdown_cell(f"{heading}\n\n{exercise.question}"))
        cells += map(new_code_cell, (*exercise.given, exercise.stub, exercise.check))
    for number, cell in enumerate(cells, start=1):
        cell.id = f"{chapter.name}-{number:02d}"
    as_written = {"as_written": _digest(cells)}
    return new_notebook(cells=cells, metadata={"kernelspec": dict(KERNEL), "mlsan": as_written})


def _copied(cell: NotebookNode) -> NotebookNode:
    new = new_code_cell if cell.cell_type == "code" else new_markdown_cell
    return new(cell.source)


def write_student_notebook(source: Path) -> bool:
    """Write the student's notebook next to its source; False if it has changes by the student.

    An existing notebook is replaced only if its text and code are as this function wrote them.
    Outputs do not count as changes.
    """
    target = source.with_suffix(".ipynb")
    notebook = student_notebook(read_chapter(source))
    if target.exists() and not _untouched(target):
        return False
    write_atomically(target, nbformat.writes(notebook) + "\n")
    return True


def _untouched(target: Path) -> bool:
    try:
        notebook = nbformat.read(target, as_version=4)
        return notebook.metadata["mlsan"]["as_written"] == _digest(notebook.cells)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _digest(cells: Sequence[NotebookNode]) -> str:
    """SHA-256 (hex) of the text and code of a notebook; outputs do not count."""
    text = json.dumps([[cell.cell_type, cell.source] for cell in cells])
    return hashlib.sha256(text.encode()).hexdigest()


def chapter_section(chapter: Chapter) -> str:
    """The section "Exercises" that ends the chapter's notebook, as markdown."""
    file = f"exercises/{chapter.name}.ipynb"
    asked = (f"**{_sentence(e.title)}** {e.question}" for e in chapter.exercises)
    solved = (f"{e.answer}\n\n```python\n{e.solved}\n```" for e in chapter.exercises)
    return "\n\n".join(
        (
            "## Exercises",
            f"`make exercises` writes them as a notebook, `{file}`, with a stub for each function "
            "and a check that says what is wrong.",
            *_numbered(asked),
            "<details><summary>Solutions</summary>",
            *_numbered(solved),
            "</details>",
        )
    )


def _sentence(title: str) -> str:
    return title if title.endswith("?") else f"{title}."


def _numbered(items: Iterator[str]) -> Iterator[str]:
    for number, item in enumerate(items, start=1):
        yield f"{number}. {textwrap.indent(item, '   ').lstrip()}"


def with_section(text: str, chapter: Chapter) -> str:
    """The source of a chapter's notebook with its section "Exercises" replaced.

    The section is the end of the last cell. Raises ExerciseError if there is none.
    """
    section = textwrap.indent(chapter_section(chapter), "# ", lambda line: True)
    section = re.sub(r"^# $", "#", section, flags=re.MULTILINE)
    if not SECTION.search(text):
        raise ExerciseError(f"{chapter.name}.py has no line `# ## Exercises` in its last cell")
    return SECTION.sub(lambda _: f"{section}\n", text)


def write_section(source: Path) -> None:
    """Write the section "Exercises" of the chapter that a source belongs to, if it differs."""
    notebook = source.parent.parent / source.name
    old = notebook.read_text()
    new = with_section(old, read_chapter(source))
    if new != old:
        write_atomically(notebook, new)


def main(arguments: Sequence[str]) -> None:
    """Write students' notebooks; after `--sections`, the sections at the end of chapters."""
    if arguments[:1] == ["--sections"]:
        for given in arguments[1:]:
            write_section(Path(given))
        return
    for given in arguments:
        source = Path(given)
        target = source.with_suffix(".ipynb")
        if write_student_notebook(source):
            print(f"wrote {target}")
        else:
            print(f"kept  {target}, which has your changes. Rename it to get a new one")


if __name__ == "__main__":
    main(sys.argv[1:])
