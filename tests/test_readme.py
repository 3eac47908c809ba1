"""README and the book: maps name what exists, recipes work word for word, counts are right."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jupytext
import numpy as np
import pytest

from mlsan.corpus.nemo.protocols import PROTOCOLS
from mlsan.training import PLANS, SCALES, dose_runs, standardised_runs
from mlsan.training.plans import voices_runs

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "notebooks/site").glob("*.md"))]
MAPS = ("From equation to code", "From the paper to the code")


def section(title: str) -> str:
    """The text of one section, in whichever page has it."""
    mark = f"\n## {title}\n"
    (page,) = (text for path in PAGES if mark in (text := path.read_text()))
    return page.split(mark)[1].split("\n## ")[0]


def map_rows() -> list[tuple[str, list[str]]]:
    """File and symbols of each row of the maps from the paper to the code."""
    found = []
    for title in MAPS:
        for line in section(title).split("| --- |")[-1].splitlines():
            if line.startswith("|"):
                _, _, file, symbols, _ = line.split("|")
                path = re.search(r"\]\((?:\.\./\.\./)?(.+)\)", file)[1]
                found.append((path, re.findall(r"`([\w.]+)`", symbols)))
    return found


def defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """The names that statements define; of a class or function also its own statements."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node.body
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
    return found


def blocks(title: str, language: str) -> list[str]:
    """The code blocks of one language in a section."""
    return re.findall(rf"```{language}\n(.*?)```", section(title), re.DOTALL)


def apply(diff: str, root: Path) -> None:
    """Replace the old lines of a diff block by its new ones, in the file that it names."""
    first, *lines = diff.splitlines()
    path = root / first.removeprefix("--- ")
    old, new = (
        "\n".join(line[1:] for line in lines if not line.startswith(sign)) + "\n" for sign in "+-"
    )
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has no single place for\n{diff}"
    path.write_text(text.replace(old, new))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder with a copy of the package."""
    shutil.copytree(ROOT / "mlsan", tmp_path / "mlsan", ignore=shutil.ignore_patterns("*.pyc"))
    return tmp_path


def run(code: str, root: Path) -> str:
    """What `code` prints where `root` holds the package."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_map_names_the_equations_tables_and_recipes() -> None:
    symbols = {f"{path}:{symbol}" for path, symbols in map_rows() for symbol in symbols}
    assert {
        "mlsan/model/mlsan.py:FiLM",
        "mlsan/model/mlsan.py:speaker_loss",
        "mlsan/model/__init__.py:MODELS",
        "mlsan/corpus/speakers.py:SpeakerCode.fit",
        "figures/sim/manifest.json:artifacts.table1_main.rows",
    } <= symbols
    text = section("From the paper to the code")
    for module in ROOT.glob("mlsan/report/nb*.py"):
        assert module.name in text or module.stem == "nb08_audit", (
            f"{module.name} is not in the map"
        )


@pytest.mark.parametrize(("path", "symbols"), map_rows(), ids=str)
def test_map_names_what_exists(path: str, symbols: list[str]) -> None:
    assert symbols
    text = (ROOT / path).read_text()
    for symbol in symbols:
        if path.endswith(".json"):
            found = json.loads(text)
            for part in symbol.split("."):
                assert part in found, f"{path} has no {symbol}"
                found = found[part]
            continue
        body = ast.parse(text).body
        for part in symbol.split("."):
            assert part in defined(body), f"{path} does not define {symbol}"
            body = defined(body)[part]


def test_manifest_names_the_five_runs_of_ml_san() -> None:
    manifest = json.loads((ROOT / "figures/sim/manifest.json").read_text())
    rows = manifest["artifacts"]["table1_main"]["rows"]
    for benchmark in ("MELD", "IEMOCAP"):
        assert len(set(rows[f"{benchmark} / ML-SAN"])) == 5


@pytest.mark.parametrize("profile", ["smoke", "small", "paper"])
def test_counts_of_runs(profile: str) -> None:
    benchmarks = ("MELD", "IEMOCAP")
    planned = {run for b in benchmarks for plan in PLANS.values() for run in plan(b, profile, True)}
    doses = sum(len(dose_runs(b, profile, True)) for b in benchmarks)
    standardised = sum(len(standardised_runs(b, profile, True)) for b in benchmarks)
    # At heterogeneity 1 the runs are those of the other plans.
    runs = len(planned) + doses * (len(SCALES[profile].doses) - 1) + standardised
    voices = PROTOCOLS[:3] if profile == "smoke" else PROTOCOLS
    for protocol in voices:
        runs += len({*voices_runs(protocol, profile, True)})
        runs += len(standardised_runs(protocol, profile, True))
    (stated,) = re.findall(
        rf"^\| \*{profile}\* \| [^|]* \| (\d+) \|", section("Variables"), re.MULTILINE
    )
    assert runs == int(stated)


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    dead = []
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        target = (page.parent / path) if path else page
        if path == "artifacts.md":  # written when the site is built
            continue
        if not target.exists():
            dead.append(path)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            if anchor not in map(slug, headings):
                dead.append(f"{path}#{anchor}")
    assert dead == []


def test_readme_is_one_page_that_leads_to_all_others() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    linked = {path for path in PAGES[1:] if f"(notebooks/site/{path.name}" in text}
    assert {path.name for path in {*PAGES[1:]} - linked} == {"index.md", "bibliography.md"}
    for notebook in (ROOT / "notebooks").glob("*.py"):
        assert f"](notebooks/{notebook.stem}.ipynb)" in text


