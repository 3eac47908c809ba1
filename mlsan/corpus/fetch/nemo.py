"""nEMO's clips: fetched with git, which verifies every file, and their features computed again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlsan.corpus.catalogue import DATA
from mlsan.corpus.errors import CorpusError, printable
from mlsan.corpus.fetch import Say
from mlsan.corpus.fetch.download import in_place
from mlsan.corpus.nemo.extraction import TOLERANCE, Extracted, check_installed, deviations, extract
from mlsan.corpus.nemo.recordings import COMMIT, URL, blobs, recordings
from mlsan.files import UnwritableError, write_atomically

AT_ONCE = 64  # clips per request: what an interruption loses
EXTRACTED = "egemaps.npz"

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


def obtain_nemo(data: Path | None, url: str | None, say: Say) -> Path:
    """Get nEMO's clips, compute their features, and compare those with the shipped ones.

    `data` is a folder that already holds clips, in any subfolder; without it they are fetched.
    Returns the folder with the computed features. Raises CorpusError if clips cannot be had or
    used, or if features differ by more than `TOLERANCE`.
    """
    check_installed()
    folder = DATA / "nemo"
    if data is None:
        known = blobs()
        say(f"nEMO's clips: {folder / 'clips'}, from {url or URL}")
        with Progress(*_COLUMNS, TimeRemainingColumn()) as bars:
            bar = bars.add_task("fetching", total=len(known))
            fetch_clips(folder / "clips", known, url or URL, COMMIT, bars.update, bar)
    files = clips_in(data or folder / "clips")
    with Progress(*_COLUMNS, TimeRemainingColumn()) as bars:
        bar = bars.add_task("extracting", total=len(files))
        extracted = extract(files, arrived=lambda: bars.advance(bar))
    save(folder / EXTRACTED, extracted)
    verify(extracted, say)
    return folder


def clips_in(folder: Path) -> list[Path]:
    """The WAV files in a folder and below. Raises CorpusError for none, and for a name twice."""
    files = sorted(folder.rglob("*.wav")) if folder.is_dir() else []
    if not files:
        raise CorpusError(
            f"{folder}: there are no .wav files. Set DATA to the folder with nEMO's clips, or "
            "leave it out to fetch them."
        )
    by_name = {file.stem: file for file in files}
    if twice := next((file for file in files if by_name[file.stem] != file), None):
        raise CorpusError(
            f"{twice}: {by_name[twice.stem]} has the same name. Remove one of the two."
        )
    return files


def save(file: Path, extracted: Extracted) -> None:
    """Write the computed features: the arrays clip, names and features."""
    with tempfile.TemporaryFile() as content:
        clip, rows = list(extracted.features), list(extracted.features.values())
        names = recordings().names
        np.savez_compressed(content, clip=clip, names=names, features=np.array(rows))
        content.seek(0)
        write_atomically(file, content.read())


def verify(extracted: Extracted, say: Say) -> None:
    """Compare computed features with the shipped ones; CorpusError names every clip that fails."""
    known = recordings().clip.tolist()
    problems = dict(extracted.refused)
    foreign = set(extracted.features) - set(known)
    problems |= {name: f"{name}.wav is not a clip of nEMO: remove it" for name in foreign}
    away = deviations({n: x for n, x in extracted.features.items() if n not in foreign})
    problems |= {
        name: f"{name}.wav: a feature is {gap:.3g} standard deviations from the shipped one, more "
        f"than {TOLERANCE:g}. Copy the clip again."
        for name, gap in away.items()
        if not gap <= TOLERANCE
    }
    exact = sum(gap == 0 for gap in away.values())
    say(
        f"{len(away):,} of {len(known):,} clips compared with the shipped features: {exact:,} are "
        f"equal bit for bit, the largest difference is {max(away.values(), default=0):.3g} "
        "standard deviations"
    )
    if problems:
        lines = "\n".join(f"  {problems[name]}" for name in sorted(problems))
        raise CorpusError(f"{len(problems)} clips cannot be used, the others are fine:\n{lines}")


def fetch_clips(
    folder: Path,
    known: Mapping[str, str],
    url: str,
    commit: str,
    update: Callable[..., object] = lambda *_, **__: None,
    bar: object = None,
) -> list[str]:
    """Fetch the clips that `folder` lacks from a commit of a git repository; returns their names.

    `known` maps a clip's name to its git blob id. Clips are fetched in groups of `AT_ONCE` and
    written whole; the next call resumes after the last group. A file with other content is kept as
    NAME.wav.rejected and fetched again. Raises CorpusError if git is missing or fails, and
    UnwritableError if a clip cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError.of(folder, error) from error
    with FileLock(folder / ".fetch.lock"):
        missing = [n for n, b in known.items() if not in_place(_file(folder, n), f"git-blob:{b}")]
        update(bar, completed=len(known) - len(missing))
        if missing:
            for stale in folder.glob(".git-*"):  # a killed process left it
                shutil.rmtree(stale)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".git-") as scratch:
                repository = Repository(Path(scratch), url, commit)
                for start in range(0, len(missing), AT_ONCE):
                    group = missing[start : start + AT_ONCE]
                    repository.fetch([known[name] for name in group])
                    for name in group:
                        file = _file(folder, name)
                        write_atomically(file, repository.content(known[name]))
                        update(bar, advance=1)
    return missing


def _file(folder: Path, clip: str) -> Path:
    return folder / f"{clip}.wav"


class Repository:
    """A commit of a remote repository, of which single files are fetched."""

    def __init__(self, folder: Path, url: str, commit: str):
        self.folder, self.url, self.commit = folder, url, commit
        self.git("init", "--quiet", "--bare")
        self.git("remote", "add", "origin", url)
        # The commit and its list of files, without their content.
        self.git("fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", commit)
        listed = self.git("ls-tree", "-r", "-z", commit).decode().split("\0")
        self.blobs = {line.split()[2] for line in listed if line}

    def fetch(self, blobs: list[str]) -> None:
        """Get the content of some files, in one request."""
        if absent := [blob for blob in blobs if blob not in self.blobs]:
            raise CorpusError(
                f"{self.url} at {self.commit} has no file with git blob id {absent[0]}. "
                "Check the address."
            )
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin")
        self.git(
            *("-c", "fetch.negotiationAlgorithm=noop", "fetch", *options, "origin"),
            stdin="\n".join(blobs),
        )

    def content(self, blob: str) -> bytes:
        """The content of a file that was fetched."""
        return self.git("cat-file", "blob", blob)

    def git(self, *arguments: str, stdin: str = "") -> bytes:
        """What a git command prints. Raises CorpusError if it fails."""
        # No password prompts, and messages in English, as the error below quotes one.
        own = os.environ | {"GIT_DIR": ".", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.folder,
                env=own,
                input=stdin.encode(),
                capture_output=True,
            )
        except FileNotFoundError as error:
            raise CorpusError(
                "git is not installed, and nEMO's clips are fetched with it. Install git, or set "
                "DATA to a folder with the clips."
            ) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            why = next((line for line in said if line.startswith("fatal:")), "no message")
            raise CorpusError(
                printable(
                    f"git could not fetch nEMO's clips from {self.url} ({why}). Check the network "
                    "and run the same command again: clips that have arrived are kept. Or set "
                    "DATA to a folder with the clips."
                )
            )
        return done.stdout
