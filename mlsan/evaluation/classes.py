"""Two systems compared emotion by emotion, the rarest first."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlsan.evaluation.counts import Counts
from mlsan.evaluation.resampling import mean_score
from mlsan.evaluation.significance import difference, paired, permutation_p
from mlsan.scores import class_f1, class_recall

SCORES = {"f1": class_f1, "recall": class_recall}


def compare_classes(system: Counts, reference: Counts, emotions: Sequence[str]) -> pd.DataFrame:
    """One row per emotion, by its number of test utterances.

    Columns: emotion, support, seeds (that both systems finished); for f1 and for recall those of
    system, reference and delta, each with its interval (`f1_system`, `f1_system_low`,
    `f1_system_high`, ...); and p_perm, the permutation test of the difference in F1. NaN where an
    emotion never occurs or there are no runs.
    """
    one, other = paired(system, reference)
    table = pd.DataFrame({"emotion": list(emotions)})
    table["support"] = np.maximum(system.support, reference.support)
    table["seeds"] = len(one)
    for name, score in SCORES.items():
        estimates = {
            "system": mean_score(system, score),
            "reference": mean_score(reference, score),
            "delta": difference(system, reference, score),
        }
        for who, estimate in estimates.items():
            table = table.assign(**estimate.columns(f"{name}_{who}"))
    table["p_perm"] = [
        permutation_p(one, other, lambda counts, k=k: class_f1(counts)[..., k])
        if len(one)
        else np.nan
        for k in range(len(emotions))
    ]
    return table.sort_values("support", kind="stable", ignore_index=True)
