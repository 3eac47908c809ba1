"""Corpora that are generated: written once under a cache, and again if they are damaged."""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from mlsan.files import TornFileError, check_contents, replace_folder

log = logging.getLogger(__name__)


def generated(folder: Path, write: Callable[[Path], object]) -> Path:
    """`folder`, generated first if it is missing or damaged.

    `write` fills an empty folder and records the digests of its files (`write_contents`); every
    file is checked against them. A new folder is renamed to its place when complete. If several
    processes ask at once, one of them writes.
    """
    if damage(folder) is None:
        return folder
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".generate.lock"):
        if problem := damage(folder):
            if folder.exists():
                log.warning("%s: the corpus is generated again", problem)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".corpus-") as scratch:
                new = Path(scratch) / "corpus"
                new.mkdir()
                write(new)
                replace_folder(new, folder)
    return folder


def damage(folder: Path) -> str | None:
    """What keeps a generated corpus from being used, None if nothing does."""
    try:
        check_contents(folder)
    except TornFileError as error:
        return str(error)
    return None


def digest(code: Path, *inputs: bytes) -> str:
    """Digest (12 hex digits) of a generator's inputs and of every module in its folder `code`."""
    modules = [path.read_bytes() for path in sorted(code.glob("*.py"))]
    return hashlib.sha256(b"\0".join([*inputs, *modules])).hexdigest()[:12]
