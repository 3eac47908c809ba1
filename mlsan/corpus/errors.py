"""The one error that reading a corpus raises, and the place in a file that it points to."""

from dataclasses import dataclass
from pathlib import Path


class CorpusError(ValueError):
    """A corpus cannot be used as it is. The message names the file, the value and the fix."""


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
