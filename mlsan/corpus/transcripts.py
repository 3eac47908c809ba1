"""MELD's three public transcript files: who says what to whom, with which emotion.

The published feature files number MELD's dialogues in one row: train by Dialogue_ID, dev from 1039
on, test from 1153 on. Utterances align by position, since Utterance_ID has gaps.
"""

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mlsan.corpus.errors import CorpusError, Place
from mlsan.files import sha256
from mlsan.vocabulary import EMOTIONS

TRANSCRIPTS = "transcripts"
BASE_URL = "https://raw.githubusercontent.com/declare-lab/MELD/master/data/MELD/"
FIRST_KEY = {"train": 0, "dev": 1039, "test": 1153}
FILES = {split: f"{split}_sent_emo.csv" for split in FIRST_KEY}
SHA256 = {
    "train": "d2fa2d6529cf03cac2989efec05c9b27d8fd2f4c8fc5974c7ae88aa537fa02db",
    "dev": "2e89c6f8aa182d6f62f8c6331aece905ac7273ca4999660bfb5213e1d0370c1c",
    "test": "8d37103938f7067600839fe29d5a114a6cd1bcdafb75bec101e06464c5006888",
}

# Speakers in the transcripts who are several people at once.
_SEVERAL = {"all", "both", "everyone", "everybody", "the guys", "her-friends"}
_JOINT = re.compile(r"\band\b|[&,]", re.IGNORECASE)
# What UTF-8 punctuation turns into when it is read as cp1252, and the C1 controls that cp1252
# punctuation turns into when it is read as latin1.
_TWICE = re.compile("[ÂÃâ][\u0080-\u00bf\u0152-\u0161\u0178-\u0192\u02c6\u02dc\u2013-\u2122]+")
_CONTROL = re.compile("[\x80-\x9f]")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


def holds_transcripts(folder: Path) -> bool:
    """Whether a folder has all three files."""
    return all((folder / file).is_file() for file in FILES.values())


def read_transcripts(folder: Path, digests: Mapping[str, str] = SHA256) -> pd.DataFrame:
    """One row an utterance: dialogue (published key), utterance, split, speaker, emotion, text.

    Raises CorpusError where a file is absent or is not, by its SHA-256, the published one.
    """
    parts = []
    for split, file in FILES.items():
        place = Place(folder / file)
        try:
            content = place.file.read_bytes()
        except OSError as error:
            mend = "Run `make data CORPUS=meld-text` to fetch it"
            raise place.error(f"cannot be read ({error.strerror})", mend) from error
        if sha256(content) != digests[split]:
            problem = f"is not MELD's file (SHA-256 {sha256(content)}, not {digests[split]})"
            raise place.error(problem, "Remove it; `make data CORPUS=meld-text` fetches it anew")
        parts.append(parse(content, split, place))
    return pd.concat(parts, ignore_index=True)


def parse(content: bytes, split: str, place: Place) -> pd.DataFrame:
    """The rows of one file."""
    raw = pd.read_csv(io.StringIO(decode(content)), keep_default_na=False, dtype=str)
    if missing := [name for name in _COLUMNS if name not in raw]:
        raise place.error(f"has no column {missing[0]}", "Use MELD's own file")
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
    """Text from UTF-8 or from cp1252, with what an earlier wrong reading left in it mended."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return mend(text)


def mend(text: str) -> str:
    """Apostrophes and dashes that were read in the wrong encoding, as they were written."""
    text = _TWICE.sub(lambda match: _again(match[0], "cp1252", "utf-8"), text)
    return _CONTROL.sub(lambda match: _again(match[0], "latin1", "cp1252"), text)


def _again(piece: str, wrong: str, right: str) -> str:
    try:
        return piece.encode(wrong).decode(right)
    except UnicodeError:
        return piece


def person(speaker: str) -> str:
    """The name of a speaker, "" where that is several people ("All", "Joey and Ross")."""
    several = speaker.lower() in _SEVERAL or _JOINT.search(speaker)
    return "" if several else speaker


def roles(speakers: Iterable[str]) -> list[int]:
    """Parties of one dialogue, numbered in the order in which they first speak."""
    order: dict[str, int] = {}
    return [order.setdefault(speaker, len(order)) for speaker in speakers]


def identities(table: pd.DataFrame) -> dict[str, list[str]]:
    """The sidecar identities.json: dialogue to names."""
    grouped = table.groupby("dialogue", sort=False)["speaker"]
    return {str(key): [person(name) for name in names] for key, names in grouped}


def assert_same_conversations(
    label: Mapping[str, Iterable[int]],
    party: Mapping[str, Iterable[int]],
    table: pd.DataFrame,
    file: Path,
) -> None:
    """Raise CorpusError unless the dialogues of `file` carry the transcripts' labels and roles."""
    number = {emotion: index for index, emotion in enumerate(EMOTIONS["MELD"])}
    spoken = {str(key): rows for key, rows in table.groupby("dialogue", sort=False)}
    if odd := sorted(set(spoken) ^ set(label)):
        raise CorpusError(
            f"{file}: {len(odd)} dialogues are only here or only in MELD's transcripts "
            f"({', '.join(odd[:5])}). Use the published file."
        )
    for key, rows in spoken.items():
        for what, found, expected in (
            ("labels", label[key], rows["emotion"].map(number)),
            ("roles", party[key], roles(rows["speaker"])),
        ):
            if list(found) != list(expected):
                problem = f"{what} {list(map(int, found))} are {list(expected)} in the transcripts"
                raise Place(file, key).error(problem, "Use the published file")
