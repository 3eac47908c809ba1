"""A small corpus in the published layout, for tests to write, spoil and read."""

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlsan.corpus import write_layout
from mlsan.vocabulary import MODALITIES

SIZES = {"text": 4, "audio": 3, "visual": 2}


def meld(first_dev: int = 6) -> dict[str, Any]:
    """File -> value: dialogues 0-5 train, 6-7 dev, 8-9 test; dialogue i has i % 3 + 2 turns."""
    keys = range(10)
    turns = {key: key % 3 + 2 for key in keys}
    split = {key: "train" if key < first_dev else "dev" if key < 8 else "test" for key in keys}
    speakers = (
        {k: [f"{split[k]}_dia{k}_utt{t}" for t in range(turns[k])] for k in keys},
        {k: [np.eye(9, dtype=int)[t % 2].tolist() for t in range(turns[k])] for k in keys},
        {k: [(k + t) % 7 for t in range(turns[k])] for k in keys},
        *({}, {}, {}, {}),
        list(range(8)),
        [8, 9],
        {},
    )
    return {"Speakers.pkl": speakers, **features(turns)}


def iemocap() -> dict[str, Any]:
    """Four dialogues of sessions 1, 3 and 5, with the speakers as letters."""
    keys = ["Ses01F_impro01", "Ses01M_impro01", "Ses03F_impro01", "Ses05F_impro03"]
    turns = {key: 3 for key in keys}
    speakers = (
        {k: [f"{k}_{t}" for t in range(3)] for k in keys},
        {k: ["M", "F", "F"] for k in keys},
        {k: [0, 5, 2] for k in keys},
        *({}, {}, {}, {}),
        {*keys[:3]},
        {*keys[3:]},
    )
    return {"Speakers.pkl": speakers, **features(turns)}


def features(turns: dict[Any, int]) -> dict[str, Any]:
    """Feature files: each number tells dialogue position, turn and column."""
    return {
        f"{modality.capitalize()}Features.pkl": {
            key: np.add.outer(100.0 * i + np.arange(count), np.arange(SIZES[modality]) / 10)
            for i, (key, count) in enumerate(turns.items())
        }
        for modality in MODALITIES
    }


def write(folder: Path, files: dict[str, Any], protocol: int = 4) -> Path:
    """Write the files: bytes as they are, everything else pickled."""
    folder.mkdir(exist_ok=True)
    for name, value in files.items():
        content = value if isinstance(value, bytes) else pickle.dumps(value, protocol)
        (folder / name).write_bytes(content)
    return folder


def write_for_ever(folder: Path, table: pd.DataFrame, features: dict[str, Any], ready) -> None:
    """Write two corpora to one folder in turn, until the process is killed."""
    for sign in itertools.cycle((1, -1)):
        write_layout(folder, "MELD", table, {m: sign * rows for m, rows in features.items()})
        ready.set()
