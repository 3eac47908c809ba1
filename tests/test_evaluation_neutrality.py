"""Probes and calibration measures on features whose style is known exactly."""

import dataclasses

import numpy as np
import pytest
from tiny import untrained

from mlsan.corpus import Dialogue
from mlsan.corpus.simulate import oracle_calibrated, read_simulated, simulated_folder, simulation
from mlsan.evaluation import Stages, stages_of
from mlsan.evaluation.neutrality import (
    STAGES,
    calibration_maps,
    chance_level,
    map_agreement,
    recovery_by_modality,
    stage_probes,
    stranger_probes,
    style_recovery,
    withheld_stages,
)
from mlsan.training import run_settings

NAMES = np.array(["a", "b", "c", "d"])
GAIN = np.array([[0.5, 2.0], [1.0, 1.0], [1.5, 0.7], [3.0, 1.2]], dtype=np.float32)
SHIFT = np.array([[3.0, -1.0], [0.0, 0.5], [-3.0, 2.0], [1.0, -4.0]], dtype=np.float32)


def styled(seed, count=240):
    """Utterances of four speakers: one channel a feature, shown by each speaker's own style."""
    draw = np.random.default_rng(seed)
    who = draw.integers(0, 4, count)
    label = draw.integers(0, 2, count)
    latent = draw.standard_normal((count, 2)).astype(np.float32)
    latent[:, 0] += 4 * label
    return who, label, latent, GAIN[who] * latent + SHIFT[who]


def gathered(who, label, raw, calibrated):
    """Stages in which nothing comes after the calibration."""
    flat = {"audio": calibrated}
    return Stages(
        label=label,
        code=who,
        speaker=NAMES[who],
        logits=np.eye(2, dtype=np.float32)[label],
        z=calibrated,
        at={"raw": {"audio": raw}, "calibrated": flat, "context": flat, "gated": flat},
    )


def undone(seed):
    who, label, latent, shown = styled(seed)
    return gathered(who, label, shown, latent)


def oracle_of(label, latent):
    return (Dialogue("1", label, np.zeros_like(label), None, {"audio": latent}),)


def probes(train, dev, test, **changes):
    found = stage_probes(train, dev, test, np.random.default_rng(0), **changes)
    return found.set_index(["target", "stage"])


def test_probes_find_speakers_in_raw_features_and_none_once_style_is_undone():
    found = probes(undone(0), undone(1), undone(2))
    assert list(found.loc["speaker"].index) == list(found.loc["emotion"].index) == list(STAGES)
    speaker, emotion = found.loc["speaker"], found.loc["emotion"]
    assert speaker.loc["raw", "wf1"] > speaker.loc["raw", "chance"] + 30
    for stage in STAGES[1:]:
        assert speaker.loc[stage, "wf1"] < speaker.loc[stage, "chance"] + 8
        assert emotion.loc[stage, "wf1"] > 95
    assert emotion.loc["raw", "wf1"] < emotion.loc["calibrated", "wf1"]
    assert set(speaker["classes"]) == {4}
    assert set(emotion["classes"]) == {2}


def test_the_speaker_probe_keeps_to_the_speakers_it_was_fitted_on():
    train, dev = undone(0), undone(1)
    stranger = dataclasses.replace(dev, speaker=np.where(dev.code == 0, "stranger", dev.speaker))
    found = probes(train, stranger, dev, speakers=3, most=50).loc["speaker"]
    leading = np.argsort(-np.bincount(train.code))[:3]
    assert set(found["classes"]) == {3}
    assert set(found["fitted"]) == {50}
    assert set(found["scored"]) == {np.isin(dev.code, leading[leading != 0]).sum()}
    alone = dataclasses.replace(dev, speaker=np.full(len(dev.label), "stranger"))
    nobody = probes(train, alone, dev).loc["speaker"]
    assert nobody["wf1"].isna().all()
    assert nobody["chance"].isna().all()


def test_the_same_utterances_are_drawn_whatever_the_features():
    one, other = undone(0), undone(0)
    other.z[:] = 0
    kept = ["fitted", "scored", "chance"]
    pair = [probes(seen, undone(1), undone(2), most=40)[kept] for seen in (one, other)]
    assert pair[0].equals(pair[1])


def test_probes_refuse_a_modality_that_is_not_there():
    with pytest.raises(ValueError, match="the stages have no visual; use audio"):
        probes(undone(0), undone(1), undone(2), modalities=("visual",))


