"""The one error that reading a corpus raises, and the place in a file that it speaks of."""

from dataclasses import dataclass
from pathlib import Path


class CorpusError(ValueError):
    """A corpus cannot be used as it is; the message names the file, the value and the mend."""


@dataclass(frozen=True)
class Place:
    """Where in a corpus something stands: a file, and in it a dialogue."""

    file: Path
    dialogue: str | None = None

    def error(self, problem: str, mend: str, utterance: int | None = None) -> CorpusError:
        """An error that says where (utterances by position, from 0), what, and what to do."""
        where = str(self.file)
        if self.dialogue is not None:
            where += f", dialogue {self.dialogue}"
        if utterance is not None:
            where += f", utterance {utterance}"
        return CorpusError(f"{where}: {problem}. {mend}.")