def test_your_own_data_in_five_lines(scratch: Path) -> None:
    (block,) = blocks("Your own data", "")
    declaration, _, *commands = block.splitlines()
    (table,) = blocks("A corpus of your own", "csv")
    folder = scratch / "lessons"
    folder.mkdir()
    (folder / "corpus.json").write_text(declaration)
    (folder / "utterances.csv").write_text(table)
    np.save(folder / "audio.npy", np.random.default_rng(0).normal(size=(9, 5)))
    assert [command.split()[1] for command in commands] == ["data", "check-data", "paper"]
    for command in commands[:2]:
        _, goal, *variables = command.split()
        options = [f"--{name.lower()}={value}" for name, value in (v.split("=") for v in variables)]
        said = run(f"from mlsan.__main__ import main; main({[goal, *options]})", scratch)
    assert "modalities: audio (5)" in said


def test_a_corpus_of_your_own_trains(scratch: Path) -> None:
    title = "A corpus of your own"
    (table,) = blocks(title, "csv")
    (scratch / "utterances.csv").write_text(table)
    rows = len(table.splitlines()) - 1
    np.save(scratch / "audio.npy", np.random.default_rng(0).normal(size=(rows, 5)))
    make, use = blocks(title, "python")
    run(make, scratch)
    check, paper = re.findall(r"^make (\S+) (.+)$", section(title), re.MULTILINE)
    assert check == ("check-data", "DATA=data/lessons")
    assert paper == ("paper", "CORPUS=multiemo DATA=data/lessons")
    said = run(
        "from mlsan.__main__ import main; main(['check-data', '--data', 'data/lessons'])", scratch
    )
    assert "modalities: audio (5)" in said
    assert "a speaker is: identity" in said
    assert re.search(r"label calm +\| +2 +\| +1 +\| +0 +\|", said), said
    assert re.findall(r"label (\w+)", said) == ["calm", "bored", "cheerful", "cross"]
    shown = run(use, scratch)
    header, _, *lines = shown.splitlines()
    assert "paper" not in header
    systems = [line.split("|")[1].strip() for line in lines]
    assert systems == ["MultiEMO", "ML-SAN"]
    assert all(re.search(r"\| +[\d.]+ \|.* 1 seed", line) for line in lines), lines


def test_the_error_of_a_corpus_of_your_own_is_the_real_one(scratch: Path) -> None:
    title = "A corpus of your own"
    (table,) = blocks(title, "csv")
    (scratch / "utterances.csv").write_text(table.replace("Cem,cross", "Cem,angry"))
    np.save(scratch / "audio.npy", np.zeros((9, 5)))
    code = blocks(title, "python")[0].replace("corpus = ", "")
    wrapped = (
        f"try:\n{textwrap.indent(code, '    ')}\nexcept ValueError as error:\n    print(error)"
    )
    assert run(wrapped, scratch).strip() in section(title).splitlines()
    assert not (scratch / "data/lessons").exists()


def test_a_model_of_your_own_is_a_row_of_table_1(scratch: Path) -> None:
    title = "A model of your own"
    module, use = blocks(title, "python")
    (scratch / "mlsan/model/mine.py").write_text(module)
    for diff in blocks(title, "diff"):
        apply(diff, scratch)
    shown = run(use + 'print({r.model.name for r in study.plan("main")})', scratch)
    *table, planned = shown.splitlines()
    (row,) = (line for line in table if line.startswith("| Mine "))
    assert re.search(r"\d\.\d\d .*\b1 seed", row), row
    assert "'Mine'" in planned


def test_a_speaker_kind_of_your_own_trains(scratch: Path) -> None:
    title = "A speaker kind of your own"
    for diff in blocks(title, "diff"):
        apply(diff, scratch)
    (use,) = blocks(title, "python")
    rows = [line for line in run(use, scratch).splitlines() if "ML-SAN" in line]
    assert len(rows) == 2
    assert all(re.search(r"opener +\d+\.\d+", row) for row in rows), rows


def test_a_diff_that_does_not_fit_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    apply("--- a.py\n one\n+more\n", tmp_path)
    assert (tmp_path / "a.py").read_text() == "one\nmore\ntwo\n"
    with pytest.raises(AssertionError, match="no single place"):
        apply("--- a.py\n-three\n+four\n", tmp_path)


def shows(source: str) -> bool:
    """Whether a cell prints, or ends in a value that Jupyter displays."""
    tree = ast.parse(source)
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    if any(isinstance(function, ast.Name) and function.id == "print" for function in calls):
        return True
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        return False
    if not (isinstance(last.value, ast.Call) and isinstance(last.value.func, ast.Name)):
        return True
    return last.value.func.id[0].isupper()  # a new object, not a procedure


def test_counts_of_compared_cells() -> None:
    sources = sorted((ROOT / "notebooks").glob("*.py"))
    cells = [c for path in sources for c in jupytext.read(path).cells if c.cell_type == "code"]
    kept = [c for c in cells if "nbval-ignore-output" not in c.metadata.get("tags", [])]
    compared = sum(shows(cell.source) for cell in kept)
    counts = (len(cells), compared, len(cells) - len(kept), len(kept) - compared)
    stated = re.search(
        r"Of their (\d+) code cells, (\d+) show .*; (\d+) show .*; and (\d+) show nothing",
        section("What the tests compare"),
    )
    assert counts == tuple(map(int, stated.groups()))
