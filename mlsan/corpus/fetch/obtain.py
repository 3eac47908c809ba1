"""`make data`: from nothing to a corpus that can be trained on, one function a corpus."""

from collections.abc import Callable
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from mlsan.corpus.authentic import URL, read_published
from mlsan.corpus.catalogue import DATA
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.fetch.download import fetch_published, fetch_transcripts, join_identities
from mlsan.corpus.fetch.meld_text import build_meld_text, model_folder
from mlsan.corpus.transcripts import BASE_URL, TRANSCRIPTS, holds_transcripts
from mlsan.corpus.types import Corpus

Say = Callable[[str], object]


def obtain(corpus: str, data: Path | None, url: str | None, say: Say) -> Path:
    """Fetch, verify and put in place a corpus; returns the folder that DATA may then name.

    Raises CorpusError for whatever went wrong, and for a corpus that is not fetched.
    """
    if corpus not in _OBTAIN:
        raise CorpusError(f"CORPUS={corpus} is not fetched. Use one of {', '.join(_OBTAIN)}.")
    return _OBTAIN[corpus](data, url, say)


def obtain_meld_text(data: Path | None, url: str | None, say: Say) -> Path:
    """MELD's transcripts and sentence embeddings of them.

    `data` is where to put them; or it holds the three transcript files already, which are then
    used as they lie, and the corpus goes to its usual folder.
    """
    model_folder()
    given = data is not None and holds_transcripts(data)
    folder = DATA / "meld-text" if data is None or given else data
    transcripts = data if given else folder / TRANSCRIPTS
    if not given:
        say(f"MELD's transcripts: {transcripts}")
        fetch_transcripts(folder, url or BASE_URL)
    say("Embedding 13,708 utterances: a minute or two")
    describe(build_meld_text(transcripts, folder), folder, say)
    return folder


def obtain_multiemo(data: Path | None, url: str | None, say: Say) -> Path:
    """MultiEMO's published features, and MELD's names beside them."""
    folder = data or DATA / "multiemo"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TransferSpeedColumn()) as bars:
        tasks = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file)
            bars.update(tasks[file], completed=done, total=total)

        fetched = fetch_published(folder, url or URL, progress)
    say(f"{len(fetched)} files fetched, all eight verified")
    join_identities(folder)
    for corpus in read_published(folder).values():
        describe(corpus, folder, say)
    return folder


def describe(corpus: Corpus, folder: Path, say: Say) -> None:
    """Say what there is now."""
    counts = " + ".join(f"{len(getattr(corpus, s))} {s}" for s in ("train", "dev", "test"))
    features = ", ".join(f"{m} {size}" for m, size in corpus.sizes.items())
    say(f"{folder / corpus.benchmark}: {counts} dialogues; features {features}")


_OBTAIN = {"meld-text": obtain_meld_text, "multiemo": obtain_multiemo}
