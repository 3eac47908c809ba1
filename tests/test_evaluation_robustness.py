"""Test sets made worse on purpose: what changes, what stays, and what the score makes of it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mlsan.corpus import open_corpora
from mlsan.evaluation import scores
from mlsan.evaluation.counts import dialogue_counts
from mlsan.evaluation.robustness import (
    NOISE,
    Condition,
    acquaintance,
    conditions,
    degraded_predictions,
    noisy,
    robustness,
    without,
)
from mlsan.training import run_settings
from mlsan.training.loop import new_model, speaker_code


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return open_corpora("sim", "smoke", None, tmp_path_factory.mktemp("corpora"))["MELD"]


@pytest.fixture(scope="module")
def trained(corpus):
    run = run_settings("MELD", "smoke", "MultiEMO", 0)
    return run, new_model(run, corpus, speaker_code(run, corpus).size).eval()


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
    with pytest.raises(ValueError, match="nothing but text"):
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


def test_each_condition_is_scored_on_the_whole_test_set(corpus, trained):
    run, model = trained
    degraded = conditions(corpus, draw())
    predicted = degraded_predictions(run, model, degraded)
    assert len(predicted) == len(degraded) * sum(map(len, corpus.test))
    table = robustness(run, model, degraded)
    assert list(table["condition"]) == [c.name for c in degraded]
    assert list(table["absent"]) == ["", "text", "audio", "visual", "", "", ""]
    for row in table.itertuples():
        part = predicted[predicted["condition"] == row.condition]
        expected = scores(part["label"].to_numpy(), part["predicted"].to_numpy())
        assert row.wf1 == expected["wf1"]


def predictions(wrong, seed):
    """Forty test dialogues of a seen, an unseen and a nameless utterance; some are wrong."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "split": "test",
            "dialogue": np.repeat([f"d{i}" for i in range(40)], 3),
            "turn": np.tile(range(3), 40),
            "speaker": np.tile(["Ann", "Bob", ""], 40),
            "seen": np.tile([True, False, False], 40),
            "label": np.arange(120) % 5 % 2,
        }
    )
    chosen = draw.permutation(np.flatnonzero(table["speaker"] == "Bob"))[:wrong]
    table["predicted"] = table["label"].to_numpy()
    table.loc[chosen, "predicted"] = 1 - table.loc[chosen, "label"]
    return table


def test_ways_to_tell_the_speaker_are_compared_on_seen_and_unseen_speakers():
    ways = {"identity": (20, 22, 24), "inferred": (4, 6, 8)}
    tables = {
        way: {seed: predictions(n, seed) for seed, n in enumerate(wrong)}
        for way, wrong in ways.items()
    }
    parts = {
        part: {"MELD": {way: dialogue_counts(t, 2, seen=seen) for way, t in tables.items()}}
        for part, seen in (("all", None), ("seen", True), ("unseen", False))
    }
    found = acquaintance(parts, "identity", draw(), 500).set_index(["part", "system"])
    assert found.loc["all", "utterances"].tolist() == [120, 120]
    assert found.loc["unseen", "utterances"].tolist() == [40, 40]
    assert found.loc["seen", "wf1_mean"].tolist() == [100, 100]
    seen, unseen = found.loc[("seen", "inferred")], found.loc[("unseen", "inferred")]
    assert seen[["delta", "low", "high"]].tolist() == [0, 0, 0]
    expected = [
        scores(part["label"].to_numpy(), part["predicted"].to_numpy())["wf1"]
        for part in (t[t["speaker"] == "Bob"] for t in tables["inferred"].values())
    ]
    assert unseen["wf1_mean"] == pytest.approx(np.mean(expected))
    assert unseen["wf1_sd"] == pytest.approx(np.std(expected, ddof=1))
    assert 0 < unseen["low"] < unseen["delta"] < unseen["high"]
    assert found.loc["unseen", "wf1_mean"].diff().iloc[1] == pytest.approx(unseen["delta"])
    assert found.xs("identity", level="system")["delta"].isna().all()


def test_without_the_reference_or_such_speakers_there_is_no_difference():
    nameless = predictions(4, 0).assign(speaker="")
    counts = {way: dialogue_counts({0: nameless}, 2, seen=True) for way in ("role", "inferred")}
    whole = {way: dialogue_counts({0: nameless}, 2) for way in ("role", "inferred")}
    found = acquaintance({"seen": {"MELD": counts}, "all": {"MELD": whole}}, "identity", draw())
    assert found["delta"].isna().all()
    assert found.set_index("part")["wf1_mean"].notna().to_dict() == {"seen": False, "all": True}
    found = acquaintance({"seen": {"MELD": counts}}, "role", draw())
    assert found["delta"].isna().all()
    assert set(found["utterances"]) == {0}
