"""Scores, means over runs and probes against numbers worked out by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_selection import f_classif
from sklearn.metrics import accuracy_score, f1_score
from tiny import untrained

from mlsan.corpus import Dialogue, open_corpora
from mlsan.corpus.simulate import read_truth, simulated_folder, simulation
from mlsan.corpus.standardised import speaker_names, standardise_by_speaker, standardised
from mlsan.evaluation import mean_sd, score_predictions, score_table, stages_of
from mlsan.evaluation.balance import speaker_gates, true_balance
from mlsan.evaluation.heterogeneity import (
    emotion_plane,
    leading_speakers,
    repetition,
    speaker_gap,
    speaker_probe,
    strangers,
    training_features,
    variance_shares,
)
from mlsan.evaluation.probes import STRENGTH, emotion_predictions, every_other, probe
from mlsan.evaluation.qualitative import (
    before_and_after,
    case_dialogue,
    case_study,
    feature_map,
    speaker_distance,
    speaker_weights,
)
from mlsan.training import run_settings


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return open_corpora("sim", "smoke", None, tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def trained(corpora):
    corpus = corpora["MELD"]
    run = run_settings("MELD", "smoke", "ML-SAN", 0)
    return run, corpus, untrained(run, corpus)


LABEL = np.array([0, 0, 0, 1, 1, 2])
FOUND = np.array([0, 0, 1, 1, 0, 0])


def test_scores_by_hand():
    # class 0: P 2/4, R 2/3, F1 4/7; class 1: P 1/2, R 1/2, F1 1/2; class 2: 0
    f1 = np.array([4 / 7, 1 / 2, 0])
    found = score_predictions(LABEL, FOUND)
    assert found["wf1"] == pytest.approx(100 * (3 * f1[0] + 2 * f1[1]) / 6)
    assert found["macro_f1"] == pytest.approx(100 * f1.mean())
    assert found["accuracy"] == pytest.approx(50)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns_also_for_classes_that_are_only_predicted(seed):
    draw = np.random.default_rng(seed)
    label, found = draw.integers(0, 4, 50), draw.integers(0, 6, 50)
    scores = score_predictions(label, found)
    for name, average in (("wf1", "weighted"), ("macro_f1", "macro")):
        expected = 100 * f1_score(label, found, average=average, zero_division=0)
        assert scores[name] == pytest.approx(expected, rel=1e-14)
    assert scores["accuracy"] == pytest.approx(100 * accuracy_score(label, found), rel=1e-14)
    names = np.array(list("bdacef"))
    assert score_predictions(names[label], names[found]) == pytest.approx(scores)


def runs_table():
    rows = [("ML-SAN", s, x) for s, x in enumerate((62.0, 64.0, np.nan))]
    rows += [("MultiEMO", s, x) for s, x in enumerate((61.0, 61.0, 60.0))]
    return pd.DataFrame(rows, columns=["system", "seed", "test_wf1"])


def test_a_failed_run_is_counted_and_not_averaged():
    summary = mean_sd(runs_table(), ["system"], ["test_wf1"]).set_index("system")
    assert summary.loc["ML-SAN", "test_wf1_mean"] == 63
    assert summary.loc["ML-SAN", "test_wf1_sd"] == pytest.approx(2**0.5)
    assert list(summary["n"]) == [2, 3]
    assert list(summary["failed"]) == [1, 0]


def test_a_probe_finds_a_line_and_nothing_in_noise():
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, 400)
    features = draw.standard_normal((400, 5))
    shifted = features.copy()
    shifted[:, 2] += 6 * label
    assert probe(shifted[:200], label[:200], shifted[200:], label[200:]) > 97
    assert probe(features[:200], label[:200], features[200:], label[200:]) < 65


def test_standardising_by_speaker_undoes_a_shift_and_a_gain():
    draw = np.random.default_rng(0)
    speaker = np.repeat(["a", "b"], 200)
    plain = draw.standard_normal((400, 3)).astype(np.float32)
    styled = plain * np.where(speaker == "a", 3, 0.5)[:, None] + (speaker == "a")[:, None] * 7
    found = standardise_by_speaker(styled.astype(np.float32), speaker)
    assert np.abs(found - standardise_by_speaker(plain, speaker)).max() < 1e-4
    one = standardise_by_speaker(plain[:1], speaker[:1])
    assert np.isfinite(one).all()


def test_undoing_style_brings_two_speakers_together(corpora):
    corpus = corpora["MELD"]
    raw = training_features(corpus, "audio")
    shifted = raw.copy()
    pair = leading_speakers(corpus, 2)
    speaker = np.array([n for d in corpus.train for n in speaker_names(corpus, d)])
    shifted[speaker == pair[0]] += 3 * raw.std(axis=0)
    plane = emotion_plane({"as is": raw, "apart": shifted}, corpus, pair, emotions=1)
    assert set(plane["speaker"]) == set(pair)
    assert list(plane["space"].unique()) == ["as is", "apart"]
    assert speaker_gap(plane).gt(0).all()


def test_two_emotions_have_a_plane_too(corpora):
    corpus = corpora["MELD"]
    binary = tuple(dataclasses.replace(d, label=d.label % 2) for d in corpus.train)
    declared = corpus.declaration.model_copy(update={"emotions": ("calm", "cross")})
    two = dataclasses.replace(corpus, train=binary, declaration=declared)
    pair = leading_speakers(two, 2)
    plane = emotion_plane({"raw": training_features(two, "audio")}, two, pair)
    assert set(plane["emotion"]) == {"calm", "cross"}
    assert (plane[["x", "y"]].std() > 0.1).all()


def test_variance_shares_are_eta_squared_of_the_leading_speakers(corpora):
    corpus = corpora["MELD"]
    nine = leading_speakers(corpus, 9)
    speaker = np.array([n for d in corpus.train for n in speaker_names(corpus, d)])
    kept = np.isin(speaker, nine)
    assert not kept.all()
    label = np.concatenate([d.label for d in corpus.train])[kept]
    features = training_features(corpus, "audio")[kept]
    for group, share in zip((speaker[kept], label), variance_shares(corpus, "audio"), strict=True):
        groups = len(np.unique(group))
        ratio = f_classif(features, group)[0] * (groups - 1) / (len(group) - groups)
        assert share == pytest.approx(100 * np.median(ratio / (1 + ratio)), rel=1e-3)


def test_speakers_are_named_from_features_that_tell_them_apart_only(corpora):
    corpus = corpora["MELD"]
    nine = leading_speakers(corpus, 9)

    def told(dialogue):
        code = [nine.index(n) if n in nine else 9 for n in speaker_names(corpus, dialogue)]
        return dataclasses.replace(
            dialogue, feature={**dialogue.feature, "audio": np.eye(10)[code]}
        )

    marked = dataclasses.replace(
        corpus, train=tuple(map(told, corpus.train)), dev=tuple(map(told, corpus.dev))
    )
    assert speaker_probe(marked, ("audio",)) == pytest.approx(100)
    assert speaker_probe(marked, ("text",)) < 40


def test_repetition_counts_each_partys_next_emotion(corpora):
    found = repetition(corpora["IEMOCAP"])
    assert 0 < found["by chance"] < found["same emotion again"] < 1


def test_an_emotion_probe_scores_a_corpus(corpora):
    corpus = corpora["IEMOCAP"]
    raw, flat = (
        score_table(emotion_predictions(one, corpus.modalities))["wf1"]
        for one in (corpus, standardised(corpus))
    )
    assert 0 < raw <= 100
    assert flat != raw


def test_the_speaker_probe_names_speakers_until_their_features_are_standardised(corpora):
    corpus = corpora["MELD"]
    raw, flat = (
        speaker_probe(corpus, ("audio", "visual"), change, speakers=4)
        for change in (None, standardise_by_speaker)
    )
    assert raw > 70 > 45 > flat


def test_every_other_dialogue_of_each_speaker_is_set_apart():
    speaker = np.array(["a", "b", "a", "a", "b", "c"])
    dialogue = np.array([3, 3, 3, 5, 9, 9])
    assert every_other(speaker, dialogue).tolist() == [True, True, True, False, False, True]


def test_probe_predictions_score_as_the_probe_does_and_know_who_is_seen(corpora):
    corpus = corpora["MELD"]
    table = emotion_predictions(corpus, corpus.modalities)
    score = score_table(table)["wf1"]
    train, test = (
        np.concatenate([np.hstack([d.feature[m] for m in corpus.modalities]) for d in split])
        for split in (corpus.train, corpus.test)
    )
    label, truth = (np.concatenate([d.label for d in s]) for s in (corpus.train, corpus.test))
    assert score == pytest.approx(probe(train, label, test, truth, STRENGTH))
    assert table["label"].tolist() == [int(y) for d in corpus.test for y in d.label]
    assert set(table.loc[~table["seen"], "speaker"]) == set(strangers(corpus))
    assert strangers(corpora["IEMOCAP"]) == list(
        dict.fromkeys(n for d in corpora["IEMOCAP"].test for n in d.speaker)
    )


def test_stages_keep_utterances_in_order(trained):
    run, corpus, model = trained
    seen = stages_of(run, corpus, model, corpus.test)
    count = sum(map(len, corpus.test))
    assert list(seen.at) == ["raw", "calibrated", "context", "gated"]
    assert np.array_equal(seen.label, np.concatenate([d.label for d in corpus.test]))
    assert np.array_equal(
        seen.at["raw"]["text"], np.concatenate([d.feature["text"] for d in corpus.test])
    )
    assert seen.z.shape == (count, run.model.d)
    assert list(seen.speaker[: len(corpus.test[0])]) == list(corpus.test[0].speaker)


def test_an_untrained_calibration_is_the_speakers_own_start(trained):
    run, corpus, model = trained
    speakers = leading_speakers(corpus, 2)
    found = speaker_weights(run, corpus, model, speakers)
    calibrated = found["modality"] != "text"
    unknown = found["speaker"] == "unknown"
    assert found.loc[calibrated & unknown, ["scale", "shift"]].max(axis=None) < 1e-6
    assert found.loc[calibrated & ~unknown, ["scale", "shift"]].min(axis=None) > 0.05
    assert found.loc[~calibrated, "scale"].isna().all()
    assert found["gate"].to_numpy() == pytest.approx(0.953, abs=0.001)
    assert list(found["speaker"].unique()) == ["unknown", *speakers]
    zero = run_settings("MELD", "smoke", "ML-SAN", 0, film_start="zero")
    plain = speaker_weights(zero, corpus, untrained(zero, corpus), speakers)
    assert (plain.loc[calibrated, ["scale", "shift"]] == 0).all(axis=None)


def test_every_speakers_gate_stands_beside_the_true_balance(trained, tmp_path):
    run, corpus, model = trained
    gates = speaker_gates(run, corpus, model)
    by = speaker_weights(run, corpus, model, list(gates["speaker"]))
    for side in ("audio", "visual"):
        expected = by[by["modality"] == side].set_index("speaker")["gate"].loc[gates["speaker"]]
        assert gates[side].to_numpy() == pytest.approx(expected.to_numpy())
    assert "unknown" not in set(gates["speaker"])
    truth = read_truth(simulated_folder(simulation("MELD", "smoke"), tmp_path))
    balance = true_balance(truth)
    assert set(gates["speaker"]) <= set(balance.index)
    place = truth.name.index("Emma")
    audio, visual = (np.log(truth.expression[m].gain[place]).mean() for m in ("audio", "visual"))
    assert balance["Emma"] == pytest.approx(audio - visual)


def test_the_case_is_where_two_systems_differ_most():
    def predictions(found):
        ids = ["a"] * 2 + ["b"] * 3 + ["c"] * 9
        table = pd.DataFrame({"split": "test", "dialogue": ids, "predicted": found})
        other = pd.DataFrame({"split": ["dev"], "dialogue": ["a"], "predicted": [0]})
        return pd.concat([other, table], ignore_index=True)

    def talk(name, party):
        party = np.array(party)
        return Dialogue(name, np.zeros_like(party), party, None, {})

    talks = [talk("a", [0, 1]), talk("b", [0, 1, 0]), talk("c", [0, 1] * 4 + [0])]
    one, other = predictions([0] * 14), predictions([1, 1, 1, 1, 0, *[1] * 9])
    other = other[other["split"] == "test"]  # other rows may stand before
    assert case_dialogue(one, other, range(2, 4), talks) == "a"
    assert case_dialogue(one, other, range(1, 20), talks) == "c"
    assert case_dialogue(one, other, range(50, 60), talks) == "c"
    talks[2] = talk("c", [0] * 9)
    assert case_dialogue(one, other, range(1, 20), talks) == "a"
    with pytest.raises(ValueError, match="no dialogue has two speakers"):
        case_dialogue(one, other, range(1, 20), talks[2:])


def test_a_conversations_speakers_come_together_by_calibration(trained):
    run, corpus, model = trained
    seen = stages_of(run, corpus, model, corpus.train)
    number = np.repeat(np.arange(len(corpus.train)), [len(d) for d in corpus.train])
    chosen = next(i for i, d in enumerate(corpus.train) if len(set(d.speaker)) == 2)
    places = before_and_after(seen, number, chosen, "audio")
    assert list(places["stage"].unique()) == ["raw", "calibrated"]
    dialogue = corpus.train[chosen]
    for _, part in places.groupby("stage"):
        turns = part[part["turn"] > 0].sort_values("turn")
        assert turns["turn"].tolist() == list(range(1, len(dialogue) + 1))
        assert turns["speaker"].tolist() == list(dialogue.speaker)
        assert turns["label"].tolist() == dialogue.label.tolist()
        assert len(part) > len(turns)
    distance = speaker_distance(places)
    assert distance["calibrated"] < 0.5 * distance["raw"]


def test_modality_shares_of_a_case_add_up(trained):
    run, corpus, model = trained
    dialogue = corpus.test[0]
    case = case_study({"ML-SAN": run}, {"ML-SAN": model}, corpus, dialogue)
    assert len(case) == len(dialogue)
    assert case.filter(like="weight_").sum(axis=1).to_numpy() == pytest.approx(1)


def test_a_feature_map_has_a_place_for_every_utterance(trained):
    run, corpus, model = trained
    points = feature_map(run, corpus, model, named=1)
    assert len(points) == sum(map(len, corpus.test))
    assert points[["x", "y"]].notna().all(axis=None)
    assert points["speaker"].nunique() == 2


def test_without_names_a_stage_has_roles(trained):
    run, corpus, _ = trained
    nameless = dataclasses.replace(
        corpus,
        train=tuple(dataclasses.replace(d, speaker=None) for d in corpus.train),
        test=tuple(dataclasses.replace(d, speaker=None) for d in corpus.test),
    )
    run = run_settings("MELD", "smoke", "ML-SAN", 0, named=False)
    model = untrained(run, nameless)
    seen = stages_of(run, nameless, model, nameless.test)
    assert set(seen.speaker) == {f"role {p}" for d in nameless.test for p in d.party}
