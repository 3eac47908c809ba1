"""One trained model, tested with strangers enrolled from any number of unlabelled utterances."""

import numpy as np
import pandas as pd
from torch import nn

from mlsan.corpus import Corpus
from mlsan.corpus.enrolment import Amount
from mlsan.evaluation.stages import stages_of
from mlsan.training.loop import divided
from mlsan.training.runs import utterances
from mlsan.training.settings import RunSettings


def enrolled_predictions(
    run: RunSettings,
    corpus: Corpus,
    model: nn.Module,
    amount: Amount,
    generator: np.random.Generator | None = None,
) -> pd.DataFrame:
    """What a trained model predicts on test if strangers are enrolled with `amount`.

    One row per test utterance, with the columns of a run's predictions: split, dialogue, turn,
    speaker, label, seen (whether training has the speaker) and predicted. `generator` draws the
    utterances. With amount 0 these are the predictions of the run itself.
    """
    seen = stages_of(run, corpus, model, corpus.test, amount, generator)
    return utterances(divided(run, corpus), "test").assign(predicted=seen.logits.argmax(axis=1))
