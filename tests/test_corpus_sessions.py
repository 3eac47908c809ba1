from dataclasses import replace

import numpy as np
import pytest

from mlsan.corpus import CorpusError, open_corpora
from mlsan.corpus.sessions import by_session
from mlsan.corpus.standardised import standardised


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return open_corpora("sim", "smoke", None, tmp_path_factory.mktemp("corpora"))


def names(dialogues):
    return {name for d in dialogues for name in d.speaker}


def test_dev_speakers_are_strangers_and_every_session_has_its_turn(corpora):
    corpus = corpora["IEMOCAP"]
    held = []
    for seed in range(4):
        split = by_session(corpus, seed)
        assert not names(split.train) & names(split.dev)
        assert len(split.train) + len(split.dev) == len(corpus.train) + len(corpus.dev)
        assert split.test == corpus.test
        held.append(frozenset(names(split.dev)))
    assert len(set(held)) == 4
    assert all(len(pair) == 2 for pair in held)


def test_speakers_who_all_know_each_other_have_no_sessions(corpora):
    corpus = corpora["IEMOCAP"]
    pair = set(corpus.train[0].speaker)
    alone = tuple(d for d in corpus.train if set(d.speaker) <= pair)
    with pytest.raises(CorpusError, match="all talk to each other"):
        by_session(replace(corpus, train=alone, dev=()), 0)


def test_sessions_need_names(corpora):
    def nameless(dialogues):
        return tuple(replace(d, speaker=None) for d in dialogues)

    corpus = corpora["IEMOCAP"]
    corpus = replace(corpus, train=nameless(corpus.train), dev=nameless(corpus.dev))
    with pytest.raises(CorpusError, match="does not name its speakers"):
        by_session(corpus, 0)


def test_standardised_features_have_mean_0_and_deviation_1_for_every_speaker(corpora):
    corpus = standardised(corpora["IEMOCAP"])
    dialogues = corpus.train + corpus.dev + corpus.test
    speaker = np.concatenate([d.speaker for d in dialogues])
    for modality in ("audio", "visual"):
        x = np.concatenate([d.feature[modality] for d in dialogues])
        for name in set(speaker):
            np.testing.assert_allclose(x[speaker == name].mean(axis=0), 0, atol=1e-5)
            np.testing.assert_allclose(x[speaker == name].std(axis=0, ddof=1), 1, atol=1e-4)
    for before, after in zip(corpora["IEMOCAP"].test, corpus.test, strict=True):
        np.testing.assert_array_equal(before.feature["text"], after.feature["text"])
    assert corpus.fingerprint != corpora["IEMOCAP"].fingerprint
