"""Notebooks that are up to date are left alone; any change of inputs or outputs runs them again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlsan import __main__ as command
from mlsan.report import freshness
from mlsan.report.freshness import inputs, is_fresh, record
from mlsan.study import open_study

NOTEBOOK = """# %% tags=["parameters"]
PROFILE = CORPUS = DATA = JOBS = DEVICE = ""

# %%
import json
from pathlib import Path

figures = Path("..") / "figures" / f"sim-{PROFILE}"
figures.mkdir(parents=True, exist_ok=True)
(figures / "table.csv").write_text(PROFILE)
entry = {"notebook": "01_tiny", "files": {"table.csv": ""}}
(figures / "manifest.json").write_text(json.dumps({"artifacts": {"table": entry}}))
"""
KEYS = ["r1", "r2"]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study with one small notebook that writes one table."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_tiny.py").write_text(NOTEBOOK)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr("mlsan.study.ROOT", tmp_path)
    monkeypatch.setattr("mlsan.study.BUILD", tmp_path / "build")
    return open_study("paper", "smoke")


def test_an_unchanged_notebook_is_executed_once(study, capsys):
    assert command.run_notebooks(study, KEYS) == ([], [])
    assert (study.figures / "table.csv").read_text() == "smoke"
    executed = (study.executed / "01_tiny.ipynb").stat().st_mtime_ns
    capsys.readouterr()
    assert command.run_notebooks(study, KEYS[::-1]) == ([], ["01_tiny"])
    assert capsys.readouterr().out == "  up to date: 01_tiny\n"
    assert (study.executed / "01_tiny.ipynb").stat().st_mtime_ns == executed


def test_a_changed_output_or_entry_is_made_again(study):
    command.run_notebooks(study, KEYS)
    (study.figures / "table.csv").write_text("edited")
    assert command.run_notebooks(study, KEYS) == ([], [])
    assert (study.figures / "table.csv").read_text() == "smoke"
    (study.figures / "manifest.json").write_text(json.dumps({"artifacts": {}}))
    assert command.run_notebooks(study, KEYS) == ([], [])
    (study.executed / "01_tiny.html").unlink()
    assert command.run_notebooks(study, KEYS) == ([], [])
    assert command.run_notebooks(study, KEYS) == ([], ["01_tiny"])


@pytest.mark.parametrize(("jobs", "processes"), [(1, 1), (3, 3), ("tcp://host:8786", 2), (None, 2)])
def test_jobs_limits_the_notebooks_that_run_at_once(study, monkeypatch, jobs, processes):
    asked = []

    def parallel(n_jobs, **_):
        asked.append(n_jobs)
        return lambda tasks: [(None, 0.0, "not run") for _ in tasks]

    monkeypatch.setattr(command, "Parallel", parallel)
    monkeypatch.setattr(command.os, "cpu_count", lambda: 2)
    command.run_notebooks(replace(study, jobs=jobs), KEYS)
    assert asked == [processes]


def test_a_notebook_that_fails_leaves_no_record(study):
    source = command.NOTEBOOKS / "01_tiny.py"
    source.write_text(NOTEBOOK + "\n# %%\nraise ValueError('no table')\n")
    for _ in range(2):
        failures, fresh = command.run_notebooks(study, KEYS)
        assert len(failures) == 1
        assert not fresh


def test_every_input_counts(tmp_path, monkeypatch):
    source = tmp_path / "01_tiny.py"
    source.write_text(NOTEBOOK)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("x = 1\n")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(freshness, "PACKAGE", tmp_path / "package")

    def digest(parameters=None, fingerprints=None, runs=KEYS):
        given = (parameters or {"PROFILE": "small"}, fingerprints or {"MELD": "aaa"}, runs)
        return inputs([source], *given, data=tmp_path / "data")[source]

    seen = [
        digest(),
        digest(parameters={"PROFILE": "paper"}),
        digest(fingerprints={"MELD": "bbb"}),
        digest(runs=KEYS[:1]),
    ]
    assert digest() == seen[0]
    for changed in (source, tmp_path / "package" / "code.py", tmp_path / "data" / "words.csv"):
        changed.write_text("y = 2\n")
        seen.append(digest())
    monkeypatch.setattr(freshness, "distributions", lambda: [])
    seen.append(digest())
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("damage", [Path.unlink, lambda stamp: stamp.write_text("{}")])
def test_a_lost_or_damaged_record_is_not_fresh(tmp_path, damage):
    (tmp_path / "page.html").write_text("page")
    stamp = tmp_path / "01_tiny.json"
    record(stamp, "abc", [tmp_path / "page.html"], {})
    assert is_fresh(stamp, "abc", {})
    assert not is_fresh(stamp, "abd", {})
    damage(stamp)
    assert not is_fresh(stamp, "abc", {})
