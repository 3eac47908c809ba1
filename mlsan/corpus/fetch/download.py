"""Download files of known content.

Bytes arrive in NAME.part, and the next attempt resumes from there. A file gets its final name only
after its digest is verified; a file with another digest is kept as NAME.rejected. A server that
sends too much, or next to nothing, is given up.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from filelock import FileLock
from rich.progress import Progress
from urllib3.exceptions import HTTPError

from mlsan.corpus.errors import CorpusError
from mlsan.files import UnwritableError

CHUNK = 1 << 14  # bytes
LARGEST = 100 << 20  # bytes: the largest file that GitHub, where all of them are, accepts
TRY_AGAIN = (408, 429, 500, 502, 503, 504)  # statuses of an answer that may change


class DownloadError(CorpusError):
    """A file could not be downloaded, or is not the published one. The message names it."""


@dataclass(frozen=True)
class Patience:
    """When to give up: seconds of silence, failures in a row, and the slowest transfer."""

    timeout: float = 30.0
    retries: int = 5
    pause: float = 2.0  # seconds between attempts, doubled after every failure in a row
    window: float = 30.0  # seconds in which at least `least` bytes must arrive
    least: int = 30_000


def download(
    url: str,
    folder: Path,
    known: Mapping[str, str],
    bars: Progress | None = None,
    patience: Patience = Patience(),
) -> list[str]:
    """Download the files that `folder` lacks; returns their paths.

    `known` maps each path, relative to `url` and to `folder`, to its digest, "sha256:..." or
    "git-blob:...". A file with another digest is set aside and downloaded again. Raises
    DownloadError if the server does not have a file, sends another one, more than LARGEST bytes or
    too slowly, or if something else is in a file's place; and UnwritableError if a file cannot be
    written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            missing = [path for path in known if not in_place(folder / path, known[path])]
            for path in missing:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                bar = Bar(bars or Progress(disable=True), path)
                Resuming(url + path, folder / path, known[path], bar, patience).fetch()
    except OSError as error:
        raise UnwritableError.of(folder, error) from error
    return missing


def in_place(target: Path, digest: str) -> bool:
    """Whether the file exists and has the digest. A file with another digest is set aside."""
    if not is_regular(target):
        return False
    if content_digest(target, digest) == digest:
        return True
    os.replace(target, rejected(target))
    return False


def content_digest(file: Path, like: str) -> str:
    """The digest of a file, of the same kind as the digest `like`.

    git-blob is git's name for a content: the SHA-1 of `blob <size>\\0` and the bytes.
    """
    kind = like.partition(":")[0]
    with file.open("rb") as stream:
        if kind != "git-blob":
            return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"
        blob = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
        return f"{kind}:{hashlib.file_digest(stream, lambda: blob).hexdigest()}"


def rejected(target: Path) -> Path:
    """A free name beside `target` for content that is not the published file."""
    names = (f"{target.name}.rejected{number or ''}" for number in range(1_000_000))
    return next(path for name in names if not (path := target.with_name(name)).exists())


def is_regular(file: Path) -> bool:
    """Whether there is a file. Raises DownloadError for a folder, a link or anything else."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise DownloadError(
            f"{file}: is in the way, and is not a regular file. Move it away and run the same "
            "command again."
        )
    return file.exists()


@dataclass
class Bar:
    """A line of rich's progress display."""

    bars: Progress
    name: str

    def __post_init__(self) -> None:
        self.task = self.bars.add_task(self.name, total=None)

    def begin(self, before: int, total: int | None) -> None:
        """An answer begins; earlier ones left `before` bytes of, if it is known, `total`."""
        self.bars.update(self.task, completed=before, total=total)

    def update(self, count: int) -> None:
        """`count` more bytes have arrived."""
        self.bars.update(self.task, advance=count)


