"""A corpus of your own: from a table and arrays to a folder that the reader takes."""

import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corpus_files import write_for_ever
from tiny import FORKS

from mlsan.__main__ import main
from mlsan.corpus import CorpusError, Declaration, read_any, read_corpus, write_layout
from mlsan.corpus.reader import PROVENANCE
from mlsan.files import UnwritableError, check_contents

EMOTIONS = ["joy", "anger", "neutral"]
MOODS = Declaration(name="lessons", emotions=("joy", "anger", "neutral"), roles=("a", "b", "c"))


def table() -> pd.DataFrame:
    """Ten dialogues of three utterances: six train, two dev, two test."""
    rows = [
        {
            "dialogue": f"class-{d}",
            "split": "train" if d < 6 else "dev" if d < 8 else "test",
            "speaker": ("Ada", "Ben", "All")[(d + turn) % 3],
            "emotion": EMOTIONS[turn],
        }
        for d in range(10)
        for turn in range(3)
    ]
    return pd.DataFrame(rows)


def features() -> dict[str, np.ndarray]:
    return {"audio": np.arange(60.0).reshape(30, 2), "text": np.ones((30, 4), dtype=np.float32)}


def test_what_is_written_is_read_back(tmp_path):
    corpus = write_layout(tmp_path / "MELD", "MELD", table(), features())
    again = read_corpus(tmp_path / "MELD", "MELD", "own")
    assert again.fingerprint == corpus.fingerprint
    assert corpus.sizes == {"text": 4, "audio": 2}
    assert [d.id for d in corpus.dev] == ["class-6", "class-7"]
    assert len(corpus.train) == 6
    first = corpus.train[1]
    assert first.speaker == ("Ben", "", "Ada")
    assert first.party.tolist() == [0, 1, 2]
    assert first.label.tolist() == [4, 6, 0]
    np.testing.assert_array_equal(first.feature["audio"], [[6, 7], [8, 9], [10, 11]])


def test_interleaved_dialogues_keep_their_own_rows(tmp_path):
    order = np.random.default_rng(0).permutation(10)
    mixed = np.concatenate([np.arange(30).reshape(10, 3)[order, turn] for turn in range(3)])
    rows = features()
    plain = write_layout(tmp_path / "a" / "MELD", "MELD", table(), rows)
    other = write_layout(
        tmp_path / "b" / "MELD",
        "MELD",
        table().iloc[mixed],
        {modality: values[mixed] for modality, values in rows.items()},
    )
    by_id = {d.id: d for d in other.train}
    for dialogue in plain.train:
        found = by_id[dialogue.id].feature["audio"]
        np.testing.assert_array_equal(found, dialogue.feature["audio"])


def test_iemocap_takes_letters(tmp_path):
    own = table().assign(party=["M", "F", "F"] * 10, emotion=["sad", "happy", "angry"] * 10)
    corpus = write_layout(tmp_path / "IEMOCAP", "IEMOCAP", own, features())
    assert corpus.train[0].party.tolist() == [0, 1, 1]


def test_provenance_is_kept_as_a_record(tmp_path):
    made = [
        write_layout(tmp_path / "MELD", "MELD", table(), features(), {"model": name}).fingerprint
        for name in ("a", "b")
    ]
    assert made[0] == made[1]
    assert '"model": "b"' in (tmp_path / "MELD" / PROVENANCE).read_text()


def _with(column: str, row: int, value: object) -> pd.DataFrame:
    spoiled = table().astype({column: object})
    spoiled.loc[row, column] = value
    return spoiled


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (table().drop(columns="speaker"), "has no column 'speaker'"),
        (_with("emotion", 4, "bored"), "row 4 of the table has emotion 'bored'"),
        (_with("split", 2, "valid"), "row 2 of the table has split 'valid'"),
        (_with("split", 4, "test"), "dialogue class-1 is in more than one split"),
        (_with("speaker", 3, np.nan), "row 3 of the table has speaker nan"),
        (_with("dialogue", 5, np.nan), "row 5 of the table has dialogue nan"),
        (_with("dialogue", 5, None), "row 5 of the table has dialogue None"),
        (_with("dialogue", 5, ""), "row 5 of the table has dialogue ''"),
        (table().assign(utterance=["u"] * 29 + [""]), "row 29 of the table has utterance ''"),
        (table().iloc[:0], "the table has no rows"),
        (
            _with("emotion", 4, "x" * 10**6),
            r"row 4 of the table has emotion 'x{,20}\.\.\.x{,20}'",
        ),
        (
            table().assign(dialogue="x", split="train", speaker=list(map(str, range(30)))),
            "dialogue x has 30 speakers, but there are 9 roles",
        ),
        (table().query("split != 'test'"), "30 rows of audio features for 24 utterances"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, spoiled, message):
    with pytest.raises(CorpusError, match=message):
        write_layout(tmp_path / "MELD", "MELD", spoiled, features())
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_modality_is_named(tmp_path):
    rows = features()
    rows["video"] = rows.pop("audio")
    with pytest.raises(CorpusError, match=r"'video' is not a modality\. Use one of text, audio"):
        write_layout(tmp_path / "MELD", "MELD", table(), rows)
    assert list(tmp_path.iterdir()) == []


def test_iemocap_parties_are_checked_by_row(tmp_path):
    own = table().assign(party=["M", "F", "W"] * 10, emotion="sad")
    with pytest.raises(CorpusError, match=r"row 2 of the table has party 'W'\. Use one of M, F"):
        write_layout(tmp_path / "IEMOCAP", "IEMOCAP", own, features())


def add(folder):
    (folder / "precious.txt").write_text("precious")


def edit(folder):
    (folder / "identities.json").write_text("{}")


