"""What a model is given of who speaks: a code for those it knows, and a style for everyone.

Styles come from unlabelled utterances, the *enrolment* of a speaker (`mlsan.corpus.style`).
Speakers of the training dialogues are enrolled with their training utterances. A stranger is
enrolled with none, with some, or with all of the stranger's own utterances: that is a choice of
the evaluation, so one trained model serves every amount. Labels are never used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.style import Population, moments
from mlsan.corpus.types import Corpus, Dialogue
from mlsan.vocabulary import UNKNOWN, Modality

Amount = int | Literal["past", "dialogue", "all"]
"""Utterances that a stranger is enrolled with: a number of them from other dialogues, those of
the dialogue so far, those of the dialogue, or all there are."""

# Training draws the amount for each speaker of each dialogue, anew in every epoch, so that one
# model meets every amount that testing may bring. The last stands for all utterances.
DRAWN = (0, 1, 3, 10, 30, None)
CHANCE = (0.15, 0.1, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True)
class SpeakerInput:
    """What a model is given of who speaks in one dialogue."""

    code: Int[np.ndarray, "turn"]
    """Entry of the speaker table, 0 for the unknown speaker."""
    style: dict[Modality, Float[np.ndarray, "2 turn feature"]]
    """mu and sigma of the speaker's features."""


class Enrolment:
    """Codes and styles for the dialogues of a corpus.

    `modalities` are those whose styles are wanted, none for codes alone.
    """

    def __init__(self, code: SpeakerCode, corpus: Corpus, modalities: Sequence[Modality]):
        self.code = code
        self.train = _Utterances.of(corpus.train, code, modalities)
        self.population = {
            modality: Population.fit(features, self.train.name)
            for modality, features in self.train.features.items()
        }

    def training(self, generator: np.random.Generator) -> list[SpeakerInput]:
        """For the training dialogues, in order: each speaker of each dialogue enrolled at random.

        Who is enrolled with nothing comes without an identity, as a stranger would.
        """
        own = self.train.rows_by_name()
        groups = _Groups(len(self.train.name))
        for name, _, at in self.train.appearances():
            amount = DRAWN[generator.choice(len(DRAWN), p=CHANCE)]
            rows = own.get(name, _NONE)
            if amount is None or len(rows) <= amount:
                groups.enrol(at, rows, key=name)
            else:
                groups.enrol(at, generator.choice(rows, amount, replace=False, shuffle=False))
        return self._inputs(self.train, self.train, groups, withhold=True)

    def evaluation(
        self,
        dialogues: Sequence[Dialogue],
        amount: Amount = 0,
        generator: np.random.Generator | None = None,
    ) -> list[SpeakerInput]:
        """For these dialogues, in order: strangers enrolled with `amount` of their utterances in
        them, drawn by `generator` where there are more; everyone else as known from training.
        """
        utterances = _Utterances.of(dialogues, self.code, tuple(self.population))
        everyone = self.train.followed_by(utterances)
        known, own = self.train.rows_by_name(), utterances.rows_by_name()
        groups = _Groups(len(utterances.name))
        offset = len(self.train.name)
        for name, dialogue, at in utterances.appearances():
            if name in known:
                groups.enrol(at, known[name], key=name)
            elif name not in own or amount == 0:
                groups.enrol(at, _NONE)
            elif amount == "past":
                for turn, row in enumerate(at):
                    groups.enrol(row, offset + at[: turn + 1])
            elif amount == "dialogue":
                groups.enrol(at, offset + at)
            elif amount == "all":
                groups.enrol(at, offset + own[name], key=name)
            else:
                rows = own[name][utterances.dialogue[own[name]] != dialogue]
                if len(rows) > amount:
                    rows = generator.choice(rows, amount, replace=False, shuffle=False)
                groups.enrol(at, offset + rows)
        return self._inputs(utterances, everyone, groups, withhold=False)

    def _inputs(
        self, utterances: "_Utterances", source: "_Utterances", groups: "_Groups", withhold: bool
    ) -> list[SpeakerInput]:
        """By dialogue. `withhold` hides the identity of who is enrolled with nothing."""
        code = self.code.encode_names(utterances.name)
        if withhold:
            empty = np.array([len(rows) == 0 for rows in groups.rows])
            code = np.where(empty[groups.of], UNKNOWN, code)
        style = {}
        for modality, population in self.population.items():
            found = population.estimate(*moments(source.features[modality], groups.rows))
            style[modality] = np.stack(found)[:, groups.of].astype(np.float32)
        ends = np.flatnonzero(np.diff(utterances.dialogue)) + 1
        styles = {modality: np.split(x, ends, axis=1) for modality, x in style.items()}
        return [
            SpeakerInput(part, {modality: x[i] for modality, x in styles.items()})
            for i, part in enumerate(np.split(code, ends))
        ]


_NONE = np.empty(0, dtype=int)


class _Groups:
    """Groups of utterances that styles are estimated from, and whose style each utterance gets."""

    def __init__(self, utterances: int):
        self.rows: list[np.ndarray] = []
        self.of = np.empty(utterances, dtype=int)
        self._place: dict[str, int] = {}

    def enrol(
        self, at: Int[np.ndarray, "_"] | np.integer, rows: Int[np.ndarray, "_"], key: str = ""
    ) -> None:
        """Give the utterances `at` the style of `rows`. Equal keys share one group."""
        if not key or key not in self._place:
            self._place[key] = len(self.rows)
            self.rows.append(rows)
        self.of[at] = self._place[key]


@dataclass(frozen=True)
class _Utterances:
    """Utterances of several dialogues one after the other."""

    name: np.ndarray
    dialogue: Int[np.ndarray, "utterance"]
    features: dict[Modality, Float[np.ndarray, "utterance feature"]]

    @classmethod
    def of(
        cls, dialogues: Sequence[Dialogue], code: SpeakerCode, modalities: Sequence[Modality]
    ) -> "_Utterances":
        return cls(
            name=np.concatenate(code.names_in(dialogues)),
            dialogue=np.repeat(np.arange(len(dialogues)), [len(d) for d in dialogues]),
            features={m: np.concatenate([d.feature[m] for d in dialogues]) for m in modalities},
        )

    def rows_by_name(self) -> dict[str, np.ndarray]:
        """Each named speaker's utterances."""
        names, inverse = np.unique(self.name, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        return {name: rows for name, rows in zip(names.tolist(), parts, strict=True) if name}

    def appearances(self) -> list[tuple[str, int, np.ndarray]]:
        """Each speaker of each dialogue: name, dialogue, and the rows of the utterances."""
        found: dict[tuple[int, str], list[int]] = {}
        for row, key in enumerate(zip(self.dialogue.tolist(), self.name.tolist(), strict=True)):
            found.setdefault(key, []).append(row)
        return [(name, dialogue, np.array(rows)) for (dialogue, name), rows in found.items()]

    def followed_by(self, other: "_Utterances") -> "_Utterances":
        """These, then the other's."""
        return _Utterances(
            np.concatenate([self.name, other.name]),
            np.concatenate([self.dialogue, self.dialogue[-1] + 1 + other.dialogue]),
            {m: np.concatenate([x, other.features[m]]) for m, x in self.features.items()},
        )
