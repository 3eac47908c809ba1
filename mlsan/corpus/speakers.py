"""How speakers become the integers that a model embeds. 0 is always the unknown speaker.

To add a kind of speaker, add its name to `SpeakerKind` in `mlsan/vocabulary.py` and a branch to
`SpeakerCode.fit`. The branch says which speakers there are and who says each utterance.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Int, Shaped

from mlsan.corpus.types import Corpus, CorpusError, Dialogue
from mlsan.vocabulary import UNKNOWN, SpeakerKind


@dataclass(frozen=True)
class SpeakerCode:
    """A fitted code: `names[i]` is the speaker with code i, `names[0]` the unknown speaker.

    `speakers_of` gives the speaker of each utterance of a dialogue; a speaker that is not in
    `names` is unknown. `by_role` says whether the speakers are roles. `shuffle`, if not None, is
    the seed by which the speakers of a split are moved to random utterances.
    """

    kind: SpeakerKind
    names: tuple[str, ...]
    speakers_of: Callable[[Dialogue], Sequence[str]]
    by_role: bool = False
    shuffle: int | None = None

    @classmethod
    def fit(
        cls, kind: SpeakerKind, corpus: Corpus, min_utterances: int, seed: int
    ) -> "SpeakerCode":
        """Learn who the speakers are from the training dialogues.

        - identity: names with at least `min_utterances` utterances, the most frequent first;
        - role: the speaker's place in the dialogue;
        - constant: one speaker for everyone;
        - shuffled: identities (roles if the corpus has no names) of random utterances.

        Raises CorpusError for identity if the corpus does not name its speakers.
        """
        if kind == "identity":
            if not corpus.named:
                raise CorpusError(
                    f"{corpus.name} does not name its speakers. Use speaker=role, or put an "
                    "identities.json beside its files."
                )
            known = frequent_names(corpus.train, min_utterances)
            return cls(kind, ("unknown", *known), identities)
        if kind == "role":
            known = corpus.declaration.roles
            return cls(kind, ("unknown", *known), partial(roles, known), by_role=True)
        if kind == "constant":
            return cls(kind, ("unknown", "everybody"), everybody)
        if kind == "shuffled":
            ordered = cls.fit("identity" if corpus.named else "role", corpus, min_utterances, seed)
            return replace(ordered, kind=kind, shuffle=seed)
        raise CorpusError(f"speaker {kind!r} has no branch in SpeakerCode.fit. Add one.")

    @property
    def size(self) -> int:
        """The number of codes, including the unknown speaker's."""
        return len(self.names)

    def speakers_in(self, dialogues: Sequence[Dialogue]) -> list[Shaped[np.ndarray, "_turn"]]:
        """The speaker of every utterance of a split by name, dialogue by dialogue."""
        names = [np.array(self.speakers_of(d), dtype=object) for d in dialogues]
        return names if self.shuffle is None else shuffled(names, self.shuffle)

    def encode(self, dialogues: Sequence[Dialogue]) -> list[Int[np.ndarray, "_turn"]]:
        """The speaker code of every utterance of a split, dialogue by dialogue."""
        index = {name: code for code, name in enumerate(self.names) if code != UNKNOWN}
        return [
            np.array([index.get(name, UNKNOWN) for name in names], dtype=np.int64)
            for names in self.speakers_in(dialogues)
        ]


def identities(dialogue: Dialogue) -> tuple[str, ...]:
    """The name of each utterance's speaker, "" for no known person."""
    return dialogue.speaker or ("",) * len(dialogue)


def roles(names: Sequence[str], dialogue: Dialogue) -> list[str]:
    """The name of each utterance's role."""
    return [names[party] for party in dialogue.party.tolist()]


def everybody(dialogue: Dialogue) -> list[str]:
    """The same speaker for each utterance."""
    return ["everybody"] * len(dialogue)


def frequent_names(dialogues: Sequence[Dialogue], min_utterances: int) -> tuple[str, ...]:
    """Names with at least `min_utterances` utterances, the most frequent first."""
    counts = Counter(name for d in dialogues for name in d.speaker or () if name)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(name for name, count in ordered if count >= min_utterances)


def shuffled(
    names: list[Shaped[np.ndarray, "_turn"]], seed: int
) -> list[Shaped[np.ndarray, "_turn"]]:
    """The same speakers on random utterances, so that they say nothing about who speaks."""
    if not names:
        return []
    dealt = np.random.default_rng(seed).permutation(np.concatenate(names))
    return np.split(dealt, np.cumsum([len(part) for part in names])[:-1])
