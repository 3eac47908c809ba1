"""Sweeps: train many runs on all cores or on a cluster, reuse finished ones, return one table."""

import math
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Literal

import pandas as pd
from joblib import Parallel, delayed

from mlsan.corpus import Corpus, open_corpora
from mlsan.corpus.standardised import standardised
from mlsan.files import TornFileError, UnwritableError
from mlsan.model.adapted import AdaptedSettings
from mlsan.model.mlsan import MLSANSettings
from mlsan.model.normalised import SpeakerNormalisedSettings
from mlsan.training.cluster import NEEDED, on_cluster
from mlsan.training.keys import run_key
from mlsan.training.progress import Progress
from mlsan.training.runs import CHECKPOINT, RESULT, find_result, train_run
from mlsan.training.settings import RunSettings
from mlsan.training.systems import system_of
from mlsan.vocabulary import Benchmark

# The models that use what stands for a speaker.
SPEAKERS = (MLSANSettings, AdaptedSettings, SpeakerNormalisedSettings)
RETRIES = 2  # how often runs are retried after a worker was killed and no run had finished
LAG = 30.0  # seconds until a network folder shows what another machine has written
_ONE_AT_A_TIME = Lock()  # a run seeds the random state of its whole process

Outcome = dict[str, object]
"""`status`, `error` and the scores of a run."""


@dataclass(frozen=True)
class Source:
    """Where the corpora come from; small enough to send to every worker."""

    corpus: str
    profile: str
    data: Path | None
    cache: Path
    heterogeneity: float = 1.0
    features: Literal["raw", "standardised"] = "raw"
    """"standardised": each speaker's audio and visual features, over all their utterances."""

    def open(self) -> dict[Benchmark, Corpus]:
        """The corpora, read once per process."""
        if self not in _OPENED:
            corpora = open_corpora(
                self.corpus, self.profile, self.data, self.cache, self.heterogeneity
            )
            if self.features == "standardised":
                corpora = {name: standardised(corpus) for name, corpus in corpora.items()}
            _OPENED[self] = corpora
        return _OPENED[self]


_OPENED: dict[Source, dict[Benchmark, Corpus]] = {}


def sweep(
    runs: Sequence[RunSettings], source: Source, root: Path, jobs: int | str | None = None
) -> pd.DataFrame:
    """Train the missing runs. One row per run, in the given order: settings, status and scores.

    `status` is "reused", "trained" or "failed". A failed run has its error in `error` and no
    scores, and does not affect the others. Damaged runs are set aside, named in the log and
    trained again. `jobs` is the number of worker processes, each with one thread, or the address
    of a Dask scheduler; None uses every core. Raises UnwritableError if the disk is full or the
    folder is read-only, and what `on_cluster` raises.
    """
    corpora = source.open()
    keys = {run: run_key(run, corpora[run.benchmark]) for run in runs}
    outcomes = {run: _stored(root, key) for run, key in keys.items()}
    missing = {run: root / keys[run] for run, outcome in outcomes.items() if outcome is None}
    if missing:
        outcomes |= _train_all(missing, source, root, jobs)
    return pd.DataFrame([_row(run, keys[run], corpora, outcomes[run]) for run in runs])


def _stored(root: Path, key: str) -> Outcome | None:
    """The outcome of a finished run, None if it is to be trained."""
    try:
        result = find_result(root, key)
    except TornFileError:  # `train_run` names it and sets it aside
        return None
    except OSError as error:
        return {"status": "failed", "error": str(error)}
    if result is None:
        return None
    # Present only if the process was killed between writing the result and removing it.
    with suppress(OSError):  # read-only
        (result.folder / CHECKPOINT).unlink(missing_ok=True)
    return {"status": "reused", "error": "", **result.summary}


def _train_all(
    folders: dict[RunSettings, Path], source: Source, root: Path, jobs: int | str | None
) -> dict[RunSettings, Outcome]:
    """Train runs, given with their folders; those whose worker was killed are retried."""
    outcomes: dict[RunSettings, Outcome] = {}
    failures = 0  # in a row, without any run finishing
    with Progress(folders) as progress:
        while failures <= RETRIES and len(outcomes) < len(folders):
            left = [run for run in folders if run not in outcomes]
            try:
                for run, outcome in _attempts(left, source, root, jobs):
                    outcomes[run] = _arrived(outcome, folders[run])
                    progress.finished(run, outcomes[run]["status"])
            except BrokenProcessPool:
                failures = 1 if any(run in outcomes for run in left) else failures + 1
    killed = {"status": "failed", "error": f"its worker process was killed {1 + RETRIES} times"}
    return {run: outcomes.get(run, killed) for run in folders}


def _attempts(
    runs: list[RunSettings], source: Source, root: Path, jobs: int | str | None
) -> Iterator[tuple[RunSettings, Outcome]]:
    """Each run with its outcome as it finishes; BrokenProcessPool if a worker is killed."""
    attempt = partial(_attempt, source=source, root=root)
    if isinstance(jobs, str):
        for run, outcome in on_cluster(jobs, root, attempt, runs):
            if isinstance(outcome, UnwritableError):
                raise outcome
            yield run, outcome
        return
    workers = min(jobs or os.cpu_count() or 1, len(runs))
    unwritable: list[UnwritableError] = []
    # No more runs are given out once one could not be written. Those in progress are waited for:
    # to stop a pool in the middle can print a traceback from one of its threads.
    left = (delayed(attempt)(run) for run in runs if not unwritable)
    pool = Parallel(workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)
    for run, outcome in pool(left):
        if isinstance(outcome, UnwritableError):
            unwritable.append(outcome)
        else:
            yield run, outcome
    if unwritable:
        raise unwritable[0]


def _attempt(
    run: RunSettings, source: Source, root: Path
) -> tuple[RunSettings, Outcome | UnwritableError]:
    """Train one run in this process. An UnwritableError would meet every other run as well."""
    try:
        with _ONE_AT_A_TIME:
            result = train_run(run, source.open()[run.benchmark], root)
    except UnwritableError as error:
        return run, error
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return run, {"status": "failed", "error": reason}
    return run, {"status": "trained", "error": "", **result.summary}


def _arrived(outcome: Outcome, folder: Path) -> Outcome:
    """The outcome once the run's files are visible here; "failed" if they do not appear."""
    deadline = time.monotonic() + LAG
    while outcome["status"] == "trained" and not (folder / RESULT).exists():
        if time.monotonic() > deadline:
            return {"status": "failed", "error": f"trained, but {folder} is not here. {NEEDED}"}
        time.sleep(LAG / 100)
    return outcome


def _row(
    run: RunSettings, key: str, corpora: dict[Benchmark, Corpus], outcome: Outcome
) -> dict[str, object]:
    model = run.model
    return {
        "corpus": corpora[run.benchmark].name,
        "benchmark": run.benchmark,
        "system": system_of(model),
        "speaker": run.speaker if isinstance(model, SPEAKERS) else "",
        "film": getattr(model, "film", False),
        "gate": getattr(model, "gate", False),
        "aux": getattr(model, "aux", False),
        "adversary": getattr(model, "adversary", False),
        "modality_dropout": run.train.modality_dropout,
        "lam": model.lam if getattr(model, "aux", False) else 0.0,
        "seed": run.seed,
        "run": key,
        # Without a test curve no epoch is the best on test.
        "best_test_wf1": math.nan,
        "best_test_epoch": math.nan,
        **outcome,
    }
