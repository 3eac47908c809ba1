"""Which corpora there are: each name has one opener."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlsan.corpus.crosscheck import check_published
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.reader import PROVENANCE, SPEAKERS, read_corpus
from mlsan.corpus.simulate import simulated_folder, simulation
from mlsan.corpus.transcripts import TRANSCRIPTS, holds_transcripts
from mlsan.corpus.types import Corpus
from mlsan.vocabulary import BENCHMARKS, Benchmark

# Where `make data` puts what it downloads, one folder per corpus. `make clean` leaves it alone.
DATA = Path(__file__).parents[2] / "data"
# An opener takes the profile, DATA, the folder for generated files, and the heterogeneity.
Opener = Callable[[str, Path | None, Path, float], dict[Benchmark, Corpus]]


def open_simulated(
    profile: str, data: Path | None, cache: Path, heterogeneity: float
) -> dict[Benchmark, Corpus]:
    """sim-meld and sim-iemocap in the profile's size, generated under `cache` if missing."""
    return {
        benchmark: read_corpus(
            simulated_folder(simulation(benchmark, profile, heterogeneity=heterogeneity), cache),
            benchmark,
            f"sim-{benchmark.lower()}",
        )
        for benchmark in BENCHMARKS
    }


def open_multiemo(
    profile: str, data: Path | None, cache: Path, heterogeneity: float
) -> dict[Benchmark, Corpus]:
    """Feature files in MultiEMO's layout: `data` holds MELD/, IEMOCAP/ or both.

    If `data` also holds MELD's transcripts, in transcripts/, the files must be the published
    ones: labels, roles and split sizes are checked.
    """
    folder = data or DATA / "multiemo"
    if data is None and not folder.is_dir():
        raise CorpusError(
            "CORPUS=multiemo needs DATA, the folder that holds MELD/ or IEMOCAP/. Set it, or run "
            "`make data CORPUS=multiemo` to download the published files."
        )
    corpora = read_folder(folder)
    if holds_transcripts(folder / TRANSCRIPTS):
        check_published(corpora, folder)
    return corpora


def open_meld_text(
    profile: str, data: Path | None, cache: Path, heterogeneity: float
) -> dict[Benchmark, Corpus]:
    """MELD's transcripts as sentence embeddings, as built by `make data CORPUS=meld-text`."""
    folder = (data or DATA / "meld-text") / "MELD"
    if not (folder / PROVENANCE).is_file():
        raise CorpusError(f"{folder}: has not been built. Run `make data CORPUS=meld-text` first.")
    corpus = read_corpus(folder, "MELD", "MELD-text")
    note = (
        f"text: sentence embeddings of all-MiniLM-L6-v2 ({corpus.sizes['text']} features), "
        "not the published EmoBERTa features"
    )
    return {"MELD": replace(corpus, notes=(note, *corpus.notes))}


OPENERS: dict[str, Opener] = {
    "sim": open_simulated,
    "multiemo": open_multiemo,
    "meld-text": open_meld_text,
}


def open_corpora(
    corpus: str, profile: str, data: Path | None, cache: Path, heterogeneity: float = 1.0
) -> dict[Benchmark, Corpus]:
    """The corpora behind a name (a key of OPENERS), by benchmark.

    `data` is the folder of the user's files and `cache` that of generated ones. `heterogeneity`,
    from 0 to 1, is how much simulated speakers differ. Raises CorpusError for an unknown name,
    for files that cannot be used, and for a heterogeneity other than 1 if CORPUS is not sim.
    """
    if corpus not in OPENERS:
        raise CorpusError(f"corpus {corpus!r} is unknown. Use one of {', '.join(OPENERS)}.")
    if heterogeneity != 1 and corpus != "sim":
        raise CorpusError(
            f"heterogeneity {heterogeneity:g} with CORPUS={corpus}: heterogeneity can be set for "
            "CORPUS=sim only. Use CORPUS=sim, or leave heterogeneity at 1."
        )
    return OPENERS[corpus](profile, data, cache, heterogeneity)


def read_folder(folder: Path) -> dict[Benchmark, Corpus]:
    """The corpora in a folder that holds MELD/, IEMOCAP/ or both."""
    if not folder.is_dir():
        raise CorpusError(
            f"{folder}: there is no such folder. Set DATA to the folder that holds MELD/."
        )
    found = [benchmark for benchmark in BENCHMARKS if (folder / benchmark).is_dir()]
    if not found:
        raise CorpusError(
            f"{folder}: holds neither MELD/ nor IEMOCAP/. Set DATA to the folder that does."
        )
    return {b: read_corpus(folder / b, b, b) for b in found}


def read_any(folder: Path) -> dict[Benchmark, Corpus]:
    """Like `read_folder`, for a folder that may also be MELD/ or IEMOCAP/ itself."""
    if not (folder / SPEAKERS).exists():
        return read_folder(folder)
    if folder.name not in BENCHMARKS:
        allowed = " or ".join(BENCHMARKS)
        raise CorpusError(
            f"{folder}: the folder's name does not say which benchmark it is. Name it {allowed}."
        )
    return {folder.name: read_corpus(folder, folder.name, folder.name)}
