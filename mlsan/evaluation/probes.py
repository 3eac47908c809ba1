"""Linear probes: how much of a variable can be read off features by a straight line."""

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsan.evaluation.metrics import score_predictions


def probe(
    train: Float[np.ndarray, "utterance feature"],
    train_target: Shaped[np.ndarray, "utterance"],
    test: Float[np.ndarray, "tested feature"],
    test_target: Shaped[np.ndarray, "tested"],
    strength: float = 1.0,
) -> float:
    """Weighted F1 in percent of `probe_predictions`."""
    predicted = probe_predictions(train, train_target, test, strength)
    return score_predictions(test_target, predicted)["wf1"]


def probe_predictions(
    train: Float[np.ndarray, "utterance feature"],
    train_target: Shaped[np.ndarray, "utterance"],
    test: Float[np.ndarray, "tested feature"],
    strength: float = 1.0,
) -> Shaped[np.ndarray, "tested"]:
    """What a logistic regression on standardised features predicts.

    `strength` is scikit-learn's C, the inverse weight of the L2 penalty.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    return classifier.fit(train, train_target).predict(test)
