"""Linear probes: how much of a variable can be read off features by a straight line."""

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def probe(
    train: Float[np.ndarray, "utterance feature"],
    train_target: Shaped[np.ndarray, "utterance"],
    test: Float[np.ndarray, "tested feature"],
    test_target: Shaped[np.ndarray, "tested"],
    strength: float = 1.0,
) -> float:
    """Weighted F1 in percent of a logistic regression on standardised features.

    `strength` is scikit-learn's C, the inverse weight of the L2 penalty.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    predicted = classifier.fit(train, train_target).predict(test)
    return 100 * float(f1_score(test_target, predicted, average="weighted", zero_division=0))
