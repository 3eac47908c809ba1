"""Sweeps lose no work: not by a kill, another sweep, a full disk or a killed worker."""

import multiprocessing
import os
import random
import signal
import threading
import time

import pandas as pd
import pytest
from joblib import Parallel
from tiny import FORKS, contents, die, epochs_done, source, start_sweep, tiny, train_and_count

from mlsan import files
from mlsan.__main__ import main
from mlsan.files import UnwritableError, read_sealed
from mlsan.training import find_result, run_key, sweep, sweeps, train_run

KILLS = 12
EPOCHS = 5
RUNS = [tiny(system, epochs=EPOCHS, dropout=0.1) for system in ("ML-SAN", "MultiEMO", "w/o Aux")]
VOLATILE = ["status", "seconds"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The corpora's cache, the root and the table of a sweep that was not disturbed."""
    cache, root = tmp_path_factory.mktemp("corpora"), tmp_path_factory.mktemp("undisturbed")
    return cache, root, sweep(RUNS, source(cache), root, jobs=1)


def assert_same(table, root, undisturbed):
    """All runs are finished, with the same bits, and there are no other files."""
    assert not (table["status"] == "failed").any(), list(table["error"])
    wanted = undisturbed[2].iloc[: len(table)]
    pd.testing.assert_frame_equal(table.drop(columns=VOLATILE), wanted.drop(columns=VOLATILE))
    files = contents(undisturbed[1])
    assert contents(root) == {name: files[name] for name in files if name[:16] in set(table["run"])}


def finished(root):
    """Path and time of change of each result; all of them are read and verified."""
    found = {path: path.stat().st_mtime_ns for path in root.glob("*/result.json")}
    assert all(find_result(root, path.parent.name) for path in found)
    return found


def all_epochs_done(root):
    """Number of finished epochs of all runs."""
    return sum(map(epochs_done, root.iterdir()))


def test_a_sweep_killed_many_times_ends_the_same(undisturbed, tmp_path):
    cache, _, _ = undisturbed
    moments = random.Random(7)
    before, killed = {}, 0
    for _ in range(KILLS):
        goal = all_epochs_done(tmp_path) + moments.choice((0, 0, 1, 1, 2))
        child = start_sweep(RUNS, cache, tmp_path, jobs=1)
        while child.is_alive() and all_epochs_done(tmp_path) < goal:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.2))
        child.kill()
        child.join()
        killed += child.exitcode != 0
        now = finished(tmp_path)
        assert before.items() <= now.items(), "a finished run was lost or trained again"
        for checkpoint in tmp_path.glob("*/checkpoint.pt"):
            assert read_sealed(checkpoint)
        before = now
    assert killed > KILLS / 2
    assert all_epochs_done(tmp_path), "no kill came late enough to meet a run"
    assert_same(sweep(RUNS, source(cache), tmp_path, jobs=1), tmp_path, undisturbed)
    assert before.items() <= finished(tmp_path).items()


def test_workers_that_outlive_their_sweep_are_waited_for(undisturbed, tmp_path):
    cache, _, _ = undisturbed
    child = start_sweep(RUNS, cache, tmp_path, jobs=2)
    while not list(tmp_path.glob("*/metrics.csv")):
        assert child.is_alive()
        time.sleep(0.01)
    child.kill()
    try:
        assert_same(sweep(RUNS, source(cache), tmp_path, jobs=2), tmp_path, undisturbed)
    finally:
        os.killpg(child.pid, signal.SIGKILL)  # idle by now


def test_only_the_runs_of_a_killed_worker_are_retried(undisturbed, tmp_path):
    cache, _, _ = undisturbed
    keys = [run_key(run, source(cache).open()["MELD"]) for run in RUNS]
    killed = []

    def kill_a_worker():
        while not killed:
            if any(1 <= epochs_done(tmp_path / key) < EPOCHS for key in keys):
                killed.append(multiprocessing.active_children()[0].pid)
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.002)

    killer = threading.Thread(target=kill_a_worker, daemon=True)
    killer.start()
    assert_same(sweep(RUNS, source(cache), tmp_path, jobs=2), tmp_path, undisturbed)
    assert killed


