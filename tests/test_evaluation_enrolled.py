"""One trained model under every enrolment, and somebody new whom it meets."""

import numpy as np
import pandas as pd
import pytest
from tiny import source, tiny

from mlsan.evaluation.enrolled import enrolled_predictions
from mlsan.evaluation.stages import stages_of
from mlsan.evaluation.strangers import Style, enrol, predict
from mlsan.files import TornFileError
from mlsan.training import run_settings, train_run

SMALL = {"epochs": 2, "d": 8, "feedforward": 16, "classifier": 8}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("enrolled")
    corpus = source(folder).open()["IEMOCAP"]
    run = run_settings("IEMOCAP", "smoke", "ML-SAN", 0, **SMALL)
    result = train_run(run, corpus, folder / "runs")
    return run, corpus, result, result.model(run, corpus)


def test_without_enrolment_these_are_the_runs_own_predictions(trained):
    run, corpus, result, model = trained
    found = enrolled_predictions(run, corpus, model, 0)
    own = result.predictions.query("split == 'test'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, own[found.columns], check_dtype=False)
    assert not found["seen"].any(), "both test speakers of the smoke corpus are strangers"


def test_enrolment_changes_what_the_model_sees_of_strangers(trained):
    run, corpus, _, model = trained
    logits = [
        stages_of(run, corpus, model, corpus.test, amount, np.random.default_rng(0)).logits
        for amount in (0, "past", 3, "dialogue", "all")
    ]
    assert len({part.tobytes() for part in logits}) == 5


def utterances(corpus, name):
    return {
        m: np.concatenate([d.feature[m][[n == name for n in d.speaker]] for d in corpus.test])
        for m in corpus.sizes
    }


def test_enrolling_by_hand_is_enrolling_with_all_utterances(trained):
    run, corpus, _, model = trained
    names = {name for d in corpus.test for name in d.speaker}
    styles = {name: enrol(run, corpus, model, utterances(corpus, name)) for name in names}
    whole = enrolled_predictions(run, corpus, model, "all")
    for dialogue in corpus.test:
        expected = whole.query("dialogue == @dialogue.id")["predicted"]
        assert predict(run, corpus, model, dialogue, styles).tolist() == expected.tolist()


def test_a_style_survives_saving(trained, tmp_path):
    run, corpus, _, model = trained
    style = enrol(run, corpus, model, utterances(corpus, corpus.test[0].speaker[0]))
    style.save(tmp_path / "style.npz")
    back = Style.load(tmp_path / "style.npz")
    for modality, values in style.mu_sigma.items():
        np.testing.assert_array_equal(back.mu_sigma[modality], values)
    (tmp_path / "torn.npz").write_bytes((tmp_path / "style.npz").read_bytes()[:-5])
    with pytest.raises(TornFileError, match=r"torn\.npz"):
        Style.load(tmp_path / "torn.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.pop("visual"), "features of visual are missing"),
        (lambda x: x.pop("text"), "features of text are missing"),
        (lambda x: x.update(text=x["text"][1:]), r"number of utterances: text \d+, audio \d+"),
        (lambda x: x.update(audio=x["audio"][:, :3]), r"features of audio have shape \(\d+, 3\)"),
        (lambda x: x.update(audio=x["audio"][0]), "one row per utterance"),
        (lambda x: x["audio"].__setitem__((2, 1), np.nan), "audio: row 2 is not finite"),
    ],
)
def test_features_that_cannot_enrol_are_refused(trained, change, message):
    run, corpus, _, model = trained
    features = utterances(corpus, corpus.test[0].speaker[0])
    change(features)
    with pytest.raises(ValueError, match=message):
        enrol(run, corpus, model, features)


def test_a_model_without_a_statistics_start_cannot_enrol(tmp_path):
    run, corpus = tiny("MultiEMO", epochs=1), source(tmp_path).open()["MELD"]
    model = train_run(run, corpus, tmp_path / "runs").model(run, corpus)
    with pytest.raises(ValueError, match="no FiLM that starts from statistics"):
        enrol(run, corpus, model, {"audio": np.zeros((2, 16))})
