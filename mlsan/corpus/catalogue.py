"""Which corpora there are: one name, one opener."""

from collections.abc import Callable
from pathlib import Path

from mlsan.config import BENCHMARKS, Benchmark
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.layout import read_corpus
from mlsan.corpus.simulate import simulated_folder, simulation
from mlsan.corpus.types import Corpus

Opener = Callable[[str, Path | None, Path, str], dict[Benchmark, Corpus]]


def open_simulated(
    profile: str, data: Path | None, cache: Path, dev: str
) -> dict[Benchmark, Corpus]:
    """sim-meld and sim-iemocap in the profile's size, generated under `cache` at the first call."""
    return {
        benchmark: read_corpus(
            simulated_folder(simulation(benchmark, profile), cache),
            benchmark,
            f"sim-{benchmark.lower()}",
            dev,
        )
        for benchmark in BENCHMARKS
    }


def open_multiemo(
    profile: str, data: Path | None, cache: Path, dev: str
) -> dict[Benchmark, Corpus]:
    """Feature files in MultiEMO's layout: `data` holds MELD/, IEMOCAP/ or both."""
    if data is None:
        raise CorpusError("corpus multiemo needs DATA, the folder that holds MELD/ or IEMOCAP/.")
    if not data.is_dir():
        raise CorpusError(f"{data}: there is no such folder. Set DATA to the one with MELD/.")
    found = [benchmark for benchmark in BENCHMARKS if (data / benchmark).is_dir()]
    if not found:
        raise CorpusError(f"{data}: holds neither MELD/ nor IEMOCAP/. Set DATA to their parent.")
    return {b: read_corpus(data / b, b, b, dev) for b in found}


OPENERS: dict[str, Opener] = {"sim": open_simulated, "multiemo": open_multiemo}


def open_corpora(
    corpus: str, profile: str, data: Path | None, cache: Path, dev: str = "official"
) -> dict[Benchmark, Corpus]:
    """The benchmarks that a corpus name stands for.

    `data` is the folder of files that the user brings, `cache` that of what is generated. Raises
    CorpusError for an unknown name and for whatever the files have wrong.
    """
    if corpus not in OPENERS:
        raise CorpusError(f"corpus {corpus!r} is unknown. Use one of {', '.join(OPENERS)}.")
    return OPENERS[corpus](profile, data, cache, dev)
