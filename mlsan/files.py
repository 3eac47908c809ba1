"""Files that are whole or absent: atomic writes, and files that carry their own digest."""

import ctypes
import errno
import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

SEAL = b"mlsan-sealed-1\n"
CONTENTS = "contents.json"


class TornFileError(ValueError):
    """A file is cut short, altered or foreign. The message names the file and the fix."""


class UnwritableError(OSError):
    """A file cannot be written. The message names the file, the cause and the fix."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> "UnwritableError":
        """The error of a failed attempt to write `path`."""
        return cls(
            error.errno,
            f"cannot write {path}: {error.strerror}. Free disk space or make the folder writable, "
            "then run the same command again; finished work is kept",
        )


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees either the old file or the whole new one.

    Raises UnwritableError if the disk is full or the folder is read-only.
    """
    content = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise UnwritableError.of(path, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UnwritableError.of(path, error) from error
        raise


def sha256(content: bytes) -> str:
    """The hex SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def write_sealed(path: Path, content: bytes) -> None:
    """Write `content` after its own digest, so that `read_sealed` can check it."""
    write_atomically(path, SEAL + hashlib.sha256(content).digest() + content)


def read_sealed(path: Path) -> bytes:
    """The content of a file that `write_sealed` wrote. Raises TornFileError for any other file."""
    raw = read_regular(path)
    head = len(SEAL) + hashlib.sha256().digest_size
    digest, content = raw[len(SEAL) : head], raw[head:]
    if not raw.startswith(SEAL) or hashlib.sha256(content).digest() != digest:
        raise TornFileError(
            f"{path} is torn or was not written by mlsan: delete it and run the command again"
        )
    return content


def read_regular(path: Path) -> bytes:
    """The bytes of a file. Raises TornFileError for a folder, pipe, device or endless link."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        kind = stat.S_IFLNK
    if kind != stat.S_IFREG:
        raise TornFileError(f"{path} is not a regular file")
    return path.read_bytes()


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with its own digest in it, so that `read_record` can check it."""
    write_atomically(path, json.dumps(content | {"digest": _digest(content)}, indent=1) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """The object that `write_record` wrote. Raises TornFileError for any other file."""
    raw = read_regular(path)
    try:
        content = json.loads(raw)
        if content.pop("digest") == _digest(content):
            return content
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # not an object, or not JSON at all
    raise TornFileError(f"{path} is torn, altered or was not written by mlsan")


def _digest(content: dict[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())


def write_contents(folder: Path) -> None:
    """Record the digest of every file in `folder`, so that `check_contents` can check them."""
    digests = {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())}
    write_record(folder / CONTENTS, {"files": digests})


def check_contents(folder: Path) -> set[str]:
    """The names of the files that `write_contents` recorded, all of them unchanged.

    Raises TornFileError naming a file that is missing or altered, or a missing record.
    """
    files = {CONTENTS: None}
    try:
        files |= read_record(folder / CONTENTS)["files"]
        for name, digest in files.items():
            if digest and sha256(read_regular(folder / name)) != digest:
                raise TornFileError(f"{folder / name} has been altered")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TornFileError(f"{error.filename} is missing") from error
    return set(files)


def replace_folder(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`; what was there is at `new` or beside it afterwards.

    If the process is killed, the old or the new folder is in place. Where the system cannot
    exchange two folders in one step, there is a moment with the old one only beside `new`, as
    NAME.old.
    """
    if not os.path.lexists(folder):
        os.rename(new, folder)
        return
    try:
        _exchange(new, folder)
    except (AttributeError, OSError):
        os.rename(folder, new.with_name(f"{new.name}.old"))
        os.rename(new, folder)


def _exchange(one: Path, other: Path) -> None:
    """Linux's renameat2 with RENAME_EXCHANGE; Python has no function for it."""
    here, exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
