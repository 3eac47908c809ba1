"""What a corpus declares about itself: its name, its emotions and its roles.

The declaration is in the corpus's folder, in corpus.json. MELD's and IEMOCAP's are built in, so
their published folders need none.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from mlsan.corpus.errors import Place, shown
from mlsan.corpus.regular import read_json
from mlsan.corpus.types import LONGEST, MOST, Declaration

DECLARATION = "corpus.json"

# Emotions and roles in the order of the published feature files' labels and one-hot rows.
BUILT_IN: dict[str, Declaration] = {
    declared.name: declared
    for declared in (
        Declaration(
            name="MELD",
            emotions=("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
            roles=tuple(f"role {role}" for role in range(9)),
        ),
        Declaration(
            name="IEMOCAP",
            emotions=("happy", "sad", "neutral", "angry", "excited", "frustrated"),
            roles=("M", "F"),
        ),
    )
}

_WORD = f"1 to {LONGEST} letters, digits, spaces, - and _, with a letter or digit first and last"
_FIXES = {
    "name": f"Use {_WORD}",
    "emotions": f"List 2 to {MOST} different names in the order of the labels, each of {_WORD}",
    "roles": f"List 1 to {MOST} different names, each of {_WORD}",
}


def read_declaration(folder: Path, benchmark: str | None = None) -> Declaration:
    """The declaration of the corpus in `folder`: its corpus.json, else a built-in one.

    Without corpus.json, `benchmark` or else the folder's name must be MELD or IEMOCAP. Raises
    CorpusError if neither is, if the file is not a declaration, if it has the name of a built-in
    one and says something else, or if it has another name than `benchmark`.
    """
    place = Place(folder / DECLARATION)
    if not os.path.lexists(place.file):
        return built_in(folder, benchmark or folder.name)
    value = read_json(place.file)
    if not isinstance(value, dict):
        problem = f"the file holds {shown(value)}"
        raise place.error(problem, f"Store an object with the keys {_listed(_FIXES)}")
    try:
        declared = Declaration.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise _refused(place, first) from error
    usual = BUILT_IN.get(declared.name, declared)
    for field in ("emotions", "roles"):
        if getattr(declared, field) != getattr(usual, field):
            problem = f"the name is {declared.name}, but the {field} are not {declared.name}'s"
            fix = f"Choose another name, or list {_listed(getattr(usual, field))}"
            raise place.error(problem, fix)
    if benchmark not in (None, declared.name):
        problem = f"the name is {declared.name}, not {benchmark}"
        raise place.error(problem, f"Use the folder of {benchmark}")
    return declared


def built_in(folder: Path, name: str) -> Declaration:
    """A built-in declaration. Raises CorpusError, about `folder`, if there is none of this name."""
    if name not in BUILT_IN:
        problem = f"{DECLARATION} is missing, and {name!r} is neither {' nor '.join(BUILT_IN)}"
        fix = f"Write {DECLARATION} with the corpus's name, emotions and roles"
        raise Place(folder).error(problem, fix)
    return BUILT_IN[name]


def _refused(place: Place, found: dict) -> Exception:
    """The error of a file of which pydantic says `found`."""
    field, *where = found["loc"]
    if found["type"] == "missing":
        return place.error(f"the key {field!r} is missing", _FIXES[field])
    if field not in _FIXES:
        problem = f"the key {shown(field)} is unknown"
        return place.error(problem, f"Use the keys {_listed(_FIXES)}")
    what = f"{field}, entry {where[0]}" if where else field
    return place.error(f"{what}: {shown(found['input'])} cannot be used", _FIXES[field])


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
