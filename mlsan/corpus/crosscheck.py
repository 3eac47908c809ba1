"""Check feature files that pass for MultiEMO's published ones against what is known of those.

MELD's labels and roles must be those of MELD's own transcripts, and every split must have the
published size.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.errors import CorpusError, Place
from mlsan.corpus.reader import SPEAKERS
from mlsan.corpus.transcripts import SHA256, TRANSCRIPTS, read_transcripts, roles
from mlsan.corpus.types import Corpus
from mlsan.vocabulary import Benchmark

# Dialogues and utterances. IEMOCAP's dev dialogues are taken from its train split.
SIZES: dict[Benchmark, dict[str, tuple[int, int]]] = {
    "MELD": {"train": (1038, 9989), "dev": (114, 1109), "test": (280, 2610)},
    "IEMOCAP": {"train+dev": (120, 5810), "test": (31, 1623)},
}


def check_published(corpora: Mapping[Benchmark, Corpus], folder: Path) -> None:
    """Raise CorpusError if labels, roles or split sizes are not those of the published files.

    `folder` holds MELD/, IEMOCAP/ and transcripts/. Other corpora are not checked.
    """
    if "MELD" in corpora:
        check_meld(corpora["MELD"], folder)
    for benchmark in SIZES:
        if benchmark in corpora:
            check_sizes(corpora[benchmark], folder / benchmark)


def check_meld(corpus: Corpus, folder: Path, digests: Mapping[str, str] = SHA256) -> None:
    """Raise CorpusError if MELD's labels or roles disagree with the transcripts in `folder`."""
    dialogues = {d.id: d for d in corpus.train + corpus.dev + corpus.test}
    check_conversations(
        {key: d.label.tolist() for key, d in dialogues.items()},
        {key: d.party.tolist() for key, d in dialogues.items()},
        read_transcripts(folder / TRANSCRIPTS, digests),
        folder / "MELD" / SPEAKERS,
    )


def check_conversations(
    label: Mapping[str, Iterable[int]],
    party: Mapping[str, Iterable[int]],
    table: pd.DataFrame,
    file: Path,
) -> None:
    """Raise CorpusError unless the labels and roles in `file` are those of the transcripts.

    `label` and `party` give them by dialogue id; `table` is what `read_transcripts` returns.
    """
    number = {emotion: index for index, emotion in enumerate(BUILT_IN["MELD"].emotions)}
    spoken = {str(key): rows for key, rows in table.groupby("dialogue", sort=False)}
    if odd := sorted(set(spoken) ^ set(label)):
        problem = (
            f"{len(odd)} dialogues are only in this file or only in MELD's transcripts "
            f"({', '.join(odd[:5])})"
        )
        raise Place(file).error(problem, "Use the published file")
    for key, rows in spoken.items():
        for what, found, expected in (
            ("labels", label[key], rows["emotion"].map(number)),
            ("roles", party[key], roles(rows["speaker"])),
        ):
            if list(found) != list(expected):
                problem = f"{what} are {list(map(int, found))}, the transcripts have "
                raise Place(file, key).error(
                    f"{problem}{list(map(int, expected))}", "Use the published file"
                )


def check_sizes(corpus: Corpus, folder: Path) -> None:
    """Raise CorpusError if a split does not have the published size."""
    for name, expected in SIZES[corpus.benchmark].items():
        dialogues = [d for split in name.split("+") for d in getattr(corpus, split)]
        found = (len(dialogues), sum(map(len, dialogues)))
        if found != expected:
            raise CorpusError(
                f"{folder}: {name} has {found[0]} dialogues and {found[1]} utterances, not "
                f"{expected[0]} and {expected[1]}. Use the published files, without a {SPEAKERS} "
                "or dev.json of your own."
            )