def unmark(folder):
    (folder / "contents.json").unlink()


@pytest.mark.parametrize("change", [add, edit, unmark])
def test_a_folder_that_was_not_written_here_is_left_alone(tmp_path, change):
    folder = tmp_path / "MELD"
    write_layout(folder, "MELD", table(), features())
    change(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CorpusError, match=f"{folder}: is there already and .* Move the folder aw"):
        write_layout(folder, "MELD", table(), features())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "MELD").write_text("precious")
    with pytest.raises(CorpusError, match="MELD: is there already and is not a folder"):
        write_layout(tmp_path / "MELD", "MELD", table(), features())
    assert (tmp_path / "MELD").read_text() == "precious"


def test_an_empty_folder_and_an_earlier_corpus_are_replaced(tmp_path):
    (tmp_path / "MELD").mkdir()
    for sign in (1, -1):
        rows = {modality: sign * values for modality, values in features().items()}
        corpus = write_layout(tmp_path / "MELD", "MELD", table(), rows)
        assert read_corpus(tmp_path / "MELD", "MELD", "own").fingerprint == corpus.fingerprint
    assert list(tmp_path.iterdir()) == [tmp_path / "MELD"]


def test_a_kill_leaves_the_old_or_the_new_folder(tmp_path):
    folder = tmp_path / "MELD"
    moments = random.Random(3)
    found = set()
    for _ in range(15):
        ready = FORKS.Event()
        child = FORKS.Process(target=write_for_ever, args=(folder, table(), features(), ready))
        child.start()
        assert ready.wait(60)
        time.sleep(moments.uniform(0, 0.1))
        child.kill()
        child.join()
        found.add(read_corpus(folder, "MELD", "own").fingerprint)
        check_contents(folder)
    assert len(found) == 2


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnwritableError, match=r"cannot write .*MELD: No space left on device"):
        write_layout(tmp_path / "MELD", "MELD", table(), features())
    assert list(tmp_path.iterdir()) == []


def test_a_refused_corpus_leaves_the_old_one(tmp_path):
    folder = tmp_path / "MELD"
    old = write_layout(folder, "MELD", table(), features())
    bad = features() | {"text": np.full((30, 4), np.nan)}
    with pytest.raises(CorpusError, match=rf"{folder}/TextFeatures\.pkl, dialogue class-0, .* nan"):
        write_layout(folder, "MELD", table(), bad)
    assert read_corpus(folder, "MELD", "own").fingerprint == old.fingerprint


def test_check_data_says_what_will_be_used(tmp_path, capsys):
    write_layout(tmp_path / "MELD", "MELD", table(), features())
    for folder in (tmp_path, tmp_path / "MELD"):
        assert main(["check-data", "--data", str(folder)]) == 0
        said = capsys.readouterr().out
        assert "MELD train" in said
        assert "modalities: text (4), audio (2)" in said
        assert "a speaker is: identity" in said
        assert "2 of 8 training dialogues are dev" in said
        assert "VisualFeatures.pkl is missing" in said


def test_check_data_names_what_is_wrong(tmp_path, capsys):
    write_layout(tmp_path / "MELD", "MELD", table(), features())
    (tmp_path / "MELD" / "TextFeatures.pkl").write_bytes(b"no pickle")
    assert main(["check-data", "--data", str(tmp_path)]) == 2
    assert "TextFeatures.pkl: not a complete pickle" in capsys.readouterr().err


def test_a_folder_must_say_its_name(tmp_path: Path):
    write_layout(tmp_path / "mine", "MELD", table(), features())
    assert list(read_any(tmp_path / "mine")) == ["MELD"]
    (tmp_path / "mine" / "corpus.json").unlink()
    message = r"mine: corpus\.json is missing, and 'mine' is neither MELD nor IEMOCAP\. Write"
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(CorpusError, match=message):
            read_any(folder)


def test_a_declared_corpus_is_read_back(tmp_path):
    corpus = write_layout(tmp_path / "a folder", MOODS, table(), features())
    assert corpus.declaration == MOODS
    assert (corpus.name, corpus.benchmark) == ("lessons", "lessons")
    assert corpus.train[1].label.tolist() == [0, 1, 2]
    assert corpus.train[1].party.tolist() == [0, 1, 2]
    assert read_any(tmp_path)["lessons"].fingerprint == corpus.fingerprint


def test_roles_of_its_own_come_from_the_table(tmp_path):
    own = table().assign(party=["c", "a", "b"] * 10)
    corpus = write_layout(tmp_path / "lessons", MOODS, own, features())
    assert corpus.train[0].party.tolist() == [2, 0, 1]
    with pytest.raises(CorpusError, match=r"row 0 of the table has party 'd'\. Use one of a, b, c"):
        write_layout(tmp_path / "lessons", MOODS, own.replace({"party": {"c": "d"}}), features())


def test_more_speakers_than_roles_are_refused(tmp_path):
    two = MOODS.model_copy(update={"roles": ("a", "b")})
    with pytest.raises(CorpusError, match=r"has 3 speakers, but there are 2 roles\. Declare more"):
        write_layout(tmp_path / "lessons", two, table(), features())


def test_a_built_in_name_needs_the_built_in_declaration(tmp_path):
    false = MOODS.model_copy(update={"name": "MELD"})
    with pytest.raises(CorpusError, match=r"corpus\.json: the name is MELD, but the emotions are"):
        write_layout(tmp_path / "lessons", false, table(), features())
    with pytest.raises(CorpusError, match="'lessons' is neither MELD nor IEMOCAP"):
        write_layout(tmp_path / "lessons", "lessons", table(), features())
    assert list(tmp_path.iterdir()) == []
