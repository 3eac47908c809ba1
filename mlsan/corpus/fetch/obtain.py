"""`make data`: from nothing, or a table, to a corpus to train on; one function per corpus."""

from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from mlsan.corpus.catalogue import DATA, read_any
from mlsan.corpus.crosscheck import check_published
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.fetch import Say
from mlsan.corpus.fetch.meld_text import build_meld_text, model_folder
from mlsan.corpus.fetch.nemo import obtain_nemo
from mlsan.corpus.fetch.published import (
    FEATURES_URL,
    TRANSCRIPTS_URL,
    add_identities,
    fetch_features,
    fetch_transcripts,
)
from mlsan.corpus.table import TABLE, write_csv
from mlsan.corpus.transcripts import TRANSCRIPTS, holds_transcripts
from mlsan.corpus.types import Corpus


def obtain(corpus: str, data: Path | None, url: str | None, say: Say) -> Path:
    """Provide and check a corpus; returns its folder, to which DATA may then be set.

    Raises CorpusError if something cannot be downloaded, read or used, and for a corpus that
    `make data` does not provide.
    """
    if corpus not in _OBTAIN:
        raise CorpusError(
            f"`make data` does not provide CORPUS={corpus}. Use one of {', '.join(_OBTAIN)}."
        )
    return _OBTAIN[corpus](data, url, say)


def obtain_meld_text(data: Path | None, url: str | None, say: Say) -> Path:
    """MELD's transcripts and their sentence embeddings.

    `data` is the folder to build in. If it already holds the three transcript files, they are
    used from there and the corpus is built in its usual folder.
    """
    model_folder()
    given = data is not None and holds_transcripts(data)
    folder = DATA / "meld-text" if data is None or given else data
    transcripts = data if given else folder / TRANSCRIPTS
    if not given:
        say(f"MELD's transcripts: {transcripts}")
        fetch_transcripts(folder, url or TRANSCRIPTS_URL)
    say("Embedding 13,708 utterances: a minute or two")
    describe(build_meld_text(transcripts, folder), folder, say)
    return folder


def obtain_multiemo(data: Path | None, url: str | None, say: Say) -> Path:
    """MultiEMO's published features, and MELD's speaker names beside them."""
    folder = data or DATA / "multiemo"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn()) as bars:
        missing = fetch_features(folder, url or FEATURES_URL, bars)
    say(f"{len(missing)} files downloaded, all verified")
    add_identities(folder)
    corpora = read_any(folder)
    check_published(corpora, folder)
    for corpus in corpora.values():
        describe(corpus, folder, say)
    return folder


def obtain_csv(data: Path | None, url: str | None, say: Say) -> Path:
    """The user's own table and features in `data`, as a folder in MultiEMO's layout inside it."""
    if data is None:
        raise CorpusError(f"CORPUS=csv needs DATA, the folder that contains {TABLE}.")
    corpus = write_csv(data)
    describe(corpus, data, say)
    return data / corpus.benchmark


def describe(corpus: Corpus, folder: Path, say: Say) -> None:
    """Say where the corpus is and what it holds."""
    counts = " + ".join(f"{len(getattr(corpus, s))} {s}" for s in ("train", "dev", "test"))
    features = ", ".join(f"{m} {size}" for m, size in corpus.sizes.items())
    say(f"{folder / corpus.benchmark}: {counts} dialogues; features {features}")
    for note in corpus.notes:
        say(f"note: {note}")


_OBTAIN = {
    "meld-text": obtain_meld_text,
    "multiemo": obtain_multiemo,
    "nemo": obtain_nemo,
    "csv": obtain_csv,
}
