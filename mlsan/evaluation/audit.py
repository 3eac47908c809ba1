"""How much of a score is the text features: a probe on them alone, duplicates, seen dialogues."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from mlsan.corpus import Corpus, Dialogue
from mlsan.corpus.transcripts import FIRST_KEY
from mlsan.evaluation.metrics import scores
from mlsan.evaluation.probes import probe_predictions
from mlsan.evaluation.summary import mean_sd

PROBE = "text probe"
EMOBERTA_LIST = "emoberta-train.json"
_TEST_DIALOGUE = re.compile(r"MELD/test/dia(\d+)")


def text_audit(corpus: Corpus) -> pd.DataFrame:
    """One row a test utterance: dialogue, label, what a linear probe on its text alone predicts,
    whether the very same text features occur in training (`duplicate`), and whether they do so
    with the same label (`same_label`).

    The probe knows no context, no speaker, no audio and no video; it is fitted on train.
    """
    train, train_label = text_of(corpus.train)
    test, label = text_of(corpus.test)
    pair = np.char.add(row_keys(train), np.char.mod("/%d", train_label))
    return pd.DataFrame(
        {
            "dialogue": [d.id for d in corpus.test for _ in d.label],
            "label": label,
            "predicted": probe_predictions(train, train_label, test, strength=0.1),
            "duplicate": np.isin(row_keys(test), row_keys(train)),
            "same_label": np.isin(np.char.add(row_keys(test), np.char.mod("/%d", label)), pair),
        }
    )


def text_of(dialogues: tuple[Dialogue, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Text features and labels of all utterances, in order."""
    return (
        np.concatenate([d.feature["text"] for d in dialogues]),
        np.concatenate([d.label for d in dialogues]),
    )


def row_keys(features: Shaped[np.ndarray, "utterance feature"]) -> Shaped[np.ndarray, "utterance"]:
    """A digest of each row, equal exactly where the rows are."""

    def digest(row: np.ndarray) -> str:
        return hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest()

    return np.array([digest(row) for row in features])


def wf1(part: pd.DataFrame) -> float:
    """Weighted F1 in percent of some rows of `text_audit`; NaN where there are none."""
    if part.empty:
        return float("nan")
    return scores(part["label"].to_numpy(), part["predicted"].to_numpy())["wf1"]


def probe_and_models(probed: dict[str, pd.DataFrame], runs: pd.DataFrame) -> pd.DataFrame:
    """By benchmark and system: test weighted F1, and its distance from the text probe.

    `probed` has a benchmark's `text_audit`, `runs` one row a finished run; without any, only the
    probe's rows are there.
    """
    rows = [
        {"benchmark": benchmark, "system": PROBE, "wf1": wf1(audit), "sd": np.nan, "seeds": 1}
        for benchmark, audit in probed.items()
    ]
    if len(runs):
        found = mean_sd(runs, ["benchmark", "system"], ["test_wf1"])
        named = {"test_wf1_mean": "wf1", "test_wf1_sd": "sd", "n": "seeds"}
        rows += found.rename(columns=named).to_dict("records")
    table = pd.DataFrame(rows)[["benchmark", "system", "wf1", "sd", "seeds"]]
    floor = table[table["system"] == PROBE].set_index("benchmark")["wf1"]
    table["above probe"] = table["wf1"] - table["benchmark"].map(floor)
    return table.sort_values("benchmark", kind="stable", ignore_index=True)


def duplicates(audit: pd.DataFrame) -> dict[str, int | float]:
    """How many test texts occur in training, and what the probe scores on them and without."""
    return {
        "test utterances": len(audit),
        "text also in training": int(audit["duplicate"].sum()),
        "with the same label there": int(audit["same_label"].sum()),
        "probe W-F1, all": wf1(audit),
        "probe W-F1, those": wf1(audit[audit["duplicate"]]),
        "probe W-F1, without those": wf1(audit[~audit["duplicate"]]),
    }


def read_emoberta_list(file: Path) -> set[str] | None:
    """The keys of MELD's test dialogues that a public EmoBERTa was trained on, None without list.

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


def by_exposure(audit: pd.DataFrame, seen: set[str]) -> pd.DataFrame:
    """The probe's score on test dialogues that the feature extractor may have trained on or not."""
    known: Bool[np.ndarray, tested] = audit["dialogue"].isin(seen).to_numpy()
    rows = {"in the list": audit[known], "not in the list": audit[~known]}
    return pd.DataFrame(
        {
            name: {
                "dialogues": part["dialogue"].nunique(),
                "utterances": len(part),
                "probe W-F1": wf1(part),
            }
            for name, part in rows.items()
        }
    ).T