def test_chance_is_the_better_of_two_blind_guesses():
    # Guessing 50:50 on 50:50 is right half the time in both classes.
    assert chance_level(np.array([0, 1]), np.array([1, 0])) == pytest.approx(50)
    # Always "0" on nine of ten: F1 of class 0 is 2 * 0.9 / 1.9, of class 1 nothing.
    many = np.array([0] * 9 + [1])
    assert chance_level(many, many) == pytest.approx(100 * max(0.9 * 1.8 / 1.9, 0.82))


def test_recovery_is_whole_for_the_truth_nil_for_noise_and_between_for_raw_features():
    who, label, latent, shown = styled(0)
    oracle = oracle_of(label, latent)

    def mean_r2(calibrated):
        table = style_recovery(gathered(who, label, shown, calibrated), oracle)
        assert len(table) == 2 * 4
        return recovery_by_modality(table).set_index("calibration")["r2_mean"]

    exact = mean_r2(latent)
    assert exact["learned"] == pytest.approx(1)
    assert exact["best"] == pytest.approx(1)
    assert exact["none"] < 0.6 < 0.9 < exact["by speaker"] < 1
    assert mean_r2(shown)["learned"] == pytest.approx(exact["none"])
    # One scale and offset a feature for everybody are free, whatever their sign.
    assert mean_r2(-3 * latent + 5)["learned"] == pytest.approx(1)
    assert mean_r2(np.zeros_like(latent))["learned"] == 0
    noise = np.random.default_rng(9).standard_normal(latent.shape).astype(np.float32)
    assert mean_r2(noise)["learned"] < 0.05


def test_recovery_looks_at_frequent_speakers_and_the_part_asked_for():
    who, label, latent, shown = styled(0)
    calibrated = np.where((who == 0)[:, None], shown, latent)
    seen, oracle = gathered(who, label, shown, calibrated), oracle_of(label, latent)

    def learned(**kept):
        return style_recovery(seen, oracle, **kept).query("calibration == 'learned'")["r2"].mean()

    assert learned(part=who != 0) == pytest.approx(1)
    assert learned() < 0.95
    rare = np.isin(np.arange(len(who)), np.flatnonzero(who == 0)[9:], invert=True)
    few = gathered(who[rare], label[rare], shown[rare], calibrated[rare])
    found = style_recovery(few, oracle_of(label[rare], latent[rare]))
    assert found.query("calibration == 'learned'")["r2"].to_numpy() == pytest.approx(1)


def test_maps_are_the_style_turned_round():
    who, label, latent, shown = styled(0)
    maps = calibration_maps(gathered(who, label, shown, 2 * latent - 1), oracle_of(label, latent))
    assert len(maps) == 4 * 2
    true = maps.pivot(index="speaker", columns="feature", values="true_scale").to_numpy()
    assert true == pytest.approx(1 / GAIN, rel=1e-4)
    shift = maps.pivot(index="speaker", columns="feature", values="true_shift").to_numpy()
    assert shift == pytest.approx(-SHIFT / GAIN, rel=1e-3, abs=1e-3)
    assert maps["learned_scale"].to_numpy() == pytest.approx(2 * maps["true_scale"].to_numpy())
    agreed = map_agreement(maps).iloc[0]
    assert agreed[["scale_r2", "shift_r2"]].to_numpy(float) == pytest.approx([1, 1])
    assert agreed["chance"] == pytest.approx(1 / 3)
    one_for_all = calibration_maps(gathered(who, label, shown, 2 * shown), oracle_of(label, latent))
    assert map_agreement(one_for_all)[["scale_r2", "shift_r2"]].isna().all(axis=None)


def test_an_oracle_of_other_dialogues_or_features_is_refused():
    who, label, latent, shown = styled(0)
    with pytest.raises(ValueError, match="not those of the stages"):
        style_recovery(gathered(who, label, shown, latent), oracle_of(1 - label, latent))
    wide = np.zeros((len(who), 5), dtype=np.float32)
    with pytest.raises(ValueError, match="calibrated after its projection"):
        style_recovery(gathered(who, label, shown, wide), oracle_of(label, latent))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    # With this seed every actor has enough utterances to be a known speaker.
    made = simulated_folder(simulation("IEMOCAP", "smoke", seed=0), folder)
    return read_simulated(made)[0], oracle_calibrated(made)


def start(simulated, film_start, split, amount=0):
    """Stages of an ML-SAN before its first epoch, and R² by modality and calibration."""
    corpus, oracle = simulated
    run = run_settings("IEMOCAP", "smoke", "ML-SAN", 0, film_start=film_start)
    seen = stages_of(run, corpus, untrained(run, corpus), getattr(corpus, split), amount)
    found = recovery_by_modality(style_recovery(seen, getattr(oracle, split)))
    return seen, found.pivot(index="modality", columns="calibration", values="r2_mean")


