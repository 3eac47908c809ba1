"""Runs resume to the bit, are reused, and damage to their files is noticed."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from tiny import TINY, epochs_done, source, tiny

from mlsan.corpus import open_corpora
from mlsan.files import TornFileError, write_record, write_sealed
from mlsan.training import (
    begin,
    epochs,
    find_result,
    is_finished,
    run_key,
    run_settings,
    sweep,
    sweeps,
    train_run,
)
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


def spoil(path: Path, how: str) -> None:
    """Damage a file of a run; what a change of the content leaves is noticed by its digest."""
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if how == "directory":
        path.mkdir()
        (path / "inside").touch()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "endless link":
        path.symlink_to(path)
    elif how == "cut":
        path.write_bytes(content[:-2])
    elif how == "edited score":
        path.write_bytes(re.sub(rb'("test_wf1": )[0-9.]+', rb"\g<1>99.9", content))
    elif how == "sealed garbage":
        write_sealed(path, path.parent.name.encode() + b"garbage")
    elif how == "sealed scores missing":
        write_record(path, {"key": path.parent.name, "files": {}, "summary": {}})
    elif how == "sealed list":
        write_record(path, {"key": path.parent.name, "files": [], "summary": "good"})
    elif how != "missing":
        path.write_text(how)


RESULTS = ["", "[]", "null", '"text"', '{"key": 1}', "{", "[" * 100_000, "9" * 5000, "\0"]
RESULTS += ["edited score", "sealed scores missing", "sealed list", "cut"]
ODD = ["directory", "pipe", "endless link"]
DAMAGE = [
    *(("result.json", how) for how in [*RESULTS, *ODD]),
    *((name, how) for name in run_store.FILES for how in ("cut", "missing", *ODD)),
]


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    return train_run(tiny(epochs=1), corpus, tmp_path_factory.mktemp("finished"))


@pytest.mark.parametrize(("name", "how"), DAMAGE, ids=[f"{n} {h[:20]!r}" for n, h in DAMAGE])
def test_a_damaged_run_is_named_set_aside_and_trained_again(
    corpus, finished, tmp_path, caplog, monkeypatch, name, how
):
    def train(run, corpus, folder, on_epoch):  # at once; fails where anything is in the way
        assert {path.name for path in folder.iterdir()} == {".lock"}
        shutil.copytree(finished.folder, folder, dirs_exist_ok=True)

    monkeypatch.setattr(run_store, "_train", train)
    folder = shutil.copytree(finished.folder, tmp_path / finished.key)
    spoil(folder / name, how)
    with pytest.raises(TornFileError, match=re.escape(str(folder / name))):
        find_result(tmp_path, finished.key)
    assert not is_finished(tmp_path, finished.key)
    again = train_run(tiny(epochs=1), corpus, tmp_path)
    assert metrics(again.folder) == metrics(finished.folder)
    aside = tmp_path / f"{finished.key}.damaged-1"
    assert f"{folder / name} " in caplog.text
    assert f"set aside as {aside}, and the run is trained again" in caplog.text
    assert "weights_only" not in caplog.text
    assert os.path.lexists(aside / name) == (how != "missing")
    assert train_run(tiny(epochs=1), corpus, tmp_path) == again
    assert sorted(path.name for path in tmp_path.iterdir()) == [finished.key, aside.name]


@pytest.mark.parametrize("how", ["directory", "endless link", "to a foreign file"])
def test_a_lock_of_another_kind_is_set_aside(corpus, tmp_path, caplog, how):
    folder = tmp_path / run_key(tiny(epochs=1), corpus)
    folder.mkdir()
    foreign = tmp_path / "foreign"
    foreign.write_text("foreign")
    if how == "to a foreign file":
        (folder / ".lock").symlink_to(foreign)
    else:
        spoil(folder / ".lock", how)
    assert train_run(tiny(epochs=1), corpus, tmp_path).folder == folder
    assert f"{folder / '.lock'} is not a regular file: set aside as" in caplog.text
    assert foreign.read_text() == "foreign"


def test_a_file_in_the_place_of_a_run_is_set_aside(corpus, tmp_path, caplog):
    folder = tmp_path / run_key(tiny(epochs=1), corpus)
    folder.write_text("notes")
    assert train_run(tiny(epochs=1), corpus, tmp_path).folder == folder
    assert folder.with_name(f"{folder.name}.damaged-1").read_text() == "notes"
    assert f"{folder} is not a folder: set aside as" in caplog.text


def test_a_result_of_another_run_is_set_aside(corpus, tmp_path, caplog):
    one = train_run(tiny(epochs=1), corpus, tmp_path)
    key = run_key(tiny(epochs=1, seed=1), corpus)
    one.folder.rename(tmp_path / key)
    assert train_run(tiny(epochs=1, seed=1), corpus, tmp_path).key == key
    assert f"belongs to run {one.key}, not {key}" in caplog.text


class StopError(Exception):
    """Ends a run in the middle."""


def stopped(run, corpus, root) -> Path:
    """The checkpoint of a run that was stopped after its first epoch."""

    def stop(state):
        raise StopError

    with pytest.raises(StopError):
        train_run(run, corpus, root, on_epoch=stop)
    return root / run_key(run, corpus) / "checkpoint.pt"


@pytest.mark.parametrize("how", ["cut", "", "sealed garbage", "directory", "pipe"])
def test_a_damaged_checkpoint_is_named_set_aside_and_not_used(corpus, tmp_path, caplog, how):
    run = tiny()
    whole = train_run(run, corpus, tmp_path / "whole")
    path = stopped(run, corpus, tmp_path / "damaged")
    spoil(path, how)
    trained = []
    result = train_run(run, corpus, tmp_path / "damaged", on_epoch=trained.append)
    assert metrics(result.folder) == metrics(whole.folder)
    assert len(trained) == run.train.epochs
    aside = path.parent.with_name(f"{whole.key}.damaged-1")
    assert os.path.lexists(aside / "checkpoint.pt")
    assert f"{path} " in caplog.text
    assert f"set aside as {aside}" in caplog.text
    assert "weights_only" not in caplog.text


def test_a_checkpoint_of_other_shapes_is_not_used(corpus, tmp_path, caplog):
    path = stopped(tiny(), corpus, tmp_path)
    other = begin(tiny("MultiEMO"), corpus).to_bytes()
    write_sealed(path, path.parent.name.encode() + other)
    assert train_run(tiny(), corpus, tmp_path).folder == path.parent
    assert f"{path} holds no state of this run (RuntimeError): set aside as" in caplog.text


@pytest.mark.parametrize("curve", [True, False])
def test_a_model_comes_back_with_its_predictions(corpus, tmp_path, curve):
    from mlsan.evaluation import stages_of

    run = tiny(test_curve=curve)
    result = train_run(run, corpus, tmp_path)
    seen = stages_of(run, corpus, result.model(run, corpus), corpus.test)
    test = result.predictions.query("split == 'test'")
    assert (seen.logits.argmax(1) == test["predicted"]).all()
    assert list(test["label"]) == list(seen.label)
    best = result.history["dev_wf1"].idxmax()
    assert result.summary["dev_wf1"] == result.history["dev_wf1"][best]
    score = f1_score(test["label"], test["predicted"], average="weighted")
    assert result.summary["test_wf1"] == pytest.approx(100 * score)
    with_curve = {"test_wf1", "test_loss"}
    assert with_curve & {*result.history} == (with_curve if curve else set())


def test_a_test_curve_changes_nothing_but_what_is_known_of_test(corpus, tmp_path):
    with_curve, without = (
        train_run(tiny(test_curve=curve), corpus, tmp_path) for curve in (True, False)
    )
    history, test = with_curve.history, with_curve.predictions.query("split == 'test'")
    best = history["dev_wf1"].idxmax()
    assert with_curve.summary["test_wf1"] == history["test_wf1"][best]
    assert with_curve.summary["best_test_wf1"] == history["test_wf1"].max()
    assert with_curve.summary["best_test_epoch"] == 1 + history["test_wf1"].idxmax()
    score = f1_score(test["label"], pd.to_numeric(test["predicted_best_test"]), average="weighted")
    assert with_curve.summary["best_test_wf1"] == pytest.approx(100 * score)
    pd.testing.assert_frame_equal(history[[*without.history]], without.history)
    kept = [*without.predictions]
    pd.testing.assert_frame_equal(with_curve.predictions[kept], without.predictions)
    same = {"dev_wf1", "test_wf1", "epoch"}
    assert {x: with_curve.summary[x] for x in same} == {x: without.summary[x] for x in same}
    assert set(with_curve.summary) - set(without.summary) == {"best_test_wf1", "best_test_epoch"}


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
    assert first["best_test_wf1"].isna().all()  # `tiny` has no test curve
    again = sweep(runs, source(cache), tmp_path, jobs=2)
    assert list(again["status"]) == ["reused", "failed", "reused"]
    assert list(again["test_wf1"][[0, 2]]) == list(first["test_wf1"][[0, 2]])
    assert list(first["system"]) == ["ML-SAN", "ML-SAN", "MultiEMO"]
    assert first["speaker"][0] == "identity"


def test_a_sweep_gives_the_bits_of_a_single_run(corpus, cache, tmp_path):
    sweep([tiny(seed=5), tiny(seed=6)], source(cache), tmp_path / "many", jobs=2)
    single = train_run(tiny(seed=5), corpus, tmp_path / "one")
    assert metrics(tmp_path / "many" / single.key) == metrics(single.folder)


def test_damage_costs_its_own_run_only(corpus, cache, tmp_path):
    runs = [tiny(epochs=1, seed=seed) for seed in range(4)]
    first = sweep(runs, source(cache), tmp_path, jobs=1)
    keys = list(first["run"])
    spoil(tmp_path / keys[0] / "model.pt", "cut")
    spoil(tmp_path / keys[1] / "result.json", "[" * 100_000)
    shutil.rmtree(tmp_path / keys[2])
    (tmp_path / keys[2]).mkdir()
    (tmp_path / keys[2] / "metrics.csv").write_bytes(b"\xff\xfe")
    table = sweep(runs, source(cache), tmp_path, jobs=1)
    assert list(table["status"]) == ["trained", "trained", "trained", "reused"]
    assert list(table["test_wf1"]) == list(first["test_wf1"])


def test_a_read_only_store_serves_finished_runs(corpus, tmp_path, monkeypatch):
    cache, root = tmp_path / "corpora", tmp_path / "runs"
    runs = [tiny(epochs=1)]
    first = sweep(runs, source(cache), root, jobs=1)
    (root / first["run"][0] / "checkpoint.pt").touch()  # left by a kill

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    def read_only(path, flags, *rest, opened=os.open, **named):
        return (
            refuse() if flags & (os.O_WRONLY | os.O_RDWR) else opened(path, flags, *rest, **named)
        )

    for place, name in ((Path, "unlink"), (Path, "mkdir"), (os, "rename")):
        monkeypatch.setattr(place, name, refuse)
    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(sweeps, "_OPENED", {})
    again = sweep(runs, source(cache), root, jobs=1)
    assert list(again["status"]) == ["reused"]
    assert list(again["test_wf1"]) == list(first["test_wf1"])
    assert is_finished(root, first["run"][0])
    assert len(find_result(root, first["run"][0]).predictions)


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
