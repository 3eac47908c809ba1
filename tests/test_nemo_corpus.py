"""The shipped features of nEMO, and the corpora that are made of them."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mlsan.corpus import CorpusError, open_corpora, read_corpus
from mlsan.corpus.fetch.download import content_digest
from mlsan.corpus.nemo import protocols
from mlsan.corpus.nemo.protocols import FOLDS, NOTES, PROTOCOLS, SEEN, protocol_folder, splits
from mlsan.corpus.nemo.recordings import CLIPS, EMOTIONS, FEATURES, FOLDER, blobs, recordings
from mlsan.evaluation import score_table
from mlsan.evaluation.heterogeneity import strangers
from mlsan.evaluation.probes import emotion_predictions
from mlsan.study import open_study
from mlsan.training import SCALES, run_settings
from mlsan.training.plans import PLANS, voices_runs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """All of nEMO's corpora, by protocol."""
    return open_corpora("nemo", "small", None, tmp_path_factory.mktemp("nemo"))


def test_recordings_are_those_of_the_paper():
    found = recordings()
    assert found.features.shape == (4481, 88)
    assert found.features.dtype == np.float32
    assert np.isfinite(found.features).all()
    assert len(set(found.clip)) == len(set(found.blob)) == 4481
    assert set(found.emotion) == set(EMOTIONS)
    assert sorted(set(found.sentence)) == list(range(1, 91))
    genders = dict(zip(found.speaker, found.gender, strict=True))
    assert sorted(genders.values()) == ["female"] * 4 + ["male"] * 5
    assert "F0semitoneFrom27.5Hz_sma3nz_amean" in found.names
    for clip, speaker, sentence in zip(found.clip, found.speaker, found.sentence, strict=True):
        assert re.fullmatch(rf"{speaker}_[a-z]+_{sentence}", clip)


def test_features_are_small_and_need_no_pickle():
    assert FEATURES.stat().st_size < 2_000_000
    with np.load(FEATURES, allow_pickle=False) as saved:
        assert all(saved[name].dtype.kind in "fiuU" for name in saved.files)


def test_committed_clips_are_the_published_files_and_licensed():
    files = sorted(CLIPS.glob("*.wav"))
    assert len(files) == 11
    assert sum(file.stat().st_size for file in files) < 1_000_000
    known = blobs()
    for file in files:
        assert content_digest(file, "git-blob:") == f"git-blob:{known[file.stem]}"
    assert "CC BY-NC-SA 4.0" in (FOLDER / "README.md").read_text()
    assert (FOLDER / "LICENSE").read_text().startswith("Attribution-NonCommercial-ShareAlike 4.0")


def test_wheel_has_the_features_with_their_licence(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mlsan", source / "mlsan", ignore=shutil.ignore_patterns("*.pyc"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", tmp_path, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = {entry.filename: entry.file_size for entry in wheel.infolist()}
    data = {name: size for name, size in inside.items() if "nemo/data" in name}
    assert {Path(name).name for name in data if "dist-info" not in name} == {
        "LICENSE",
        "README.md",
        "egemaps.npz",
    }
    assert sum(data.values()) < 2_000_000


def test_seen_actors_have_no_sentence_in_two_splits():
    found = recordings()
    parts = splits(SEEN)
    assert (np.sum(list(parts.values()), axis=0) == 1).all()
    said = [set(found.sentence[rows]) for rows in parts.values()]
    assert list(map(len, said)) == [62, 8, 20]
    assert len(set.union(*said)) == 90
    for rows in parts.values():
        assert len(set(found.speaker[rows])) == 9


def test_folds_hold_out_every_actor_once():
    found = recordings()
    held = []
    for fold in FOLDS:
        parts = splits(fold)
        assert (np.sum(list(parts.values()), axis=0) == 1).all()
        actors = {part: set(found.speaker[rows]) for part, rows in parts.items()}
        assert not actors["test"] & (actors["train"] | actors["dev"])
        said = {part: set(found.sentence[rows]) for part, rows in parts.items()}
        assert not said["train"] & said["dev"]
        held += sorted(actors["test"])
    assert sorted(held) == sorted(set(found.speaker))


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="unknown protocol 'nEMO'; choose from nEMO-seen, nEMO-un"):
        splits("nEMO")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_corpora_say_what_the_recordings_say(corpora, protocol):
    corpus, found = corpora[protocol], recordings()
    assert corpus.declaration.emotions == EMOTIONS
    assert corpus.notes == NOTES
    assert not corpus.simulated
    mean, sd = protocols.scaling(protocol)
    by_features = {
        row.tobytes(): i for i, row in enumerate(((found.features - mean) / sd).astype(np.float32))
    }
    used = []
    for part, rows in splits(protocol).items():
        dialogues = getattr(corpus, part)
        audio = np.concatenate([d.feature["audio"] for d in dialogues])
        places = np.array([by_features[x.tobytes()] for x in audio])
        assert rows[places].all()
        assert [n for d in dialogues for n in d.speaker] == found.speaker[places].tolist()
        label = np.concatenate([d.label for d in dialogues])
        assert np.array(EMOTIONS)[label].tolist() == found.emotion[places].tolist()
        assert all(len(d) < protocols.TURNS[1] for d in dialogues)
        assert all(len(set(d.speaker)) <= 2 for d in dialogues)
        used += places.tolist()
    assert sorted(used) == list(range(4481)), "every clip is used once"
    train = np.concatenate([d.feature["audio"] for d in corpus.train])
    assert np.abs(train.mean(axis=0)).max() < 1e-3
    assert np.abs(train.std(axis=0) - 1).max() < 1e-2


