"""Scores of predicted labels, and their means over runs, all in percent."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from mlsan.scores import accuracy, confusion_counts, macro_f1, weighted_f1


def score_predictions(
    label: Shaped[np.ndarray, "utterance"], predicted: Shaped[np.ndarray, "utterance"]
) -> dict[str, float]:
    """Weighted F1 (wf1), macro F1 (macro_f1) and accuracy; labels may be numbers or names."""
    classes, code = np.unique(np.concatenate([label, predicted]), return_inverse=True)
    counts = confusion_counts(*np.split(code, [len(label)]), len(classes))
    scores = {"wf1": weighted_f1, "macro_f1": macro_f1, "accuracy": accuracy}
    return {name: float(score(counts)) for name, score in scores.items()}


def score_table(predictions: pd.DataFrame) -> dict[str, float]:
    """`score_predictions` of a table with the columns label and predicted."""
    return score_predictions(predictions["label"].to_numpy(), predictions["predicted"].to_numpy())


def summed_confusion(
    predictions: Sequence[pd.DataFrame], emotions: Sequence[str], split: str = "test"
) -> pd.DataFrame:
    """Confusion counts summed over several runs' predictions tables, one row per cell.

    Columns: emotion (true), predicted, count, and share of the true emotion's utterances (0 for
    an emotion that never occurs). Emotions keep their order.
    """
    found = pd.concat(predictions).query("split == @split")
    counts = confusion_counts(
        found["label"].to_numpy(), found["predicted"].to_numpy(), len(emotions)
    )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = pd.MultiIndex.from_product([emotions, emotions], names=["emotion", "predicted"])
    return pd.DataFrame(
        {"count": counts.ravel(), "share": share.ravel()}, index=cells
    ).reset_index()


def mean_sd(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Mean, sample standard deviation and number of finished runs of each column in each group.

    Groups keep the order of their first row. `failed` counts the runs without a score. A group
    whose runs all failed has NaN and n = 0.
    """
    grouped = table.groupby(list(by), sort=False)
    parts = {}
    for column in columns:
        parts[f"{column}_mean"] = grouped[column].mean()
        parts[f"{column}_sd"] = grouped[column].std(ddof=1)
    parts["n"] = grouped[columns[0]].count()
    parts["failed"] = grouped[columns[0]].size() - parts["n"]
    return pd.DataFrame(parts).reset_index()
