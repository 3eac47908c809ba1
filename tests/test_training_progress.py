"""The progress of a sweep, read from the run folders."""

import time

import nbformat
import pytest
from nbclient import NotebookClient

from mlsan.training import run_settings
from mlsan.training.progress import Progress


def write_epochs(folder, count):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.csv").write_text("epoch\n" + "".join(f"{i}\n" for i in range(count)))


def test_progress_names_runs_epochs_and_what_is_left(tmp_path, monkeypatch):
    runs = [run_settings("MELD", "smoke", "ML-SAN", seed, epochs=10) for seed in range(3)]
    folders = {run: tmp_path / str(run.seed) for run in runs}
    write_epochs(folders[runs[2]], 4)  # stopped earlier: done, but not running
    progress = Progress(folders)
    clock = iter((0.0, 60.0))
    monkeypatch.setattr("mlsan.training.progress.time.monotonic", lambda: next(clock))
    write_epochs(folders[runs[0]], 1)
    assert progress._line() == (
        "runs: 0 done, 1 running, 0 failed, 2 left | ML-SAN MELD lam=0.02 seed=0 epoch 1/10"
    )
    write_epochs(folders[runs[0]], 6)
    progress.finished(runs[1], "failed")
    # 15 epochs in a minute since the first one, 10 of 30 left
    said = progress._line()
    assert said.startswith("runs: 0 done, 1 running, 1 failed, 1 left")
    assert said.endswith("seed=0 epoch 6/10 | 0.7 min left")


def test_without_a_terminal_there_are_few_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mlsan.training.progress.LOOK_EVERY", 0.01)
    run = run_settings("MELD", "smoke", "ML-SAN", 0, epochs=10)
    with Progress({run: tmp_path}) as progress:
        write_epochs(tmp_path, 3)
        while progress.first is None:
            time.sleep(0.01)
        time.sleep(0.2)  # many looks
        progress.finished(run, "trained")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "runs: 0 done, 1 running, 0 failed, 0 left | ML-SAN MELD lam=0.02 seed=0 epoch 3/10",
        "runs: 1 done, 0 running, 0 failed, 0 left | 0.0 min left",
    ]


def test_an_error_comes_without_counts(tmp_path, capsys):
    run = run_settings("MELD", "smoke", "ML-SAN", 0)
    with pytest.raises(OSError, match="full"), Progress({run: tmp_path}):
        raise OSError("full")
    assert capsys.readouterr().err == ""


def test_a_notebook_shows_the_same_lines(tmp_path):
    cell = (
        "import time; from pathlib import Path; from mlsan.training import progress, run_settings\n"
        "progress.LOOK_EVERY = 0.01\n"
        "run = run_settings('MELD', 'smoke', 'ML-SAN', 0)\n"
        f"with progress.Progress({{run: Path({str(tmp_path)!r})}}) as shown:\n"
        "    time.sleep(0.2); shown.finished(run, 'trained')\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert {output.get("name") for output in outputs} == {"stderr"}
    lines = "".join(output["text"] for output in outputs).splitlines()
    assert lines[0] == "runs: 0 done, 0 running, 0 failed, 1 left"
    assert lines[-1] == "runs: 1 done, 0 running, 0 failed, 0 left"