def test_strangers_are_those_of_the_fold(corpora):
    assert strangers(corpora[SEEN]) == []
    everybody = [name for fold in FOLDS for name in strangers(corpora[fold])]
    assert sorted(everybody) == sorted(set(recordings().speaker))


def test_a_corpus_is_written_once_and_the_same_everywhere(tmp_path, corpora):
    folder = protocol_folder("nEMO-unseen-5", tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert protocol_folder("nEMO-unseen-5", tmp_path) == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert read_corpus(folder).fingerprint == corpora["nEMO-unseen-5"].fingerprint
    assert (folder / "corpus.json").is_file()


def test_one_changed_byte_is_noticed_and_nothing_is_locked_where_all_is_well(
    tmp_path, monkeypatch, caplog
):
    folder = protocol_folder("nEMO-unseen-5", tmp_path)
    file = folder / "AudioFeatures.pkl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert protocol_folder("nEMO-unseen-5", tmp_path) == folder
    assert file.read_bytes() == whole
    assert f"{file} has been altered: the corpus is generated again" in caplog.text

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mlsan.corpus.generated.FileLock", refuse)
    assert protocol_folder("nEMO-unseen-5", tmp_path) == folder


def test_unseen_actors_are_harder(corpora):
    tables = (emotion_predictions(corpora[p], ("audio",)) for p in (SEEN, "nEMO-unseen-1"))
    seen, unseen = (score_table(found)["wf1"] for found in tables)
    assert seen > 60 > 50 > unseen > 30


def test_smoke_has_two_folds_and_data_is_not_taken(tmp_path):
    assert list(open_corpora("nemo", "smoke", None, tmp_path)) == list(PROTOCOLS[:3])
    with pytest.raises(CorpusError, match="heterogeneity can be set for"):
        open_corpora("nemo", "smoke", None, tmp_path, 0.5)
    with pytest.raises(ValueError, match="CORPUS=nemo has its own data, leave DATA out"):
        open_study("09_voices", "smoke", "nemo", "/tmp")


def test_plan_and_settings_are_those_of_voices():
    runs = voices_runs("nEMO-unseen-2", "small", True)
    assert len(runs) == 3 * len(SCALES["small"].seeds)
    for run in runs:
        assert run.train.epochs == SCALES["small"].train["nEMO-unseen-2"]["epochs"]
        assert run.model.d == SCALES["small"].train["nEMO-unseen-2"]["d"]
    assert all(not PLANS["voices"](b, "small", True) for b in ("MELD", "IEMOCAP", "lessons"))
    lessons = run_settings("lessons", "small", "ML-SAN", 0)
    assert lessons.train.epochs == SCALES["small"].train["IEMOCAP"]["epochs"]
