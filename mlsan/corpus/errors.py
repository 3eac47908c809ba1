"""The place in a file that an error of reading a corpus points to."""

from dataclasses import dataclass
from pathlib import Path

from mlsan.corpus.types import CorpusError


@dataclass(frozen=True)
class Place:
    """A place in a corpus: a file and, if given, a dialogue in it."""

    file: Path
    dialogue: str | None = None

    def error(self, problem: str, fix: str, utterance: int | None = None) -> CorpusError:
        """An error that says where the problem is, what it is and how to fix it.

        `utterance` is a position in the dialogue, counted from 0.
        """
        where = str(self.file)
        if self.dialogue is not None:
            where += f", dialogue {self.dialogue}"
        if utterance is not None:
            where += f", utterance {utterance}"
        return CorpusError(f"{where}: {problem}. {fix}.")
