"""Evaluation: scores of predictions, summaries over seeds, linear probes and model stages."""

from mlsan.evaluation.metrics import confusion, per_class, scores
from mlsan.evaluation.probes import probe
from mlsan.evaluation.stages import Stages, stages
from mlsan.evaluation.summary import difference, interval, mean_interval_by, mean_sd

__all__ = [
    "Stages",
    "confusion",
    "difference",
    "interval",
    "mean_interval_by",
    "mean_sd",
    "per_class",
    "probe",
    "scores",
    "stages",
]
