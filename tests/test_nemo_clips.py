"""Clips of nEMO: read, refused, turned into features, and fetched with git."""

import os
import shutil
import subprocess
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlsan.__main__ import main
from mlsan.corpus import CorpusError
from mlsan.corpus.fetch import nemo
from mlsan.corpus.fetch.nemo import clips_in, fetch_clips, obtain_nemo, verify
from mlsan.corpus.nemo import extraction
from mlsan.corpus.nemo.extraction import TOLERANCE, Extracted, deviations, extract
from mlsan.corpus.nemo.recordings import CLIPS, blobs, recordings
from mlsan.corpus.nemo.sound import read_clip

NAMES = sorted(file.stem for file in CLIPS.glob("*.wav"))
KNOWN = {name: blobs()[name] for name in NAMES}


def write_wave(file: Path, channels: int = 1, width: int = 2, samples: int = 2400) -> Path:
    with wave.open(str(file), "wb") as clip:
        clip.setparams((channels, width, 24000, 0, "NONE", ""))
        clip.writeframes(bytes(channels * width * samples))
    return file


def bad_clips(folder: Path) -> dict[str, str]:
    """Write clips that cannot be used; what the message about each must say."""
    write_wave(folder / "stereo.wav", channels=2)
    write_wave(folder / "coarse.wav", width=1)
    write_wave(folder / "empty.wav", samples=0)
    whole = (CLIPS / f"{NAMES[0]}.wav").read_bytes()
    (folder / "truncated.wav").write_bytes(whole[:-30_001])
    (folder / "header.wav").write_bytes(whole[:20])
    (folder / "nothing.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not sound\n" * 100)
    (folder / "folder.wav").mkdir()
    return {
        "stereo": "it has 2 channels. Export the clip as mono WAV",
        "coarse": "its samples have 8 bits. Export the clip as mono WAV",
        "empty": "it has 0 samples. Record the clip again or leave it out",
        "truncated": "it is truncated: 20,999 of 36,000 samples are there. Copy the file again",
        "header": "not a WAV file that can be read",
        "nothing": "not a WAV file that can be read",
        "text": "not a WAV file that can be read",
        "folder": "it is a folder, not a file",
    }


def test_a_clip_is_read_as_samples_between_minus_one_and_one(tmp_path):
    samples, rate = read_clip(CLIPS / "IC0_anger_14.wav")
    assert (rate, samples.dtype, samples.shape) == (24000, np.float32, (36000,))
    assert 0.1 < np.abs(samples).max() < 1
    with wave.open(str(tmp_path / "a.wav"), "wb") as clip:
        clip.setparams((1, 2, 8000, 0, "NONE", ""))
        clip.writeframes(np.array([-32768, 0, 16384], "<i2").tobytes())
    assert read_clip(tmp_path / "a.wav")[0].tolist() == [-1, 0, 0.5]


def test_a_clip_that_cannot_be_used_is_refused_with_value_and_fix(tmp_path):
    for name, message in bad_clips(tmp_path).items():
        file = tmp_path / f"{name}.wav"
        with pytest.raises(CorpusError) as caught:
            read_clip(file)
        assert str(caught.value).startswith(f"{file}: ")
        assert message in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(CorpusError, match="it is a pipe, not a file"):
        read_clip(tmp_path / "pipe.wav")


@pytest.fixture
def smile(monkeypatch):
    """An openSMILE whose features are the number of samples, and of which one clip is too much."""

    class Smile:
        def process_signal(self, samples, rate):
            if len(samples) == 2399:
                raise RuntimeError("no frames")
            return pd.DataFrame([[len(samples)] * 88], dtype=np.float32)

    monkeypatch.setattr(extraction, "check_installed", lambda: None)
    monkeypatch.setattr(nemo, "check_installed", lambda: None)
    monkeypatch.setattr(extraction, "_smile", Smile)


