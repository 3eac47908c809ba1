"""Which corpora there are: one name, one opener."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlsan.corpus.authentic import assert_published
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.fetch.meld_text import NOTE
from mlsan.corpus.reader import PROVENANCE, SPEAKERS, read_corpus
from mlsan.corpus.simulate import simulated_folder, simulation
from mlsan.corpus.transcripts import TRANSCRIPTS, holds_transcripts
from mlsan.corpus.types import Corpus
from mlsan.vocabulary import BENCHMARKS, Benchmark

# Where `make data` puts what it fetches, one folder a corpus; `make clean` leaves it alone.
DATA = Path(__file__).parents[2] / "data"
Opener = Callable[[str, Path | None, Path], dict[Benchmark, Corpus]]


def open_simulated(
    profile: str, data: Path | None, cache: Path, heterogeneity: float = 1.0
) -> dict[Benchmark, Corpus]:
    """sim-meld and sim-iemocap in the profile's size, generated under `cache` at the first call."""
    return {
        benchmark: read_corpus(
            simulated_folder(simulation(benchmark, profile, heterogeneity=heterogeneity), cache),
            benchmark,
            f"sim-{benchmark.lower()}",
        )
        for benchmark in BENCHMARKS
    }


def open_multiemo(profile: str, data: Path | None, cache: Path) -> dict[Benchmark, Corpus]:
    """Feature files in MultiEMO's layout: `data` holds MELD/, IEMOCAP/ or both.

    With MELD's transcripts beside them, in transcripts/, they are taken for the published ones:
    labels and roles are held against the transcripts, and splits against the known sizes.
    """
    folder = data or DATA / "multiemo"
    if data is None and not folder.is_dir():
        raise CorpusError(
            "corpus multiemo needs DATA, the folder that holds MELD/ or IEMOCAP/; or run "
            "`make data CORPUS=multiemo` to fetch the published files."
        )
    corpora = read_folder(folder)
    if holds_transcripts(folder / TRANSCRIPTS):
        assert_published(corpora, folder)
    return corpora


def read_folder(folder: Path) -> dict[Benchmark, Corpus]:
    """What there is in a folder that holds MELD/, IEMOCAP/ or both."""
    if not folder.is_dir():
        raise CorpusError(f"{folder}: there is no such folder. Set DATA to the one with MELD/.")
    found = [benchmark for benchmark in BENCHMARKS if (folder / benchmark).is_dir()]
    if not found:
        raise CorpusError(f"{folder}: holds neither MELD/ nor IEMOCAP/. Set DATA to their parent.")
    return {b: read_corpus(folder / b, b, b) for b in found}


def read_any(folder: Path) -> dict[Benchmark, Corpus]:
    """The same for a folder that may also be MELD/ or IEMOCAP/ itself."""
    if not (folder / SPEAKERS).exists():
        return read_folder(folder)
    if folder.name not in BENCHMARKS:
        allowed = " or ".join(BENCHMARKS)
        raise CorpusError(f"{folder}: says not which benchmark it is. Name it {allowed}.")
    return {folder.name: read_corpus(folder, folder.name, folder.name)}


def open_meld_text(profile: str, data: Path | None, cache: Path) -> dict[Benchmark, Corpus]:
    """MELD's transcripts as sentence embeddings: what `make data CORPUS=meld-text` built."""
    folder = (data or DATA / "meld-text") / "MELD"
    if not (folder / PROVENANCE).is_file():
        raise CorpusError(f"{folder}: is not built. Run `make data CORPUS=meld-text` first.")
    corpus = read_corpus(folder, "MELD", "MELD-text")
    return {"MELD": replace(corpus, notes=(NOTE, *corpus.notes))}


OPENERS: dict[str, Opener] = {
    "sim": open_simulated,
    "multiemo": open_multiemo,
    "meld-text": open_meld_text,
}


def open_corpora(
    corpus: str, profile: str, data: Path | None, cache: Path, heterogeneity: float = 1.0
) -> dict[Benchmark, Corpus]:
    """The benchmarks that a corpus name stands for.

    `data` is the folder of files that the user brings, `cache` that of what is generated, with
    the speakers as different as `heterogeneity` says (0 to 1). Raises CorpusError for an unknown
    name, for whatever the files have wrong, and for a heterogeneity that nobody can set.
    """
    if corpus not in OPENERS:
        raise CorpusError(f"corpus {corpus!r} is unknown. Use one of {', '.join(OPENERS)}.")
    if corpus == "sim":
        return open_simulated(profile, data, cache, heterogeneity)
    if heterogeneity != 1:
        raise CorpusError(f"corpus {corpus!r} is real: its heterogeneity is what it is. Use sim.")
    return OPENERS[corpus](profile, data, cache)
