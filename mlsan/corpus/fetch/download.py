"""Fetching files that are known by their digest: resumed, retried, verified, never half in place.

What arrives is kept as NAME.part; only verified content gets its final name, and content that
fails is set aside as NAME.rejected.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from filelock import FileLock

from mlsan.corpus.authentic import BLOBS, URL
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.reader import IDENTITIES
from mlsan.corpus.transcripts import (
    BASE_URL,
    FILES,
    SHA256,
    TRANSCRIPTS,
    holds_transcripts,
    identities,
    read_transcripts,
)
from mlsan.files import sha256, write_atomically

CHUNK = 1 << 14  # bytes; less than this is lost when a connection breaks
Progress = Callable[[str, int, int | None], None]  # file, bytes there, bytes in all if known


class DownloadError(CorpusError):
    """A file could not be fetched or is not the one asked for. The message names it."""


class InterruptedDownload(OSError):
    """A connection that may well work next time."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch: its path below the base URL and below the folder, and its git blob id."""

    path: str
    blob: str


@dataclass(frozen=True)
class Patience:
    """How long to wait for a silent server, and how often and when to try again (seconds)."""

    timeout: float = 30.0
    retries: int = 5
    pause: float = 2.0  # doubled after every failure in a row


def blob_id(file: Path) -> str:
    """Git's name for a file's content: SHA-1 of `blob <size>\\0` and the bytes."""
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def quiet(file: str, done: int, total: int | None) -> None:
    """The progress of somebody who does not want to know."""


def fetch_all(
    remotes: Sequence[Remote],
    folder: Path,
    url: str,
    progress: Progress = quiet,
    patience: Patience | None = None,
) -> list[str]:
    """Bring every file below `folder`; returns those that were not there before.

    Files already there are accepted by the same verification; one that fails is set aside and
    fetched anew. Raises DownloadError where the server does not give a file, gives another one,
    or the disk has no room for what is missing.
    """
    patience = patience or Patience()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".download.lock"), requests.Session() as session:
        # Resuming counts bytes as they are sent, so nothing may be compressed on the way.
        session.headers["Accept-Encoding"] = "identity"
        missing = [remote for remote in remotes if not in_place(folder / remote.path, remote)]
        sizes = {r: remote_size(session, url + r.path, patience) for r in missing}
        check_space(folder, [(folder / r.path, size) for r, size in sizes.items()])
        for remote in missing:
            fetch(session, remote, folder, url, sizes[remote], progress, patience)
    return [remote.path for remote in missing]


def in_place(target: Path, remote: Remote) -> bool:
    """Whether the file is there and right; a wrong one is set aside."""
    if not target.is_file():
        return False
    if blob_id(target) == remote.blob:
        return True
    os.replace(target, rejected(target))
    return False


def rejected(target: Path) -> Path:
    """A free name beside the target for content that is not the file asked for."""
    names = (f"{target.name}.rejected{number or ''}" for number in range(1_000_000))
    return next(path for name in names if not (path := target.with_name(name)).exists())


def partial(target: Path) -> Path:
    """Where a file grows until it is whole."""
    return target.with_name(target.name + ".part")


def remote_size(session: requests.Session, url: str, patience: Patience) -> int | None:
    """The size that the server announces, None if it does not."""

    def ask() -> int | None:
        with session.head(url, timeout=patience.timeout, allow_redirects=True) as answer:
            refuse(answer, url)
            length = answer.headers.get("Content-Length", "")
            return int(length) if length.isdecimal() else None

    return persist(ask, url, patience)


def check_space(folder: Path, wanted: Sequence[tuple[Path, int | None]]) -> None:
    """Raise DownloadError where the disk has no room for what is still to come."""
    here = [partial(target).stat().st_size for target, _ in wanted if partial(target).exists()]
    needed = sum(size or 0 for _, size in wanted) - sum(here)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder}: {needed:,} bytes are to be fetched, the disk has {free:,} free. "
            "Free space or choose another folder with DATA=DIR."
        )


