"""The user's own corpus as a folder of tables: utterances.csv, and features as .npy or .csv."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Num

from mlsan.corpus.declaration import BUILT_IN, DECLARATION, read_declaration
from mlsan.corpus.errors import Place
from mlsan.corpus.types import Corpus
from mlsan.corpus.write import write_layout
from mlsan.files import TornFileError, read_regular, sha256
from mlsan.vocabulary import MODALITIES, Modality

TABLE = "utterances.csv"
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK\x03\x04": "a spreadsheet or archive"}


def write_csv(folder: Path) -> Corpus:
    """Write folder/NAME from the tables in `folder`.

    `corpus.json` declares the name, emotions and roles (`mlsan.corpus.declaration`). Without it
    they are MELD's, or IEMOCAP's if there is a column party. `utterances.csv` has the columns of
    `write_layout`, and `text`, `audio` and `visual`, each .npy or .csv, one row per utterance.
    Texts are UTF-8, with or without a byte order mark. Rows count as in a spreadsheet, whose row 1
    is the header. Raises CorpusError with file, row, column and fix.
    """
    if not folder.is_dir():
        raise Place(folder).error("there is no such folder", f"Give the folder of {TABLE}")
    table = read_table(folder / TABLE)
    files = {modality: file for modality in MODALITIES if (file := feature_file(folder, modality))}
    if not files:
        names = ", ".join(f"{modality}.npy" for modality in MODALITIES)
        raise Place(folder).error("there are no features", f"Put at least one of {names} there")
    usual = "IEMOCAP" if "party" in table else "MELD"
    own = (folder / DECLARATION).exists()
    declared = read_declaration(folder) if own else BUILT_IN[usual]
    features = {modality: read_features(file, len(table)) for modality, file in files.items()}
    made = {file.name: sha256(file.read_bytes()) for file in (folder / TABLE, *files.values())}
    return write_layout(
        folder / declared.name,
        declared,
        table,
        features,
        provenance={"sha256": made},
        origin=folder / TABLE,
    )


def read_table(file: Path) -> pd.DataFrame:
    """The table of utterances as text, with the rows of the file as its index."""
    (_, header), *rows = records(file) or [(1, [])]
    if len(header) < 2:
        raise Place(file).error("row 1 has no columns", "Name them there, separated by commas")
    if twice := [name for name in header if header.count(name) > 1]:
        raise Place(file).error(f"row 1 names column {twice[0]!r} twice", "Name each column once")
    if not rows:
        raise Place(file).error("the table has no rows", "Give one row per utterance")
    for number, row in rows:
        if len(row) != len(header):
            problem = f"row {number} has {len(row)} cells, and row 1 has {len(header)}"
            fix = "Separate cells by commas, and put a text that contains one into double quotes"
            raise Place(file).error(problem, fix)
    numbers = [number for number, _ in rows]
    return pd.DataFrame([row for _, row in rows], numbers, header, dtype=object)


def feature_file(folder: Path, modality: Modality) -> Path | None:
    """The file of a modality's features, None if there is none."""
    found = [file for end in ("npy", "csv") if (file := folder / f"{modality}.{end}").exists()]
    if len(found) > 1:
        problem = f"there is also {found[0].name}"
        raise Place(found[1]).error(problem, "Leave one of them in the folder")
    return found[0] if found else None


def read_features(file: Path, count: int) -> Num[np.ndarray, "utterance feature"]:
    """The features of one modality: a table of `count` rows of finite numbers."""
    place, first = Place(file), 0
    if file.suffix == ".npy":
        values = read_array(file)
    else:
        values, first = read_numbers(file)
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not values.shape[1]:
        problem = f"holds an array of shape {values.shape} and type {values.dtype}"
        raise place.error(problem, "Store numbers, one row per utterance")
    if len(values) != count:
        problem = f"has {len(values)} rows of features for {count} utterances"
        raise place.error(problem, f"Give one row per row of {TABLE}, in the same order")
    with np.errstate(over="ignore"):  # the models compute in float32
        wrong = ~np.isfinite(np.asarray(values, dtype=np.float32))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        problem = f"row {row + first}, column {column + bool(first)} is {values[row, column]}"
        fix = "Replace it with a number below 3e38, or with 0 if it could not be measured"
        raise place.error(problem if first else f"{problem} (both from 0)", fix)
    return values


def read_array(file: Path) -> np.ndarray:
    """The array in an .npy file, mapped: a header cannot claim more than the file holds."""
    try:
        if not file.is_file():
            raise ValueError("it is not a regular file")
        return np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # a foreign header may break numpy's reader in many ways
        problem = "is not a whole .npy file of numbers"
        raise Place(file).error(problem, "Save an array of numbers with numpy.save") from error


def read_numbers(file: Path) -> tuple[Num[np.ndarray, "utterance feature"], int]:
    """The numbers in a .csv file and the row of the first; a first row of names is left out."""
    rows = records(file)
    if rows and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            problem = f"row {number} has {len(row)} cells, and row {rows[0][0]} {len(rows[0][1])}"
            raise Place(file).error(problem, "Give every utterance the same number of features")
        for column, cell in enumerate(row, start=1):
            if not _is_number(cell):
                problem = f"row {number}, column {column} is {cell[:40]!r}"
                fix = "Give a number with a decimal point, and separate numbers by commas"
                raise Place(file).error(problem, fix)
    first = rows[0][0] if rows else 1
    return np.array([[float(cell) for cell in row] for _, row in rows], ndmin=2), first


def _is_number(cell: str) -> bool:
    try:
        return bool(cell.isascii() and "_" not in cell and (float(cell) or True))
    except ValueError:
        return False


def records(file: Path) -> list[tuple[int, list[str]]]:
    """The rows of a .csv file that are not empty, with their numbers from 1."""
    place = Place(file)
    try:
        content = read_regular(file)
    except FileNotFoundError as error:
        raise place.error("the file is missing", "Put it there") from error
    except TornFileError as error:
        raise place.error("is not a regular file", "Put a file there") from error
    except OSError as error:
        raise place.error(f"cannot be read ({error.strerror})", "Change its permissions") from error
    return [(number, row) for number, row in _parse(place, decode(place, content)) if row]


def _parse(place: Place, text: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            yield number, row
    except csv.Error as error:
        fix = 'Write a double quote inside a quoted cell as "", and close every quote'
        raise place.error(f"row {number + 1} is not CSV ({error})", fix) from error


def decode(place: Place, content: bytes) -> str:
    """The text of UTF-8 bytes, with or without a byte order mark."""
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise place.error(f"is {name}, not UTF-8", "Save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x})"
        raise place.error(problem, "Save the file as UTF-8") from error
