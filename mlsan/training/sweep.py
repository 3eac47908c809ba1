"""Many runs: train what is missing on all cores, reuse the rest, return one tidy table."""

import os
import traceback
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from mlsan.config import Benchmark, RunConfig
from mlsan.corpus import Corpus, open_corpora
from mlsan.training.profiles import system_of
from mlsan.training.progress import Progress
from mlsan.training.store import Result, find_result, run_key, train_run

RETRIES = 2  # how often runs are tried again whose worker process was killed


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
    runs: Sequence[RunConfig], source: Source, root: Path, jobs: int | None = None
) -> pd.DataFrame:
    """One row a run, in the order asked for: settings, scores, and `status`.

    `status` is "reused", "trained" or "failed"; a failed run has its error in `error`, no
    scores, and leaves the others alone. `jobs` is the number of worker processes, one thread
    each; None takes every core.
    """
    corpora = source.open()
    keys = {run: run_key(run, corpora[run.benchmark]) for run in runs}
    outcomes = {run: _look(root, key) for run, key in keys.items()}
    missing = [run for run, outcome in outcomes.items() if outcome is None]
    if missing:
        outcomes |= _train_all(missing, keys, source, root, jobs or os.cpu_count() or 1)
    return pd.DataFrame([_row(run, keys[run], corpora, outcomes[run]) for run in runs])


def _look(root: Path, key: str) -> dict | None:
    """A finished run's outcome, None where it is still to train; damage is a failure."""
    try:
        result = find_result(root, key)
    except ValueError as error:
        return {"status": "failed", "error": str(error)}
    return result and {"status": "reused", "error": "", **result.summary}


def _train_all(
    missing: list[RunConfig], keys: dict[RunConfig, str], source: Source, root: Path, jobs: int
) -> dict[RunConfig, dict]:
    outcomes: dict[RunConfig, dict] = {}
    with Progress({run: root / keys[run] for run in missing}) as progress:
        for _ in range(1 + RETRIES):
            left = [run for run in missing if run not in outcomes]
            if not left:
                break
            workers = Parallel(n_jobs=min(jobs, len(left)), return_as="generator_unordered")
            try:
                for run, outcome in workers(delayed(_attempt)(r, source, root) for r in left):
                    outcomes[run] = outcome
                    progress.finished(run, outcome["status"])
            except BrokenProcessPool:
                continue
    killed = {"status": "failed", "error": f"its worker process was killed {1 + RETRIES} times"}
    return {run: outcomes.get(run, killed) for run in missing}


def _attempt(run: RunConfig, source: Source, root: Path) -> tuple[RunConfig, dict]:
    try:
        result: Result = train_run(run, source.open()[run.benchmark], root)
    except Exception as error:  # one run's failure must not take the others with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return run, {"status": "failed", "error": reason}
    return run, {"status": "trained", "error": "", **result.summary}


def _row(run: RunConfig, key: str, corpora: dict[Benchmark, Corpus], outcome: dict) -> dict:
    model = run.model
    return {
        "corpus": corpora[run.benchmark].name,
        "benchmark": run.benchmark,
        "system": system_of(model),
        "speaker": model.speaker if model.film or model.gate or model.aux else "",
        "film": model.film,
        "gate": model.gate,
        "aux": model.aux,
        "adversary": model.adversary,
        "infer_from": model.infer_from if model.speaker == "inferred" else "",
        "infer_residual": model.infer_residual,
        "modality_dropout": run.train.modality_dropout,
        "lam": run.loss.lam,
        "seed": run.seed,
        "run": key,
        **outcome,
    }
