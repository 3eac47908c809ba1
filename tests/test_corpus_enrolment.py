from dataclasses import replace

import numpy as np
import pytest

from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.enrolment import CHANCE, DRAWN, Enrolment
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.style import Population
from mlsan.corpus.types import Corpus, Dialogue

SIZE = 4
SIZES = {"audio": SIZE}


def dialogue(key, names, draw, level):
    x = np.stack([level[name] + draw.standard_normal(SIZE) for name in names])
    return Dialogue(
        id=key,
        label=draw.integers(0, 6, len(names)),
        party=np.array([names.index(name) % 2 for name in names]),
        speaker=tuple(names),
        feature={"audio": x.astype(np.float32)},
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
    return Corpus(
        "toy", BUILT_IN["IEMOCAP"], tuple(train), tuple(train[:2]), tuple(test), SIZES, False
    )


def expressive(corpus):
    """The same people with emotions: they change audio by much, and text tells them."""
    draw = np.random.default_rng(1)
    effect, words = 4 * draw.standard_normal((2, 6, SIZE))

    def with_text(d):
        text = words[d.label] + draw.standard_normal((len(d), SIZE))
        audio = d.feature["audio"] + effect[d.label]
        return replace(d, feature={"text": text, "audio": audio.astype(np.float32)})

    splits = {s: tuple(map(with_text, getattr(corpus, s))) for s in ("train", "dev", "test")}
    return replace(corpus, sizes={"text": SIZE, **SIZES}, **splits)


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


def test_emotions_that_text_tells_do_not_count_as_style(corpus):
    """One utterance shows its speaker nearly as well as if it had no emotion."""
    loud = expressive(corpus)
    calm = enrolment(corpus).evaluation(corpus.test, "past")
    found = enrolment(loud).evaluation(loud.test, "past")
    silent = replace(loud, sizes=SIZES)
    plain = enrolment(silent).evaluation(silent.test, "past")
    # All three have another origin, and a style is relative to the population's.
    eve = {
        name: np.stack([part["audio"][0, 0] for part in speakers.style]) - origin
        for name, speakers, origin in (
            ("calm", calm, enrolment(corpus).population["audio"].mu_0),
            ("explained", found, enrolment(loud).population["audio"].mu_0),
            ("plain", plain, enrolment(silent).population["audio"].mu_0),
        )
    }
    error = {name: np.abs(x - eve["calm"]).mean() for name, x in eve.items()}
    assert error["explained"] < 0.5 * error["plain"], error


def test_labels_of_strangers_are_not_used_to_explain(corpus):
    loud = expressive(corpus)
    changed = replace(loud, test=tuple(replace(d, label=(d.label + 1) % 6) for d in loud.test))
    one = enrolment(loud).evaluation(loud.test, "dialogue")
    two = enrolment(changed).evaluation(changed.test, "dialogue")
    for a, b in zip(one.style, two.style, strict=True):
        np.testing.assert_array_equal(a["audio"], b["audio"])


def test_training_draws_amounts_anew(corpus):
    found = enrolment(corpus)
    draws = [found.training(np.random.default_rng(epoch), True, 0.0) for epoch in range(40)]
    assert not any(drawn.withheld for drawn in draws)
    kinds = {part["audio"][0].tobytes() for drawn in draws for part in drawn.style}
    assert len(kinds) > 50
    again = found.training(np.random.default_rng(3), True, 0.0)
    assert all(
        np.array_equal(a["audio"], b["audio"])
        for a, b in zip(again.style, draws[3].style, strict=True)
    )


def test_unknown_speakers_have_a_new_voice_in_every_dialogue(corpus):
    """What FiLM makes of them scatters between dialogues as strangers do, not as one speaker."""
    found = enrolment(corpus)
    population = found.population["audio"]
    calibrated = []
    for epoch in range(100):
        drawn = found.training(np.random.default_rng(epoch), True, 0.5)
        for d, part, withheld in zip(corpus.train, drawn.style, drawn.withheld, strict=True):
            mu, sigma = part["audio"].swapaxes(0, 1)
            x = population.mu_0 + population.sigma_0 / sigma * (d.feature["audio"] - mu)
            for turn in (0, 1):  # the two speakers
                calibrated.append((withheld[turn], x[turn::2].mean(axis=0)))
    spread = {
        unknown: np.var([mean for w, mean in calibrated if w == unknown], axis=0).mean()
        for unknown in (False, True)
    }
    assert 0.4 < np.mean([w for w, _ in calibrated]) < 0.6
    # Half of them are enrolled with nothing and keep all of their voice.
    assert spread[True] > 0.4 * population.b.mean()
    assert spread[False] < 0.3 * population.b.mean()


@pytest.mark.parametrize("amount", ["nothing", "all"])
def test_a_new_voice_is_calibrated_as_if_it_were_in_the_files(corpus, monkeypatch, amount):
    chance = np.eye(len(DRAWN))[0 if amount == "nothing" else -1]
    monkeypatch.setitem(CHANCE, "unknown", chance)
    found = enrolment(corpus)
    population = found.population["audio"]
    a, c = np.array([2.0, 0.5, 1.0, 3.0]), np.array([1.0, -2.0, 0.0, 5.0])
    monkeypatch.setattr(
        Population, "new_voice", lambda self, mu, sigma, z: np.broadcast_to([a, c], z.shape)
    )
    drawn = found.training(np.random.default_rng(0), True, 1 - 1e-9)
    own = [d.feature["audio"][[n == "Ada" for n in d.speaker]] for d in corpus.train]
    heard = a * np.concatenate(own) + c
    mu, sigma = population.style(heard if amount == "all" else heard[:0])
    mu_x, sigma_x = style(drawn, 0, 0)
    x = corpus.train[0].feature["audio"][0]
    np.testing.assert_allclose((x - mu_x) / sigma_x, (a * x + c - mu) / sigma, rtol=1e-4)


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
