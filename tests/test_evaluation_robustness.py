"""Degraded test sets: what changes and what stays."""

import dataclasses

import numpy as np
import pytest
from tiny import untrained

from mlsan.corpus import open_corpora
from mlsan.evaluation import score_predictions, stages_of
from mlsan.evaluation.robustness import (
    NOISE,
    Condition,
    conditions,
    degraded_predictions,
    noisy,
    without,
)
from mlsan.training import run_settings


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return open_corpora("sim", "smoke", None, tmp_path_factory.mktemp("corpora"))["MELD"]


@pytest.fixture(scope="module")
def trained(corpus):
    run = run_settings("MELD", "smoke", "MultiEMO", 0)
    return run, untrained(run, corpus)


def draw(seed=0):
    return np.random.default_rng(seed)


def rows(dialogues, modality):
    return np.concatenate([d.feature[modality] for d in dialogues])


def text_only(corpus):
    def cut(dialogues):
        return tuple(dataclasses.replace(d, feature={"text": d.feature["text"]}) for d in dialogues)

    return dataclasses.replace(
        corpus,
        train=cut(corpus.train),
        dev=cut(corpus.dev),
        test=cut(corpus.test),
        sizes={"text": corpus.sizes["text"]},
    )


def test_an_absent_modality_is_zero_in_test_and_all_else_stays(corpus):
    found = without(corpus, "audio", draw())
    assert not rows(found.test, "audio").any()
    for modality in ("text", "visual"):
        assert np.array_equal(rows(found.test, modality), rows(corpus.test, modality))
    assert found.train is corpus.train
    assert found.dev is corpus.dev
    assert found.fingerprint != corpus.fingerprint
    assert rows(corpus.test, "audio").all()


def test_a_share_of_the_dialogues_loses_it_whole(corpus):
    def gone(seed):
        found = without(corpus, "text", draw(seed), share=0.25)
        return [not d.feature["text"].any() for d in found.test]

    assert sum(gone(0)) == round(0.25 * len(corpus.test)) == 3
    assert gone(0) == gone(0)
    assert any(gone(0) != gone(seed) for seed in range(1, 5))
    untouched = without(corpus, "text", draw(), share=0.0)
    assert np.array_equal(rows(untouched.test, "text"), rows(corpus.test, "text"))


def test_what_is_not_there_or_alone_cannot_be_taken_away(corpus):
    alone = text_only(corpus)
    with pytest.raises(ValueError, match="has no audio; it has text"):
        without(alone, "audio", draw())
    with pytest.raises(ValueError, match="has only text"):
        without(alone, "text", draw())
    assert [c.name for c in conditions(alone, draw())] == [
        "clean",
        *(f"noise {level:g}" for level in NOISE),
    ]


def test_noise_has_the_size_of_the_training_features(corpus):
    level = 2.0
    found = noisy(corpus, level, draw(), ("audio",))
    added = rows(found.test, "audio") - rows(corpus.test, "audio")
    ratio = added / (level * rows(corpus.train, "audio").std(axis=0))
    assert ratio.std() == pytest.approx(1, abs=0.1)
    assert abs(ratio.mean()) < 0.1
    assert np.array_equal(rows(found.test, "text"), rows(corpus.test, "text"))
    assert rows(found.test, "audio").dtype == rows(corpus.test, "audio").dtype
    same = noisy(corpus, level, draw(), ("audio",))
    assert np.array_equal(rows(found.test, "audio"), rows(same.test, "audio"))
    silent = noisy(corpus, 0.0, draw())
    for modality in corpus.modalities:
        assert np.array_equal(rows(silent.test, modality), rows(corpus.test, modality))


def test_the_conditions_are_clean_each_absent_and_each_noise(corpus):
    found = conditions(corpus, draw())
    assert [c.name for c in found] == [
        *("clean", "no text", "no audio", "no visual"),
        *("noise 0.5", "noise 1", "noise 2"),
    ]
    assert found[Condition()] is corpus
    levels = [np.std(rows(found[Condition(noise=n)].test, "text")) for n in NOISE]
    assert levels == sorted(levels)


def test_an_absent_modality_has_no_say_in_the_score(corpus, trained):
    run, model = trained
    other = noisy(corpus, 5.0, draw(), ("visual",))
    pair = [
        degraded_predictions(run, model, {Condition("visual"): without(c, "visual", draw())})
        for c in (corpus, other)
    ]
    assert pair[0].equals(pair[1])
    clean = degraded_predictions(run, model, {Condition(): corpus})
    assert not pair[0]["predicted"].equals(clean["predicted"])


def test_each_condition_has_predictions_for_the_whole_test_set(corpus, trained):
    run, model = trained
    degraded = conditions(corpus, draw())
    predicted = degraded_predictions(run, model, degraded)
    assert len(predicted) == len(degraded) * sum(map(len, corpus.test))
    assert list(predicted["condition"].unique()) == [c.name for c in degraded]
    absent = predicted.groupby("condition", sort=False)["absent"].first()
    assert list(absent) == ["", "text", "audio", "visual", "", "", ""]
    clean = predicted[predicted["condition"] == "clean"]
    expected = stages_of(run, corpus, model, corpus.test)
    assert np.array_equal(clean["label"], expected.label)
    assert np.array_equal(clean["predicted"], expected.logits.argmax(axis=1))
    pair = clean["label"].to_numpy(), clean["predicted"].to_numpy()
    assert 0 < score_predictions(*pair)["wf1"] < 100
