"""A dev split of strangers: all dialogues of one group of people who only talk to each other."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mlsan.corpus.types import Corpus, CorpusError


def by_session(corpus: Corpus, seed: int) -> Corpus:
    """The corpus with one session as dev and the others as train; the test split stays.

    A session is a group of speakers who share dialogues with each other and with nobody else: in
    IEMOCAP two actors. `seed` goes through the sessions in turn. Raises CorpusError if the corpus
    does not name its speakers, or if they form a single session.
    """
    if not corpus.named:
        raise CorpusError(
            f"{corpus.name} does not name its speakers, so it has no sessions. Use dev=official "
            "or dev=random."
        )
    dialogues = corpus.train + corpus.dev
    names = {name: i for i, name in enumerate(sorted({n for d in dialogues for n in d.speaker}))}
    spoken = np.zeros((len(dialogues), len(names)))
    for row, dialogue in zip(spoken, dialogues, strict=True):
        row[[names[name] for name in dialogue.speaker]] = 1
    sessions, session_of = connected_components(csr_array(spoken.T @ spoken), directed=False)
    if sessions < 2:
        raise CorpusError(
            f"{corpus.name}: its training speakers all talk to each other, so there is no session "
            "to hold out. Use dev=official or dev=random."
        )
    held = [session_of[names[d.speaker[0]]] == seed % sessions for d in dialogues]
    return replace(
        corpus,
        train=tuple(d for d, out in zip(dialogues, held, strict=True) if not out),
        dev=tuple(d for d, out in zip(dialogues, held, strict=True) if out),
    )
