"""Runs that train in about a second, alone or in sweeps in separate processes."""

import multiprocessing
import os
from pathlib import Path

from mlsan.corpus import Corpus, open_corpora
from mlsan.model.interface import EmotionModel
from mlsan.training import Source, run_settings, sweep, train_run
from mlsan.training.loop import begin
from mlsan.training.settings import RunSettings

TINY = {"epochs": 3, "d": 8, "feedforward": 16, "classifier": 8}
# Children start from a server that has imported everything, so fast and without threads.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["mlsan.training"])


def tiny(system: str = "ML-SAN", seed: int = 0, **changes) -> RunSettings:
    """A tiny MultiEMO or ML-SAN on the smoke corpus of MELD."""
    return run_settings("MELD", "smoke", system, seed, **TINY | changes)


def untrained(run: RunSettings, corpus: Corpus) -> EmotionModel:
    """The model of a run before its first epoch, as evaluation takes it."""
    return begin(run, corpus).model.eval()


def source(cache: Path) -> Source:
    """The smoke corpora."""
    return Source("sim", "smoke", None, cache)


def start_sweep(runs: list[RunSettings], cache: Path, root: Path, jobs: int):
    """A process, with a process group of its own, that is about to begin a sweep."""
    ready = FORKS.Event()
    child = FORKS.Process(target=_sweep, args=(ready, runs, source(cache), root, jobs))
    child.start()
    ready.wait()
    return child


def _sweep(ready, runs: list[RunSettings], source: Source, root: Path, jobs: int) -> None:
    os.setsid()
    source.open()
    ready.set()
    sweep(runs, source, root, jobs)


def train_and_count(run: RunSettings, cache: Path, root: Path, together) -> None:
    """Train a run when all are ready; the exit code is the number of epochs trained."""
    corpus = open_corpora("sim", "smoke", None, cache)["MELD"]
    trained = []
    together.wait()
    train_run(run, corpus, root, on_epoch=trained.append)
    raise SystemExit(len(trained))


def die(*_, **__) -> None:
    """End this process as if it were killed."""
    os._exit(1)


def contents(root: Path) -> dict[str, bytes]:
    """The files of runs that are always the same; results contain times and are left out."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in (".lock", "result.json")
    }


def epochs_done(folder: Path) -> int:
    """Number of finished epochs of a run."""
    path = folder / "metrics.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0
