"""The same sweep on a Dask cluster: a scheduler and two workers on loopback."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from tiny import contents, epochs_done, source, tiny

from mlsan.__main__ import main
from mlsan.training import cluster, read_jobs, run_key, sweep

pytest.importorskip("distributed", reason="needs the extra: pip install '.[cluster]'")
EPOCHS = 5
RUNS = [
    tiny(system, seed, epochs=EPOCHS, dropout=0.1)
    for system in ("ML-SAN", "MultiEMO")
    for seed in (0, 1)
]
VOLATILE = ["status", "seconds"]


@contextmanager
def dask(folder, workers=2, threads=1, allowed_failures=0):
    """A cluster's address and its workers' processes."""
    settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures)}
    settings |= {"DASK_LOGGING__DISTRIBUTED": "critical"}

    def start(part, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}", "--no-dashboard"]
        command += [*arguments, "--host", "127.0.0.1"]
        return subprocess.Popen(command, cwd=folder, env=os.environ | settings)

    known = folder / "scheduler.json"
    running = [start("scheduler", "--port", "0", "--scheduler-file", str(known))]
    try:
        while not (known.exists() and known.read_text().rstrip().endswith("}")):
            assert running[0].poll() is None
            time.sleep(0.02)
        address = json.loads(known.read_text())["address"]
        alone = ("--no-nanny", "--nthreads", str(threads), "--local-directory", str(folder))
        running += [start("worker", address, *alone) for _ in range(workers)]
        yield address, running
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The corpora's cache, and root and table of the sweep without a cluster."""
    cache, root = tmp_path_factory.mktemp("corpora"), tmp_path_factory.mktemp("here")
    return cache, root, sweep(RUNS, source(cache), root, jobs=1)


def assert_same(table, root, here):
    assert list(table["status"]) == ["trained"] * len(RUNS), list(table["error"])
    pd.testing.assert_frame_equal(table.drop(columns=VOLATILE), here[2].drop(columns=VOLATILE))
    assert contents(root) == contents(here[1])


def test_a_cluster_makes_the_same_table(here, tmp_path, capsys):
    root = tmp_path / "runs"
    with dask(tmp_path) as (address, _):
        assert_same(sweep(RUNS, source(here[0]), root, jobs=address), root, here)
        assert list(sweep(RUNS, source(here[0]), root, address)["status"]) == ["reused"] * 4
    assert "runs: 4 done, 0 running, 0 failed, 0 left" in capsys.readouterr().err


@pytest.mark.parametrize("allowed_failures", [0, 3])  # who retries: the sweep, or Dask
def test_only_the_runs_of_a_killed_worker_are_retried(here, tmp_path, allowed_failures):
    root = tmp_path / "runs"
    folders = [root / run_key(run, source(here[0]).open()["MELD"]) for run in RUNS]
    with dask(tmp_path, allowed_failures=allowed_failures) as (address, processes):

        def kill_the_first_worker():
            while not any(1 <= epochs_done(folder) < EPOCHS for folder in folders):
                time.sleep(0.005)
            processes[1].send_signal(signal.SIGKILL)

        killer = threading.Thread(target=kill_the_first_worker, daemon=True)
        killer.start()
        assert_same(sweep(RUNS, source(here[0]), root, jobs=address), root, here)
        assert processes[1].wait() == -signal.SIGKILL
        assert processes[2].poll() is None


def test_a_lost_scheduler_is_one_error_and_finished_runs_are_kept(here, tmp_path, capfd):
    root = tmp_path / "runs"
    with dask(tmp_path) as (address, processes):

        def kill_the_scheduler():
            while not list(root.glob("*/metrics.csv")):
                time.sleep(0.005)
            processes[0].kill()

        threading.Thread(target=kill_the_scheduler, daemon=True).start()
        with pytest.raises(ConnectionError, match=f"JOBS={address}: the Dask scheduler is gone"):
            sweep(RUNS, source(here[0]), root, jobs=address)
    assert "Traceback" not in capfd.readouterr().err
    table = sweep(RUNS, source(here[0]), root, jobs=1)
    assert not (table["status"] == "failed").any()
    assert contents(root) == contents(here[1])


def test_unsuitable_workers_are_refused(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("runs")  # relative: another folder in each working directory
    (tmp_path / "dask").mkdir()
    with (
        dask(tmp_path / "dask", workers=1) as (address, _),
        pytest.raises(ValueError, match=r"worker tcp:\S+ does not see it: runs\. Workers need the"),
    ):
        sweep(RUNS, source(here[0]), elsewhere, jobs=address)
    with (
        dask(tmp_path, workers=1, threads=2) as (address, _),
        pytest.raises(ValueError, match=r"worker tcp:\S+ has several threads.*--nthreads 1"),
    ):
        sweep(RUNS, source(here[0]), tmp_path / "runs", jobs=address)
    assert not [path for path in (tmp_path / "runs").rglob("*")]


def test_no_scheduler_or_worker_is_one_line_from_make_paper(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mlsan.study.RUNS", tmp_path / "runs")
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    assert main(["paper", "--profile", "smoke", "--jobs", "tcp://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(
        "make paper: JOBS=tcp://127.0.0.1:9: no Dask scheduler answers there within 1 s."
    )
    with dask(tmp_path, workers=0) as (address, _):
        assert main(["paper", "--profile", "smoke", "--jobs", address]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"make paper: JOBS={address}: the scheduler has no workers.")
    assert not list((tmp_path / "runs").rglob("*"))


def frames(content: bytes) -> bytes:
    """What Dask takes for a message of one frame."""
    body = struct.pack("<QQ", 1, len(content)) + content
    return struct.pack("<Q", len(body)) + body


def test_a_notebook_reaches_its_cluster(tmp_path):
    """A notebook's cells run in a thread with a running event loop."""

    async def cell(address):
        return list(cluster.on_cluster(address, tmp_path / "runs", str, [1]))

    with dask(tmp_path, workers=1) as (address, _):
        assert asyncio.run(cell(address)) == ["1"]


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 5000, b"\1\0" * 9, frames(b"\x81\xa2ok\1")],
    ids=["silent", "HTTP", "zeros", "huge", "another program"],
)
def test_what_is_no_scheduler_is_given_up(tmp_path, monkeypatch, capfd, reply):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    kept = []

    def serve():
        with suppress(OSError):  # the listener is closed, or the other end is
            while True:
                kept.append(listener.accept()[0])
                kept[-1].sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(
            ConnectionError, match=f"JOBS={address}: no Dask scheduler answers there w"
        ):
            next(cluster.on_cluster(address, tmp_path, str, [1]))
    assert time.monotonic() - began < 10
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("jobs", "read"),
    [(None, None), ("", None), ("4", 4), (4, 4), *[(a, a) for a in ("tcp://h:1", "tls://[::1]:2")]],
)
def test_jobs_are_a_number_or_an_address(jobs, read):
    assert read_jobs(jobs) == read


@pytest.mark.parametrize(
    "jobs",
    [
        *(0, -1, "0", "two", "1.5", "h:8786", "http://h:1"),
        *("tcp://", "tcp://h", "tcp://:8786", "tcp://h:0", "tcp://h:99999", "tcp://h:port"),
        *("tcp://h:1/x", "tcp://[:1"),
    ],
)
def test_any_other_jobs_are_refused(jobs):
    with pytest.raises(ValueError, match=r"^JOBS=.* must be a positive number of processes, the"):
        read_jobs(jobs)


def test_without_dask_an_address_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"JOBS='tcp://h:1' needs Dask.*\[cluster\]"):
        read_jobs("tcp://h:1")
