"""MultiEMO's published feature files: which there are, and what they must agree with.

They are TaoShi1998/MultiEMO-ACL2023's, fetched from there and nowhere else; this project has no
copy of them.
"""

from collections.abc import Mapping
from pathlib import Path

from mlsan.corpus.errors import CorpusError
from mlsan.corpus.reader import FEATURES, SPEAKERS, read_corpus
from mlsan.corpus.transcripts import (
    SHA256,
    TRANSCRIPTS,
    assert_same_conversations,
    read_transcripts,
)
from mlsan.corpus.types import Corpus
from mlsan.vocabulary import BENCHMARKS, Benchmark

COMMIT = "e96458b870a338890aba4c0549381dec610a7f10"
URL = f"https://raw.githubusercontent.com/TaoShi1998/MultiEMO-ACL2023/{COMMIT}/Data/"
# Git's name for the bytes of each.
BLOBS = {
    "IEMOCAP/AudioFeatures.pkl": "3940cd53ec7478925284fe7644234b33bab41ea9",
    "IEMOCAP/Speakers.pkl": "a21501009647eb0774a638ccd123aba6668768cc",
    "IEMOCAP/TextFeatures.pkl": "dae1ed5cc0241c3f01308107a7ac94d749077f9b",
    "IEMOCAP/VisualFeatures.pkl": "129a9c9428088d62fc625e8538a96ce43e2acd3c",
    "MELD/AudioFeatures.pkl": "d00862d3f7cf2168898c61f8df29ce352ad97256",
    "MELD/Speakers.pkl": "55873a76e17fa3e054bcc5afc534cd1dde2eb2d8",
    "MELD/TextFeatures.pkl": "a0763059fcc8be7ba8236ef38236b099e5d072a1",
    "MELD/VisualFeatures.pkl": "278dab61854faf0376ea1c45b95c0193c70163c6",
}
# Dialogues and utterances; IEMOCAP's train is counted with the dev dialogues taken from it.
SIZES: dict[Benchmark, dict[str, tuple[int, int]]] = {
    "MELD": {"train": (1038, 9989), "dev": (114, 1109), "test": (280, 2610)},
    "IEMOCAP": {"train+dev": (120, 5810), "test": (31, 1623)},
}


def read_published(folder: Path) -> dict[Benchmark, Corpus]:
    """Both corpora in all three modalities, held against what is known of them."""
    corpora = {b: read_corpus(folder / b, b, b) for b in BENCHMARKS}
    assert_published(corpora, folder)
    for benchmark, corpus in corpora.items():
        if missing := [file for m, file in FEATURES.items() if m not in corpus.sizes]:
            path = folder / benchmark / missing[0]
            raise CorpusError(f"{path}: is absent. Fetch the published files again.")
    return corpora


def assert_published(corpora: Mapping[Benchmark, Corpus], folder: Path) -> None:
    """Raise CorpusError unless labels and roles are the transcripts' and splits of known size."""
    if "MELD" in corpora:
        assert_transcripts(corpora["MELD"], folder)
    for benchmark, corpus in corpora.items():
        assert_sizes(corpus, folder / benchmark)


def assert_transcripts(corpus: Corpus, folder: Path, digests: Mapping[str, str] = SHA256) -> None:
    """Raise CorpusError where MELD's features disagree with the transcripts beside them."""
    dialogues = {d.id: d for d in corpus.train + corpus.dev + corpus.test}
    assert_same_conversations(
        {key: d.label.tolist() for key, d in dialogues.items()},
        {key: d.party.tolist() for key, d in dialogues.items()},
        read_transcripts(folder / TRANSCRIPTS, digests),
        folder / "MELD" / SPEAKERS,
    )


def assert_sizes(corpus: Corpus, folder: Path) -> None:
    """Raise CorpusError where a split is not of the published size."""
    for name, expected in SIZES[corpus.benchmark].items():
        dialogues = [d for split in name.split("+") for d in getattr(corpus, split)]
        found = (len(dialogues), sum(map(len, dialogues)))
        if found != expected:
            raise CorpusError(
                f"{folder}: {name} has {found[0]} dialogues and {found[1]} utterances, not "
                f"{expected[0]} and {expected[1]}. Use the published files, with no {SPEAKERS} or "
                "dev.json of your own."
            )
