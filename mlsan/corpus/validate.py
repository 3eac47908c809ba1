"""Checks of raw values: each function returns the checked value or raises CorpusError.

The error names the file, dialogue, utterance, value and fix.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus.errors import Place, shorten, shown

_NUMBERS = (int, float, np.bool_, np.integer, np.floating)


def sequence(place: Place, value: Any, what: str) -> list[Any]:
    """The items of a list, tuple or array."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist() if value.ndim == 1 else list(value)
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
            some = ", ".join(map(shorten, sorted(ids)[:5]))
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


def labels(place: Place, value: Any, emotions: Sequence[str]) -> Int[np.ndarray, "turn"]:
    """Labels as indices into the emotions."""
    given = sequence(place, value, "labels")
    if not given:
        raise place.error("the dialogue is empty", "Remove it from every file and from the splits")
    if set(map(type, given)) == {int} and min(given) >= 0 and max(given) < len(emotions):
        return np.array(given, dtype=np.int64)
    for position, label in enumerate(given):
        whole = isinstance(label, int | np.integer) or (
            isinstance(label, float | np.floating) and float(label).is_integer()
        )
        if not whole or not 0 <= label < len(emotions):
            fix = f"Use 0 to {len(emotions) - 1}: {', '.join(emotions)}"
            raise place.error(f"label {shown(label)} is not an emotion", fix, position)
    return np.array(given, dtype=np.int64)


def parties(place: Place, value: Any, roles: Sequence[str]) -> Int[np.ndarray, "turn"]:
    """Parties as indices into the roles, from one-hot rows or from names of roles."""
    return np.array(
        [
            _party(place, row, roles, position)
            for position, row in enumerate(sequence(place, value, "speakers"))
        ],
        dtype=np.int64,
    )


@cache
def _one_hot(size: int) -> list[list[int]]:
    return np.eye(size, dtype=int).tolist()


def _party(place: Place, row: Any, roles: Sequence[str], position: int) -> int:
    size = len(roles)
    if isinstance(row, str):
        if row not in roles:
            fix = f"Use one-hot rows of {size}, or a name: {', '.join(roles)}"
            raise place.error(f"speaker {shown(row)} is not a role", fix, position)
        return roles.index(row)
    if type(row) is list and set(map(type, row)) == {int} and row in _one_hot(size):
        return row.index(1)
    given = row.tolist() if isinstance(row, np.ndarray) and row.shape == (size,) else row
    numbers = isinstance(given, list | tuple) and not _odd(given)
    if not numbers or len(given) != size or (given.count(0), given.count(1)) != (size - 1, 1):
        fix = f"Put a single 1 among {size} numbers, all others 0"
        raise place.error(f"speaker row {shown(given)} is not one-hot", fix, position)
    return given.index(1)


def _odd(values: Iterable[Any]) -> list[type]:
    """The types of the values that are no numbers."""
    kinds = set(map(type, values)) - {int, float}
    return [kind for kind in kinds if not issubclass(kind, _NUMBERS)] if kinds else []


def features(place: Place, value: Any, turns: int) -> Float[np.ndarray, "turn feature"]:
    """Features as float32: one row per utterance, all of the same length and finite."""
    matrix = isinstance(value, np.ndarray) and value.ndim > 1
    given = value if matrix else sequence(place, value, "features")
    same_count(place, given, turns, "feature rows")
    # One look at the first row is enough if all are rows of one array.
    rows = [
        _row(place, row, position) for position, row in enumerate(given[: 1 if matrix else None])
    ]
    for position, row in enumerate(rows):
        if row.ndim != 1 or row.shape != rows[0].shape or not row.size:
            raise place.error(
                f"a feature row has shape {row.shape}, the first one {rows[0].shape}",
                "Give every utterance one row, all of the same length",
                position,
            )
    # A float64 that overflows float32 becomes Inf, which `finite` finds.
    with np.errstate(over="ignore", invalid="ignore"):
        return finite(place, np.array(given if matrix else rows, dtype=np.float32))


def _row(place: Place, value: Any, position: int) -> np.ndarray:
    """A row as an array. Only numbers become one: an array of texts could take any memory."""
    fix = "Give every utterance one flat row of numbers"
    if not isinstance(value, np.ndarray):
        odd = _odd(value if isinstance(value, list | tuple) else [value])
        if any(issubclass(kind, list | tuple | np.ndarray) for kind in odd):
            raise place.error("the feature row is ragged or nested", fix, position)
        if odd:
            raise place.error(f"features have type {odd[0].__name__}", fix, position)
    row = np.asarray(value)
    if row.dtype.kind not in "biuf":
        raise place.error(f"features have type {row.dtype}", fix, position)
    return row


def joined_features(
    tables: Mapping[str, Any], turns: Mapping[str, int]
) -> dict[str, Float[np.ndarray, "_turn _feature"]] | None:
    """The features of all dialogues at once as float32, None unless all are matrices that fit."""
    rows = list(tables.values())
    if not all(type(row) is np.ndarray and row.ndim == 2 and row.dtype.kind == "f" for row in rows):
        return None
    sizes = {row.shape[1] for row in rows}
    if len(sizes) > 1 or 0 in sizes or any(len(tables[key]) != turns[key] for key in tables):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.concatenate(rows, dtype=np.float32, casting="same_kind")
    if not np.isfinite(whole).all():
        return None
    ends = np.cumsum([len(row) for row in rows]).tolist()
    return {
        key: whole[start:end] for key, start, end in zip(tables, [0, *ends[:-1]], ends, strict=True)
    }


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
            f"{size} features per utterance, but dialogue {shorten(other)} has {first}",
            "Give every dialogue features of the same size",
        )


def split(
    place: Place, value: Any, known: Collection[str], what: str, otherwise: str = "has no labels"
) -> list[str]:
    """Dialogue ids of a split, each known and listed once; sets are sorted."""
    if isinstance(value, set | frozenset):
        try:
            value = sorted(value)
        except TypeError as error:
            problem = f"the {what} ids mix numbers and text"
            raise place.error(problem, "Store them as a list, or all as text") from error
    ids = [str(key) for key in sequence(place, value, f"{what} ids")]
    if not ids:
        raise place.error(f"the {what} split is empty", "List at least one dialogue")
    for key in ids:
        if key not in known:
            problem = f"{what} lists dialogue {shorten(key)}, which {otherwise}"
            raise place.error(problem, "Fix the list of ids")
    if twice := sorted(key for key, count in Counter(ids).items() if count > 1):
        problem = f"{what} lists dialogue {shorten(twice[0])} twice"
        raise place.error(problem, "List each dialogue once")
    return ids


def disjoint(place: Place, train: Iterable[str], test: Iterable[str]) -> None:
    """Raise if a dialogue is in train and in test."""
    if shared := sorted(set(train) & set(test)):
        some = ", ".join(map(shorten, shared[:5]))
        raise place.error(
            f"{len(shared)} dialogues are in both train and test ({some})",
            "Remove them from one of the two lists",
        )


def names(place: Place, value: Any, turns: int) -> tuple[str, ...]:
    """The speaker's name of each utterance, "" for no known person."""
    given = sequence(place, value, "names")
    same_count(place, given, turns, "names")
    for position, name in enumerate(given):
        if not isinstance(name, str | None):
            fix = "Give a name as text, or null for no known person"
            raise place.error(f"name {shown(name)} is not text", fix, position)
    return tuple(name or "" for name in given)
