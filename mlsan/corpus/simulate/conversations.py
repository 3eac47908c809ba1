"""The first half of the story: who talks with whom, turn by turn, and with which emotion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus.simulate.settings import Simulation

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

MAIN = ("Ada", "Ben", "Cleo", "Dov", "Emma", "Finn")
# The six main characters' share of MELD's utterances, and the strangers' share of the others'
# utterances in MELD's test split (4.2 % of all).
_MAIN_SHARE = 0.83
_STRANGER_SHARE = 0.25
# How many people talk in a MELD dialogue, from 1 on.
_PARTIES = (0.09, 0.45, 0.25, 0.12, 0.06, 0.03)
_TRAINING_SESSIONS = 4  # of IEMOCAP


@dataclass(frozen=True)
class Person:
    """A speaker; "M" or "F" decides which shared style is theirs."""

    name: str
    gender: Literal["M", "F"]
    leading: bool
    """One of MELD's main six, or an actor of IEMOCAP's training sessions."""


@dataclass(frozen=True)
class Talk:
    """A dialogue before it is expressed: who speaks (index into the people), and the emotions."""

    id: str
    split: Split
    utterance: tuple[str, ...]
    speaker: Int[np.ndarray, "turn"]
    label: Int[np.ndarray, "turn"]


def people(settings: Simulation) -> tuple[Person, ...]:
    """Everyone who may speak: IEMOCAP's actors, or MELD's main six, guests and strangers."""
    if settings.benchmark == "IEMOCAP":
        return tuple(
            Person(f"Ses0{session + 1}_{gender}", gender, session < _TRAINING_SESSIONS)
            for session in range(_TRAINING_SESSIONS + settings.test_sessions)
            for gender in "MF"
        )
    guests = [f"guest {i:03d}" for i in range(1, settings.guests + 1)]
    strangers = [f"stranger {i:03d}" for i in range(1, settings.strangers + 1)]
    names = (*MAIN, *guests, *strangers)
    return tuple(Person(name, "FM"[i % 2], name in MAIN) for i, name in enumerate(names))


def conversations(settings: Simulation) -> list[Talk]:
    """All dialogues, split by split."""
    casts = actors(settings) if settings.benchmark == "IEMOCAP" else friends(settings)
    order = settings.generator("turns")
    feeling = settings.generator("emotions")
    inertia = settings.generator("inertia").beta(
        20 * settings.inertia, 20 * (1 - settings.inertia), size=len(people(settings))
    )
    talks = []
    for length, (key, split, cast) in zip(lengths(settings, len(casts)), casts, strict=True):
        speaker = turns(order, cast, length, settings.switch)
        talks.append(
            Talk(
                id=key,
                split=split,
                utterance=utterance_ids(settings, key, split, speaker),
                speaker=speaker,
                label=emotions(settings, feeling, speaker, inertia),
            )
        )
    return talks


def lengths(settings: Simulation, count: int) -> list[int]:
    """Utterances a dialogue: 1 + a negative binomial of the published mean and deviation."""
    mean, variance = settings.length_mean - 1, settings.length_sd**2
    drawn = settings.generator("lengths").negative_binomial(
        mean**2 / (variance - mean), mean / variance, size=count
    )
    return np.minimum(1 + drawn, settings.length_max).tolist()


def friends(settings: Simulation) -> list[tuple[str, Split, list[int]]]:
    """MELD: key, split and cast of each dialogue; keys leave one free after train, as published."""
    draw = settings.generator("cast")
    guests = np.arange(settings.guests) + len(MAIN)
    strangers = np.arange(settings.strangers) + len(MAIN) + settings.guests
    popularity = 1 / np.arange(1, settings.guests + 1) ** 0.6
    casts: list[tuple[str, Split, list[int]]] = []
    for split, first in (
        ("train", 0),
        ("dev", settings.train + 1),
        ("test", settings.train + 1 + settings.dev),
    ):
        seats = 1 + draw.choice(len(_PARTIES), size=getattr(settings, split), p=_PARTIES)
        main = [int(n) for n in draw.binomial(seats, _MAIN_SHARE)]
        rest = int(seats.sum()) - sum(main)
        others = draw.choice(guests, size=rest, p=popularity / popularity.sum())
        if split == "train":
            # Every guest is met at least once in training.
            others[: len(guests)] = guests[: len(others)]
        else:
            new = draw.random(rest) < _STRANGER_SHARE
            others[new] = draw.choice(strangers, size=int(new.sum()))
        others = iter(draw.permutation(others).tolist())
        for i, (n, n_main) in enumerate(zip(seats.tolist(), main, strict=True)):
            cast = draw.choice(len(MAIN), size=min(n_main, len(MAIN)), replace=False).tolist()
            casts.append((str(first + i), split, cast + [next(others) for _ in range(n - n_main)]))
    return casts


def actors(settings: Simulation) -> list[tuple[str, Split, list[int]]]:
    """IEMOCAP: sessions 1-4 give train and dev, all others test; two actors per session."""
    casts: list[tuple[str, Split, list[int]]] = []
    held_out = settings.train + settings.dev
    order = settings.generator("cast").permutation(held_out)
    dev = set(order[: settings.dev].tolist())
    for i in range(held_out):
        number, session = divmod(i, _TRAINING_SESSIONS)
        split: Split = "dev" if i in dev else "train"
        casts.append((actor_dialogue(session, number), split, [2 * session, 2 * session + 1]))
    for i in range(settings.test):
        number, session = divmod(i, settings.test_sessions)
        session += _TRAINING_SESSIONS
        casts.append((actor_dialogue(session, number), "test", [2 * session, 2 * session + 1]))
    return casts


def actor_dialogue(session: int, number: int) -> str:
    """A dialogue's id, e.g. Ses05F_impro01."""
    return f"Ses0{session + 1}{'FM'[number % 2]}_impro{number // 2 + 1:02d}"


