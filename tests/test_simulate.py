"""The simulated corpora: their statistics, their truth, and the gain from calibration."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mlsan.corpus import CorpusError, open_corpora
from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.simulate import (
    oracle_calibrated,
    read_simulated,
    read_truth,
    simulated_folder,
    simulation,
)
from mlsan.corpus.simulate.conversations import conversations, people
from mlsan.corpus.simulate.expression import express, prominence, style
from mlsan.corpus.simulate.folder import write
from mlsan.evaluation.heterogeneity import speaker_probe, variance_shares
from mlsan.vocabulary import BENCHMARKS, MODALITIES

# Sizes at which a probe's score is steady, with few features so that probes are quick.
STEADY = {
    "MELD": {"train": 600, "test": 300, "text": 24, "audio": 24, "visual": 24},
    "IEMOCAP": {"train": 200, "test": 80, "text": 24, "audio": 24, "visual": 24},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("simulated")


def whole(corpus):
    return corpus.train + corpus.dev + corpus.test


def stacked(dialogues, modalities):
    features = [np.hstack([d.feature[m] for m in modalities]) for d in dialogues]
    return np.concatenate(features), np.concatenate([d.label for d in dialogues])


def probe(corpus, modalities=MODALITIES):
    """Weighted F1 on test, in points, of a linear classifier without speakers."""
    features, labels = stacked(corpus.train, modalities)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    with threadpool_limits(1):  # more threads are slower here
        model.fit(features, labels)
    features, labels = stacked(corpus.test, modalities)
    return 100 * f1_score(labels, model.predict(features), average="weighted")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_calibration_is_worth_8_points_where_speakers_differ(cache, benchmark, seed):
    folder = simulated_folder(simulation(benchmark, "small", seed=seed, **STEADY[benchmark]), cache)
    oracle = probe(oracle_calibrated(folder))
    raw, _ = read_simulated(folder)
    assert oracle - probe(raw) >= 8
    assert oracle - probe(raw, ("text",)) >= 10


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_calibration_is_worth_nothing_where_all_are_alike(cache, benchmark):
    settings = simulation(benchmark, "small", heterogeneity=0, **STEADY[benchmark])
    folder = simulated_folder(settings, cache)
    assert abs(probe(oracle_calibrated(folder)) - probe(read_simulated(folder)[0])) < 1


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_default_profile_shows_it_too(cache, benchmark):
    folder = simulated_folder(simulation(benchmark, "small"), cache)
    oracle, (raw, _) = oracle_calibrated(folder), read_simulated(folder)
    assert probe(oracle) - probe(raw) >= 8


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_undoing_style_gives_the_corpus_of_heterogeneity_0(cache, benchmark):
    alike, _ = read_simulated(
        simulated_folder(simulation(benchmark, "smoke", heterogeneity=0), cache)
    )
    for dial in (0.3, 1):
        folder = simulated_folder(simulation(benchmark, "smoke", heterogeneity=dial), cache)
        for one, two in zip(whole(alike), whole(oracle_calibrated(folder)), strict=True):
            assert one.id == two.id
            np.testing.assert_array_equal(one.label, two.label)
            for modality in MODALITIES:
                np.testing.assert_allclose(one.feature[modality], two.feature[modality], atol=1e-5)


def test_the_dial_moves_style_and_nothing_else(cache):
    folders = [
        simulated_folder(simulation("MELD", "smoke", heterogeneity=dial), cache)
        for dial in (0, 0.5, 1)
    ]
    speakers = [(folder / "Speakers.pkl").read_bytes() for folder in folders]
    assert speakers[0] == speakers[1] == speakers[2]
    texts = [(folder / "TextFeatures.pkl").read_bytes() for folder in folders]
    assert texts[0] == texts[1] == texts[2]
    truths = [read_truth(folder) for folder in folders]
    for modality in ("audio", "visual"):
        none, half, full = (truth.expression[modality] for truth in truths)
        np.testing.assert_array_equal(none.latent, full.latent)
        np.testing.assert_array_equal(none.loading, full.loading)
        np.testing.assert_array_equal(none.gain, 1)
        np.testing.assert_array_equal(none.shift, 0)
        np.testing.assert_allclose(half.shift, full.shift / 2)
        np.testing.assert_allclose(half.gain**2, full.gain)


def test_the_truth_explains_the_features_up_to_noise(cache):
    folder = simulated_folder(simulation("IEMOCAP", "small"), cache)
    truth, (_, settings) = read_truth(folder), read_simulated(folder)
    for modality, expression in truth.expression.items():
        noise = expression.feature - truth.shown(modality) @ expression.loading
        assert noise.std() == pytest.approx(settings.unit * settings.noise, rel=0.05)
        assert abs(noise.mean()) < 0.01


def test_truth_names_the_speakers_of_the_corpus(cache):
    folder = simulated_folder(simulation("MELD", "smoke"), cache)
    corpus, truth = read_simulated(folder)[0], read_truth(folder)
    names = {d.id: d.speaker for d in whole(corpus)}
    spoken = [name for key in truth.dialogue for name in names[key]]
    assert spoken == [truth.name[i] for i in truth.speaker]
    assert len(spoken) == truth.length.sum()


def test_style_is_partly_shared_by_gender():
    settings = simulation("MELD", "paper", balance=0, log_gain=0)
    everyone = people(settings)
    _, shift = style(settings, "audio", everyone)
    shift = shift / prominence(settings)
    women = np.array([person.gender == "F" for person in everyone])
    between = np.var([shift[women].mean(0), shift[~women].mean(0)], axis=0).mean()
    within = (shift[women].var(0).mean() + shift[~women].var(0).mean()) / 2
    assert within == pytest.approx((1 - settings.gender_share) * settings.shift**2, rel=0.1)
    assert between > 0.1 * within


def test_the_leading_speakers_differ_equally_in_every_world():
    for benchmark, leading in (("MELD", 6), ("IEMOCAP", 8)):
        for seed in (0, 1):
            settings = simulation(benchmark, "small", seed=seed)
            everyone = people(settings)
            assert [person.leading for person in everyone] == [
                i < leading for i in range(len(everyone))
            ]
            _, shift = style(settings, "visual", everyone)
            np.testing.assert_allclose(shift[:leading].mean(axis=0), 0, atol=1e-9)
            spread = settings.shift * prominence(settings)
            np.testing.assert_allclose(shift[:leading].std(axis=0), spread)
            np.testing.assert_allclose(shift[leading:].std(axis=0), spread)


def test_utterances_differ_in_how_strongly_they_show_their_emotion():
    settings = simulation("MELD", "small", contrast=50.0, text_contrast=50.0)
    everyone = people(settings)
    speaker = label = np.zeros(2000, dtype=np.int64)
    for fading, least, most in ((1.0, 0.0, 2.0), (0.0, 1.0, 1.0)):
        changed = settings.model_copy(update={"fading": fading})
        shown = express(changed, everyone, speaker, label)
        strength = [
            e.latent @ e.prototype[0] / (e.prototype[0] @ e.prototype[0]) for e in shown.values()
        ]
        for one in strength:
            assert np.quantile(one, (0.005, 0.995)) == pytest.approx([least, most], abs=0.05)
            np.testing.assert_allclose(one, strength[0], atol=0.1)


def test_what_shows_more_in_the_voice_shows_less_in_the_face():
    settings = simulation("MELD", "paper", log_gain=0)
    voice, _ = style(settings, "audio", people(settings))
    face, _ = style(settings, "visual", people(settings))
    np.testing.assert_allclose(voice * face, 1)
    assert np.log(voice).std() == pytest.approx(settings.balance, rel=0.25)


def test_meld_follows_the_published_statistics():
    settings = simulation("MELD", "paper")
    everyone, talks = people(settings), conversations(settings)
    of = {split: [t for t in talks if t.split == split] for split in ("train", "dev", "test")}
    assert [len(of[split]) for split in of] == [1038, 114, 280]
    lengths = [len(t.label) for t in of["train"]]
    assert sum(lengths) == pytest.approx(9989, rel=0.05)
    assert np.median(lengths) == pytest.approx(9, abs=1)
    assert max(lengths) <= 33
    labels = np.concatenate([t.label for t in talks])
    shares = np.bincount(labels, minlength=7) / len(labels)
    np.testing.assert_allclose(shares, settings.prior, atol=0.015)
    names = {split: Counter(everyone[i].name for t in of[split] for i in t.speaker) for split in of}
    main = sum(count for _, count in names["train"].most_common(6))
    assert main / sum(lengths) == pytest.approx(0.83, abs=0.03)
    assert len(names["train"]) == pytest.approx(260, abs=15)
    often = {name for name, count in names["train"].items() if count >= 10}
    assert len(often) == pytest.approx(61, abs=15)
    unseen = [name for name in names["test"] if name not in names["train"]]
    assert len(unseen) == pytest.approx(31, abs=10)
    share = sum(names["test"][name] for name in unseen) / names["test"].total()
    assert share == pytest.approx(0.042, abs=0.015)
    assert max(len(set(t.speaker.tolist())) for t in talks) <= 9


def test_iemocap_follows_the_published_statistics():
    settings = simulation("IEMOCAP", "paper")
    everyone, talks = people(settings), conversations(settings)
    held_in = [t for t in talks if t.split != "test"]
    test = [t for t in talks if t.split == "test"]
    assert [len(held_in), len(test)] == [120, 31]
    assert sum(len(t.label) for t in held_in) == pytest.approx(5810, rel=0.1)
    assert np.median([len(t.label) for t in talks]) == pytest.approx(47, abs=3)
    assert len(everyone) == 10
    assert all(len(set(t.speaker.tolist())) == 2 for t in talks)
    seen = {everyone[i].name for t in held_in for i in t.speaker}
    assert {everyone[i].name for t in test for i in t.speaker} == {"Ses05_M", "Ses05_F"}
    assert seen.isdisjoint({"Ses05_M", "Ses05_F"})
    labels = np.concatenate([t.label for t in talks])
    np.testing.assert_allclose(np.bincount(labels) / len(labels), settings.prior, atol=0.03)


# The numbers of the real corpora.
@pytest.mark.parametrize(
    ("benchmark", "same_speaker", "turn_before"), [("MELD", 0.446, 0.40), ("IEMOCAP", 0.717, 0.55)]
)
def test_emotions_have_inertia_and_spread(benchmark, same_speaker, turn_before):
    kept, caught = [], []
    for talk in conversations(simulation(benchmark, "paper")):
        last = {}
        label = talk.label.tolist()
        for turn, person in enumerate(talk.speaker.tolist()):
            if person in last:
                kept.append(label[turn] == last[person])
            if turn:
                caught.append(label[turn] == label[turn - 1])
            last[person] = label[turn]
    assert np.mean(kept) == pytest.approx(same_speaker, abs=0.03)
    assert np.mean(caught) == pytest.approx(turn_before, abs=0.03)


def differences(cache, settings):
    """Shares of speaker and emotion (audio, then visual), and how well speakers are named."""
    corpus, _ = read_simulated(simulated_folder(settings, cache))
    assert variance_shares(corpus, "text")[0] < 3
    shares = [variance_shares(corpus, modality) for modality in ("audio", "visual")]
    with threadpool_limits(1):
        return *zip(*shares, strict=True), speaker_probe(corpus, ("audio", "visual"))


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_speakers_differ_as_in_real_voices(cache, benchmark):
    worlds = [differences(cache, simulation(benchmark, "small", seed=seed)) for seed in (1, 2, 3)]
    speaker, emotion, named = (np.array(values) for values in zip(*worlds, strict=True))
    assert ((speaker.mean(axis=0) >= 15) & (speaker.mean(axis=0) <= 22)).all()  # nEMO: 17.8
    assert ((emotion.mean(axis=0) >= 4) & (emotion.mean(axis=0) <= 8)).all()  # nEMO: 6.2
    assert 87 <= named.mean() <= 97  # nEMO: 94 to 96


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_default_corpus_is_close_to_them(cache, benchmark):
    speaker, emotion, named = differences(cache, simulation(benchmark, "small"))
    assert all(15 <= share <= 23 for share in speaker)
    assert all(3 <= share <= 8 for share in emotion)
    assert 90 <= named <= 97


def test_the_small_iemocap_has_eight_strangers(cache):
    corpus, _ = read_simulated(simulated_folder(simulation("IEMOCAP", "small"), cache))
    names = {
        split: {name for d in getattr(corpus, split) for name in d.speaker}
        for split in ("train", "dev", "test")
    }
    assert names["train"] == {f"Ses0{k}_{gender}" for k in (1, 2, 3, 4) for gender in "MF"}
    assert names["dev"] <= names["train"]
    assert names["test"] == {f"Ses0{k}_{gender}" for k in (5, 6, 7, 8) for gender in "MF"}


@pytest.mark.parametrize("profile", ["smoke", "small"])
def test_the_profiles_are_read_back_by_the_common_reader(cache, profile):
    corpora = open_corpora("sim", profile, None, cache)
    assert [c.name for c in corpora.values()] == ["sim-meld", "sim-iemocap"]
    for benchmark, corpus in corpora.items():
        settings = simulation(benchmark, profile)
        assert corpus.simulated
        assert corpus.named
        assert corpus.notes == ()
        assert corpus.sizes == settings.sizes
        sizes = [len(corpus.train), len(corpus.dev), len(corpus.test)]
        assert sizes == [settings.train, settings.dev, settings.test]
        assert {int(y) for d in corpus.train for y in d.label} == set(
            range(len(BUILT_IN[benchmark].emotions))
        )


def test_parties_tell_the_speakers_of_a_dialogue_apart(cache):
    for corpus in open_corpora("sim", "smoke", None, cache).values():
        for d in whole(corpus):
            assert len(set(d.party.tolist())) == len(set(d.speaker))
            assert len(set(zip(d.party.tolist(), d.speaker, strict=True))) == len(set(d.speaker))
            if corpus.benchmark == "MELD":
                assert d.party[0] == 0  # order of first appearance


def test_keys_and_utterance_ids_are_as_published(cache):
    meld = simulated_folder(simulation("MELD", "smoke"), cache)
    ids, speakers, labels, *_, train, test, _ = pickle.loads((meld / "Speakers.pkl").read_bytes())
    assert ids[0][0] == "train_dia0_utt0"
    assert ids[41][0] == "dev_dia0_utt0"  # as in MELD, one key after train stays free
    assert ids[49][0] == "test_dia0_utt0"
    assert (40 in labels, train[0], test) == (False, 0, list(range(49, 61)))
    assert sorted(speakers[0][0]) == [0] * 8 + [1]
    iemocap = simulated_folder(simulation("IEMOCAP", "smoke"), cache)
    ids, speakers, *_, test = pickle.loads((iemocap / "Speakers.pkl").read_bytes())
    assert test == ["Ses05F_impro01", "Ses05M_impro01", "Ses05F_impro02", "Ses05M_impro02"]
    for utterance, letter in zip(ids[test[0]], speakers[test[0]], strict=True):
        assert utterance.startswith(f"Ses05F_impro01_{letter}0")


def test_equal_settings_give_equal_bytes_and_others_do_not(tmp_path):
    settings = simulation("MELD", "smoke")
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        write(settings, folder)
    assert {f.name for f in one.iterdir()} == {f.name for f in two.iterdir()}
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
    other, _ = read_simulated(simulated_folder(simulation("MELD", "smoke", seed=1), tmp_path))
    assert other.fingerprint != read_simulated(one)[0].fingerprint


def test_a_corpus_is_generated_once_and_again_where_torn(tmp_path):
    settings = simulation("IEMOCAP", "smoke")
    folder = simulated_folder(settings, tmp_path)
    written = (folder / "Speakers.pkl").stat().st_mtime_ns
    assert simulated_folder(settings, tmp_path) == folder
    assert (folder / "Speakers.pkl").stat().st_mtime_ns == written
    (folder / "VisualFeatures.pkl").unlink()
    simulated_folder(settings, tmp_path)
    assert (folder / "VisualFeatures.pkl").is_file()
    visible = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert visible == [folder]


def test_a_corpus_with_one_changed_byte_is_named_and_generated_again(tmp_path, caplog):
    settings = simulation("IEMOCAP", "smoke")
    folder = simulated_folder(settings, tmp_path)
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name, content in whole.items():
        caplog.clear()
        (folder / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        assert simulated_folder(settings, tmp_path) == folder
        assert f"{folder / name} " in caplog.text
        assert "the corpus is generated again" in caplog.text
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == whole
    assert [path for path in tmp_path.iterdir() if path.name[0] != "."] == [folder]


def test_a_generated_corpus_opens_where_nothing_can_be_written(tmp_path, monkeypatch):
    folder = simulated_folder(simulation("IEMOCAP", "smoke"), tmp_path)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mlsan.corpus.generated.FileLock", refuse)
    assert simulated_folder(simulation("IEMOCAP", "smoke"), tmp_path) == folder


def test_an_interrupted_generation_leaves_no_folder(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlsan.corpus.simulate.folder.save_truth", stop)
    with pytest.raises(KeyboardInterrupt):
        simulated_folder(simulation("MELD", "smoke"), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_settings_are_kept_beside_the_corpus(cache):
    settings = simulation("MELD", "smoke", heterogeneity=0.5)
    folder = simulated_folder(settings, cache)
    assert read_simulated(folder)[1] == settings
    assert json.loads((folder / "simulation.json").read_text())["heterogeneity"] == 0.5
    with pytest.raises(CorpusError, match="not simulated"):
        read_simulated(cache)


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="heterogeneity"):
        simulation("MELD", "smoke", heterogeneity=1.5)
    with pytest.raises(ValidationError, match="shfit"):
        simulation("MELD", "smoke", shfit=1)
