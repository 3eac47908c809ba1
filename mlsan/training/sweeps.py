"""Many runs: train what is missing on all cores or a cluster, reuse the rest, return one table."""

import os
import time
import traceback
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pandas as pd
from joblib import Parallel, delayed, parallel_config

from mlsan.corpus import Corpus, open_corpora
from mlsan.files import UnwritableError
from mlsan.model.mlsan import MLSANSettings
from mlsan.training.cluster import NEEDED, on_cluster
from mlsan.training.keys import run_key
from mlsan.training.progress import Progress
from mlsan.training.runs import Result, find_result, train_run
from mlsan.training.settings import RunSettings
from mlsan.training.systems import system_of
from mlsan.vocabulary import Benchmark

RETRIES = 2  # how often in a row, without any run ending, killed workers' runs are tried again
LAG = 30.0  # seconds after which a network folder shows what another machine wrote
_ALONE = Lock()  # a run seeds its process's random state, so a process trains one at a time


@dataclass(frozen=True)
class Source:
    """Where the corpora come from, small enough to send to every worker."""

    corpus: str
    profile: str
    data: Path | None
    cache: Path
    heterogeneity: float = 1.0

    def open(self) -> dict[Benchmark, Corpus]:
        """The corpora, read once in each process."""
        if self not in _OPENED:
            _OPENED[self] = open_corpora(
                self.corpus, self.profile, self.data, self.cache, self.heterogeneity
            )
        return _OPENED[self]


_OPENED: dict[Source, dict[Benchmark, Corpus]] = {}


def sweep(
    runs: Sequence[RunSettings], source: Source, root: Path, jobs: int | str | None = None
) -> pd.DataFrame:
    """One row a run, in the order asked for: settings, scores, and `status`.

    `status` is "reused", "trained" or "failed"; a failed run has its error in `error`, no
    scores, and leaves the others alone. `jobs` is the number of worker processes, one thread
    each, or the address of a Dask scheduler; None takes every core. Raises UnwritableError on a
    full disk or a read-only folder, which no run could get past, and what `on_cluster` raises.
    """
    corpora = source.open()
    keys = {run: run_key(run, corpora[run.benchmark]) for run in runs}
    outcomes = {run: _look(root, key) for run, key in keys.items()}
    missing = [run for run, outcome in outcomes.items() if outcome is None]
    if missing:
        outcomes |= _train_all(missing, keys, source, root, jobs)
    return pd.DataFrame([_row(run, keys[run], corpora, outcomes[run]) for run in runs])


def _look(root: Path, key: str) -> dict | None:
    """A finished run's outcome, None where it is still to train; damage is a failure."""
    try:
        result = find_result(root, key)
    except ValueError as error:
        return {"status": "failed", "error": str(error)}
    if result is None:
        return None
    checkpoint = result.folder / "checkpoint.pt"
    if checkpoint.exists():  # its process was killed at the very end
        checkpoint.unlink(missing_ok=True)
    return {"status": "reused", "error": "", **result.summary}


def _train_all(
    missing: list[RunSettings],
    keys: dict[RunSettings, str],
    source: Source,
    root: Path,
    jobs: int | str | None,
) -> dict[RunSettings, dict]:
    outcomes: dict[RunSettings, dict] = {}
    broken = 0
    with Progress({run: root / keys[run] for run in missing}) as progress:
        while broken <= RETRIES and len(outcomes) < len(missing):
            left = [run for run in missing if run not in outcomes]
            try:
                with _workers(jobs, len(left), root):
                    pool = Parallel(
                        return_as="generator_unordered", batch_size=1, pre_dispatch="all"
                    )
                    for run, outcome in pool(delayed(_attempt)(r, source, root) for r in left):
                        outcomes[run] = _arrived(outcome, root / keys[run])
                        progress.finished(run, outcomes[run]["status"])
            except BrokenProcessPool:
                broken = 1 if any(run in outcomes for run in left) else broken + 1
    killed = {"status": "failed", "error": f"its worker process was killed {1 + RETRIES} times"}
    return {run: outcomes.get(run, killed) for run in missing}


def _workers(jobs: int | str | None, runs: int, root: Path) -> AbstractContextManager:
    if isinstance(jobs, str):
        return on_cluster(jobs, root)
    return parallel_config(backend="loky", n_jobs=min(jobs or os.cpu_count() or 1, runs))


def _attempt(run: RunSettings, source: Source, root: Path) -> tuple[RunSettings, dict]:
    try:
        with _ALONE:
            result: Result = train_run(run, source.open()[run.benchmark], root)
    except UnwritableError:
        raise
    except Exception as error:  # one run's failure must not take the others with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return run, {"status": "failed", "error": reason}
    return run, {"status": "trained", "error": "", **result.summary}


def _arrived(outcome: dict, folder: Path) -> dict:
    """The outcome of a run whose files are here, or a failure."""
    deadline = time.monotonic() + LAG
    while outcome["status"] == "trained" and not (folder / "result.json").exists():
        if time.monotonic() > deadline:
            return {"status": "failed", "error": f"trained, but {folder} is not here. {NEEDED}"}
        time.sleep(LAG / 100)
    return outcome


def _row(run: RunSettings, key: str, corpora: dict[Benchmark, Corpus], outcome: dict) -> dict:
    model = run.model
    return {
        "corpus": corpora[run.benchmark].name,
        "benchmark": run.benchmark,
        "system": system_of(model),
        "speaker": run.speaker if isinstance(model, MLSANSettings) else "",
        "film": getattr(model, "film", False),
        "gate": getattr(model, "gate", False),
        "aux": getattr(model, "aux", False),
        "adversary": getattr(model, "adversary", False),
        "modality_dropout": run.train.modality_dropout,
        "lam": model.lam if getattr(model, "aux", False) else 0.0,
        "seed": run.seed,
        "run": key,
        **outcome,
    }
