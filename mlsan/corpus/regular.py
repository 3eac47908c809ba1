"""Open and read files from strangers: regular files only, whole, and of a bounded size."""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from mlsan.corpus.errors import CorpusError, Place, shorten

LARGEST, LARGEST_JSON = 4 << 30, 64 << 20
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def open_regular(file: Path, largest: int = LARGEST) -> BinaryIO:
    """Open a regular file of at most `largest` bytes; links to one are followed.

    Raises CorpusError for anything else, without waiting for it or reading from it.
    """
    try:
        # Opening a pipe would wait for its other end, and a device can do anything.
        _check(file, os.stat(file), largest)
        stream = os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    except PermissionError as error:
        raise _unreadable(file, error.strerror, "Change its permissions") from error
    except OSError as error:
        raise _unreadable(file, error.strerror, "Put a regular file there") from error
    except ValueError as error:
        raise Place(file).error(f"cannot be read ({error})", "Give another path") from error
    try:
        _check(file, os.fstat(stream.fileno()), largest)
    except CorpusError:
        stream.close()
        raise
    return stream


def read_whole(file: Path, stream: BinaryIO) -> bytes:
    """The bytes of an open file. Raises CorpusError if they are not as many as its size says."""
    size = os.fstat(stream.fileno()).st_size
    try:
        data = stream.read(size)
    except OSError as error:
        raise _unreadable(file, error.strerror, "Copy the file again") from error
    except MemoryError as error:
        fix = "Use a computer with more memory"
        raise Place(file).error(f"its {size} bytes do not fit into memory", fix) from error
    if len(data) < size:
        raise Place(file).error("it became shorter while it was read", "Run the command again")
    return data


def read_json(file: Path) -> Any:
    """The value of a JSON file. Raises CorpusError if it is not JSON or an object repeats a key."""
    with open_regular(file, LARGEST_JSON) as stream:
        data = read_whole(file, stream)
    try:
        return json.loads(data, object_pairs_hook=_once)
    except RecursionError as error:
        problem = "the file is not JSON that can be used (it is nested too deep)"
        raise Place(file).error(problem, "Fix or remove it") from error
    except ValueError as error:
        raise Place(file).error(f"the file is not JSON ({error})", "Fix or remove it") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict, if no key is there twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {shorten(twice)!r} is there twice")
    return table


def _check(file: Path, found: os.stat_result, largest: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a device")
        raise _unreadable(file, f"it is {kind}, not a file", "Put a regular file there")
    if found.st_size > largest:
        problem = f"its {found.st_size} bytes are more than {largest}"
        raise Place(file).error(problem, "Give a smaller file, e.g. with features as float32")


def _unreadable(file: Path, why: str | None, fix: str) -> CorpusError:
    return Place(file).error(f"cannot be read ({why})", fix)
