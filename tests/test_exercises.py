"""Exercises: every solution passes its check, every stub and every likely mistake fails it."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from mlsan.report.exercises import (
    WRITTEN,
    Chapter,
    Exercise,
    ExerciseError,
    main,
    read_chapter,
    student_notebook,
    with_section,
    write_section,
    write_student_notebook,
)
from mlsan.report.notebooks import NotebookError, execute

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted((NOTEBOOKS / "exercises").glob("*.py"))
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
# Its exercises are questions only.
IN_PROSE = {"00_from_scratch"}

SOURCE = """# %% [markdown]
# # Exercises 1

# %%
one = 1

# %% [markdown]
# ## 1. Is it two?
#
# Write two.

# %%
half = 1

# %% tags=["solution"]
def two():
    \"\"\"Two.\"\"\"
    ### BEGIN SOLUTION
    return one + half
    ### END SOLUTION

# %% tags=["mistake"]
# One.
def two():
    return one

# %% tags=["check"]
assert two() == 2, f"two() should be 2, not {two()}"
print("1: correct")

# %% [markdown] tags=["answer"]
# One and one.
"""


def tiny(folder: Path, text: str = SOURCE) -> Path:
    """A source of one exercise, in a folder of exercises."""
    path = folder / "notebooks" / "exercises" / "01_tiny.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def opened(chapter: Chapter) -> dict[str, object]:
    """What the cells before the first exercise define."""
    namespace: dict[str, object] = {"__name__": "exercises"}
    for cell in chapter.opening:
        if cell.cell_type == "code":
            exec(cell.source, namespace)
    return namespace


def attempt(namespace: dict[str, object], code: str, check: str) -> None:
    """Run some code and the check in a copy of a namespace."""
    copy = dict(namespace)
    exec(code, copy)
    exec(check, copy)


@each_source
def test_solutions_pass_and_stubs_and_mistakes_fail(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = read_chapter(source)
    namespace = opened(chapter)
    for exercise in chapter.exercises:
        for code in exercise.given:
            exec(code, namespace)
        missing = rf"Exercise {exercise.number} .*: replace this line by your code"
        with pytest.raises(NotImplementedError, match=missing):
            attempt(namespace, exercise.stub, exercise.check)
        with pytest.raises(AssertionError, match=r"\w+ \w+ \w+"):
            attempt(namespace, exercise.mistake, exercise.check)
        attempt(namespace, exercise.solved, exercise.check)
        said = capsys.readouterr().out.splitlines()[-1]
        assert said.startswith(f"{exercise.number}: correct")


@each_source
def test_each_chapter_has_three_and_each_assertion_a_message(source: Path) -> None:
    chapter = read_chapter(source)
    assert len(chapter.exercises) == 3
    for exercise in chapter.exercises:
        checks = [n for n in ast.walk(ast.parse(exercise.check)) if isinstance(n, ast.Assert)]
        assert checks
        assert [n.lineno for n in checks if n.msg is None] == []
        assert exercise.mistake.startswith("# "), "say in a comment what the mistake is"


def defined(code: str) -> list[str]:
    return [getattr(node, "name", "") for node in ast.parse(code).body]


@each_source
def test_stub_has_the_head_of_the_solution_and_nothing_of_its_body(source: Path) -> None:
    chapter = read_chapter(source)
    shown = "".join(cell.source for cell in student_notebook(chapter).cells)
    for exercise in chapter.exercises:
        assert defined(exercise.stub) == defined(exercise.solved) == defined(exercise.mistake)
        parts = [match[0].splitlines()[1:-1] for match in WRITTEN.finditer(exercise.solution)]
        assert parts
        assert all(parts)
        assert ["\n".join(part) for part in parts if "\n".join(part) in shown] == []
        assert exercise.answer not in shown
        assert exercise.mistake not in shown
        assert "SOLUTION" not in shown


@each_source
def test_student_notebook_is_valid_and_always_the_same(source: Path) -> None:
    notebook = student_notebook(read_chapter(source))
    nbformat.validate(notebook)
    assert nbformat.writes(notebook) == nbformat.writes(student_notebook(read_chapter(source)))
    assert f"(../{source.stem}.ipynb)" in notebook.cells[0].source


def test_every_chapter_has_exercises() -> None:
    chapters = {path.stem for path in NOTEBOOKS.glob("*.py")}
    assert chapters - IN_PROSE == {path.stem for path in SOURCES}


@each_source
def test_chapter_ends_with_its_exercises(source: Path) -> None:
    text = (NOTEBOOKS / source.name).read_text()
    assert with_section(text, read_chapter(source)) == text, "run `make notebooks`"


def test_stub_names_the_exercise_and_keeps_what_is_given(tmp_path: Path) -> None:
    (exercise,) = read_chapter(tiny(tmp_path)).exercises
    assert exercise.stub == (
        'def two():\n    """Two."""\n    raise NotImplementedError('
        '"Exercise 1 (Is it two?): replace this line by your code")'
    )
    assert exercise.solved == 'def two():\n    """Two."""\n    return one + half'
    assert (exercise.number, exercise.title, exercise.given) == (1, "Is it two?", ("half = 1",))


def test_title_may_have_quotes_and_backslashes() -> None:
    text = "### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n"
    exercise = Exercise(2, r'A "quoted" \g<0> title', "", (), text, "", "", "")
    with pytest.raises(NotImplementedError, match=r'"quoted" \\g<0> title'):
        exec(exercise.stub, {})


def test_student_notebook_runs_in_a_kernel_up_to_the_stub(tmp_path: Path) -> None:
    source = tiny(tmp_path)
    assert write_student_notebook(source)
    with pytest.raises(NotebookError, match="NotImplementedError: Exercise 1"):
        execute(source.with_suffix(".ipynb"), tmp_path / "run.ipynb", {})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("## 1. Is it two?", "## 2. Is it two?", "begin it with a markdown cell `## 1. Title`"),
        ("# Write two.", "", "begin it with a markdown cell"),
        ('tags=["mistake"]', "", "has cells given, solution, given, check, answer"),
        ('[markdown] tags=["answer"]', "[markdown]", "has cells .*, text: write given code"),
        ("    ### END SOLUTION\n", "", "enclose what the student writes"),
        ("    ### BEGIN SOLUTION\n", "", "enclose what the student writes"),
    ],
)
def test_wrong_form_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert SOURCE.count(old) == 1
    with pytest.raises(ExerciseError, match=rf"01_tiny\.py, exercise 1.*{message}"):
        read_chapter(tiny(tmp_path, SOURCE.replace(old, new)))


def _ran_it(notebook: dict) -> None:
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[0] |= {"execution_count": 7, "outputs": []}


def _wrote_code(notebook: dict) -> None:
    notebook["cells"][4]["source"] = ["def two():\n", "    return 2"]


def _wrote_a_note(notebook: dict) -> None:
    note = {"cell_type": "markdown", "id": "note", "metadata": {}, "source": "I predict 2."}
    notebook["cells"].append(note)


def _removed_a_cell(notebook: dict) -> None:
    del notebook["cells"][0]


def _lost_the_digest(notebook: dict) -> None:
    del notebook["metadata"]["mlsan"]


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        (_ran_it, True),
        (_wrote_code, False),
        (_wrote_a_note, False),
        (_removed_a_cell, False),
        (_lost_the_digest, False),
    ],
)
def test_work_of_a_student_stays(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict], None],
    replaced: bool,
) -> None:
    source = tiny(tmp_path)
    target = source.with_suffix(".ipynb")
    main([str(source)])
    assert capsys.readouterr().out == f"wrote {target}\n"
    notebook = json.loads(target.read_text())
    change(notebook)
    target.write_text(json.dumps(notebook))
    before = target.read_bytes()
    tiny(tmp_path, SOURCE.replace("Write two.", "Write the number two."))
    main([str(source)])
    said = capsys.readouterr().out
    assert said.startswith("wrote" if replaced else "kept")
    assert replaced or "which has your changes. Rename it" in said
    assert (target.read_bytes() != before) == replaced
    assert ("the number two" in target.read_text()) == replaced


def test_a_file_that_is_no_notebook_stays(tmp_path: Path) -> None:
    source = tiny(tmp_path)
    source.with_suffix(".ipynb").write_text("half a notebo")
    assert not write_student_notebook(source)
    assert source.with_suffix(".ipynb").read_text() == "half a notebo"


def test_section_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    source = tiny(tmp_path)
    notebook = source.parents[1] / source.name
    above = '# %%\nx = "kept"\n\n# %% [markdown]\n# ## What we learned\n#\n# - All.\n#\n'
    notebook.write_text(f"{above}# ## Exercises\n#\n# 1. An old one\n#\n# </details>\n")
    write_section(source)
    text = notebook.read_text()
    assert text.startswith(f"{above}# ## Exercises\n#\n")
    assert "# 1. **Is it two?** Write two.\n" in text
    assert "# 1. One and one.\n#\n#    ```python\n#    def two():\n" in text
    assert text.endswith("#    ```\n#\n# </details>\n")
    assert "old" not in text
    assert "SOLUTION" not in text
    main(["--sections", str(source)])
    assert notebook.read_text() == text


def test_chapter_without_the_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExerciseError, match=r"01_tiny\.py has no line `# ## Exercises`"):
        with_section("# %%\n1\n", read_chapter(tiny(tmp_path)))
