"""Corpora: read from one layout, checked, split and cut into batches.

`open_corpora` opens corpora by name and `read_corpus` reads one folder. `SpeakerCode` and
`batches` turn dialogues into what a model takes. `write_layout` writes a user's own corpus,
`simulate` generates the embedded ones, and `fetch` is only for `make data`.
"""

from mlsan.corpus.batch import batches, collate, drop_modalities
from mlsan.corpus.catalogue import DATA, OPENERS, open_corpora, read_any
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.reader import read_corpus
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.types import Batch, Corpus, Declaration, Dialogue
from mlsan.corpus.write import write_layout

__all__ = [
    "DATA",
    "OPENERS",
    "Batch",
    "Corpus",
    "CorpusError",
    "Declaration",
    "Dialogue",
    "SpeakerCode",
    "batches",
    "collate",
    "drop_modalities",
    "open_corpora",
    "read_any",
    "read_corpus",
    "write_layout",
]
