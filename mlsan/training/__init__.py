"""Training: profiles and systems, the loop, the run store and sweeps over many runs."""

from mlsan.training.loop import DivergedError, begin, epochs
from mlsan.training.profiles import (
    PROFILES,
    SCALES,
    SYSTEMS,
    ablation_runs,
    lambda_runs,
    main_runs,
    run_config,
    system_of,
)
from mlsan.training.store import Result, code_digest, find_result, run_key, train_run
from mlsan.training.sweep import Source, sweep

__all__ = [
    "PROFILES",
    "SCALES",
    "SYSTEMS",
    "DivergedError",
    "Result",
    "Source",
    "ablation_runs",
    "begin",
    "code_digest",
    "epochs",
    "find_result",
    "lambda_runs",
    "main_runs",
    "run_config",
    "run_key",
    "sweep",
    "system_of",
    "train_run",
]
