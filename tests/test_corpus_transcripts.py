"""MELD's transcripts: encodings, ids, roles and names; whether features agree."""

# ruff: noqa: RUF001 (the tests are about characters that are easily confused)

from pathlib import Path

import pytest

from mlsan.corpus import CorpusError
from mlsan.corpus.crosscheck import check_conversations
from mlsan.corpus.errors import Place
from mlsan.corpus.transcripts import (
    FILES,
    decode,
    identities,
    parse,
    person,
    read_transcripts,
    roles,
)
from mlsan.files import sha256

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
ROWS = {
    "train": "1,Hi. It’s me,Monica,neutral,neutral,0,0\n2,No!,All,anger,negative,0,2\n"
    "3,Oh,Monica,joy,positive,0,1\n",
    "dev": '1,"Well, yes",Joey,sadness,negative,0,0\n',
    "test": "1,NA,Ross and Joey,fear,negative,0,0\n2,What?,Joey,surprise,positive,1,0\n",
}


def write(folder: Path) -> dict[str, str]:
    """The three files; returns their digests by split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in ROWS.items():
        (folder / FILES[split]).write_bytes((HEADER + rows).encode())
    return {split: sha256((HEADER + rows).encode()) for split, rows in ROWS.items()}


@pytest.mark.parametrize(
    "content",
    [
        "It’s me – “Joey”…".encode(),
        "It’s me – “Joey”…".encode("utf-8-sig"),
        "It’s me – “Joey”…".encode("cp1252"),
        "It’s me – “Joey”…".encode("cp1252").decode("latin1").encode(),
        "It’s me – “Joey”…".encode().decode("cp1252", errors="replace").encode(),
    ],
    ids=["utf-8", "with a mark", "cp1252", "cp1252 read as latin1", "utf-8 read as cp1252"],
)
def test_apostrophes_are_repaired(content):
    text = decode(content)
    assert text.startswith("It’s me – “Joey")
    assert "\x92" not in text
    assert "â€™" not in text


@pytest.mark.parametrize("text", ["Café ó 5 – “x”", "â la carte", "Ça va, Â?"])
def test_what_is_right_is_left_alone(text):
    assert decode(text.encode()) == text


def test_rows_have_published_keys_in_the_order_of_speaking(tmp_path):
    table = read_transcripts(tmp_path, write(tmp_path))
    assert table["dialogue"].tolist() == [0, 0, 0, 1039, 1153, 1154]
    assert table["text"].tolist()[:3] == ["Hi. It’s me", "Oh", "No!"]
    assert table["utterance"].tolist()[3:5] == ["dev_dia0_utt0", "test_dia0_utt0"]
    assert table["text"].tolist()[3:5] == ["Well, yes", "NA"]


def test_several_people_are_no_person(tmp_path):
    names = identities(read_transcripts(tmp_path, write(tmp_path)))
    assert names == {
        "0": ["Monica", "Monica", ""],
        "1039": ["Joey"],
        "1153": [""],
        "1154": ["Joey"],
    }
    assert [person(name) for name in ("Both", "all", "The Guys", "Andy", "Sandra")] == [
        *("", "", ""),
        *("Andy", "Sandra"),
    ]


def test_roles_count_first_appearances():
    assert roles(["Joey", "All", "Joey", "Ross", "All"]) == [0, 1, 0, 2, 1]


def test_an_altered_or_absent_file_is_refused(tmp_path):
    digests = write(tmp_path)
    (tmp_path / FILES["dev"]).write_text(HEADER)
    with pytest.raises(CorpusError, match=r"dev_sent_emo\.csv: not MELD's file"):
        read_transcripts(tmp_path, digests)
    (tmp_path / FILES["dev"]).unlink()
    with pytest.raises(CorpusError, match=r"dev_sent_emo\.csv: cannot be read"):
        read_transcripts(tmp_path, digests)


def test_a_lost_column_is_named(tmp_path):
    with pytest.raises(CorpusError, match="the file has no column Speaker"):
        parse(b"Utterance,Emotion\nHi,joy\n", "dev", Place(tmp_path))


def test_features_of_other_conversations_are_refused(tmp_path):
    table = read_transcripts(tmp_path, write(tmp_path))
    label = {"0": [0, 4, 6], "1039": [3], "1153": [2], "1154": [1]}
    party = {"0": [0, 0, 1], "1039": [0], "1153": [0], "1154": [0]}
    file = tmp_path / "Speakers.pkl"
    check_conversations(label, party, table, file)
    with pytest.raises(CorpusError, match=r"dialogue 1039: labels are \[5\], .* have \[3\]"):
        check_conversations(label | {"1039": [5]}, party, table, file)
    with pytest.raises(
        CorpusError, match=r"dialogue 0: roles are \[0, 1, 1\], .* have \[0, 0, 1\]"
    ):
        check_conversations(label, party | {"0": [0, 1, 1]}, table, file)
    with pytest.raises(CorpusError, match=r"1 dialogues are only in this file or only .* \(7\)"):
        check_conversations(label | {"7": [0]}, party, table, file)
