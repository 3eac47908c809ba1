"""What a model is given of who speaks: a code for those it knows, and a style for everyone.

Styles come from unlabelled utterances, the *enrolment* of a speaker (`mlsan.corpus.style`).
Speakers of the training dialogues are enrolled with their training utterances. A stranger is
enrolled with none, with some, or with all of the stranger's own utterances: that is a choice of
the evaluation, so one trained model serves every amount. Its labels are never used.

Where there is text, styles are those of the features without what the emotions probably add
(`mlsan.corpus.expression`): a few utterances show more of their emotions than of their speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from mlsan.corpus.expression import Expression
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.style import Population, moments
from mlsan.corpus.types import Corpus, Dialogue, Speakers
from mlsan.vocabulary import Modality

Voice = dict[Modality, Float[np.ndarray, "2 feature"]]
"""Scale a and shift c of each feature, by modality."""
Amount = int | Literal["past", "dialogue", "all"]
"""Utterances that a stranger is enrolled with: a number of them from other dialogues, those of
the dialogue so far, those of the dialogue, or all there are."""

# Training draws the amount for each speaker of each dialogue, anew in every epoch, so that one
# model meets every amount that testing may bring. The last stands for all utterances.
DRAWN = (0, 1, 3, 10, 30, None)
CHANCE = {"known": (0, 0.1, 0.1, 0.15, 0.25, 0.4), "unknown": (0.5, 0.1, 0.1, 0.1, 0.1, 0.1)}


class Enrolment:
    """Codes and styles for the dialogues of a corpus.

    `modalities` are those whose styles are wanted, none for codes alone.
    """

    def __init__(self, code: SpeakerCode, corpus: Corpus, modalities: Sequence[Modality] = ()):
        self.code = code
        self.dialogues = corpus.train
        plain = _Utterances.of(corpus.train, code, modalities)
        explained = modalities and "text" in corpus.sizes
        self.expression = _expression(corpus.train, plain) if explained else None
        """What the emotions add; None without text."""
        self.train = plain.without(self.expression, corpus.train)
        self.population = {
            modality: Population.fit(features, self.train.name)
            for modality, features in self.train.features.items()
        }
        own = self.train.rows_by_name
        self.row = {name: row for row, name in enumerate(own)}
        self.style = {
            modality: population.estimate(*moments(self.train.features[modality], [*own.values()]))
            for modality, population in self.population.items()
        }

    def style_of(self, name: str, modality: Modality) -> Float[np.ndarray, "2 feature"]:
        """mu and sigma of a training speaker, the population's for any other name."""
        if name in self.row:
            found = [x[self.row[name]] for x in self.style[modality]]
        else:
            found = [self.population[modality].mu_0, self.population[modality].sigma_0]
        return np.stack(found).astype(np.float32)

    def training(
        self, generator: np.random.Generator, random: bool, unknown_rate: float
    ) -> Speakers:
        """For the training dialogues, in order.

        Speakers are trained as unknown at `unknown_rate`, drawn for each dialogue: without an
        identity. With `random`, speakers are enrolled with a random amount of their training
        utterances, and unknown ones get a voice drawn from the population, as strangers have:
        their utterances count as a x + c (`Population.new_voice`), and so does their enrolment,
        whose emotions count as explained in the new voice as well.
        Otherwise everyone is enrolled with all of them.
        """
        own, appearances = self.train.rows_by_name, self.train.appearances
        groups = _Groups(len(self.train.name))
        withheld = np.zeros(len(self.train.name), dtype=bool)
        unknown = generator.random(len(appearances)) < unknown_rate
        drawn = {
            kind: generator.choice(len(DRAWN), len(unknown), p=p) for kind, p in CHANCE.items()
        }
        amounts = np.where(unknown, drawn["unknown"], drawn["known"])
        for (name, _, at), stranger, draw in zip(appearances, unknown, amounts, strict=True):
            withheld[at] = stranger
            rows, amount = own.get(name, _NONE), DRAWN[draw] if random else None
            every = amount is None or len(rows) <= amount
            if not every:
                rows = generator.choice(rows, amount, replace=False, shuffle=False)
            voice = self._new_voice(name, generator) if random and stranger and name else None
            groups.enrol(at, rows, key=name if every else "", voice=voice)
        return Speakers(
            self.code.encode(self.dialogues),
            self._styles(self.train, self.train, groups),
            self.train.by_dialogue(withheld) if withheld.any() else (),
        )

    def evaluation(
        self,
        dialogues: Sequence[Dialogue],
        amount: Amount = 0,
        generator: np.random.Generator | None = None,
    ) -> Speakers:
        """For these dialogues, in order: strangers enrolled with `amount` of their utterances.

        `generator` draws them where there are more. Everyone else is enrolled with all of their
        training utterances.
        """
        plain = _Utterances.of(dialogues, self.code, tuple(self.population))
        utterances = plain.without(self.expression, dialogues)
        known, own = self.train.rows_by_name, utterances.rows_by_name
        groups = _Groups(len(utterances.name))
        offset = len(self.train.name)
        for name, dialogue, at in utterances.appearances:
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
        everyone = self.train.followed_by(utterances)
        return Speakers(self.code.encode(dialogues), self._styles(utterances, everyone, groups))

    def _new_voice(self, name: str, generator: np.random.Generator) -> Voice:
        at = self.row[name]
        return {
            modality: population.new_voice(*(x[at] for x in self.style[modality]), generator)
            for modality, population in self.population.items()
        }

    def _styles(
        self, utterances: "_Utterances", source: "_Utterances", groups: "_Groups"
    ) -> list[dict[Modality, Float[np.ndarray, "_turn 2 _feature"]]]:
        """By dialogue. The groups are rows of `source`."""
        styles: list[dict[Modality, np.ndarray]] = [{} for _ in range(utterances.dialogue[-1] + 1)]
        for modality, population in self.population.items():
            n, mean, scatter = (
                x[groups.drawn] for x in moments(source.features[modality], groups.rows)
            )
            # To take a x + c from (mu, sigma) is to take x from ((mu - c) / a, sigma / a).
            a, c = groups.scales_and_shifts(modality, mean.shape)
            mu, sigma = population.estimate(n, a * mean + c, a**2 * scatter)
            style = np.stack([(mu - c) / a, sigma / a], axis=1)[groups.of].astype(np.float32)
            for own, part in zip(styles, utterances.by_dialogue(style), strict=True):
                own[modality] = part
        return styles


