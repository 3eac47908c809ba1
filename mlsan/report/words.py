"""What is said in a dialogue: MELD's own lines where they are at hand, else invented ones.

Simulated conversations have features and emotions, but no words. So that a reader can follow one,
a small grammar gives each utterance a line that fits its emotion. Nobody reads these lines but the
reader: they are no features, and no model sees them.
"""

import zlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlsan.corpus import Corpus, Dialogue
from mlsan.corpus.transcripts import holds_transcripts, read_transcripts

INVENTED, REAL = "line (invented)", "line"
TOPICS = ("the letter", "the flat", "the interview", "the train", "the dinner", "the parcel")
# By emotion: how a line may begin, and how it may go on.
GRAMMAR: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "neutral": (
        ("So,", "Well,", "By the way,"),
        ("have you heard about {}?", "I have a question about {}.", "{} is on my list."),
    ),
    "surprise": (
        ("Wait,", "What?", "Oh!"),
        ("Is that really {}?", "Nobody told me about {}!", "I had no idea about {}!"),
    ),
    "fear": (
        ("Oh no,", "Please,", "Hush,"),
        ("what if {} goes wrong?", "I can't face {} alone.", "I am scared of {}."),
    ),
    "sadness": (
        ("I'm sorry,", "Never mind,", "You know,"),
        (
            "{} was all I had hoped for.",
            "I wish {} had gone better.",
            "I can't stop thinking of {}.",
        ),
    ),
    "joy": (
        ("Guess what!", "Wonderful!", "Ha!"),
        ("{} went so well!", "I love {}!", "Just look at {}!"),
    ),
    "disgust": (
        ("Ugh,", "Yuck,", "Please,"),
        ("{} smells of old fish.", "keep {} away from me.", "I can't even look at {}."),
    ),
    "anger": (
        ("Listen,", "No!", "That's enough!"),
        ("You ruined {}!", "I told you about {} twice!", "{} is your fault!"),
    ),
    "excited": (
        ("Guess what!", "Quick!", "Oh, come on!"),
        ("today is the day of {}!", "I can hardly wait for {}!", "Tell me all about {}!"),
    ),
    "frustrated": (
        ("Again?", "Look,", "Honestly,"),
        ("I have asked about {} for weeks.", "{} never works out.", "I give up on {}."),
    ),
}
SAME = {"happy": "joy", "happiness": "joy", "sad": "sadness", "angry": "anger"}
SAME |= {"surprised": "surprise"}


class Words(NamedTuple):
    """The lines of a dialogue, and what the column that shows them is called."""

    heading: str
    lines: tuple[str, ...]


def words(corpus: Corpus, dialogue: Dialogue, folder: Path | None = None) -> Words | None:
    """What is said in a dialogue; None where nobody knows.

    The lines of a simulated dialogue are invented. Those of MELD are read from its transcript files
    in `folder`, if they are there and have as many lines for the dialogue as it has utterances.
    """
    if corpus.simulated:
        emotions = [corpus.declaration.emotions[label] for label in dialogue.label]
        return Words(INVENTED, invented_lines(dialogue.id, emotions))
    if corpus.benchmark != "MELD" or folder is None or not holds_transcripts(folder):
        return None
    table = read_transcripts(folder)
    lines = table.loc[table["dialogue"].astype(str) == dialogue.id, "text"]
    return Words(REAL, tuple(lines)) if len(lines) == len(dialogue) else None


def invented_lines(dialogue: str, emotions: Sequence[str]) -> tuple[str, ...]:
    """One line per utterance: the same for the same dialogue id and emotions, on every machine.

    The whole dialogue is about one thing. A line comes back only after all others of its emotion.
    Raises ValueError for an emotion without a grammar.
    """
    draw = np.random.default_rng(zlib.crc32(dialogue.encode()))
    topic = TOPICS[draw.integers(len(TOPICS))]
    waiting: dict[str, list[str]] = {}
    lines = []
    for emotion in emotions:
        if not waiting.get(emotion):
            every = every_line(emotion, topic)
            waiting[emotion] = [every[i] for i in draw.permutation(len(every))]
        lines.append(waiting[emotion].pop())
    return tuple(lines)


def every_line(emotion: str, topic: str) -> list[str]:
    """All lines of an emotion about a topic. Raises ValueError for an emotion without a grammar."""
    kind = SAME.get(emotion, emotion)
    if kind not in GRAMMAR:
        known = ", ".join([*GRAMMAR, *SAME])
        raise ValueError(f"no invented lines for the emotion {emotion!r}; there are for {known}")
    return [_sentence(first, rest.format(topic)) for first, rest in product(*GRAMMAR[kind])]


def _sentence(first: str, rest: str) -> str:
    """Joined, with a capital after a mark that ends a sentence."""
    if first[-1] in "!?":
        rest = rest[0].upper() + rest[1:]
    elif not rest.startswith("I "):
        rest = rest[0].lower() + rest[1:]
    return f"{first} {rest}"
