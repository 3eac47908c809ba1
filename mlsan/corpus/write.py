"""Write a user's table of utterances and arrays of features as a folder in MultiEMO's layout."""

import json
import pickle
import reprlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Num

from mlsan.corpus.declaration import DECLARATION, built_in
from mlsan.corpus.errors import CorpusError, Place
from mlsan.corpus.reader import DEV, FEATURES, IDENTITIES, PROVENANCE, SPEAKERS, read_corpus
from mlsan.corpus.transcripts import person, roles
from mlsan.corpus.types import Corpus, Declaration
from mlsan.files import (
    TornFileError,
    UnwritableError,
    check_contents,
    replace_folder,
    write_contents,
)
from mlsan.vocabulary import MODALITIES, Modality

REQUIRED = ("dialogue", "split", "speaker", "emotion")
SPLITS = ("train", "dev", "test")


def write_layout(
    folder: Path,
    declared: Declaration | str,
    table: pd.DataFrame,
    features: Mapping[Modality, Num[np.ndarray, "utterance _"]],
    provenance: Mapping[str, Any] | None = None,
    name_of: Callable[[str], str] = person,
    origin: Path | None = None,
) -> Corpus:
    """Write a corpus of your own to `folder` and return it as the reader reads it.

    `declared` is the corpus's name, emotions and roles, or the name of a built-in declaration: MELD
    or IEMOCAP. It is written to corpus.json.

    `table` has one row per utterance, in the order in which they were said, and these columns:

    - `dialogue`;
    - `split`: train, dev or test, the same for a whole dialogue. If no dialogue is dev, 5 % of
      the training dialogues are drawn;
    - `speaker`;
    - `emotion`: one of the declared emotions;
    - `party`: one of the declared roles. Without this column, which IEMOCAP needs, roles are in the
      order in which the speakers of a dialogue first speak;
    - `utterance`: an id, optional.

    Each array in `features` has one row per row of `table`. `name_of` turns a speaker into an
    identity, "" if it is not one person. `provenance` says how the features were made; it is any
    value that JSON can hold, and is kept in provenance.json as a record. Errors name `origin`, the
    file of the table, or else the folder; rows are called by the table's index.

    The files are written beside the folder, read back and checked, and only then replace what was
    there, in one step. Raises CorpusError with the row, value and fix, and also if the folder holds
    anything that this function did not write; UnwritableError if the disk is full or read-only.
    """
    check_own(folder)
    place = Place(origin or folder)
    if isinstance(declared, str):
        declared = built_in(folder, declared)
    check_table(place, table, declared)
    for modality, rows in features.items():
        if modality not in MODALITIES:
            fix = f"Use one of {', '.join(MODALITIES)}"
            raise place.error(f"{modality!r} is not a modality", fix)
        if len(rows) != len(table):
            problem = f"{len(rows)} rows of {modality} features for {len(table)} utterances"
            raise place.error(problem, "Give one row per row of the table, in the same order")
    files = contents(table, declared, features, name_of)
    if provenance is not None:
        files[PROVENANCE] = (json.dumps(provenance, indent=2, sort_keys=True) + "\n").encode()
    try:
        return replace(folder, files)
    except OSError as error:
        raise UnwritableError.of(folder, error) from error


def check_own(folder: Path) -> None:
    """Raise CorpusError unless the folder is missing, empty, or as `write_layout` left it."""
    fix = "Move the folder away, or write to another one; nothing in it was changed"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise Place(folder).error("is there already and is not a folder", fix)
    found = {path.name for path in folder.iterdir()}
    try:
        foreign = found - check_contents(folder) if found else set()
    except TornFileError as error:
        problem = f"is there already and is not as write_layout leaves a folder ({error})"
        raise Place(folder).error(problem, fix) from error
    if foreign:
        problem = f"is there already and holds {min(foreign)}, which write_layout did not write"
        raise Place(folder).error(problem, fix)


