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
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from mlsan.corpus.expression import Expression
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.style import Population, moments
from mlsan.corpus.types import Corpus, Dialogue, Speakers
from mlsan.vocabulary import Modality

Styles = dict[Modality, Float[np.ndarray, "style 2 _feature"]]
"""mu and sigma of each feature, by modality."""
Voices = dict[Modality, Float[np.ndarray, "voice 2 _feature"]]
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
        self.codes = code.encode(corpus.train)
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
        self.nobody = len(own)
        """The row after the training speakers': a speaker of whom there is no utterance."""
        self.moments = {
            modality: moments(features, [*own.values(), _NONE])
            for modality, features in self.train.features.items()
        }
        """n, mean and scatter by row, over all training utterances."""
        self.style = {
            modality: population.estimate(*self.moments[modality])
            for modality, population in self.population.items()
        }

    def style_of(self, name: str, modality: Modality) -> Float[np.ndarray, "2 feature"]:
        """mu and sigma of a training speaker, the population's for any other name."""
        row = self.row.get(name, self.nobody)
        return np.stack([x[row] for x in self.style[modality]]).astype(np.float32)

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
        unknown = generator.random(len(appearances)) < unknown_rate
        amount = {
            kind: generator.choice(len(DRAWN), len(unknown), p=p) for kind, p in CHANCE.items()
        }
        amounts = np.where(unknown, amount["unknown"], amount["known"]).tolist()
        groups = _Groups(self.nobody + 1)
        style, voiced = [], []
        normal = np.empty((len(unknown), 2 * sum(len(p.b) for p in self.population.values())))
        for (name, *_), stranger, draw in zip(appearances, unknown.tolist(), amounts, strict=True):
            rows, number = own.get(name, _NONE), DRAWN[draw] if random else None
            if number is None or len(rows) <= number:
                style.append(self.row.get(name, self.nobody))
            else:
                drawn = generator.choice(rows, number, replace=False, shuffle=False)
                style.append(groups.add(drawn))
            if random and stranger and name:
                generator.standard_normal(out=normal[len(voiced)])
                voiced.append(len(style) - 1)
        voices = self._new_voices([appearances[i][0] for i in voiced], normal[: len(voiced)])
        styles = self._styles(self.train, groups, style, voices, voiced)
        of = self.train.appearance
        return Speakers(
            self.codes,
            self.train.styles_by_dialogue({m: x[of] for m, x in styles.items()}),
            self.train.by_dialogue(unknown[of]) if unknown.any() else (),
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
        own, row = utterances.rows_by_name, dict(self.row)
        groups = _Groups(self.nobody + 1)
        style = np.full(len(utterances.name), self.nobody)
        for name, dialogue, at in utterances.appearances:
            if name in row:
                style[at] = row[name]
            elif name not in own or amount == 0:
                continue
            elif amount == "past":
                style[at] = [groups.add(at[: turn + 1]) for turn in range(len(at))]
            elif amount == "dialogue":
                style[at] = groups.add(at)
            elif amount == "all":
                style[at] = row[name] = groups.add(own[name])
            else:
                rows = own[name][utterances.dialogue[own[name]] != dialogue]
                if len(rows) > amount:
                    rows = generator.choice(rows, amount, replace=False, shuffle=False)
                style[at] = groups.add(rows)
        styles = self._styles(utterances, groups, style)
        return Speakers(self.code.encode(dialogues), utterances.styles_by_dialogue(styles))

    def _new_voices(self, names: Sequence[str], normal: Float[np.ndarray, "voice _"]) -> Voices:
        """A voice for each of these training speakers, from standard normal numbers."""
        row = [self.row[name] for name in names]
        voices, start = {}, 0
        for modality, population in self.population.items():
            mu, sigma = (x[row] for x in self.style[modality])
            z = normal[:, start : start + 2 * mu.shape[1]].reshape(-1, 2, mu.shape[1])
            voices[modality] = population.new_voice(mu, sigma, z)
            start += 2 * mu.shape[1]
        return voices

    def _styles(
        self,
        utterances: "_Utterances",
        groups: "_Groups",
        style: Sequence[int] | Int[np.ndarray, "style"],
        voices: Voices | None = None,
        voiced: Sequence[int] = (),
    ) -> Styles:
        """Each style from its row of the moments: the training speakers', then the groups'.

        The styles `voiced` are in these voices, the others in the speaker's own.
        """
        styles = {}
        for modality, population in self.population.items():
            added = moments(utterances.features[modality], groups.rows)
            n, mean, scatter = (
                np.concatenate(x)[style] for x in zip(self.moments[modality], added, strict=True)
            )
            # To take a x + c from (mu, sigma) is to take x from ((mu - c) / a, sigma / a).
            a, c = np.ones_like(mean), np.zeros_like(mean)
            if voices:
                a[voiced], c[voiced] = voices[modality].swapaxes(0, 1)
            mu, sigma = population.estimate(n, a * mean + c, a**2 * scatter)
            styles[modality] = np.stack([(mu - c) / a, sigma / a], axis=1).astype(np.float32)
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
    """Utterances that styles are estimated from, besides those of the training speakers.

    Their rows of the moments follow the `before` rows of these.
    """

    def __init__(self, before: int):
        self.before = before
        self.rows: list[np.ndarray] = []

    def add(self, rows: Int[np.ndarray, "_"]) -> int:
        """Add a group of utterances; returns its row of the moments."""
        self.rows.append(rows)
        return self.before + len(self.rows) - 1


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

    @cached_property
    def appearance(self) -> Int[np.ndarray, "utterance"]:
        """By utterance: its place in `appearances`."""
        found = np.empty(len(self.name), dtype=int)
        for place, (*_, rows) in enumerate(self.appearances):
            found[rows] = place
        return found

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """The first utterance of each dialogue and that after its last."""
        inner = np.flatnonzero(np.diff(self.dialogue)) + 1
        return [*pairwise([0, *inner.tolist(), len(self.dialogue)])]

    def by_dialogue(self, x: Shaped[np.ndarray, "utterance *rest"]) -> list[np.ndarray]:
        """Values of the utterances, split into dialogues."""
        return [x[start:end] for start, end in self.bounds]

    def styles_by_dialogue(
        self, styles: dict[Modality, Float[np.ndarray, "utterance 2 _"]]
    ) -> list[dict[Modality, Float[np.ndarray, "_turn 2 _"]]]:
        """Styles of the utterances, split into dialogues."""
        return [{m: x[start:end] for m, x in styles.items()} for start, end in self.bounds]