def fetch(
    session: requests.Session,
    remote: Remote,
    folder: Path,
    url: str,
    size: int | None,
    progress: Progress,
    patience: Patience,
) -> None:
    """Bring one file, going on where an earlier attempt ended."""
    target = folder / remote.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = partial(target)

    def show(done: int) -> None:
        progress(remote.path, done, size)

    persist(
        lambda: receive(session, url + remote.path, part, size, show, patience),
        url + remote.path,
        patience,
        lambda: part.stat().st_size if part.exists() else 0,
    )
    if (found := blob_id(part)) != remote.blob:
        aside = rejected(target)
        os.replace(part, aside)
        raise DownloadError(
            f"{url}{remote.path} is not the published file (git blob {found}, not {remote.blob}); "
            f"what came is set aside as {aside}. Run the same command again, or get the file "
            "another way."
        )
    os.replace(part, target)


def receive(
    session: requests.Session,
    url: str,
    part: Path,
    size: int | None,
    show: Callable[[int], None],
    patience: Patience,
) -> None:
    """Append to `part` what it still lacks. Raises InterruptedDownload if cut off."""
    done = part.stat().st_size if part.exists() else 0
    if size is not None and done == size:
        return
    headers = {"Range": f"bytes={done}-"} if done else {}
    with session.get(url, headers=headers, stream=True, timeout=patience.timeout) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            raise InterruptedDownload(f"{part.name} was longer than the file")
        refuse(answer, url)
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if answer.status_code != requests.codes.partial_content or not resumed:
            done = 0
        with part.open("ab" if done else "wb") as stream:
            for chunk in answer.iter_content(CHUNK):
                stream.write(chunk)
                done += len(chunk)
                show(done)
            stream.flush()
            os.fsync(stream.fileno())
    if size is not None and done < size:
        raise InterruptedDownload(f"the connection ended after {done:,} of {size:,} bytes")


def refuse(answer: requests.Response, url: str) -> None:
    """Raise for an answer without the file, by whether a later one may have it."""
    if answer.status_code >= 500 or answer.status_code in (408, 429):
        raise InterruptedDownload(f"the server answered {answer.status_code} {answer.reason}")
    if answer.status_code >= 400:
        raise DownloadError(
            f"{url}: the server answered {answer.status_code} {answer.reason}. "
            "Check the address; the file may have moved."
        )


def persist(
    attempt: Callable[[], int | None],
    url: str,
    patience: Patience,
    reached: Callable[[], int] = lambda: 0,
) -> int | None:
    """Call `attempt` until it succeeds, pausing longer after each failure without progress.

    Anything that `reached` gains in between starts the count of failures anew.
    """
    failures, best = 0, reached()
    while True:
        try:
            return attempt()
        except (requests.RequestException, InterruptedDownload) as error:
            failures = 0 if reached() > best else failures + 1
            best = max(best, reached())
            if failures > patience.retries:
                raise DownloadError(
                    f"{url}: gave up after {failures} attempts ({error}). What came so far is "
                    "kept: run the same command again to go on from there."
                ) from error
            time.sleep(patience.pause * 2 ** max(failures - 1, 0))


def fetch_transcripts(
    folder: Path, url: str = BASE_URL, digests: Mapping[str, str] = SHA256, retries: int = 3
) -> Path:
    """MELD's transcripts in folder/transcripts, fetched and verified; returns that folder."""
    target = folder / TRANSCRIPTS
    registry = {file: f"sha256:{digests[split]}" for split, file in FILES.items()}
    store = pooch.create(target, url, registry=registry, retry_if_failed=retries)
    for split, file in FILES.items():
        try:
            if (target / file).is_file() and sha256((target / file).read_bytes()) != digests[split]:
                os.replace(target / file, rejected(target / file))
            store.fetch(file)
        except (OSError, ValueError) as error:
            raise DownloadError(
                f"{url}{file} could not be fetched ({error}). Run the same command again, or put "
                f"MELD's three transcript files into {target} or any folder and name it by DATA."
            ) from error
    return target


def fetch_published(
    folder: Path, url: str = URL, progress: Progress = quiet, patience: Patience | None = None
) -> list[str]:
    """MultiEMO's eight files below `folder`, verified; returns those that had to be fetched."""
    remotes = [Remote(path, blob) for path, blob in BLOBS.items()]
    return fetch_all(remotes, folder, url, progress, patience)


def join_identities(folder: Path, url: str = BASE_URL, digests: Mapping[str, str] = SHA256) -> None:
    """Put MELD's names beside its features, from the transcripts, which are fetched if absent."""
    if not holds_transcripts(folder / TRANSCRIPTS):
        fetch_transcripts(folder, url, digests)
    names = identities(read_transcripts(folder / TRANSCRIPTS, digests))
    write_atomically(folder / "MELD" / IDENTITIES, json.dumps(names))
