"""Files that are whole or absent: atomic writes, and files that carry their own digest."""

import hashlib
import os
import tempfile
from pathlib import Path

SEAL = b"mlsan-sealed-1\n"


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
    raw = path.read_bytes()
    head = len(SEAL) + hashlib.sha256().digest_size
    digest, content = raw[len(SEAL) : head], raw[head:]
    if not raw.startswith(SEAL) or hashlib.sha256(content).digest() != digest:
        raise TornFileError(
            f"{path} is torn or was not written by mlsan: delete it and run the command again"
        )
    return content