def replace(folder: Path, files: Mapping[str, bytes]) -> Corpus:
    """Write the files beside the folder, check them, and put them in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        for file, content in files.items():
            (new / file).write_bytes(content)
        try:
            corpus = read_corpus(new)
        except CorpusError as error:
            raise CorpusError(str(error).replace(str(new), str(folder))) from error
        write_contents(new)
        replace_folder(new, folder)
    return corpus


def check_table(place: Place, table: pd.DataFrame, declared: Declaration) -> None:
    """Raise CorpusError for problems that the reader could not locate by row of the table."""
    columns = (*REQUIRED, "party") if declared.name == "IEMOCAP" else REQUIRED
    if missing := [name for name in columns if name not in table]:
        fix = f"It needs {', '.join(columns)}"
        raise place.error(f"the table has no column {missing[0]!r}", fix)
    if table.empty:
        raise place.error("the table has no rows", "Give one row per utterance")

    def refuse(column: str, wrong: pd.Series, fix: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            value = reprlib.repr(table[column].iloc[row])
            problem = f"row {table.index[row]} of the table has {column} {value}"
            raise place.error(problem, fix)

    for column in ("dialogue", "utterance"):
        if column in table:
            refuse(column, table[column].isna() | (table[column] == ""), "Give every row one")
    choices = {"split": SPLITS, "emotion": declared.emotions, "party": declared.roles}
    for column, allowed in choices.items():
        if column in table:
            refuse(column, ~table[column].isin(allowed), f"Use one of {', '.join(allowed)}")
    fix = 'Give every utterance a speaker as text, "" if unknown'
    refuse("speaker", ~table["speaker"].map(lambda name: isinstance(name, str)), fix)
    grouped = table.groupby("dialogue", sort=False)
    if (mixed := grouped["split"].nunique() > 1).any():
        problem = f"dialogue {mixed.idxmax()} is in more than one split"
        raise place.error(problem, "Give all its utterances the same split")
    most = grouped["speaker"].nunique()
    room = len(declared.roles)
    if "party" not in table and most.max() > room:
        problem = f"dialogue {most.idxmax()} has {most.max()} speakers, but there are {room} roles"
        raise place.error(problem, "Declare more roles, or split the dialogue")


def contents(
    table: pd.DataFrame,
    declared: Declaration,
    features: Mapping[Modality, Num[np.ndarray, "utterance _"]],
    name_of: Callable[[str], str],
) -> dict[str, bytes]:
    """The bytes of each file, by name."""
    table = table.reset_index(drop=True)
    groups = {
        int(key) if isinstance(key, int | np.integer) else str(key): rows
        for key, rows in table.groupby("dialogue", sort=False)
    }
    split = {key: rows["split"].iloc[0] for key, rows in groups.items()}
    emotion = {name: index for index, name in enumerate(declared.emotions)}
    train = [key for key in groups if split[key] != "test"]
    test = [key for key in groups if split[key] == "test"]
    speakers = (
        {key: utterance_ids(key, rows) for key, rows in groups.items()},
        {key: parties(rows, declared.roles) for key, rows in groups.items()},
        {key: rows["emotion"].map(emotion).tolist() for key, rows in groups.items()},
        *({}, {}, {}, {}),
        train,
        test,
    )
    files = {
        DECLARATION: (declared.model_dump_json(indent=2) + "\n").encode(),
        SPEAKERS: pickle.dumps(speakers, protocol=4),
    }
    for modality, values in features.items():
        blocks = {key: np.asarray(values)[rows.index] for key, rows in groups.items()}
        files[FEATURES[modality]] = pickle.dumps(blocks, protocol=4)
    names = {str(key): [name_of(name) for name in rows["speaker"]] for key, rows in groups.items()}
    files[IDENTITIES] = json.dumps(names).encode()
    if dev := [str(key) for key in groups if split[key] == "dev"]:
        files[DEV] = json.dumps(dev).encode()
    return files


def utterance_ids(key: int | str, rows: pd.DataFrame) -> list[str]:
    """Ids of a dialogue's utterances: from the table, else dialogue and position."""
    if "utterance" in rows:
        return rows["utterance"].astype(str).tolist()
    return [f"{key}_utt{turn}" for turn in range(len(rows))]


def parties(rows: pd.DataFrame, names: Sequence[str]) -> list[Any]:
    """A dialogue's parties: the table's, else one-hot rows by first appearance."""
    if "party" in rows:
        return rows["party"].tolist()
    return np.eye(len(names), dtype=int)[roles(rows["speaker"])].tolist()