def test_bad_clips_do_not_affect_the_others(tmp_path, smile):
    messages = bad_clips(tmp_path)
    write_wave(tmp_path / "short.wav", samples=2399)
    for name in NAMES[:3]:
        shutil.copy(CLIPS / f"{name}.wav", tmp_path)
    arrived = []
    found = extract(sorted(tmp_path.glob("*.wav")), 1, lambda: arrived.append(1))
    assert list(found.features) == NAMES[:3]
    assert found.features[NAMES[0]][0] == 36000
    assert found.refused.keys() == {*messages, "short"}
    for name, message in messages.items():
        assert message in found.refused[name]
    assert found.refused["short"] == f"{tmp_path / 'short.wav'}: no frames"
    assert len(arrived) == len(NAMES[:3]) + len(found.refused)


def test_a_missing_or_other_opensmile_says_how_to_install_it(monkeypatch):
    def absent(name):
        raise extraction.PackageNotFoundError(name)

    monkeypatch.setattr(extraction, "version", absent)
    with pytest.raises(
        CorpusError, match=r"opensmile is not installed.*pip install 'mlsan\[voices"
    ):
        extract([])
    monkeypatch.setattr(extraction, "version", lambda name: "2.5.0")
    with pytest.raises(CorpusError, match=r"opensmile has version 2\.5\.0, not 2\.6\.0"):
        extract([])


@pytest.mark.skipif(find_spec("opensmile") is None, reason="needs the extra voices")
@pytest.mark.filterwarnings("default")
def test_opensmile_gives_the_shipped_features(tmp_path):
    messages = bad_clips(tmp_path)
    for name in NAMES:
        shutil.copy(CLIPS / f"{name}.wav", tmp_path)
    found = extract(sorted(tmp_path.glob("*.wav")), 2)
    assert sorted(found.features) == NAMES
    assert found.refused.keys() == messages.keys()
    assert max(deviations(found.features).values()) <= TOLERANCE


def shipped(names=NAMES) -> dict[str, np.ndarray]:
    found = recordings()
    row = {clip: i for i, clip in enumerate(found.clip.tolist())}
    return {name: found.features[row[name]].copy() for name in names}


def test_deviations_are_in_standard_deviations():
    features = shipped()
    sd = recordings().features.std(axis=0, dtype=float)
    features[NAMES[2]][5] += 2 * sd[5]
    away = deviations(features)
    assert away[NAMES[2]] == pytest.approx(2, rel=1e-3)
    assert all(gap == 0 for name, gap in away.items() if name != NAMES[2])


def test_features_that_differ_are_named_and_the_others_counted():
    features = shipped() | {"stranger": np.zeros(88, np.float32)}
    features[NAMES[1]] = features[NAMES[1]] * 2
    said = []
    with pytest.raises(CorpusError) as caught:
        verify(Extracted(features, {"cut": "cut.wav: it is truncated"}), said.append)
    message = str(caught.value)
    assert message.startswith("3 clips cannot be used, the others are fine:")
    assert f"{NAMES[1]}.wav: a feature is " in message
    assert "cut.wav: it is truncated" in message
    assert "stranger.wav is not a clip of nEMO" in message
    assert said[0].startswith("11 of 4,481 clips compared with the shipped features: 10 are equal")


def test_features_that_are_not_finite_are_not_within_the_tolerance():
    features = shipped()
    features[NAMES[0]][0] = np.nan
    with pytest.raises(CorpusError, match=NAMES[0]):
        verify(Extracted(features, {}), lambda _: None)


def test_make_data_takes_a_folder_of_clips(tmp_path, monkeypatch, capsys):
    found = shipped()
    monkeypatch.setattr(nemo, "check_installed", lambda: None)
    monkeypatch.setattr(nemo, "DATA", tmp_path / "data")
    monkeypatch.setattr("mlsan.__main__.DATA", tmp_path / "data")
    monkeypatch.setattr(
        nemo,
        "extract",
        lambda files, arrived: Extracted({f.stem: found[f.stem] for f in files}, {}),
    )
    assert main(["data", "--corpus", "nemo", "--data", str(CLIPS)]) == 0
    said = capsys.readouterr().out
    assert "11 of 4,481 clips compared with the shipped features: 11 are equal bit for bit" in said
    assert "make paper CORPUS=nemo\n" in said
    with np.load(tmp_path / "data/nemo/egemaps.npz", allow_pickle=False) as saved:
        assert saved["clip"].tolist() == NAMES
        assert np.array_equal(saved["features"], np.stack(list(found.values())))


