"""Reading MELD's three public transcript files: who says what, with which emotion.

The published feature files number MELD's dialogues consecutively: train by Dialogue_ID, dev from
1039, test from 1153. Utterances are matched by position, since Utterance_ID has gaps.
"""

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mlsan.corpus.errors import Place
from mlsan.files import sha256

TRANSCRIPTS = "transcripts"
FIRST_KEY = {"train": 0, "dev": 1039, "test": 1153}
FILES = {split: f"{split}_sent_emo.csv" for split in FIRST_KEY}
SHA256 = {
    "train": "d2fa2d6529cf03cac2989efec05c9b27d8fd2f4c8fc5974c7ae88aa537fa02db",
    "dev": "2e89c6f8aa182d6f62f8c6331aece905ac7273ca4999660bfb5213e1d0370c1c",
    "test": "8d37103938f7067600839fe29d5a114a6cd1bcdafb75bec101e06464c5006888",
}

# Speakers in the transcripts that are several people at once.
_SEVERAL = {"all", "both", "everyone", "everybody", "the guys", "her-friends"}
_JOINT = re.compile(r"\band\b|[&,]", re.IGNORECASE)
# What UTF-8 punctuation becomes when read as cp1252, and the C1 controls that cp1252 punctuation
# becomes when read as latin1.
_TWICE = re.compile("[ÂÃâ][\u0080-\u00bf\u0152-\u0161\u0178-\u0192\u02c6\u02dc\u2013-\u2122]+")
_CONTROL = re.compile("[\x80-\x9f]")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


def holds_transcripts(folder: Path) -> bool:
    """Whether a folder has all three files."""
    return all((folder / file).is_file() for file in FILES.values())


def read_transcripts(folder: Path, digests: Mapping[str, str] = SHA256) -> pd.DataFrame:
    """One row per utterance: dialogue (published id), utterance, split, speaker, emotion, text.

    Raises CorpusError if a file is missing or does not have the SHA-256 of the published one.
    """
    parts = []
    for split, file in FILES.items():
        place = Place(folder / file)
        try:
            content = place.file.read_bytes()
        except OSError as error:
            fix = "Run `make data CORPUS=meld-text` to download it"
            raise place.error(f"cannot be read ({error.strerror})", fix) from error
        if sha256(content) != digests[split]:
            problem = f"not MELD's file (SHA-256 {sha256(content)}, not {digests[split]})"
            fix = "Remove it and run `make data CORPUS=meld-text` to download it again"
            raise place.error(problem, fix)
        parts.append(parse(content, split, place))
    return pd.concat(parts, ignore_index=True)


def parse(content: bytes, split: str, place: Place) -> pd.DataFrame:
    """The rows of one file."""
    raw = pd.read_csv(io.StringIO(decode(content)), keep_default_na=False, dtype=str)
    if missing := [name for name in _COLUMNS if name not in raw]:
        raise place.error(f"the file has no column {missing[0]}", "Use MELD's own file")
    dialogue, utterance = raw["Dialogue_ID"], raw["Utterance_ID"]
    table = pd.DataFrame(
        {
            "dialogue": dialogue.astype(int) + FIRST_KEY[split],
            "utterance": split + "_dia" + dialogue + "_utt" + utterance,
            "split": split,
            "speaker": raw["Speaker"].str.strip(),
            "emotion": raw["Emotion"],
            "text": raw["Utterance"],
        }
    )
    return table.iloc[np.lexsort((utterance.astype(int), dialogue.astype(int)))]


def decode(content: bytes) -> str:
    """Text from UTF-8 or cp1252, with the traces of an earlier wrong decoding repaired."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return repair(text)


def repair(text: str) -> str:
    """The text with apostrophes and dashes that were decoded wrongly as they were written."""
    text = _TWICE.sub(lambda match: _again(match[0], "cp1252", "utf-8"), text)
    return _CONTROL.sub(lambda match: _again(match[0], "latin1", "cp1252"), text)


def _again(piece: str, wrong: str, right: str) -> str:
    try:
        return piece.encode(wrong).decode(right)
    except UnicodeError:
        return piece


def person(speaker: str) -> str:
    """The name of a speaker, "" if it is several people ("All", "Joey and Ross")."""
    several = speaker.lower() in _SEVERAL or _JOINT.search(speaker)
    return "" if several else speaker


def roles(speakers: Iterable[str]) -> list[int]:
    """Roles of one dialogue's speakers, numbered by first appearance."""
    order: dict[str, int] = {}
    return [order.setdefault(speaker, len(order)) for speaker in speakers]


def identities(table: pd.DataFrame) -> dict[str, list[str]]:
    """Names by dialogue, the content of identities.json."""
    grouped = table.groupby("dialogue", sort=False)["speaker"]
    return {str(key): [person(name) for name in names] for key, names in grouped}
