"""Corpora: read in one layout, checked, split, and cut into batches.

`open_corpora` gives the corpora that a name stands for, `read_corpus` one folder; `SpeakerCode`
and `batches` turn dialogues into what a model takes. `simulate` makes the embedded corpora.
"""

from mlsan.corpus.batch import batches, collate
from mlsan.corpus.catalogue import OPENERS, open_corpora
from mlsan.corpus.errors import CorpusError
from mlsan.corpus.layout import read_corpus
from mlsan.corpus.speakers import SpeakerCode, role_names
from mlsan.corpus.types import Batch, Corpus, Dialogue

__all__ = [
    "OPENERS",
    "Batch",
    "Corpus",
    "CorpusError",
    "Dialogue",
    "SpeakerCode",
    "batches",
    "collate",
    "open_corpora",
    "read_corpus",
    "role_names",
]
