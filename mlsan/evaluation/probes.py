"""Linear probes: how much of a variable can be read off features by a straight line."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsan.corpus import Corpus
from mlsan.evaluation.metrics import score_predictions
from mlsan.training.runs import utterances
from mlsan.vocabulary import Modality

STRENGTH = 0.1  # of the probes for emotion


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


def emotion_predictions(corpus: Corpus, modalities: Sequence[Modality]) -> pd.DataFrame:
    """What a linear probe fitted on training utterances predicts on test, without any context.

    One row per test utterance with the columns of a run's predictions: split, dialogue, turn,
    speaker, label, seen (whether training has the speaker) and predicted. Nothing is random: every
    seed would give the same.
    """
    train, test = (
        np.concatenate([np.concatenate([d.feature[m] for m in modalities], 1) for d in split])
        for split in (corpus.train, corpus.test)
    )
    label = np.concatenate([d.label for d in corpus.train])
    predicted = probe_predictions(train, label, test, STRENGTH)
    return utterances(corpus, "test").assign(predicted=predicted)


def every_other(
    speaker: Shaped[np.ndarray, "utterance"], dialogue: Int[np.ndarray, "utterance"]
) -> Bool[np.ndarray, "utterance"]:
    """Whether an utterance is in the first, third, ... of its speaker's dialogues."""
    by = pd.DataFrame({"speaker": speaker, "dialogue": dialogue}).groupby("speaker")["dialogue"]
    return (by.rank("dense").to_numpy() % 2 == 1).astype(bool)