@pytest.mark.parametrize(("split", "amount"), [("train", 0), ("test", "all")])
def test_a_simulated_style_is_recovered_by_the_statistics_start_alone(simulated, split, amount):
    _, zero = start(simulated, "zero", split, amount)
    _, printed = start(simulated, "printed", split, amount)
    _, statistics = start(simulated, "statistics", split, amount)
    for modality in ("audio", "visual"):
        row = statistics.loc[modality]
        assert row["none"] < row["by speaker"] < row["best"] < 1
        assert zero.loc[modality, "learned"] == pytest.approx(row["none"])
        assert printed.loc[modality, "learned"] < row["none"] + 0.01
        assert row["best"] - 0.15 < row["learned"] <= row["best"]
        assert row["none"] + 0.1 < row["learned"]
    assert zero.loc["text", ["none", "learned", "best"]].to_numpy(float) == pytest.approx(1)


def test_a_stranger_of_whom_nothing_is_known_is_not_calibrated(simulated):
    _, none = start(simulated, "statistics", "test", 0)
    assert none.loc["audio", "learned"] == pytest.approx(none.loc["audio", "none"], abs=0.01)


def test_without_frequent_speakers_recovery_has_no_number():
    who, label, latent, shown = styled(0)
    seen = gathered(who, label, shown, latent)
    nobody = np.zeros(len(who), dtype=bool)
    assert style_recovery(seen, oracle_of(label, latent), part=nobody)["r2"].isna().all()


def test_the_statistics_start_makes_features_neutral_for_seen_speakers_and_strangers(simulated):
    corpus, _ = simulated
    (train, _), (dev, _) = (start(simulated, "statistics", s) for s in ("train", "dev"))
    test, _ = start(simulated, "statistics", "test", "all")
    found = probes(train, dev, test, modalities=("audio", "visual"))
    assert set(found["modalities"]) == {"audio+visual"}
    assert found["wf1"].between(0, 100).all()
    raw, calibrated = (found.loc[("speaker", stage)] for stage in ("raw", "calibrated"))
    assert raw["wf1"] > raw["chance"] + 40
    assert calibrated["wf1"] < calibrated["chance"] + 10
    names = sorted(set(test.speaker))
    number = np.repeat(np.arange(len(corpus.test)), [len(d) for d in corpus.test])
    apart = stranger_probes(test, number, names, modalities=("audio",)).set_index("stage")
    assert apart.loc["raw", "wf1"] > 85 > 75 > apart.loc["calibrated", "wf1"]
    assert set(apart["classes"]) == {2}
    assert set(apart["target"]) == {"stranger"}
    assert apart["fitted"].iloc[0] + apart["scored"].iloc[0] == len(test.label)


def test_a_stranger_of_one_dialogue_cannot_be_probed():
    seen = undone(0)
    number = np.arange(len(seen.label)) // 10
    alone = np.where(number == 0, "x", seen.speaker)
    once = dataclasses.replace(seen, speaker=alone)
    assert stranger_probes(once, number, ["x", "a"])["wf1"].isna().all()
    both = stranger_probes(once, number, ["x", "a", "b"])
    assert set(both["classes"]) == {2}
    assert both.set_index("stage").loc["raw", "wf1"] > 65


def test_a_gate_writes_the_identity_that_it_is_given_and_withholding_removes_it(simulated):
    corpus, _ = simulated

    def gated(system, gather, **starts):
        run = run_settings("IEMOCAP", "smoke", system, 0, **starts)
        model = untrained(run, corpus)
        seen = [gather(run, corpus, model, part) for part in (corpus.train, corpus.dev)]
        return seen[0], probes(*seen, seen[0]).loc[("speaker", "gated"), "wf1"]

    noise = {"gate_start": "random", "film_start": "zero"}
    given, with_name = gated("ML-SAN", stages_of, **noise)
    withheld, without_name = gated("ML-SAN", withheld_stages, **noise)
    assert with_name > without_name + 20
    assert given.code.all()
    assert not withheld.code.any()
    assert np.array_equal(given.speaker, withheld.speaker)
    opened = [gated("ML-SAN", gather)[1] for gather in (stages_of, withheld_stages)]
    assert opened[0] == opened[1], "an open gate writes nothing, and styles stay"
    plain = [gated("MultiEMO", gather)[0].z for gather in (stages_of, withheld_stages)]
    assert np.array_equal(*plain)
    run = run_settings("IEMOCAP", "smoke", "ML-SAN", 0, named=False)
    with pytest.raises(ValueError, match="uses roles"):
        withheld_stages(run, corpus, untrained(run, corpus), corpus.dev)
