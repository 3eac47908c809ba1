"""Training: profiles and systems, the loop, run keys, the run store, and sweeps of many runs."""

from mlsan.training.cluster import read_jobs
from mlsan.training.keys import code_digest, run_key
from mlsan.training.loop import DivergedError, begin, epochs
from mlsan.training.plans import MODALITY_DROPOUT, PLANS, WITH_SPEAKER, dose_runs, standardised_runs
from mlsan.training.profiles import SCALES
from mlsan.training.runs import Result, find_result, is_finished, train_run
from mlsan.training.sweeps import Source, sweep
from mlsan.training.systems import (
    AS_PRINTED,
    BASELINES,
    CELLS,
    DEVICES,
    SYSTEMS,
    VARIANTS,
    check_device,
    on_device,
    run_settings,
    system_of,
)
from mlsan.vocabulary import PROFILES

__all__ = [
    "AS_PRINTED",
    "BASELINES",
    "CELLS",
    "DEVICES",
    "MODALITY_DROPOUT",
    "PLANS",
    "PROFILES",
    "SCALES",
    "SYSTEMS",
    "VARIANTS",
    "WITH_SPEAKER",
    "DivergedError",
    "Result",
    "Source",
    "begin",
    "check_device",
    "code_digest",
    "dose_runs",
    "epochs",
    "find_result",
    "is_finished",
    "on_device",
    "read_jobs",
    "run_key",
    "run_settings",
    "standardised_runs",
    "sweep",
    "system_of",
    "train_run",
]
