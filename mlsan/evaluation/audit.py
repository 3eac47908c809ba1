"""How much of a score the text features explain: a probe on them alone, and repeated texts."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mlsan.corpus import Corpus, Dialogue
from mlsan.corpus.transcripts import FIRST_KEY
from mlsan.evaluation.probes import STRENGTH, probe_predictions

EMOBERTA_LIST = "emoberta-train.json"
_TEST_DIALOGUE = re.compile(r"MELD/test/dia(\d+)")


def text_audit(corpus: Corpus) -> pd.DataFrame:
    """A linear probe on text features alone, fitted on train: one row per test utterance.

    Columns: dialogue, label, predicted (by the probe), `duplicate` (the very same text features
    occur in training) and `same_label` (they do so with the same label).
    """
    train, train_label = text_of(corpus.train)
    test, label = text_of(corpus.test)
    pair = np.char.add(row_keys(train), np.char.mod("/%d", train_label))
    return pd.DataFrame(
        {
            "dialogue": [d.id for d in corpus.test for _ in d.label],
            "label": label,
            "predicted": probe_predictions(train, train_label, test, STRENGTH),
            "duplicate": np.isin(row_keys(test), row_keys(train)),
            "same_label": np.isin(np.char.add(row_keys(test), np.char.mod("/%d", label)), pair),
        }
    )


def text_of(
    dialogues: tuple[Dialogue, ...],
) -> tuple[Float[np.ndarray, "utterance feature"], Int[np.ndarray, "utterance"]]:
    """Text features and labels of all utterances, in order."""
    return (
        np.concatenate([d.feature["text"] for d in dialogues]),
        np.concatenate([d.label for d in dialogues]),
    )


def row_keys(features: Shaped[np.ndarray, "utterance feature"]) -> Shaped[np.ndarray, "utterance"]:
    """A digest of each row: two are equal exactly where the rows are."""

    def digest(row: np.ndarray) -> str:
        return hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest()

    return np.array([digest(row) for row in features])


def read_emoberta_list(file: Path) -> set[str] | None:
    """The keys of MELD's test dialogues that a public EmoBERTa was trained on; None without a file.

    The list is utterance-ordered-MELD_IEMOCAP.json of github.com/tae898/erc: split -> dialogue
    ("MELD/test/dia7") -> utterances. Raises ValueError for any other JSON.
    """
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    train = content.get("train") if isinstance(content, dict) else None
    if not isinstance(train, dict):
        raise ValueError(f"{file} has no split 'train'. Use utterance-ordered-MELD_IEMOCAP.json.")
    found = filter(None, map(_TEST_DIALOGUE.fullmatch, train))
    return {str(FIRST_KEY["test"] + int(match[1])) for match in found}