def test_runs_that_always_kill_their_worker_fail(undisturbed, tmp_path, monkeypatch):
    cache, _, _ = undisturbed
    monkeypatch.setattr(sweeps, "_attempt", die)
    monkeypatch.setattr(sweeps, "RETRIES", 1)
    table = sweep(RUNS[:2], source(cache), tmp_path, jobs=2)
    assert list(table["error"]) == ["its worker process was killed 2 times"] * 2


def test_two_processes_train_the_same_run_once(undisturbed, tmp_path):
    cache, root, _ = undisturbed
    together = FORKS.Barrier(2)
    asked = [
        FORKS.Process(target=train_and_count, args=(RUNS[0], cache, tmp_path, together))
        for _ in range(2)
    ]
    for process in asked:
        process.start()
    for process in asked:
        process.join()
    assert sorted(process.exitcode for process in asked) == [0, EPOCHS]
    key = run_key(RUNS[0], source(cache).open()["MELD"])
    assert contents(tmp_path / key) == contents(root / key)


@pytest.mark.parametrize("writes", [0, 5, 18])
def test_a_full_disk_stops_the_sweep_with_one_error(undisturbed, tmp_path, monkeypatch, writes):
    cache, _, _ = undisturbed
    left = iter(range(writes))
    sync = os.fsync

    def fsync(handle):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        sync(handle)

    with monkeypatch.context() as full:
        full.setattr(files.os, "fsync", fsync)
        with pytest.raises(UnwritableError, match=r"No space left on device\. Free disk space"):
            sweep(RUNS[:2], source(cache), tmp_path, jobs=1)
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
    kept = finished(tmp_path)
    assert_same(sweep(RUNS[:2], source(cache), tmp_path, jobs=1), tmp_path, undisturbed)
    assert kept.items() <= finished(tmp_path).items()


def test_a_full_disk_stops_workers_without_a_traceback(undisturbed, tmp_path, monkeypatch, capfd):
    def full(run, source, root):
        return run, UnwritableError(28, f"cannot write {run.seed}: No space left on device")

    monkeypatch.setattr(sweeps, "_attempt", full)
    runs = [tiny(seed=seed) for seed in range(300)]
    aborted = []
    monkeypatch.setattr(Parallel, "_abort", lambda pool: aborted.append(pool))
    with pytest.raises(UnwritableError, match="No space left on device"):
        sweep(runs, source(undisturbed[0]), tmp_path, jobs=2)
    assert aborted == [], "a pool that is stopped in the middle prints a traceback at times"
    assert "Traceback" not in capfd.readouterr().err


def test_a_folder_that_cannot_be_made_stops_all_workers(undisturbed, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match=r"cannot write .*file/runs/.*: Not a directory"):
        sweep(RUNS, source(undisturbed[0]), tmp_path / "file" / "runs", jobs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_make_paper_reports_an_unwritable_folder_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr("mlsan.study.RUNS", tmp_path / "file" / "runs")
    assert main(["paper", "--profile", "smoke", "--jobs", "1"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("make paper: [Errno 20] cannot write")
    assert "then run the same command again" in said[-1]
    assert not [line for line in said if "Traceback" in line]


def test_a_checkpoint_left_by_a_late_kill_is_removed(undisturbed, tmp_path):
    cache, _, _ = undisturbed
    result = train_run(RUNS[0], source(cache).open()["MELD"], tmp_path)
    (result.folder / "checkpoint.pt").touch()
    table = sweep(RUNS[:1], source(cache), tmp_path)
    assert list(table["status"]) == ["reused"]
    assert not (result.folder / "checkpoint.pt").exists()


def test_a_run_whose_files_do_not_arrive_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "LAG", 0.0)
    outcome = sweeps._arrived({"status": "trained"}, tmp_path / "key")
    assert outcome["status"] == "failed"
    assert str(tmp_path / "key") in outcome["error"]
