"""Scores of predicted emotions, from confusion counts. Weighted F1 is the field's main metric.

Every score takes counts with axes [..., true, predicted], so that the score of several dialogues
together is the score of the sum of their counts.
"""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int, Real


def confusion_counts(
    label: Int[np.ndarray, "utterance"], predicted: Int[np.ndarray, "utterance"], classes: int
) -> Int[np.ndarray, "class class"]:
    """How many utterances of each true class (rows) were predicted as each class (columns)."""
    cells = np.asarray(label) * classes + np.asarray(predicted)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def weighted_f1(counts: Real[np.ndarray, "*many class class"]) -> Float[np.ndarray, "*many"]:
    """F1 averaged over classes by their support, in percent; NaN where there are no utterances."""
    support = counts.sum(axis=-1)
    weighted = np.nan_to_num(_class_f1(counts)) * support
    return np.asarray(100 * _ratio(weighted.sum(axis=-1), support.sum(axis=-1)))


def macro_f1(counts: Real[np.ndarray, "*many class class"]) -> Float[np.ndarray, "*many"]:
    """F1 averaged over the classes that occur, in truth or in prediction, in percent."""
    occurs = counts.sum(axis=-1) + counts.sum(axis=-2) > 0
    total = np.nan_to_num(_class_f1(counts)).sum(axis=-1)
    return np.asarray(100 * _ratio(total, occurs.sum(axis=-1)))


def accuracy(counts: Real[np.ndarray, "*many class class"]) -> Float[np.ndarray, "*many"]:
    """Share of utterances predicted correctly, in percent."""
    right = np.trace(counts, axis1=-2, axis2=-1)
    return np.asarray(100 * _ratio(right, counts.sum(axis=(-2, -1))))


def class_f1(counts: Real[np.ndarray, "*many class class"]) -> Float[np.ndarray, "*many class"]:
    """F1 of each class in percent; NaN for a class without utterances."""
    return 100 * _class_f1(counts)


def class_recall(counts: Real[np.ndarray, "*many class class"]) -> Float[np.ndarray, "*many class"]:
    """Recall of each class in percent; NaN for a class without utterances."""
    return 100 * _ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def _class_f1(counts: np.ndarray) -> np.ndarray:
    support, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return _ratio(2 * right, np.where(support > 0, support + predicted, 0))


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> np.ndarray:
    share = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=share, where=np.asarray(whole) > 0)
    return share
