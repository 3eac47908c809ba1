"""Which corpora there are: each name has one opener."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlsan.corpus.crosscheck import check_published
from mlsan.corpus.declaration import BUILT_IN, DECLARATION, read_declaration
from mlsan.corpus.errors import CorpusError, Place
from mlsan.corpus.nemo.protocols import NOTES, PROTOCOLS, protocol_folder
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
    """Feature files in MultiEMO's layout: `data` is a corpus or holds several (`read_any`).

    If `data` also holds MELD's transcripts, in transcripts/, MELD/ and IEMOCAP/ must be the
    published files: labels, roles and split sizes are checked.
    """
    folder = data or DATA / "multiemo"
    if data is None and not folder.is_dir():
        raise CorpusError(
            "CORPUS=multiemo needs DATA, the folder of a corpus or of several. Set it, or run "
            "`make data CORPUS=multiemo` to download the published files."
        )
    corpora = read_any(folder)
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


def open_nemo(
    profile: str, data: Path | None, cache: Path, heterogeneity: float
) -> dict[Benchmark, Corpus]:
    """nEMO's protocols, written under `cache` if missing; profile smoke has the first two folds."""
    chosen = PROTOCOLS[:3] if profile == "smoke" else PROTOCOLS
    found = {name: read_corpus(protocol_folder(name, cache), name) for name in chosen}
    return {name: replace(corpus, notes=NOTES) for name, corpus in found.items()}


OPENERS: dict[str, Opener] = {
    "sim": open_simulated,
    "multiemo": open_multiemo,
    "meld-text": open_meld_text,
    "nemo": open_nemo,
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


def read_any(folder: Path) -> dict[Benchmark, Corpus]:
    """The corpora of a folder, by the names that they declare.

    The folder is itself a corpus, or has a folder for each: MELD/, IEMOCAP/, or one with a
    corpus.json. MELD and IEMOCAP come first, then the others by the names of their folders.
    """
    if not folder.is_dir():
        raise CorpusError(
            f"{folder}: there is no such folder. Set DATA to a corpus, or to the folder of several."
        )
    found: dict[Benchmark, Corpus] = {}
    where: dict[Benchmark, Path] = {}
    for place in corpus_folders(folder):
        name = read_declaration(place).name
        if name in found:
            raise Place(place / DECLARATION).error(
                f"{where[name]} has the name {name} too", "Give each corpus a name of its own"
            )
        found[name], where[name] = read_corpus(place), place
    return {name: found[name] for name in (*BENCHMARKS, *found) if name in found}


def corpus_folders(folder: Path) -> list[Path]:
    """The folder if it is a corpus itself, else those in it that are. Raises CorpusError if none.

    A corpus has a corpus.json or a Speakers.pkl, or is named MELD or IEMOCAP.
    """
    signs = (DECLARATION, SPEAKERS)
    if any(os.path.lexists(folder / sign) for sign in signs):
        return [folder]
    found = [
        place
        for place in sorted(folder.iterdir())
        if place.is_dir()
        and not place.name.startswith(".")  # a corpus that is being written
        and (place.name in BUILT_IN or any(os.path.lexists(place / sign) for sign in signs))
    ]
    if not found:
        raise CorpusError(
            f"{folder}: holds neither MELD/ nor IEMOCAP/, nor a folder with a {DECLARATION}. Set "
            "DATA to the folder that does."
        )
    return found
