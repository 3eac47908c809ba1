from dataclasses import replace

import numpy as np
import pytest

from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.enrolment import Enrolment
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.types import Corpus, Dialogue

SIZE = 4


def dialogue(key, names, draw, level):
    x = np.stack([level[name] + draw.standard_normal(SIZE) for name in names])
    return Dialogue(
        id=key,
        label=draw.integers(0, 6, len(names)),
        party=np.array([names.index(name) % 2 for name in names]),
        speaker=tuple(names),
        feature={"audio": x.astype(np.float32), "text": x.astype(np.float32)},
    )


@pytest.fixture(scope="module")
def corpus():
    """Four people in training; Eve and Fay only in test, Eve in two dialogues."""
    draw = np.random.default_rng(0)
    level = {n: 3 * draw.standard_normal(SIZE) for n in ("Ada", "Ben", "Cem", "Dov", "Eve", "Fay")}
    pairs = [("Ada", "Ben"), ("Cem", "Dov"), ("Ada", "Dov"), ("Ben", "Cem")] * 3
    train = [dialogue(f"t{i}", [*pair] * 6, draw, level) for i, pair in enumerate(pairs)]
    test = [
        dialogue("e0", ["Eve", "Ada"] * 5, draw, level),
        dialogue("e1", ["Eve", "Fay"] * 5, draw, level),
    ]
    sizes = {"text": SIZE, "audio": SIZE}
    return Corpus(
        "toy", BUILT_IN["IEMOCAP"], tuple(train), tuple(train[:2]), tuple(test), sizes, False
    )


def enrolment(corpus, kind="identity", modalities=("audio",)):
    return Enrolment(SpeakerCode.fit(kind, corpus, 1, seed=0), corpus, modalities)


def style(speakers, dialogue, turn):
    return speakers.style[dialogue]["audio"][turn]


def test_known_speakers_are_enrolled_with_all_their_training_utterances(corpus):
    found = enrolment(corpus)
    rows = np.concatenate(
        [d.feature["audio"][[n == "Ada" for n in d.speaker]] for d in corpus.train]
    )
    expected = np.stack(found.population["audio"].style(rows))
    for amount in (0, 3, "past", "dialogue", "all"):
        speakers = found.evaluation(corpus.test, amount, np.random.default_rng(0))
        np.testing.assert_allclose(style(speakers, 0, 1), expected, rtol=1e-5)


def test_a_stranger_without_enrolment_has_the_populations_style_and_no_identity(corpus):
    found = enrolment(corpus)
    population = found.population["audio"]
    speakers = found.evaluation(corpus.test, 0)
    expected = np.stack([population.mu_0, population.sigma_0])
    np.testing.assert_allclose(style(speakers, 0, 0), expected, rtol=1e-5)
    assert speakers.code[0].tolist()[0] == 0
    assert speakers.code[0].tolist()[1] != 0


def test_amounts_use_the_utterances_that_they_name(corpus):
    found = enrolment(corpus)
    population = found.population["audio"]
    eve = [d.feature["audio"][::2] for d in corpus.test]

    def expect(rows):
        return np.stack(population.style(rows))

    every = found.evaluation(corpus.test, "all")
    np.testing.assert_allclose(style(every, 0, 0), expect(np.concatenate(eve)), rtol=1e-5)
    own = found.evaluation(corpus.test, "dialogue")
    np.testing.assert_allclose(style(own, 1, 4), expect(eve[1]), rtol=1e-5)
    past = found.evaluation(corpus.test, "past")
    np.testing.assert_allclose(style(past, 0, 4), expect(eve[0][:3]), rtol=1e-5)


def test_numbers_come_from_other_dialogues_only(corpus):
    found = enrolment(corpus)
    few = found.evaluation(corpus.test, 100, np.random.default_rng(0))
    population = found.population["audio"]
    other = corpus.test[1].feature["audio"][::2]
    np.testing.assert_allclose(style(few, 0, 0), np.stack(population.style(other)), rtol=1e-5)
    # Fay is in one dialogue only: there is no other to enrol her from.
    nothing = np.stack([population.mu_0, population.sigma_0])
    np.testing.assert_allclose(style(few, 1, 1), nothing, rtol=1e-5)


def test_labels_are_never_used(corpus):
    changed = replace(corpus, test=tuple(replace(d, label=(d.label + 1) % 6) for d in corpus.test))
    for amount in (3, "past", "dialogue", "all"):
        one = enrolment(corpus).evaluation(corpus.test, amount, np.random.default_rng(0))
        two = enrolment(changed).evaluation(changed.test, amount, np.random.default_rng(0))
        for a, b in zip(one.style, two.style, strict=True):
            np.testing.assert_array_equal(a["audio"], b["audio"])


def test_training_draws_amounts_anew_and_withholds_who_is_enrolled_with_nothing(corpus):
    found = enrolment(corpus)
    population = found.population["audio"]
    nothing = np.stack([population.mu_0, population.sigma_0]).astype(np.float32)
    draws = [found.training(np.random.default_rng(epoch), True, 0.0) for epoch in range(40)]
    withheld = np.concatenate([np.concatenate(d.withheld) for d in draws if d.withheld])
    assert 0.08 < withheld.mean() < 0.22
    kinds = set()
    for drawn in draws:
        for i, part in enumerate(drawn.style):
            kinds.add(part["audio"][0].tobytes())
            if drawn.withheld:
                same = (part["audio"] == nothing).all(axis=(1, 2))
                np.testing.assert_array_equal(same, drawn.withheld[i])
    assert len(kinds) > 50
    again = found.training(np.random.default_rng(3), True, 0.0)
    assert all(
        np.array_equal(a["audio"], b["audio"])
        for a, b in zip(again.style, draws[3].style, strict=True)
    )


def test_without_random_enrolment_everyone_is_fully_known(corpus):
    found = enrolment(corpus)
    fixed = found.training(np.random.default_rng(0), False, 0.0)
    full = found.evaluation(corpus.train)
    assert not fixed.withheld
    for a, b in zip(fixed.style, full.style, strict=True):
        np.testing.assert_allclose(a["audio"], b["audio"], rtol=1e-5)
    half = found.training(np.random.default_rng(0), False, 0.5)
    assert 0.3 < np.concatenate(half.withheld).mean() < 0.7


def test_shuffled_speakers_get_shuffled_styles(corpus):
    true = enrolment(corpus).evaluation(corpus.train)
    dealt = enrolment(corpus, "shuffled").evaluation(corpus.train)
    spread = [
        np.concatenate([s["audio"][:, 0] for s in speakers.style]).std(axis=0).mean()
        for speakers in (true, dealt)
    ]
    assert spread[1] < spread[0] / 2


def test_codes_alone_need_no_features(corpus):
    found = enrolment(corpus, modalities=()).evaluation(corpus.test)
    assert all(part == {} for part in found.style)
    assert len(found.code) == len(corpus.test)