@dataclass(frozen=True)
class Resuming:
    """The download of one file, which resumes, tries again, and verifies what has arrived."""

    url: str
    target: Path
    digest: str
    bar: Bar
    patience: Patience

    def fetch(self) -> None:
        """Download to NAME.part beside the target, and give it its name if it is the file."""
        part = self.target.with_name(f"{self.target.name}.part")
        if not (is_regular(part) and content_digest(part, self.digest) == self.digest):
            self.complete(part)
        if (found := content_digest(part, self.digest)) != self.digest:
            aside = rejected(self.target)
            os.replace(part, aside)
            raise DownloadError(
                f"{self.url}: not the published file ({found}, not {self.digest}); it is kept as "
                f"{aside}. Run the same command again, or get the file another way."
            )
        os.replace(part, self.target)

    def complete(self, part: Path) -> None:
        """Try until the file is complete. Attempts that receive a good deal are not failures."""
        failures = 0
        while True:
            before = size(part)
            try:
                return self.receive(part)
            except (requests.RequestException, HTTPError) as error:
                response = getattr(error, "response", None)
                status = None if response is None else response.status_code
                if status and status not in TRY_AGAIN:
                    raise DownloadError(
                        f"{self.url}: the server answered {status} {response.reason}. Check the "
                        "address; the file may have moved."
                    ) from error
                enough = size(part) - before >= self.patience.least
                failures = 0 if enough else failures + 1
                if failures > self.patience.retries:
                    raise DownloadError(
                        f"{self.url}: gave up after {failures} failed attempts ({error}). What has "
                        "arrived is kept; run the same command again to resume."
                    ) from error
                time.sleep(self.patience.pause * 2 ** max(failures - 1, 0))

    def receive(self, part: Path) -> None:
        """Append the rest of the file to `part`, with one request."""
        try:
            with open_part(part) as stream:
                # Bytes are counted as they are sent, so they must not be compressed.
                headers = {"Accept-Encoding": "identity"}
                if before := stream.tell():
                    headers["Range"] = f"bytes={before}-"
                with requests.get(
                    self.url, headers=headers, stream=True, timeout=self.patience.timeout
                ) as answer:
                    # 200: the server sends the whole file again. 416: the part is as long or
                    # longer, so the next attempt starts anew.
                    if before and answer.status_code in (200, 416):
                        stream.truncate(0)
                        if answer.status_code == 416:
                            return self.receive(part)
                        before = 0
                    answer.raise_for_status()
                    self.copy(answer, stream, before)
        finally:
            if not size(part):
                part.unlink(missing_ok=True)

    def copy(self, answer: requests.Response, stream: BinaryIO, before: int) -> None:
        """Append what arrives to `stream`, unless it is too much or comes too slowly."""
        announced = answer.headers.get("Content-Length", "")
        self.bar.begin(before, before + int(announced) if announced.isdecimal() else None)
        since, arrived, total = time.monotonic(), 0, before
        # read1 returns what is there, where other ways to read wait until a chunk is full.
        while chunk := answer.raw.read1(CHUNK):
            total += len(chunk)
            if total > LARGEST:
                stream.truncate(0)
                raise DownloadError(
                    f"{self.url}: the server sends more than {LARGEST:,} bytes, so it is not the "
                    "published file. Check the address, or get the file another way."
                )
            stream.write(chunk)
            self.bar.update(len(chunk))
            arrived += len(chunk)
            if (now := time.monotonic()) - since > self.patience.window:
                if arrived < self.patience.least:
                    raise DownloadError(
                        f"{self.url}: only {arrived} bytes arrived in {now - since:.0f} s. What "
                        "has arrived is kept; run the same command again to resume."
                    )
                since, arrived = now, 0


def open_part(part: Path) -> BinaryIO:
    """A file to append to, made if it is missing; not through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    stream = os.fdopen(os.open(part, flags, 0o644), "ab")
    stream.seek(0, os.SEEK_END)
    return stream


def size(file: Path) -> int:
    """The size of a file in bytes, 0 if there is none."""
    return file.stat().st_size if file.exists() else 0
