"""A corpus declares its name, emotions and roles; what does not fit is named."""

import json
import shutil
from pathlib import Path

import pytest
from corpus_files import SIZES, iemocap, meld, write

from mlsan.corpus import CorpusError, Declaration, open_corpora, read_any, read_corpus
from mlsan.corpus.declaration import BUILT_IN, DECLARATION, read_declaration

MOODS = {"name": "moods 2", "emotions": ["calm", "bored", "cross"], "roles": ["pupil", "teacher"]}


def corpus_of(folder: Path, declared: object = MOODS) -> Path:
    """A corpus of three emotions and two roles, audio only, with a declaration."""
    files = meld()
    ids, speakers, labels, *rest = files["Speakers.pkl"]
    speakers = {key: [row[:2] for row in rows] for key, rows in speakers.items()}
    labels = {key: [label % 3 for label in row] for key, row in labels.items()}
    own = {"Speakers.pkl": (ids, speakers, labels, *rest)}
    folder.parent.mkdir(exist_ok=True)
    write(folder, own | {"AudioFeatures.pkl": files["AudioFeatures.pkl"]})
    text = declared if isinstance(declared, str) else json.dumps(declared)
    (folder / DECLARATION).write_text(text)
    return folder


def test_a_corpus_has_what_it_declares(tmp_path):
    corpus = read_corpus(corpus_of(tmp_path / "anything"))
    assert corpus.declaration == Declaration(**MOODS)
    assert corpus.name == corpus.benchmark == "moods 2"
    assert corpus.sizes == {"audio": SIZES["audio"]}
    assert read_corpus(tmp_path / "anything", name="mine").name == "mine"
    assert "at random" in corpus.notes[-1], "only MELD's ids say which dialogues are dev"


def test_the_built_in_ones_need_no_file(tmp_path):
    write(tmp_path / "MELD", meld())
    write(tmp_path / "IEMOCAP", iemocap())
    for name, declared in BUILT_IN.items():
        assert read_declaration(tmp_path / name) == declared
    (tmp_path / "MELD" / DECLARATION).write_text(BUILT_IN["MELD"].model_dump_json())
    assert read_declaration(tmp_path / "MELD") == BUILT_IN["MELD"]


def test_a_folder_holds_any_number_of_corpora(tmp_path):
    write(tmp_path / "IEMOCAP", iemocap())
    corpus_of(tmp_path / "a", MOODS | {"name": "zebra"})
    corpus_of(tmp_path / "b")
    write(tmp_path / "MELD", meld())
    (tmp_path / "notes").mkdir()
    shutil.copytree(tmp_path / "a", tmp_path / ".a-unfinished")
    corpora = open_corpora("multiemo", "smoke", tmp_path, tmp_path)
    assert list(corpora) == ["MELD", "IEMOCAP", "zebra", "moods 2"]
    assert list(read_any(tmp_path / "b")) == ["moods 2"]


def test_two_corpora_of_one_name_are_refused(tmp_path):
    corpus_of(tmp_path / "a")
    corpus_of(tmp_path / "b")
    message = r"b/corpus\.json: .*/a has the name moods 2 too\. Give each"
    with pytest.raises(CorpusError, match=message):
        read_any(tmp_path)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{", "not JSON"),
        ('{"name": "a", "name": "b"}', "the key 'name' is there twice"),
        ([MOODS], r"the file holds \[.*keys name, emotions, roles"),
        ({k: v for k, v in MOODS.items() if k != "roles"}, "'roles' is missing. List 1 to 100"),
        (MOODS | {"labels": 3}, "the key 'labels' is unknown. Use the keys name, emotions, roles"),
        (MOODS | {"name": "../moods"}, r"name: '\.\./moods' cannot be used\. Use 1 to 40 letters"),
        (MOODS | {"name": ""}, "name: '' cannot be used"),
        (MOODS | {"name": "a" * 41}, r"name: 'aaa.*' cannot be used"),
        (MOODS | {"name": "mood\n"}, r"name: 'mood\\n' cannot be used"),
        (MOODS | {"name": 7}, "name: 7 cannot be used"),
        (MOODS | {"emotions": ["calm"]}, r"emotions: \['calm'\] cannot be used\. List 2 to 100"),
        (MOODS | {"emotions": ["calm", "calm"]}, r"emotions: \['calm', 'calm'\] .* different"),
        (MOODS | {"emotions": "calm"}, "emotions: 'calm' cannot be used"),
        (MOODS | {"emotions": ["calm", "a|b"]}, r"emotions, entry 1: 'a\|b' cannot be used"),
        (MOODS | {"emotions": ["calm", 1]}, "emotions, entry 1: 1 cannot be used"),
        (MOODS | {"emotions": [f"e{n}" for n in range(101)]}, "emotions: .*List 2 to 100"),
        (MOODS | {"roles": []}, r"roles: \[\] cannot be used\. List 1 to 100 different"),
        (MOODS | {"name": "MELD"}, "the name is MELD, but the emotions are not .* list neutral, "),
        (
            MOODS | {"name": "IEMOCAP", "emotions": BUILT_IN["IEMOCAP"].emotions},
            "the name is IEMOCAP, but the roles are not IEMOCAP's. .* list M, F",
        ),
    ],
)
def test_a_wrong_declaration_is_named(tmp_path, declared, message):
    folder = corpus_of(tmp_path / "own", declared)
    with pytest.raises(CorpusError, match=rf"own/corpus\.json: .*{message}"):
        read_any(folder)
    with pytest.raises(CorpusError, match=message):
        read_any(tmp_path)


def test_a_declaration_that_is_no_file_is_named(tmp_path):
    folder = corpus_of(tmp_path / "own")
    (folder / DECLARATION).unlink()
    (folder / DECLARATION).symlink_to(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match=r"corpus\.json: cannot be read"):
        read_any(folder)


def test_labels_and_rows_must_fit_the_declaration(tmp_path):
    folder = corpus_of(tmp_path / "own", MOODS | {"emotions": ["calm", "bored"]})
    with pytest.raises(CorpusError, match=r"label 2 is not an emotion\. Use 0 to 1: calm, bored"):
        read_any(folder)
    folder = corpus_of(tmp_path / "own", MOODS | {"roles": ["one", "two", "three"]})
    with pytest.raises(CorpusError, match=r"is not one-hot\. Put a single 1 among 3 numbers"):
        read_any(folder)
    with pytest.raises(CorpusError, match=r"the name is moods 2, not MELD\. Use the folder of"):
        read_corpus(corpus_of(tmp_path / "own"), "MELD")