@lru_cache(maxsize=4)
def fit_enrolment(code: SpeakerCode, corpus: Corpus, modalities: tuple[Modality, ...]) -> Enrolment:
    """The `Enrolment` of these, fitted once: the runs on a corpus share it."""
    return Enrolment(code, corpus, modalities)


def _expression(dialogues: Sequence[Dialogue], utterances: "_Utterances") -> Expression:
    label = np.concatenate([d.label for d in dialogues])
    return Expression.fit(_text(dialogues), utterances.features, label, utterances.name)


def _text(dialogues: Sequence[Dialogue]) -> Float[np.ndarray, "utterance _"]:
    return np.concatenate([d.feature["text"] for d in dialogues])


_NONE = np.empty(0, dtype=int)


class _Groups:
    """Which utterances styles are estimated from, and whose style each utterance gets."""

    def __init__(self, utterances: int):
        self.rows: list[np.ndarray] = []
        self.drawn: list[int] = []
        """By style: its place in `rows`. Several voices may be enrolled from the same rows."""
        self.voices: dict[int, Voice] = {}
        """By style; those that are not here have the speaker's own."""
        self.of = np.empty(utterances, dtype=int)
        """By utterance: its style."""
        self._rows: dict[str, int] = {}
        self._style: dict[str, int] = {}

    def enrol(
        self,
        at: Int[np.ndarray, "_"] | np.integer,
        rows: Int[np.ndarray, "_"],
        key: str = "",
        voice: Voice | None = None,
    ) -> None:
        """Give the utterances `at` the style of `rows`, both in another voice if there is one.

        Equal keys have equal rows, and share them.
        """
        if not key or key not in self._rows:
            self._rows[key] = len(self.rows)
            self.rows.append(rows)
        shared = key if voice is None else ""
        if not shared or shared not in self._style:
            self._style[shared] = len(self.drawn)
            self.drawn.append(self._rows[key])
        style = self._style[shared]
        if voice is not None:
            self.voices[style] = voice
        self.of[at] = style

    def scales_and_shifts(
        self, modality: Modality, shape: tuple[int, int]
    ) -> Float[np.ndarray, "2 style feature"]:
        """a and c of each style's voice: 1 and 0 for the speaker's own."""
        found = np.zeros((2, *shape))
        found[0] = 1
        for style, voice in self.voices.items():
            found[:, style] = voice[modality]
        return found


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
            name=np.concatenate(code.speakers_in(dialogues)),
            dialogue=np.repeat(np.arange(len(dialogues)), [len(d) for d in dialogues]),
            features={m: np.concatenate([d.feature[m] for d in dialogues]) for m in modalities},
        )

    def without(
        self, expression: Expression | None, dialogues: Sequence[Dialogue]
    ) -> "_Utterances":
        """These without what the emotions of the dialogues' utterances probably add."""
        if expression is None:
            return self
        return replace(self, features=expression.without(_text(dialogues), self.features))

    @cached_property
    def rows_by_name(self) -> dict[str, np.ndarray]:
        """Each named speaker's utterances."""
        names, inverse = np.unique(self.name.astype(str), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        return {name: rows for name, rows in zip(names.tolist(), parts, strict=True) if name}

    @cached_property
    def appearances(self) -> list[tuple[str, int, np.ndarray]]:
        """Each speaker of each dialogue: name, dialogue, and the rows of the utterances."""
        found: dict[tuple[int, str], list[int]] = {}
        for row, key in enumerate(zip(self.dialogue.tolist(), self.name.tolist(), strict=True)):
            found.setdefault(key, []).append(row)
        return [(name, dialogue, np.array(rows)) for (dialogue, name), rows in found.items()]

    def by_dialogue(self, x: Shaped[np.ndarray, "utterance *rest"]) -> list[np.ndarray]:
        """Values of the utterances, split into dialogues."""
        return np.split(x, np.flatnonzero(np.diff(self.dialogue)) + 1)

    def followed_by(self, other: "_Utterances") -> "_Utterances":
        """These, then the other's."""
        return _Utterances(
            np.concatenate([self.name, other.name]),
            np.concatenate([self.dialogue, self.dialogue[-1] + 1 + other.dialogue]),
            {m: np.concatenate([x, other.features[m]]) for m, x in self.features.items()},
        )
