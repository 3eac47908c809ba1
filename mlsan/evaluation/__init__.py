"""Evaluation: scores and counts of predictions, their intervals, and looks inside the models."""

from mlsan.evaluation.counts import Counts, gathered
from mlsan.evaluation.metrics import mean_sd, score_predictions, score_table
from mlsan.evaluation.resampling import Estimate, mean_over_seeds, mean_score
from mlsan.evaluation.significance import difference
from mlsan.evaluation.stages import Stages, stages_of

__all__ = [
    "Counts",
    "Estimate",
    "Stages",
    "difference",
    "gathered",
    "mean_over_seeds",
    "mean_score",
    "mean_sd",
    "score_predictions",
    "score_table",
    "stages_of",
]
