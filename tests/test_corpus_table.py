"""The user's own tables: `make data CORPUS=csv` reads them, or says what to fix and where."""

import io
import os
import pickle
import re

import numpy as np
import pytest

from mlsan.__main__ import main
from mlsan.corpus import CorpusError, open_corpora
from mlsan.corpus.table import write_csv

TABLE = """\
dialogue,split,speaker,emotion
lesson-1,train,Ada,neutral
lesson-1,train,Bén,joy
lesson-1,train,Ada,surprise
lesson-2,dev,Bén,anger
lesson-2,dev,Cem,neutral

lesson-3,test,Ada,joy
lesson-3,test,"Ada, Cem",sadness
"""
NUMBERS = np.arange(14.0).reshape(7, 2)


def numpy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def archive(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


AUDIO = numpy_bytes(NUMBERS)
CSV = "pitch,energy\n" + "".join(f"{a},{b}\n" for a, b in NUMBERS)


@pytest.fixture
def folder(tmp_path):
    own = tmp_path / "Ada's lessons"
    own.mkdir()
    (own / "utterances.csv").write_bytes(TABLE.encode())
    (own / "audio.npy").write_bytes(AUDIO)
    return own


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_command_writes_a_corpus_to_train_on(folder, capsys, encoding, end):
    (folder / "utterances.csv").write_bytes(TABLE.replace("\n", end).encode(encoding))
    (folder / "text.csv").write_bytes(CSV.replace("\n", end).encode(encoding))
    assert main(["data", "--corpus", "csv", "--data", str(folder)]) == 0
    said = capsys.readouterr().out
    assert (
        f"{folder / 'MELD'}: 1 train + 1 dev + 1 test dialogues; features text 2, audio 2" in said
    )
    assert "note: visual: VisualFeatures.pkl is missing" in said
    assert "Next: make paper CORPUS=multiemo 'DATA=" in said
    corpus = open_corpora("multiemo", "smoke", folder, folder)["MELD"]
    assert corpus.train[0].speaker == ("Ada", "Bén", "Ada")
    assert corpus.test[0].speaker == ("Ada", "")
    for modality in ("audio", "text"):
        np.testing.assert_array_equal(corpus.test[0].feature[modality], NUMBERS[5:])
    assert main(["data", "--corpus", "csv", "--data", str(folder)]) == 0  # its own folder again
    assert "make check-data: " not in capsys.readouterr().err


def test_features_without_names_are_numbers_from_the_first_row(folder):
    (folder / "audio.npy").unlink()
    (folder / "audio.csv").write_text(CSV.partition("\n")[2])
    np.testing.assert_array_equal(write_csv(folder).test[0].feature["audio"], NUMBERS[5:])


def test_a_column_party_makes_it_iemocap(folder):
    header, *rows = TABLE.replace("\n\n", "\n").splitlines()
    rows = [re.sub(r"\w+$", "sad,F", row) for row in rows]
    (folder / "utterances.csv").write_text("\n".join([f"{header},party", *rows]))
    assert write_csv(folder).benchmark == "IEMOCAP"
    assert (folder / "IEMOCAP" / "Speakers.pkl").is_file()


def changed(old: str, new: str) -> bytes:
    assert TABLE.count(old) == 1
    return TABLE.replace(old, new).encode()


BIG = numpy_bytes(NUMBERS).replace(b"(7, 2), ", b"(7, 2000000000), ")
TABLES = [
    (changed("lesson-1,train,Bén", ",train,Bén"), "row 3 of the table has dialogue ''"),
    (changed("Bén,anger", "Bén,bored"), r"row 5 of the table has emotion 'bored'\. Use one of neu"),
    (changed("test,Ada", "tset,Ada"), r"row 8 of the table has split 'tset'\. Use one of train"),
    (changed("lesson-2,dev,Bén", "lesson-1,dev,Bén"), "dialogue lesson-1 is in more than one spl"),
    (changed("Cem,neutral", "Cem,neutral,x"), "row 6 has 5 cells, and row 1 has 4. Separate"),
    (changed("Cem,neutral", "Cem"), "row 6 has 3 cells, and row 1 has 4"),
    (changed("speaker,", "speakr,"), "the table has no column 'speaker'. It needs dialogue, "),
    (changed("speaker,", "split,"), "row 1 names column 'split' twice"),
    (changed('"Ada, Cem"', '"Ada" Cem'), "row 9 is not CSV"),
    (changed('"Ada, Cem"', '"Ada'), "row 9 is not CSV"),
    (TABLE.replace(",", ";").encode(), "row 1 has no columns. Name them there, separated by com"),
    (b"", "row 1 has no columns"),
    (b"dialogue,split,speaker,emotion\n", "the table has no rows"),
    (TABLE.encode("latin-1"), r"line 3 is not UTF-8 \(byte 0xe9\). Save the file as UTF-8"),
    (TABLE.encode("utf-16"), "is UTF-16, not UTF-8"),
    (TABLE.encode("utf-16-be"), "row 1|no column|not UTF-8"),
    (archive(a=NUMBERS), "is a spreadsheet or archive, not UTF-8"),
    (b"x" * 200_000, "row 1 is not CSV|row 1 has no columns"),
    (None, "the file is missing"),
]
FEATURES = [
    ("npy", pickle.dumps(NUMBERS), "is not a whole .npy file of numbers. Save an array"),
    ("npy", archive(a=NUMBERS), "is not a whole .npy file of numbers"),
    ("npy", numpy_bytes(np.array([[object()]])), "is not a whole .npy file of numbers"),
    ("npy", AUDIO[:-1], "is not a whole .npy file of numbers"),
    ("npy", BIG, "is not a whole .npy file of numbers"),
    ("npy", b"", "is not a whole .npy file of numbers"),
    ("npy", numpy_bytes(NUMBERS[:6]), "has 6 rows of features for 7 utterances. Give one row"),
    ("npy", numpy_bytes(NUMBERS[:, 0]), r"an array of shape \(7,\) and type float64"),
    ("npy", numpy_bytes(NUMBERS[:, :0]), "is not a whole .npy|an array of shape"),
    ("npy", numpy_bytes(NUMBERS.astype(str)), r"an array of shape \(7, 2\) and type <U"),
    (
        "npy",
        numpy_bytes(np.where(NUMBERS == 3, np.nan, NUMBERS)),
        r"row 1, column 1 is nan \(both f",
    ),
    ("npy", numpy_bytes(NUMBERS * 1e300), r"row 0, column 1 is 1e\+300 \(both from 0\)"),
    ("csv", CSV.replace("\n2.0,3.0", "\n2.0,nan").encode(), r"row 3, column 2 is nan\. Replace it"),
    ("csv", CSV.replace("3.0", "3,0").encode(), "row 3 has 3 cells, and row 2 2"),
    ("csv", CSV.replace("3.0", "loud").encode(), "row 3, column 2 is 'loud'. Give a number"),
    ("csv", CSV.replace("3.0", "3_0").encode(), "row 3, column 2 is '3_0'"),
    ("csv", CSV.replace("3.0", "").encode(), "row 3, column 2 is ''"),
    ("csv", CSV.replace("2.0,3.0\n", "").encode(), "has 6 rows of features for 7 utterances"),
    ("csv", b"", "an array of shape"),
    ("csv", CSV.encode("utf-16"), "is UTF-16, not UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), TABLES, ids=range(len(TABLES)))
def test_a_wrong_table_is_refused_with_its_place(folder, content, message):
    file = folder / "utterances.csv"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    before = sorted(folder.iterdir())
    with pytest.raises(CorpusError, match=f"^{file}: .*({message})"):
        write_csv(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("end", "content", "message"), FEATURES, ids=range(len(FEATURES)))
def test_wrong_features_are_refused_with_their_place(folder, end, content, message):
    (folder / "audio.npy").unlink()
    (folder / f"audio.{end}").write_bytes(content)
    with pytest.raises(CorpusError, match=f"^{folder}/audio\\.{end}: .*{message}"):
        write_csv(folder)
    assert not (folder / "MELD").exists()


def test_files_that_are_none_are_refused(folder, capsys):
    (folder / "audio.csv").write_text(CSV)
    with pytest.raises(CorpusError, match=r"audio\.csv: there is also audio\.npy\. Leave one"):
        write_csv(folder)
    (folder / "audio.csv").unlink()
    (folder / "audio.npy").unlink()
    with pytest.raises(CorpusError, match=r"there are no features\. Put at least one of text\.npy"):
        write_csv(folder)
    for name in ("audio.npy", "audio.csv"):
        os.mkfifo(folder / name)
        with pytest.raises(CorpusError, match=rf"{name}: is not a (whole .npy|regular) file"):
            write_csv(folder)
        (folder / name).unlink()
    with pytest.raises(CorpusError, match="nowhere: there is no such folder"):
        write_csv(folder / "nowhere")
    assert main(["data", "--corpus", "csv"]) == 2
    assert "CORPUS=csv needs DATA, the folder that contains utt" in capsys.readouterr().err
