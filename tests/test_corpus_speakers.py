"""Speakers become integers, the unknown one 0."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest

from mlsan.corpus import Corpus, CorpusError, Dialogue, SpeakerCode
from mlsan.corpus.declaration import BUILT_IN
from mlsan.vocabulary import SpeakerKind


def dialogue(speaker, party):
    turns = len(party)
    return Dialogue(
        id="d",
        label=np.zeros(turns, dtype=np.int64),
        party=np.array(party),
        speaker=speaker,
        feature={"text": np.zeros((turns, 1), dtype=np.float32)},
    )


def corpus(named=True, benchmark="MELD"):
    train = (
        dialogue(("Ann", "Bo", "Ann", "") if named else None, [0, 1, 0, 2]),
        dialogue(("Bo", "Cy", "Bo") if named else None, [0, 1, 0]),
    )
    test = (dialogue(("Di", "Ann", "Bo", "Cy") if named else None, [0, 1, 2, 3]),)
    return Corpus("tiny", BUILT_IN[benchmark], train, train[:1], test, {"text": 1}, False)


def encoded(code, dialogues):
    return [row.tolist() for row in code.encode(dialogues)]


def test_identities_are_ordered_by_how_much_they_say_in_training():
    code = SpeakerCode.fit("identity", corpus(), 2, seed=0)
    assert code.names == ("unknown", "Bo", "Ann")
    assert code.size == 3
    assert encoded(code, corpus().train) == [[2, 1, 2, 0], [1, 0, 1]]


def test_rare_and_unseen_and_nameless_speakers_are_unknown():
    code = SpeakerCode.fit("identity", corpus(), 1, seed=0)
    assert code.names == ("unknown", "Bo", "Ann", "Cy")
    assert encoded(code, corpus().test) == [[0, 2, 1, 3]]


def test_identity_needs_names():
    with pytest.raises(CorpusError, match=r"tiny does not name.*speaker=role.*identities\.json"):
        SpeakerCode.fit("identity", corpus(named=False), 1, seed=0)


@pytest.mark.parametrize(
    ("benchmark", "names"), [("MELD", ("role 0", "role 1")), ("IEMOCAP", ("M", "F"))]
)
def test_roles_are_parties_from_1(benchmark, names):
    code = SpeakerCode.fit("role", corpus(benchmark=benchmark), 1, seed=0)
    assert code.names[:3] == ("unknown", *names)
    roles = {"MELD": 9, "IEMOCAP": 2}[benchmark]
    assert code.size == roles + 1
    last = [dialogue(None, [0, roles - 1, 0])]
    assert encoded(code, last) == [[1, roles, 1]]
    assert encoded(code, corpus().train[1:]) == [[1, 2, 1]]


def test_constant_is_1_everywhere():
    code = SpeakerCode.fit("constant", corpus(), 1, seed=0)
    assert code.size == 2
    assert encoded(code, corpus().train) == [[1, 1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("named", [True, False])
def test_shuffled_deals_the_same_codes_out_anew(named):
    long = tuple(dialogue(("Ann", "Bo") * 20 if named else None, [0, 1] * 20) for _ in range(2))
    whole = Corpus("tiny", BUILT_IN["MELD"], long, long, long, {"text": 1}, False)
    true = SpeakerCode.fit("identity" if named else "role", whole, 1, seed=0).encode(long)
    code = SpeakerCode.fit("shuffled", whole, 1, seed=0)
    dealt = code.encode(long)
    assert [len(row) for row in dealt] == [40, 40]
    assert Counter(np.concatenate(dealt).tolist()) == Counter(np.concatenate(true).tolist())
    agree = np.mean(np.concatenate(dealt) == np.concatenate(true))
    assert 0.3 < agree < 0.7
    np.testing.assert_array_equal(np.concatenate(dealt), np.concatenate(code.encode(long)))
    other = SpeakerCode.fit("shuffled", whole, 1, seed=1).encode(long)
    assert np.concatenate(dealt).tolist() != np.concatenate(other).tolist()


def test_every_kind_has_a_code():
    for kind in get_args(SpeakerKind):
        assert SpeakerCode.fit(kind, corpus(), 1, seed=0).kind == kind


@pytest.mark.parametrize("kind", get_args(SpeakerKind))
def test_nameless_dialogues_are_unknown_to_identities_only(kind):
    code = SpeakerCode.fit(kind, corpus(), 1, seed=0)
    nameless = corpus(named=False).train
    if kind in ("identity", "shuffled"):
        assert encoded(code, nameless) == [[0, 0, 0, 0], [0, 0, 0]]
    else:
        assert encoded(code, nameless) == encoded(code, corpus().train)
