"""Download files of known content with pooch.

Bytes arrive in NAME.part, and the next attempt resumes from there. A file gets its final name only
after its digest is verified; a file with another digest is kept as NAME.rejected. A server that
sends too much, or too slowly, is given up.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import BinaryIO

import pooch
import requests
from filelock import FileLock
from rich.progress import Progress

from mlsan.corpus.errors import CorpusError, printable, shorten
from mlsan.files import UnwritableError

CHUNK = 1 << 14  # bytes
LARGEST = 100 << 20  # bytes: the largest file that GitHub, where all of them are, accepts
TRY_AGAIN = (408, 429, 500, 502, 503, 504)  # statuses of an answer that may change

pooch.get_logger().setLevel("WARNING")


class DownloadError(CorpusError):
    """A file could not be downloaded, or is not the published one. The message names it."""


class AttemptError(Exception):
    """An attempt has failed, and the next one may not."""


@dataclass(frozen=True)
class Patience:
    """When to give up. An attempt fails if fewer than `least` bytes arrive in `window` seconds."""

    window: float = 30.0
    least: int = 30_000
    retries: int = 5  # more failures in a row than these end the download
    pause: float = 2.0  # seconds between attempts, doubled after every failure in a row
    total: float = 3 * 3600.0  # seconds for one file


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
        make_folder(folder)
        is_regular(folder / ".download.lock")
        with FileLock(folder / ".download.lock"):
            missing = [path for path in known if not in_place(folder / path, known[path])]
            # With no hash, pooch leaves the check to the downloader, which keeps rejected files.
            store = pooch.create(folder, url, registry=dict.fromkeys(known))
            for path in missing:
                make_folder((folder / path).parent)
                bar = Bar(bars or Progress(disable=True), path)
                downloader = Resuming(folder / path, known[path], bar, patience)
                store.fetch(path, downloader=downloader)
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
    return next(path for name in names if not os.path.lexists(path := target.with_name(name)))


def is_regular(file: Path) -> bool:
    """Whether there is a file. Raises DownloadError for a folder, a link or anything else."""
    if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
        raise in_the_way(file, "a regular file")
    return file.exists()


def make_folder(folder: Path) -> None:
    """Make a folder if it is missing. Raises DownloadError for anything else in its place."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise in_the_way(folder, "a folder")
    folder.mkdir(parents=True, exist_ok=True)


def in_the_way(path: Path, kind: str) -> DownloadError:
    return DownloadError(
        f"{path}: is in the way, because it is not {kind}. Move it away and run the same command "
        "again."
    )


@dataclass
class Bar:
    """A line of rich's progress display."""

    bars: Progress
    name: str

    def __post_init__(self) -> None:
        self.task = self.bars.add_task(self.name, total=None)

    def begin(self, before: int, announced: str) -> None:
        """An answer begins after `before` bytes; it announces its own length, or "" or nonsense."""
        total = before + int(announced) if announced.isdecimal() and len(announced) < 20 else None
        self.bars.update(self.task, completed=before, total=total)

    def update(self, count: int) -> None:
        """`count` more bytes have arrived."""
        self.bars.update(self.task, advance=count)


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
        if not (is_regular(part) and content_digest(part, self.digest) == self.digest):
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
        """Try until the file is complete. Attempts that receive enough are not failures."""
        failures, deadline = 0, time.monotonic() + self.patience.total
        while True:
            before = size(part)
            try:
                return self.receive(url, part, deadline)
            except AttemptError as error:
                failures = 0 if size(part) - before >= self.patience.least else failures + 1
                late = time.monotonic() > deadline
                if failures > self.patience.retries or late:
                    tried = f"{self.patience.total:g} s" if late else f"{failures} failed attempts"
                    raise DownloadError(
                        f"{url}: gave up after {tried} ({error}). What has arrived is kept; run "
                        "the same command again to resume."
                    ) from error
                time.sleep(self.patience.pause * 2 ** max(failures - 1, 0))

    def receive(self, url: str, part: Path, deadline: float) -> None:
        """Append the rest of the file to `part`, with one request."""
        try:
            with open_part(part) as stream:
                length = stream.tell()
                answer = arriving(url, length, self.patience, deadline)
                response = next(answer)
                status, again = response.status_code, TRY_AGAIN
                # 200: the server sends the whole file again. 416: the part is as long or longer.
                if length and status in (200, 416):
                    stream.truncate(0)
                    length, again = 0, (*TRY_AGAIN, 416)
                if status not in (200, 206):
                    said = f"the server answered {status} {printable(shorten(response.reason))}"
                    if status in again:
                        raise AttemptError(said)
                    fix = "Check the address; the file may have moved"
                    raise DownloadError(f"{url}: {said}. {fix}.")
                self.bar.begin(length, response.headers.get("Content-Length", ""))
                for piece in answer:
                    length += len(piece)
                    if length > LARGEST:
                        stream.truncate(0)
                        raise DownloadError(
                            f"{url}: the server sends more than {LARGEST:,} bytes, so it is not "
                            "the published file. Check the address, or get the file another way."
                        )
                    stream.write(piece)
                    self.bar.update(len(piece))
        finally:
            if not size(part):
                part.unlink(missing_ok=True)


def arriving(
    url: str, start: int, patience: Patience, deadline: float
) -> Iterator[requests.Response | bytes]:
    """Yield the answer to a GET from byte `start` on: the response, then its content in pieces.

    Raises AttemptError if the server fails, or is too slow in whatever it sends: a thread of its
    own reads from the network, so that waiting for it can end.
    """
    items: Queue[requests.Response | bytes | Exception] = Queue(64)
    # This side measures the window; the thread outlasts it, and then ends by itself.
    Thread(target=ask, args=(url, start, 2 * patience.window, items), daemon=True).start()
    since, arrived = time.monotonic(), 0
    while True:
        until = min(since + patience.window, deadline)
        try:
            item = items.get(timeout=max(0, until - time.monotonic()))
        except Empty as error:
            raise AttemptError(f"only {arrived} bytes arrived in {patience.window:g} s") from error
        if isinstance(item, Exception):
            raise AttemptError(printable(shorten(str(item), 200))) from item
        if item == b"":
            return
        yield item
        if isinstance(item, bytes):
            arrived += len(item)
        if arrived >= patience.least:
            since, arrived = time.monotonic(), 0


def ask(url: str, start: int, timeout: float, items: Queue) -> None:
    """Put the response to a GET, its content in pieces and b"" at its end, or an error."""
    # Bytes are counted as they are sent, so they must not be compressed.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            items.put(response)
            # read1 returns what is there; other ways to read wait until a piece is full.
            while piece := response.raw.read1(CHUNK, decode_content=False):
                items.put(piece, timeout=timeout)  # or the reader has given up
        items.put(b"")
    except Exception as error:
        items.put(error)


def open_part(part: Path) -> BinaryIO:
    """A file to append to, made if it is missing; not through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(part, flags, 0o644), "ab")


def size(file: Path) -> int:
    """The size of a file in bytes, 0 if there is none."""
    return file.stat().st_size if file.exists() else 0