def test_a_folder_without_clips_and_a_name_twice_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"there are no \.wav files"):
        clips_in(tmp_path)
    with pytest.raises(CorpusError, match=r"there are no \.wav files"):
        clips_in(tmp_path / "nowhere")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_wave(tmp_path / folder / "x.wav")
    with pytest.raises(CorpusError, match=r"a/x\.wav: .*b/x\.wav has the same name"):
        clips_in(tmp_path)


@pytest.fixture
def remote(tmp_path) -> tuple[str, str]:
    """A repository with the committed clips: its address and a commit."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "remote"
    shutil.copytree(CLIPS, folder / "samples")

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    for allowed in ("allowFilter", "allowAnySHA1InWant"):
        git("config", f"uploadpack.{allowed}", "true")
    git("add", ".")
    git("commit", "--quiet", "--message", "clips")
    return folder.as_uri(), git("rev-parse", "HEAD")


def whole(folder: Path) -> bool:
    return all(
        (folder / f"{n}.wav").read_bytes() == (CLIPS / f"{n}.wav").read_bytes() for n in NAMES
    )


def test_clips_are_fetched_once_and_only_what_is_missing_again(tmp_path, remote, monkeypatch):
    monkeypatch.setattr(nemo, "AT_ONCE", 4)
    folder = tmp_path / "clips"
    assert fetch_clips(folder, KNOWN, *remote) == NAMES
    assert whole(folder)
    assert {path.name for path in folder.iterdir()} == {".fetch.lock", *(f"{n}.wav" for n in NAMES)}
    assert fetch_clips(folder, KNOWN, "file:///nowhere", "0" * 40) == []
    (folder / f"{NAMES[3]}.wav").unlink()
    (folder / f"{NAMES[5]}.wav").write_bytes(b"other")
    assert fetch_clips(folder, KNOWN, *remote) == [NAMES[3], NAMES[5]]
    assert whole(folder)
    assert (folder / f"{NAMES[5]}.wav.rejected").read_bytes() == b"other"


def test_an_interrupted_fetch_resumes_after_the_last_group(tmp_path, remote, monkeypatch):
    monkeypatch.setattr(nemo, "AT_ONCE", 4)
    folder = tmp_path / "clips"
    requests = []
    fetch = nemo.Repository.fetch

    def interrupted(self, group):
        requests.append(len(group))
        if len(requests) == 2:
            raise KeyboardInterrupt
        fetch(self, group)

    monkeypatch.setattr(nemo.Repository, "fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_clips(folder, KNOWN, *remote)
    assert {path.stem for path in folder.glob("*.wav")} == set(NAMES[:4])
    (folder / ".git-left").mkdir()
    assert fetch_clips(folder, KNOWN, *remote) == NAMES[4:]
    assert requests == [4, 4, 4, 3]
    assert whole(folder)
    assert not list(folder.glob(".git-*"))


def test_offline_and_a_wrong_commit_leave_nothing_behind(tmp_path, remote):
    address, commit = remote
    folder = tmp_path / "clips"
    for url, wanted in (("file:///nowhere", commit), (address, "0" * 40)):
        with pytest.raises(CorpusError, match=r"git could not fetch nEMO's clips from .*\(fatal: "):
            fetch_clips(folder, KNOWN, url, wanted)
        assert [path.name for path in folder.iterdir()] == [".fetch.lock"]


def test_a_repository_without_the_clips_is_refused(tmp_path, remote):
    with pytest.raises(CorpusError, match=r"has no file with git blob id f{40}"):
        fetch_clips(tmp_path / "clips", {"x": "f" * 40}, *remote)


def test_a_missing_git_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match=r"git is not installed.*set DATA to a folder"):
        fetch_clips(tmp_path / "clips", KNOWN, "file:///nowhere", "0" * 40)


def test_obtaining_needs_opensmile_before_it_downloads(monkeypatch, tmp_path):
    def absent(name):
        raise extraction.PackageNotFoundError(name)

    monkeypatch.setattr(extraction, "version", absent)
    monkeypatch.setattr(nemo, "fetch_clips", None)
    with pytest.raises(CorpusError, match="opensmile is not installed"):
        obtain_nemo(None, None, print)
