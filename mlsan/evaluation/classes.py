"""Two systems compared emotion by emotion, the rarest first."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlsan.evaluation.counts import Counts
from mlsan.evaluation.resampling import RESAMPLES, bootstrap, draw, percentiles, permutation_p
from mlsan.evaluation.significance import paired
from mlsan.scores import class_f1, class_recall

SCORES = {"f1": class_f1, "recall": class_recall}
_COLUMNS = [
    f"{score}_{who}{end}"
    for score in SCORES
    for who in ("system", "reference", "delta")
    for end in ("", "_low", "_high")
]


def compare_classes(
    system: Counts,
    reference: Counts,
    emotions: Sequence[str],
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """One row an emotion, by its number of test utterances, over the two systems' common seeds.

    Columns: emotion, support, seeds; for f1 and for recall those of system, reference and delta,
    each with its 95 % interval (`f1_system`, `f1_system_low`, `f1_system_high`, ...); and p_perm,
    the permutation test of the difference in F1. NaN where an emotion never occurs or no seed is
    common.
    """
    one, other = paired(system, reference)
    table = pd.DataFrame({"emotion": list(emotions), "seeds": len(one)})
    table.insert(1, "support", np.maximum(system.support, reference.support))
    if not len(one):
        return table.reindex(columns=[*table, *_COLUMNS, "p_perm"]).sort_values("support")
    draws = draw(len(one), one.shape[1], generator, resamples)
    for name, score in SCORES.items():
        means, spread = (
            {"system": of(one), "reference": of(other), "delta": of(one) - of(other)}
            for of in (
                lambda side, score=score: score(side.sum(axis=1)).mean(axis=0),
                lambda side, score=score: bootstrap(side, draws, score),
            )
        )
        for who, mean in means.items():
            low, high = percentiles(spread[who])
            columns = {"": mean, "_low": low, "_high": high}
            table = table.assign(**{f"{name}_{who}{end}": v for end, v in columns.items()})
    table["p_perm"] = [
        permutation_p(one, other, generator, lambda counts, k=k: class_f1(counts)[..., k])
        for k in range(len(emotions))
    ]
    return table.sort_values("support", kind="stable", ignore_index=True)