def turns(
    draw: np.random.Generator, cast: Sequence[int], length: int, switch: float
) -> Int[np.ndarray, "turn"]:
    """Who speaks when: turns change hands with probability `switch`, and nobody stays silent."""
    cast = list(dict.fromkeys(cast))[:length]
    waiting = list(cast)
    spoken: list[int] = []
    for left in range(length, 0, -1):
        if left <= len(waiting):
            choice = waiting
        elif spoken and (len(cast) == 1 or draw.random() >= switch):
            choice = spoken[-1:]
        else:
            choice = [person for person in cast if person not in spoken[-1:]]
        spoken.append(choice[int(draw.integers(len(choice)))])
        if spoken[-1] in waiting:
            waiting.remove(spoken[-1])
    return np.array(spoken, dtype=np.int64)


def emotions(
    settings: Simulation,
    draw: np.random.Generator,
    speaker: Int[np.ndarray, "turn"],
    inertia: Float[np.ndarray, "speaker"],
) -> Int[np.ndarray, "turn"]:
    """Each turn keeps the speaker's last emotion, takes over the turn before's, or draws anew.

    A new emotion is the dialogue's mood or any. Whatever these rates are, each emotion stays as
    frequent as the prior says.
    """
    prior = settings.prior
    mood = int(draw.choice(len(prior), p=prior))
    last: dict[int, int] = {}
    felt: list[int] = []
    for person in speaker.tolist():
        keep, catch, tune = draw.random(3)
        new = int(draw.choice(len(prior), p=prior))
        if person in last and keep < inertia[person]:
            emotion = last[person]
        elif felt and catch < settings.contagion:
            emotion = felt[-1]
        else:
            emotion = mood if tune < settings.mood else new
        felt.append(emotion)
        last[person] = emotion
    return np.array(felt, dtype=np.int64)


def utterance_ids(
    settings: Simulation, key: str, split: Split, speaker: Int[np.ndarray, "turn"]
) -> tuple[str, ...]:
    """Ids as published, e.g. dev_dia0_utt3 and Ses01F_impro01_M003."""
    if settings.benchmark == "IEMOCAP":
        counts = {0: 0, 1: 0}
        ids = []
        for party in (speaker % 2).tolist():
            ids.append(f"{key}_{'MF'[party]}{counts[party]:03d}")
            counts[party] += 1
        return tuple(ids)
    first = {"train": 0, "dev": settings.train + 1, "test": settings.train + 1 + settings.dev}
    number = int(key) - first[split]
    return tuple(f"{split}_dia{number}_utt{turn}" for turn in range(len(speaker)))
