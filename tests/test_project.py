"""The project: one set of pins, one direction of imports, and files that other tools read."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
EXTRAS = [PROJECT["optional-dependencies"][extra] for extra in ("text", "voices")]
# Each may import only itself and what stands before it.
LAYERS = (
    "vocabulary",
    "files",
    "scores",
    "corpus",
    "model",
    "training",
    "evaluation",
    "report",
    "study",
    "bench",
)


def pins(lines: list[str]) -> dict[str, str]:
    """Versions by normalised package name. Raises ValueError for a line that is no exact pin."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
        if match is None:
            raise ValueError(f"{line!r} is not an exact pin")
        found[normal(match[1])] = match[2]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return pins([line for line in lines if not line.startswith("#")])


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports; for `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the whole name of the module"
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does, also if these tests were started by make."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True)


def test_lock_agrees_with_the_project() -> None:
    assert pins(DIRECT).items() <= lock().items(), "run `make lock`"
    assert lock()["torch"] == "2.13.0"


@pytest.mark.parametrize("extra", EXTRAS, ids=["text", "voices"])
def test_extra_adds_to_the_lock(extra: list[str]) -> None:
    assert not pins(extra).keys() & lock().keys()


def test_cluster_extra_is_what_the_tests_run_with() -> None:
    assert {*PROJECT["optional-dependencies"]["cluster"]} <= {*DIRECT}


def test_lock_fits_every_machine() -> None:
    assert not [name for name in lock() if name.startswith(("nvidia", "cuda", "triton"))]
    assert normal(PROJECT["name"]) not in lock()


def test_environment_agrees_with_the_project() -> None:
    *conda, last = environment()["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert PROJECT["requires-python"] == ">=3.11"
    first, *middle, end = last["pip"]
    assert (first, end) == ("--constraint requirements.lock", "--editable .")
    assert pins(middle) == pins(DIRECT)


@pytest.mark.parametrize("line", ["torch>=2", "torch", "torch==2.*", "torch @ file:///x.whl"])
def test_loose_pins_are_noticed(line: str) -> None:
    with pytest.raises(ValueError, match="not an exact pin"):
        pins([line])


def test_everything_imported_is_pinned() -> None:
    sources = [
        p for folder in ("mlsan", "tests", "notebooks") for p in ROOT.glob(f"{folder}/**/*.py")
    ]
    used = {name.split(".")[0] for path in sources for name in imports(path)}
    makers = packages_distributions()
    outside = used - {"mlsan", *sys.stdlib_module_names, *(path.stem for path in sources)}
    pinned = {*pins(DIRECT), *(name for extra in EXTRAS for name in pins(extra))}
    missing = {n for n in outside if not {*map(normal, makers.get(n, [n]))} & pinned}
    assert missing == set()


def test_data_flows_one_way() -> None:
    upward = []
    for path in (ROOT / "mlsan").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] in ("__init__", "__main__"):
            continue
        assert parts[1] in LAYERS, f"{path.name}: give it a place in LAYERS"
        allowed = {*LAYERS[: LAYERS.index(parts[1]) + 1]}
        for name in imports(path):
            top, _, rest = name.partition(".")
            layer = rest.split(".")[0]
            if top == "mlsan" and layer in LAYERS and layer not in allowed:
                upward.append(f"{'/'.join(parts)} imports {name}")
    assert upward == []


def test_licence_and_citation() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    required = {"cff-version", "message", "title", "authors"}
    assert required <= citation.keys()
    assert citation["license"] == "MIT"
    assert PROJECT["license"] == "MIT AND CC-BY-NC-SA-4.0"
    assert (ROOT / PROJECT["license-files"][1]).read_text().startswith("Attribution-NonCommercial")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "mlsan/__init__.py").read_text())[1]
    assert str(citation["version"]) == version
    works = [work["url"] for work in citation["references"]]
    assert [url.rsplit("/", 1)[1] for url in works] == ["2604.25383", "2023.acl-long.824"]
    assert all(work["authors"] and work["type"] for work in citation["references"])


BUILT = [
    "build/runs/x",
    ".venv/x",
    "figures/multiemo/x",
    "figures/sim-smoke/x",
    "data/x",
    "a/b.pkl",
]
COMMITTED = [
    "figures/sim/table1_main.csv",
    "figures/nemo/table8_voices.csv",
    "mlsan/corpus/types.py",
    "notebooks/01_data.ipynb",
]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_ignores_what_is_built_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    command = ["git", "check-ignore", *BUILT, *COMMITTED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == BUILT


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["paper", "PROFILE=tiny"], "PROFILE is one of: smoke small paper"),
        (["paper", "CORPUS=meld"], "CORPUS is one of: sim multiemo"),
        (["paper", "PROFLE=smoke"], "Unknown variable: PROFLE. The variables are: PROFILE CORPUS"),
        (["paper", "CORPUS=multiemo"], "needs DATA=DIR"),
        (["data"], "needs CORPUS=multiemo or CORPUS=meld-text"),
        (["check-data"], "needs DATA=DIR"),
    ],
)
def test_make_rejects_wrong_settings_before_any_work(arguments: list[str], message: str) -> None:
    done = make("-n", *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "pip" not in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_lists_its_goals() -> None:
    listed = make().stdout
    goals = "paper data check-data test bench lab notebooks lock clean help"
    for goal in goals.split():
        assert re.search(rf"^  {goal} +\w", listed, re.MULTILINE), goal
