"""Checks of raw values: each function returns the checked value or raises CorpusError.

The error names the file, dialogue, utterance, value and fix.
"""

from collections.abc import Collection, Iterable, Sized
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus.errors import Place
from mlsan.vocabulary import EMOTIONS, PARTIES, Benchmark

Party = {"M": 0, "F": 1}


def sequence(place: Place, value: Any, what: str) -> list[Any]:
    """The items of a list, tuple or array."""
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise place.error(
        f"{what} have type {type(value).__name__}", "Store them as a list or an array"
    )


def table(place: Place, value: Any, what: str) -> dict[str, Any]:
    """A dict by dialogue, with the ids as text."""
    if not isinstance(value, dict):
        problem = f"{what} have type {type(value).__name__}"
        raise place.error(problem, "Store a dict from dialogue id to one entry per utterance")
    named = {str(key): entry for key, entry in value.items()}
    if len(named) < len(value):
        raise place.error(f"{what} have two ids with the same text", "Use each dialogue id once")
    return named


def same_dialogues(place: Place, found: Collection[str], expected: Collection[str]) -> None:
    """Raise unless the file has exactly the dialogues for which Speakers.pkl has labels."""
    for ids, problem in (
        (set(expected) - set(found), "are missing"),
        (set(found) - set(expected), "have no labels in Speakers.pkl"),
    ):
        if ids:
            some = ", ".join(sorted(ids)[:5])
            raise place.error(
                f"{len(ids)} dialogues {problem} ({some}{', …' if len(ids) > 5 else ''})",
                "Make all files from the same list of dialogues",
            )


def same_count(place: Place, found: Sized, expected: int, what: str) -> None:
    """Raise unless there is one item per utterance."""
    if len(found) != expected:
        raise place.error(
            f"{len(found)} {what} for {expected} labels",
            "Give one per utterance, in the same order",
        )


def labels(place: Place, value: Any, benchmark: Benchmark) -> Int[np.ndarray, "turn"]:
    """Labels as indices into EMOTIONS."""
    given = sequence(place, value, "labels")
    if not given:
        raise place.error("the dialogue is empty", "Remove it from every file and from the splits")
    classes = EMOTIONS[benchmark]
    for position, label in enumerate(given):
        whole = isinstance(label, int | float | np.integer | np.floating) and label == label // 1
        if not whole or not 0 <= label < len(classes):
            fix = f"Use 0 to {len(classes) - 1}: {', '.join(classes)}"
            raise place.error(f"label {label!r} is not an emotion", fix, position)
    return np.array(given, dtype=np.int64)


def parties(place: Place, value: Any, benchmark: Benchmark) -> Int[np.ndarray, "turn"]:
    """Parties as numbers, from one-hot rows or from the letters M and F."""
    return np.array(
        [
            _party(place, row, PARTIES[benchmark], position)
            for position, row in enumerate(sequence(place, value, "speakers"))
        ],
        dtype=np.int64,
    )


def _party(place: Place, row: Any, size: int, position: int) -> int:
    if isinstance(row, str):
        if row not in Party or size != len(Party):
            fix = "Use M or F" if size == len(Party) else f"Use one-hot rows of {size}"
            raise place.error(f"speaker {row!r} is not a party", fix, position)
        return Party[row]
    given = np.asarray(row).tolist()
    one_hot = isinstance(given, list) and sorted(given) == [0] * (size - 1) + [1]
    if not one_hot:
        fix = f"Put a single 1 among {size} numbers, all others 0"
        raise place.error(f"speaker row {given} is not one-hot", fix, position)
    return given.index(1)


def features(place: Place, value: Any, turns: int) -> Float[np.ndarray, "turn feature"]:
    """Features as float32: one row per utterance, all of the same length and finite."""
    given = sequence(place, value, "features")
    rows = [_row(place, row, position) for position, row in enumerate(given)]
    same_count(place, rows, turns, "feature rows")
    for position, row in enumerate(rows):
        if row.ndim != 1 or row.shape != rows[0].shape or not row.size:
            raise place.error(
                f"a feature row has shape {row.shape}, the first one {rows[0].shape}",
                "Give every utterance one row, all of the same length",
                position,
            )
    # A float64 that overflows float32 becomes Inf, which `finite` finds.
    with np.errstate(over="ignore"):
        return finite(place, np.array(rows, dtype=np.float32))


def _row(place: Place, value: Any, position: int) -> np.ndarray:
    try:
        row = np.asarray(value)
    except ValueError as error:
        fix = "Give every utterance one flat row of numbers"
        raise place.error("the feature row is ragged", fix, position) from error
    if row.dtype.kind not in "biuf":
        problem = f"features have type {row.dtype}"
        raise place.error(problem, "Store integers or floats", position)
    return row


def finite(
    place: Place, array: Float[np.ndarray, "turn feature"]
) -> Float[np.ndarray, "turn feature"]:
    """The same array, if it has neither NaN nor Inf."""
    if not np.isfinite(array).all():
        turn, column = np.argwhere(~np.isfinite(array))[0]
        raise place.error(
            f"feature {column} is {array[turn, column]}",
            "Replace it with a number, or with 0 if it could not be measured",
            int(turn),
        )
    return array


def same_size(place: Place, size: int, first: int, other: str) -> None:
    """Raise unless all dialogues of a modality have the same number of features."""
    if size != first:
        raise place.error(
            f"{size} features per utterance, but dialogue {other} has {first}",
            "Give every dialogue features of the same size",
        )


def split(
    place: Place, value: Any, known: Collection[str], what: str, otherwise: str = "has no labels"
) -> list[str]:
    """Dialogue ids of a split, each known and listed once; sets are sorted."""
    if isinstance(value, set | frozenset):
        value = sorted(value)
    ids = [str(key) for key in sequence(place, value, f"{what} ids")]
    if not ids:
        raise place.error(f"the {what} split is empty", "List at least one dialogue")
    for key in ids:
        if key not in known:
            problem = f"{what} lists dialogue {key}, which {otherwise}"
            raise place.error(problem, "Fix the list of ids")
    if twice := sorted({key for key in ids if ids.count(key) > 1}):
        raise place.error(f"{what} lists dialogue {twice[0]} twice", "List each dialogue once")
    return ids


def disjoint(place: Place, train: Iterable[str], test: Iterable[str]) -> None:
    """Raise if a dialogue is in train and in test."""
    if shared := sorted(set(train) & set(test)):
        raise place.error(
            f"{len(shared)} dialogues are in both train and test ({', '.join(shared[:5])})",
            "Remove them from one of the two lists",
        )


def names(place: Place, value: Any, turns: int) -> tuple[str, ...]:
    """The speaker's name of each utterance, "" for no known person."""
    given = sequence(place, value, "names")
    same_count(place, given, turns, "names")
    for position, name in enumerate(given):
        if not isinstance(name, str | None):
            fix = "Give a name as text, or null for no known person"
            raise place.error(f"name {name!r} is not text", fix, position)
    return tuple(name or "" for name in given)
