"""Scores of predicted labels, all in percent. Weighted F1 is the field's main figure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)


def scores(
    label: Int[np.ndarray, "utterance"], predicted: Int[np.ndarray, "utterance"]
) -> dict[str, float]:
    """Weighted F1, macro F1 and accuracy in percent."""
    return {
        "wf1": 100 * float(f1_score(label, predicted, average="weighted", zero_division=0)),
        "macro_f1": 100 * float(f1_score(label, predicted, average="macro", zero_division=0)),
        "accuracy": 100 * float(accuracy_score(label, predicted)),
    }


def per_class(
    label: Int[np.ndarray, "utterance"],
    predicted: Int[np.ndarray, "utterance"],
    emotions: Sequence[str],
) -> pd.DataFrame:
    """One row an emotion: precision, recall and F1 in percent, and its number of utterances."""
    precision, recall, f1, support = precision_recall_fscore_support(
        label, predicted, labels=range(len(emotions)), zero_division=0
    )
    return pd.DataFrame(
        {
            "emotion": emotions,
            "precision": 100 * precision,
            "recall": 100 * recall,
            "f1": 100 * f1,
            "support": support,
        }
    )


def confusion(
    label: Int[np.ndarray, "utterance"],
    predicted: Int[np.ndarray, "utterance"],
    emotions: Sequence[str],
) -> tuple[Int[np.ndarray, "class class"], Float[np.ndarray, "class class"]]:
    """Counts, and shares of each true emotion (rows sum to 1, or to 0 where it never occurs)."""
    counts = confusion_matrix(label, predicted, labels=range(len(emotions)))
    return counts, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def summed_confusion(
    predictions: Sequence[pd.DataFrame], emotions: Sequence[str], split: str = "test"
) -> pd.DataFrame:
    """Confusion counts summed over several runs' predictions tables, one row a cell.

    Columns: emotion (true), predicted, count, and share of the true emotion's utterances (0 for
    an emotion that never occurs). Emotions keep their order.
    """
    found = pd.concat(predictions).query("split == @split")
    counts, share = confusion(found["label"].to_numpy(), found["predicted"].to_numpy(), emotions)
    cells = pd.MultiIndex.from_product([emotions, emotions], names=["emotion", "predicted"])
    return pd.DataFrame(
        {"count": counts.ravel(), "share": share.ravel()}, index=cells
    ).reset_index()
