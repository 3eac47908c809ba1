"""Download files of known content with pooch.

Bytes arrive in NAME.part, and the next attempt resumes from there. A file gets its final name only
after its digest is verified; a file with another digest is kept as NAME.rejected.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from filelock import FileLock
from rich.progress import Progress

from mlsan.corpus.errors import CorpusError
from mlsan.files import UnwritableError

CHUNK = 1 << 14  # bytes
TRY_AGAIN = (408, 416, 429, 500, 502, 503, 504)  # statuses of an answer that may change

pooch.get_logger().setLevel("WARNING")


class DownloadError(CorpusError):
    """A file could not be downloaded, or is not the published one. The message names it."""


@dataclass(frozen=True)
class Patience:
    """When to give up: seconds of silence, failures in a row, and seconds between attempts."""

    timeout: float = 30.0
    retries: int = 5
    pause: float = 2.0  # doubled after every failure in a row


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
    DownloadError if the server does not have a file or sends another one, and UnwritableError if
    a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            missing = [path for path in known if not in_place(folder / path, known[path])]
            # With no hash, pooch leaves the check to the downloader, which keeps rejected files.
            store = pooch.create(folder, url, registry=dict.fromkeys(known))
            for path in missing:
                bar = Bar(bars or Progress(disable=True), path)
                downloader = Resuming(folder / path, known[path], bar, patience)
                store.fetch(path, downloader=downloader)
    except OSError as error:
        raise UnwritableError.of(folder, error) from error
    return missing


def in_place(target: Path, digest: str) -> bool:
    """Whether the file exists and has the digest. A file with another digest is set aside."""
    if not target.is_file():
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


@dataclass
class Bar:
    """A line of rich's progress display, with the methods that pooch expects of a bar."""

    bars: Progress
    name: str
    total: int = 0  # bytes in the answer, set by pooch
    before: int = 0  # bytes that earlier attempts left

    def __post_init__(self) -> None:
        self.task = self.bars.add_task(self.name, total=None)

    def update(self, count: int) -> None:
        """`count` more bytes have arrived."""
        self.bars.update(self.task, advance=count, total=self.before + self.total)

    def reset(self) -> None:
        """Go back to what earlier attempts left; pooch then adds the answer's size at once."""
        self.bars.update(self.task, completed=self.before)

    def close(self) -> None:
        """The display outlives the bar."""


@dataclass(frozen=True)
class Resuming:
    """A downloader for pooch that resumes, tries again, and verifies what it hands over."""

    target: Path
    digest: str
    bar: Bar
    patience: Patience

    def __call__(self, url: str, output_file: str, store: pooch.Pooch) -> None:
        """Download `url` to `output_file`, by way of NAME.part beside the target."""
        part = self.target.with_name(f"{self.target.name}.part")
        if not (part.is_file() and content_digest(part, self.digest) == self.digest):
            self.complete(url, part)
        if (found := content_digest(part, self.digest)) != self.digest:
            aside = rejected(self.target)
            os.replace(part, aside)
            raise DownloadError(
                f"{url}: not the published file ({found}, not {self.digest}); it is kept as "
                f"{aside}. Run the same command again, or get the file another way."
            )
        os.replace(part, output_file)

    def complete(self, url: str, part: Path) -> None:
        """Try until the file is complete. Attempts that receive something are not failures."""
        failures = 0
        while True:
            before = size(part)
            try:
                return self.receive(url, part)
            except requests.RequestException as error:
                status = error.response.status_code if error.response is not None else None
                if status and status not in TRY_AGAIN:
                    raise DownloadError(
                        f"{url}: the server answered {status} {error.response.reason}. Check the "
                        "address; the file may have moved."
                    ) from error
                failures = 0 if size(part) > before else failures + 1
                if failures > self.patience.retries:
                    raise DownloadError(
                        f"{url}: gave up after {failures} failed attempts ({error}). What has "
                        "arrived is kept; run the same command again to resume."
                    ) from error
                time.sleep(self.patience.pause * 2 ** max(failures - 1, 0))

    def receive(self, url: str, part: Path) -> None:
        """Append the rest of the file to `part`, with one request."""

        def check_range(response: requests.Response, **_: object) -> None:
            # 200: the server sends the whole file again. 416: the part is as long or longer.
            if self.bar.before and response.status_code in (200, 416):
                stream.truncate(0)
                self.bar.before = 0

        try:
            with part.open("ab") as stream:
                self.bar.before = stream.tell()
                # Bytes are counted as they are sent, so they must not be compressed.
                headers = {"Accept-Encoding": "identity"}
                if self.bar.before:
                    headers["Range"] = f"bytes={self.bar.before}-"
                get = pooch.HTTPDownloader(
                    progressbar=self.bar,
                    chunk_size=CHUNK,
                    timeout=self.patience.timeout,
                    headers=headers,
                    hooks={"response": check_range},
                )
                get(url, stream, None)
        finally:
            if not size(part):
                part.unlink(missing_ok=True)


def size(file: Path) -> int:
    """The size of a file in bytes, 0 if there is none."""
    return file.stat().st_size if file.exists() else 0
