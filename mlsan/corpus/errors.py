"""The place in a file that an error of reading a corpus points to."""

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlsan.corpus.types import CorpusError

_LONGEST_ID, _LONGEST_PROBLEM = 80, 400


@dataclass(frozen=True)
class Place:
    """A place in a corpus: a file and, if given, a dialogue in it."""

    file: Path
    dialogue: str | None = None

    def error(self, problem: str, fix: str, utterance: int | None = None) -> CorpusError:
        """An error that says where the problem is, what it is and how to fix it.

        `utterance` is a position in the dialogue, counted from 0. The message is one line: long
        parts are cut, and characters that cannot be printed are escaped.
        """
        where = str(self.file)
        if self.dialogue is not None:
            where += f", dialogue {shorten(self.dialogue)}"
        if utterance is not None:
            where += f", utterance {utterance}"
        return CorpusError(printable(f"{where}: {shorten(problem, _LONGEST_PROBLEM)}. {fix}."))


class _Short(reprlib.Repr):
    """`repr` of a value of any size, cut while it is made and not after."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 2, 60, 60, 60
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 10

    def repr_ndarray(self, value: np.ndarray, level: int) -> str:
        return f"<array of {value.dtype} and shape {value.shape}>"

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value[: self.maxstring])

    def repr_set(self, value: Any, level: int) -> str:
        return f"<{type(value).__name__} of {len(value)}>"  # reprlib would sort it

    repr_frozenset = repr_set
    repr_dict = repr_set


shown = _Short().repr


def shorten(text: str, longest: int = _LONGEST_ID) -> str:
    """The text with its middle left out if it is too long."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"


def printable(text: str) -> str:
    """The text with line feeds, control characters and the like escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
