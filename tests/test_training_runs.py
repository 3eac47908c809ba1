"""Runs resume to the bit, are reused, and damage to their files is noticed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import TINY, epochs_done, source, tiny

from mlsan.corpus import open_corpora
from mlsan.files import TornFileError
from mlsan.training import begin, epochs, run_key, run_settings, sweep, train_run
from mlsan.training import runs as run_store
from mlsan.training.loop import DivergedError, divided


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="module")
def corpus(cache):
    return open_corpora("sim", "smoke", None, cache)["MELD"]


def metrics(folder: Path) -> bytes:
    return (folder / "metrics.csv").read_bytes() + (folder / "predictions.csv").read_bytes()


def test_a_run_resumed_after_any_epoch_has_the_same_bits(corpus):
    run = tiny(dropout=0.1)
    through = begin(run, corpus)
    saved = [state.to_bytes() for state in epochs(run, corpus, through)]
    for content in saved[:-1]:
        resumed = begin(run, corpus)
        resumed.restore(content)
        torch.rand(7)  # whatever else the process draws in between
        resumed.restore(content)
        for _ in epochs(run, corpus, resumed):
            pass
        assert resumed.history == through.history
        for name, weight in through.model.state_dict().items():
            assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_a_killed_run_resumes_to_the_same_bits(corpus, cache, tmp_path):
    run = tiny(epochs=8)
    whole = train_run(run, corpus, tmp_path / "whole")
    root = tmp_path / "killed"
    script = (
        "import sys; from pathlib import Path; from tiny import source, tiny;"
        "from mlsan.training import train_run;"
        "corpus = source(Path(sys.argv[1])).open()['MELD'];"
        "train_run(tiny(epochs=8), corpus, Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(cache), str(root)]
    tests = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    folder = root / whole.key
    for done in (1, 4):
        child = subprocess.Popen(command, env=os.environ | tests)
        while child.poll() is None and epochs_done(folder) < done:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert (folder / "checkpoint.pt").exists()
    resumed = train_run(run, corpus, root)
    assert metrics(resumed.folder) == metrics(whole.folder)
    assert not (folder / "checkpoint.pt").exists()


def test_a_finished_run_is_reused_and_a_changed_one_is_trained(corpus, tmp_path, monkeypatch):
    first = train_run(tiny(), corpus, tmp_path)
    monkeypatch.setattr(run_store, "epochs", None)  # training again would fail
    assert train_run(tiny(), corpus, tmp_path) == first
    with pytest.raises(TypeError):
        train_run(tiny(lam=0.9), corpus, tmp_path)


@pytest.mark.parametrize("name", ["metrics.csv", "predictions.csv", "model.pt", "config.json"])
def test_an_altered_file_of_a_finished_run_is_named(corpus, tmp_path, name):
    result = train_run(tiny(epochs=1), corpus, tmp_path)
    (result.folder / name).write_bytes((result.folder / name).read_bytes()[:-2])
    with pytest.raises(TornFileError, match=f"{name} is missing, torn or altered: delete"):
        train_run(tiny(epochs=1), corpus, tmp_path)


def test_a_result_of_another_run_is_refused(corpus, tmp_path):
    one = train_run(tiny(epochs=1), corpus, tmp_path)
    key = run_key(tiny(epochs=1, seed=1), corpus)
    one.folder.rename(tmp_path / key)
    with pytest.raises(TornFileError, match=f"belongs to run {one.key}, not {key}"):
        train_run(tiny(epochs=1, seed=1), corpus, tmp_path)


def test_a_torn_checkpoint_is_named_and_kept(corpus, tmp_path):
    run = tiny()
    folder = tmp_path / run_key(run, corpus)

    class StopError(Exception):
        pass

    def stop(state):
        raise StopError

    with pytest.raises(StopError):
        train_run(run, corpus, tmp_path, on_epoch=stop)
    path = folder / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TornFileError, match=r"checkpoint\.pt is torn"):
        train_run(run, corpus, tmp_path)
    assert path.exists()


def test_a_model_comes_back_with_its_predictions(corpus, tmp_path):
    from mlsan.evaluation import stages_of

    run = tiny()
    result = train_run(run, corpus, tmp_path)
    seen = stages_of(run, corpus, result.model(run, corpus), corpus.test)
    test = result.predictions.query("split == 'test'")
    assert (seen.logits.argmax(1) == test["predicted"]).all()
    assert list(test["label"]) == list(seen.label)
    assert set(result.summary) >= {"test_wf1", "best_test_wf1", "dev_wf1", "epoch"}
    best = result.history["dev_wf1"].idxmax()
    assert result.summary["test_wf1"] == result.history["test_wf1"][best]
    assert result.summary["best_test_wf1"] == result.history["test_wf1"].max()


def test_divergence_is_an_error_that_names_the_epoch(corpus):
    run = tiny(lr=1e30)
    with pytest.raises(DivergedError, match=r"diverged in epoch \d"):
        for _ in epochs(run, corpus, begin(run, corpus)):
            pass


def test_the_random_dev_split_is_drawn_from_train_and_dev(corpus):
    run = tiny(dev="random")
    split = divided(run, corpus)
    everyone = {d.id for d in corpus.train + corpus.dev}
    assert {d.id for d in split.train} | {d.id for d in split.dev} == everyone
    assert len(split.dev) == max(1, round(0.05 * len(everyone)))
    assert {d.id for d in divided(run, corpus).dev} == {d.id for d in split.dev}


def test_a_sweep_isolates_failures_and_reuses_the_rest(cache, tmp_path):
    runs = [tiny(epochs=1), tiny(epochs=1, lr=1e30), tiny("MultiEMO", epochs=1)]
    first = sweep(runs, source(cache), tmp_path, jobs=2)
    assert list(first["status"]) == ["trained", "failed", "trained"]
    assert "DivergedError" in first["error"][1]
    assert pd.isna(first["test_wf1"][1])
    again = sweep(runs, source(cache), tmp_path, jobs=2)
    assert list(again["status"]) == ["reused", "failed", "reused"]
    assert list(again["test_wf1"][[0, 2]]) == list(first["test_wf1"][[0, 2]])
    assert list(first["system"]) == ["ML-SAN", "ML-SAN", "MultiEMO"]
    assert first["speaker"][0] == "identity"


def test_a_sweep_gives_the_bits_of_a_single_run(corpus, cache, tmp_path):
    sweep([tiny(seed=5), tiny(seed=6)], source(cache), tmp_path / "many", jobs=2)
    single = train_run(tiny(seed=5), corpus, tmp_path / "one")
    assert metrics(tmp_path / "many" / single.key) == metrics(single.folder)


def test_damage_fails_its_own_run_only(corpus, cache, tmp_path):
    runs = [tiny(epochs=1), tiny(epochs=1, seed=1)]
    broken = train_run(runs[0], corpus, tmp_path).folder / "model.pt"
    broken.write_bytes(b"")
    table = sweep(runs, source(cache), tmp_path, jobs=1)
    assert list(table["status"]) == ["failed", "trained"]
    assert str(broken) in table["error"][0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store_is_named(corpus, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"cannot write .* make the folder writable"):
        train_run(tiny(epochs=1), corpus, tmp_path)


def test_predictions_say_whose_speaker_is_in_training(tmp_path):
    corpus = open_corpora("sim", "smoke", None, tmp_path)["IEMOCAP"]
    run = run_settings("IEMOCAP", "smoke", "MultiEMO", 0, **TINY | {"epochs": 1})
    table = train_run(run, corpus, tmp_path / "runs").predictions
    trained = {name for d in corpus.train for name in d.speaker}
    assert (table["seen"] == table["speaker"].isin(trained)).all()
    assert not table.query("split == 'test'")["seen"].any()
    assert table.query("split == 'dev'")["seen"].all()
