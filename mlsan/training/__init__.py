"""Training: profiles and systems, the loop, the run store and sweeps over many runs."""

from mlsan.training.cluster import read_jobs
from mlsan.training.loop import DivergedError, begin, epochs
from mlsan.training.plans import MODALITY_DROPOUT, PLANS, dose_runs
from mlsan.training.profiles import (
    BASELINES,
    CELLS,
    DEVICES,
    PROFILES,
    SCALES,
    SYSTEMS,
    check_device,
    on_device,
    run_config,
    system_of,
)
from mlsan.training.store import Result, code_digest, find_result, run_key, train_run
from mlsan.training.sweep import Source, sweep

__all__ = [
    "BASELINES",
    "CELLS",
    "DEVICES",
    "MODALITY_DROPOUT",
    "PLANS",
    "PROFILES",
    "SCALES",
    "SYSTEMS",
    "DivergedError",
    "Result",
    "Source",
    "begin",
    "check_device",
    "code_digest",
    "dose_runs",
    "epochs",
    "find_result",
    "on_device",
    "read_jobs",
    "run_config",
    "run_key",
    "sweep",
    "system_of",
    "train_run",
]
