"""How speakers become the integers that a model embeds; 0 is always the unknown speaker."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mlsan.corpus.errors import CorpusError
from mlsan.corpus.types import Corpus, Dialogue
from mlsan.vocabulary import PARTIES, UNKNOWN, Benchmark, SpeakerKind


@dataclass(frozen=True)
class SpeakerCode:
    """A fitted code; `names[i]` is who code i stands for, `names[0]` the unknown speaker."""

    kind: SpeakerKind
    names: tuple[str, ...]
    by_role: bool
    seed: int

    @classmethod
    def fit(
        cls, kind: SpeakerKind, corpus: Corpus, min_utterances: int, seed: int
    ) -> "SpeakerCode":
        """Learn the names from the training dialogues.

        identity: names with at least `min_utterances` there, most talkative first; role: the
        dialogue-local party; shuffled: the identities (roles where nobody is named) given to
        random utterances; constant: everybody the same. Raises CorpusError where identity is
        asked of a corpus that does not name its speakers.
        """
        if kind == "identity" and not corpus.named:
            raise CorpusError(
                f"{corpus.name} does not name its speakers. Use speaker=role, or put an "
                "identities.json beside its files."
            )
        by_role = kind == "role" or not corpus.named
        if kind == "constant":
            names: tuple[str, ...] = ("everybody",)
        elif by_role:
            names = role_names(corpus.benchmark)
        else:
            names = frequent_names(corpus.train, min_utterances)
        return cls(kind, ("unknown", *names), by_role, seed)

    @property
    def size(self) -> int:
        """How many codes there are, the unknown speaker included."""
        return len(self.names)

    def encode(self, dialogues: Sequence[Dialogue]) -> list[Int[np.ndarray, "_turn"]]:
        """The code of every utterance of a split, dialogue by dialogue."""
        if self.kind == "constant":
            return [np.ones(len(d), dtype=np.int64) for d in dialogues]
        if self.by_role:
            codes = [d.party + 1 for d in dialogues]
        else:
            index = {name: code for code, name in enumerate(self.names) if code}
            codes = [
                np.array([index.get(name, UNKNOWN) for name in d.speaker or ()]) for d in dialogues
            ]
        return shuffled(codes, self.seed) if self.kind == "shuffled" else codes


def role_names(benchmark: Benchmark) -> tuple[str, ...]:
    """What the columns of the published speaker rows stand for."""
    if benchmark == "IEMOCAP":
        return ("M", "F")
    return tuple(f"role {role}" for role in range(PARTIES[benchmark]))


def frequent_names(dialogues: Sequence[Dialogue], min_utterances: int) -> tuple[str, ...]:
    """Names with enough utterances, the most talkative first; "" is nobody's name."""
    counts = Counter(name for d in dialogues for name in d.speaker or () if name)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(name for name, count in ordered if count >= min_utterances)


def shuffled(codes: list[Int[np.ndarray, "_turn"]], seed: int) -> list[Int[np.ndarray, "_turn"]]:
    """The same codes dealt out to the utterances at random: who speaks no longer tells anything."""
    if not codes:
        return []
    dealt = np.random.default_rng(seed).permutation(np.concatenate(codes))
    return np.split(dealt, np.cumsum([len(c) for c in codes])[:-1])
