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
EXTRAS = [PROJECT["optional-dependencies"][extra] for extra in ("text", "voices", "site")]
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
    "published",
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


@pytest.mark.parametrize("extra", EXTRAS, ids=["text", "voices", "site"])
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
    "build/site/index.html",
    "data/x",
    "a/b.pkl",
    "notebooks/exercises/01_data.ipynb",
]
COMMITTED = [
    "figures/sim/table1_main.csv",
    "figures/nemo/table8_voices.csv",
    "mlsan/corpus/types.py",
    "notebooks/01_data.ipynb",
    "notebooks/exercises/01_data.py",
    "notebooks/site/index.md",
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
        (["paper", "CORPUS=csv", "DATA=x"], "CORPUS=csv is for `make data`"),
        (["paper", "VENV="], "VENV is empty"),
        (["data"], "needs CORPUS=multiemo, meld-text or nemo"),
        (["data", "CORPUS=cvs"], "CORPUS is one of: multiemo meld-text nemo csv"),
        (["data", "CORPUS=csv"], "needs DATA=DIR, the folder that contains utterances.csv"),
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
    goals = "paper data check-data test bench lab exercises notebooks site lock clean help"
    for goal in goals.split():
        assert re.search(rf"^  {goal} +\w", listed, re.MULTILINE), goal


# Stands for Python: records its arguments and what it sees of make's variables, and as `-m venv`
# makes an environment of the same kind.
PYTHON = """#!/bin/sh
{ printf '%s\\n' "$@"; for v in DATA JOBS DEVICE TORCH_INDEX; do eval "echo $v=\\$$v"; done; } \\
  >> "$RECORD"
if [ "$1 $2" = '-m venv' ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; : > "$3/pyvenv.cfg"; fi
"""


SITE_SCRIPT = "notebooks/site/build.py"


class Checkout:
    """A scratch checkout in which make runs the script above for every Python."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.record = folder / "check out", folder / "record"
        self.folder.mkdir(parents=True)
        for file in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / file, self.folder)
        for part in ("mlsan", "tests", "notebooks", "build"):
            (self.folder / part).mkdir()
        self.python = self.script(folder / "python")

    def script(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON)
        path.chmod(0o755)
        return path

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        own["RECORD"] = str(self.record)
        self.record.write_text("")
        command = ["make", *arguments]
        if not any(argument.startswith("PYTHON=") for argument in arguments):
            command.append(f"PYTHON={self.python}")
        return subprocess.run(command, cwd=self.folder, env=own, capture_output=True, text=True)

    @property
    def seen(self) -> list[str]:
        return self.record.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    return Checkout(tmp_path)


SPLICES = ["Ada's data", "a'; touch x; echo '", 'a"; touch x; "', "$(touch x)", "`touch x`"]
SPLICES += ["$(shell touch x)", "$$(touch x)", "a b;touch x", "-rf", "#x"]


@pytest.mark.parametrize("value", SPLICES)
def test_make_passes_values_on_as_they_are(checkout: Checkout, value: str) -> None:
    done = checkout.make("check-data", f"DATA={value}")
    assert done.returncode == 0, done.stderr
    assert f"--data={value}" in checkout.seen
    checkout.make("paper", f"JOBS={value}", f"DATA={value}", "CORPUS=multiemo")
    assert {f"--jobs={value}", f"--data={value}"} <= {*checkout.seen}
    checkout.make("lab", f"DATA={value}", f"JOBS={value}")
    assert {f"DATA={value}", f"JOBS={value}", "notebooks"} <= {*checkout.seen}
    checkout.make("data", f"DATA={value}", "CORPUS=csv")
    assert {"--corpus=csv", f"--data={value}"} <= {*checkout.seen}
    checkout.make("bench", f"DATA={value}", f"PUBLISHED={value}")
    assert {"--profile=small", f"DATA={value}", f"--published={value}"} <= {*checkout.seen}
    checkout.make("paper", f"DEVICE={value}")
    assert checkout.seen == []  # DEVICE is one of a few words
    assert not list(checkout.folder.rglob("x"))


@pytest.mark.parametrize("value", SPLICES)
def test_make_builds_with_values_as_they_are(checkout: Checkout, value: str) -> None:
    python = checkout.script(checkout.folder / value / "python")
    settings = [f"VENV={value} env", f"PYTHON={python}", f"TORCH_INDEX={value}"]
    done = checkout.make("check-data", "DATA=d", *settings)
    assert done.returncode == 0, done.stderr
    assert (checkout.folder / f"{value} env" / ".complete").is_file()
    assert f"--extra-index-url={value}" in checkout.seen
    checkout.make("check-data", "DATA=d", *settings)
    assert "pip" not in checkout.seen
    assert "--data=d" in checkout.seen
    assert checkout.make("clean", *settings).returncode == 0
    assert not (checkout.folder / f"{value} env").exists()
    assert python.is_file()
    assert not list(checkout.folder.rglob("x"))


def test_site_adds_its_packages_to_the_environment(checkout: Checkout) -> None:
    assert checkout.make("site").returncode == 0
    seen = checkout.seen
    assert seen.index("requirements.lock") < seen.index(".[site]") < seen.index(SITE_SCRIPT)


def test_clean_removes_what_make_made_and_nothing_else(checkout: Checkout) -> None:
    checkout.make("check-data", "DATA=d")
    (checkout.folder / "data").mkdir()
    assert (checkout.folder / ".venv").is_dir()
    assert checkout.make("clean").returncode == 0
    kept = {path.name for path in checkout.folder.iterdir()}
    assert kept == {"Makefile", "requirements.lock", "pyproject.toml"} | {
        *("mlsan", "tests", "notebooks", "data")
    }


@pytest.mark.parametrize("goal", [["clean"], ["check-data", "DATA=d"]])
@pytest.mark.parametrize("venv", ["{}/mine", "..", ".", "{}", "/", "{}/mine/precious", "{}/link"])
def test_make_removes_no_folder_that_it_did_not_make(
    checkout: Checkout, venv: str, goal: list[str]
) -> None:
    home = checkout.folder.parent
    (home / "mine").mkdir()
    (home / "mine" / "precious").write_text("precious")
    (home / "link").symlink_to(home / "mine")
    for mark in (home, checkout.folder):  # not even with the marks of an environment
        for file in (".complete", "pyvenv.cfg"):
            (mark / file).touch()
            os.utime(mark / file, (0, 0))
    before = {path for path in home.rglob("*") if path.name not in ("build", "record")}
    done = checkout.make(*goal, f"VENV={venv.format(home)}")
    assert done.returncode != 0
    assert re.search(r"VENV=\S.* so it is left as it is\. Name another folder", done.stderr)
    assert before == {path for path in home.rglob("*") if path.name not in ("build", "record")}


def test_an_interrupted_environment_is_built_again(checkout: Checkout) -> None:
    checkout.make("check-data", "DATA=d")
    complete = checkout.folder / ".venv" / ".complete"
    complete.rename(complete.with_name(".building"))
    (complete.parent / "torn").touch()
    assert checkout.make("check-data", "DATA=d").returncode == 0
    assert complete.is_file()
    assert not (complete.parent / "torn").exists()
    os.utime(complete, (0, 0))  # older than the pins
    checkout.make("check-data", "DATA=d")
    assert "requirements.lock" in checkout.seen
