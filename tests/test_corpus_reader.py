"""Folders in the published layout become corpora, or errors that say what to fix."""

import dataclasses
import json
import os
import pickle

import numpy as np
import pytest
from corpus_files import iemocap, meld, write

from mlsan.corpus import CorpusError, open_corpora, read_corpus, reader
from mlsan.corpus.simulate import simulation


def ids(dialogues):
    return [d.id for d in dialogues]


def test_meld_is_read_whole(tmp_path):
    corpus = read_corpus(write(tmp_path, meld()), "MELD", "tiny")
    assert ids(corpus.train) == list("012345")
    assert ids(corpus.dev) == ["6", "7"]
    assert ids(corpus.test) == ["8", "9"]
    assert corpus.sizes == {"text": 4, "audio": 3, "visual": 2}
    assert corpus.notes == ()
    assert not corpus.simulated
    assert not corpus.named
    second = corpus.train[1]
    assert second.label.tolist() == [1, 2, 3]
    assert second.party.tolist() == [0, 1, 0]
    np.testing.assert_allclose(second.feature["audio"][2], [102.0, 102.1, 102.2])
    assert all(rows.dtype == np.float32 for rows in second.feature.values())


def test_iemocap_names_its_actors_and_holds_out_the_usual_dialogues(tmp_path):
    corpus = read_corpus(write(tmp_path, iemocap()), "IEMOCAP", "tiny")
    assert ids(corpus.train) == ["Ses01F_impro01"]
    assert ids(corpus.dev) == ["Ses01M_impro01", "Ses03F_impro01"]  # the usual dev dialogues
    assert corpus.test[0].speaker == ("Ses05_M", "Ses05_F", "Ses05_F")
    assert corpus.test[0].party.tolist() == [0, 1, 1]
    assert corpus.named


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_lists_arrays_and_protocols_read_alike(tmp_path, protocol):
    files = meld()
    plain = read_corpus(write(tmp_path / "a", files), "MELD", "tiny")
    ids_, speakers, labels, *rest = files["Speakers.pkl"]
    files["Speakers.pkl"] = (
        ids_,
        {key: np.array(rows, dtype=np.float32) for key, rows in speakers.items()},
        {np.int64(key): np.array(row) for key, row in labels.items()},
        *rest,
    )
    files["AudioFeatures.pkl"] = {k: v.tolist() for k, v in files["AudioFeatures.pkl"].items()}
    files["TextFeatures.pkl"] = {k: list(v) for k, v in files["TextFeatures.pkl"].items()}
    other = read_corpus(write(tmp_path / "b", files, protocol), "MELD", "tiny")
    for one, two in zip(plain.train, other.train, strict=True):
        assert one.id == two.id
        np.testing.assert_array_equal(one.label, two.label)
        np.testing.assert_array_equal(one.party, two.party)
        for modality in one.feature:
            np.testing.assert_array_equal(one.feature[modality], two.feature[modality])


def test_a_missing_modality_is_dropped_and_noted(tmp_path):
    folder = write(tmp_path, meld())
    (folder / "VisualFeatures.pkl").unlink()
    corpus = read_corpus(folder, "MELD", "tiny")
    assert corpus.modalities == ("text", "audio")
    assert corpus.notes == (
        "visual: VisualFeatures.pkl is missing; the models run on text and audio",
    )


def test_names_come_from_identities_json(tmp_path):
    folder = write(tmp_path, meld())
    names = {str(k): ["Ann", None, "", "Bo"][: k % 3 + 2] for k in range(10)}
    (folder / "identities.json").write_text(json.dumps(names))
    corpus = read_corpus(folder, "MELD", "tiny")
    assert corpus.named
    assert corpus.train[2].speaker == ("Ann", "", "", "Bo")


def test_dev_json_decides_the_dev_split(tmp_path):
    folder = write(tmp_path, meld())
    (folder / "dev.json").write_text("[0, 3]")
    assert ids(read_corpus(folder, "MELD", "tiny").dev) == ["0", "3"]


def test_melds_published_keys_tell_dev_where_ids_do_not(tmp_path):
    files = meld()
    shift = {8: 1153, 9: 1154, 6: 1039, 7: 1152}
    *tables, train, test, last = files["Speakers.pkl"]
    moved = [{shift.get(k, k): v for k, v in table.items()} for table in tables]
    moved[0] = {k: [f"utt{t}" for t in range(len(v))] for k, v in moved[0].items()}
    files["Speakers.pkl"] = (
        *moved,
        [shift.get(k, k) for k in train],
        [shift.get(k, k) for k in test],
        last,
    )
    for name in ("TextFeatures.pkl", "AudioFeatures.pkl", "VisualFeatures.pkl"):
        files[name] = {shift.get(k, k): v for k, v in files[name].items()}
    corpus = read_corpus(write(tmp_path, files), "MELD", "tiny")
    assert ids(corpus.dev) == ["1039", "1152"]


def test_a_random_dev_split_is_fixed_and_noted(tmp_path):
    folder = write(tmp_path, meld(first_dev=9))
    corpora = [read_corpus(folder, "MELD", "tiny") for _ in range(2)]
    assert ids(corpora[0].dev) == ids(corpora[1].dev)
    assert len(corpora[0].dev) == 1
    assert len(corpora[0].train) == 7
    assert corpora[0].notes == ("dev: 1 of 8 training dialogues, at random",)


def test_the_fingerprint_is_of_what_is_read_and_not_of_files_or_names(tmp_path):
    folder = write(tmp_path / "a", meld())
    first = read_corpus(folder, "MELD", "tiny").fingerprint
    assert read_corpus(folder, "MELD", "other name").fingerprint == first
    files = meld()
    files["TextFeatures.pkl"] = {k: v.tolist() for k, v in files["TextFeatures.pkl"].items()}
    other = write(tmp_path / "b", files, protocol=2)
    (other / "provenance.json").write_text("{}")
    assert read_corpus(other, "MELD", "tiny").fingerprint == first


def test_the_fingerprint_follows_the_dev_split_the_names_and_every_bit(tmp_path):
    folder = write(tmp_path, meld())
    found = [read_corpus(folder, "MELD", "tiny").fingerprint]
    (folder / "dev.json").write_text("[0]")
    found.append(read_corpus(folder, "MELD", "tiny").fingerprint)
    (folder / "dev.json").unlink()
    names = {str(k): ["Ann"] * (k % 3 + 2) for k in range(10)}
    for name in ("Ann", "Bo"):
        (folder / "identities.json").write_text(json.dumps(names | {"9": [name, "Cy"]}))
        found.append(read_corpus(folder, "MELD", "tiny").fingerprint)
    (folder / "identities.json").unlink()
    files = meld()
    rows = files["AudioFeatures.pkl"][9].astype(np.float32)
    rows.view(np.int32)[1, 2] ^= 1  # the lowest bit of one number
    files["AudioFeatures.pkl"][9] = rows
    found.append(read_corpus(write(folder, files), "MELD", "tiny").fingerprint)
    assert len(set(found)) == len(found) == 5


def test_the_fingerprint_follows_the_actors_the_emotions_and_the_roles(tmp_path, monkeypatch):
    def fingerprint():
        return read_corpus(tmp_path, "IEMOCAP", "tiny").fingerprint

    write(tmp_path, iemocap())
    first = fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(reader, "actor", lambda dialogue, party: "nobody")
        assert fingerprint() != first
    assert fingerprint() == first
    corpus = read_corpus(tmp_path, "IEMOCAP", "tiny")
    for changes in (
        {"name": "other"},
        {"emotions": corpus.declaration.emotions[::-1]},
        {"roles": ("M", "F", "X")},
        {"roles": ("F", "M")},
    ):
        declared = corpus.declaration.model_copy(update=changes)
        assert dataclasses.replace(corpus, declaration=declared).fingerprint != first


def test_a_derived_corpus_has_its_own_fingerprint(tmp_path):
    corpus = read_corpus(write(tmp_path, meld()), "MELD", "tiny")
    first = corpus.fingerprint
    assert dataclasses.replace(corpus, name="other", notes=("a note",)).fingerprint == first
    last = corpus.test[-1]
    text = last.feature["text"]
    for change in (
        {"id": "10"},
        {"label": last.label[::-1]},
        {"party": last.party[::-1]},
        {"speaker": ("Ann", "Bo")},
        {"feature": last.feature | {"text": text.astype(np.float64)}},
        {"feature": {**last.feature, "audio": text, "text": last.feature["audio"]}},
        {"feature": last.feature | {"text": -text}},
    ):
        changed = dataclasses.replace(last, **change)
        derived = dataclasses.replace(corpus, test=(*corpus.test[:-1], changed))
        assert derived.fingerprint != first, change
    turned = dataclasses.replace(corpus, test=corpus.test[::-1])
    assert turned.fingerprint != first
    moved = dataclasses.replace(corpus, train=corpus.train[:-1], dev=corpus.train[-1:] + corpus.dev)
    assert moved.fingerprint != first


def test_one_training_dialogue_leaves_none_for_dev(tmp_path):
    files = meld()
    *head, _, test, last = files["Speakers.pkl"]
    files["Speakers.pkl"] = (*head, [0], test, last)
    with pytest.raises(CorpusError, match=r"Speakers.pkl: the train split has 1 d.*at least two"):
        read_corpus(write(tmp_path, files), "MELD", "tiny")


def test_simulation_json_marks_a_simulated_corpus(tmp_path):
    folder = write(tmp_path, meld())
    settings = simulation("MELD", "smoke", train=6, dev=2, test=2, text=4, audio=3, visual=2)
    (folder / "simulation.json").write_text(settings.model_dump_json())
    assert read_corpus(folder, "MELD", "tiny").simulated


def test_dialogues_in_no_split_are_noted(tmp_path):
    files = meld()
    *head, _, last = files["Speakers.pkl"]
    files["Speakers.pkl"] = (*head, [9], last)
    corpus = read_corpus(write(tmp_path, files), "MELD", "tiny")
    assert corpus.notes == ("1 dialogues are in no split and are not used",)


# What cannot be used: (file, spoil(value) -> value, pattern of the message).


def at(index, change):
    """Change one entry of the tuple in Speakers.pkl."""

    def spoil(value):
        return tuple(change(entry) if i == index else entry for i, entry in enumerate(value))

    return spoil


def put(key, row):
    """Replace one dialogue's entry."""
    return lambda table: {**table, key: row}


def without(key):
    return lambda table: {k: v for k, v in table.items() if k != key}


def spoilt(turn, column, number):
    """One number of dialogue 2 replaced."""

    def change(table):
        rows = table[2].copy()
        rows[turn, column] = number
        return {**table, 2: rows}

    return change


ROW = [1] + [0] * 8
SPOILT = {
    "a dialogue less": (
        "TextFeatures.pkl",
        without(3),
        r"Text.*1 dialogues are missing \(3\).*same list",
    ),
    "a dialogue more": (
        "TextFeatures.pkl",
        put(77, [[0.0]]),
        r"TextFeatures.*1 dialogues have no labels in Speakers.pkl \(77\)",
    ),
    "speakers lack a dialogue": ("Speakers.pkl", at(1, without(4)), r"Speakers.*missing.*\(4\)"),
    "rows missing": ("AudioFeatures.pkl", put(2, np.zeros((3, 3))), r"Audio.*dialogue 2: 3 .*4 la"),
    "speakers missing": ("Speakers.pkl", at(1, put(2, [ROW])), r"dialogue 2: 1 speakers for 4"),
    "ids missing": ("Speakers.pkl", at(0, put(2, [])), r"dialogue 2: 0 utterance ids for 4"),
    "NaN": (
        "AudioFeatures.pkl",
        spoilt(3, 1, np.nan),
        r"dialogue 2, utterance 3: feature 1 is nan",
    ),
    "Inf": ("VisualFeatures.pkl", spoilt(0, 1, -np.inf), r"Visual.*utterance 0: feature 1 is -inf"),
    "too large": ("VisualFeatures.pkl", spoilt(0, 0, 1e300), r"utterance 0: feature 0 is inf"),
    "label too large": (
        "Speakers.pkl",
        at(2, put(2, [0, 1, 7, 0])),
        r"Speakers.*dialogue 2, utterance 2: label 7 is not an emotion. Use 0 to 6: neutral",
    ),
    "label negative": ("Speakers.pkl", at(2, put(0, [0, -1])), r"utterance 1: label -1"),
    "label a fraction": ("Speakers.pkl", at(2, put(0, [0, 0.5])), r"utterance 1: label 0.5"),
    "label a NaN": ("Speakers.pkl", at(2, put(0, [0, np.nan])), r"utterance 1: label .*nan"),
    "label a word": ("Speakers.pkl", at(2, put(0, ["joy", 1])), r"utterance 0: label 'joy'"),
    "two speakers": (
        "Speakers.pkl",
        at(1, put(0, [ROW, [1, 1] + [0] * 7])),
        r"dialogue 0, utterance 1: speaker row \[1, 1, .*not one-hot.*single 1 among 9",
    ),
    "no speaker": ("Speakers.pkl", at(1, put(0, [[0] * 9, ROW])), r"utterance 0: .*not one-hot"),
    "short row": ("Speakers.pkl", at(1, put(0, [[1, 0], ROW])), r"utterance 0: .*not one-hot"),
    "letters": ("Speakers.pkl", at(1, put(0, ["M", "F"])), r"speaker 'M'.*one-hot rows of 9"),
    "ragged within": (
        "AudioFeatures.pkl",
        put(0, [[1.0, 2.0, 3.0], [1.0, 2.0]]),
        r"Audio.*dialogue 0, utterance 1: a feature row has shape \(2,\), the first one \(3,\)",
    ),
    "ragged inside a row": (
        "AudioFeatures.pkl",
        put(0, [[1.0, [2.0, 3.0]], [1.0]]),
        r"utterance 0: the feature row is ragged",
    ),
    "ragged between": (
        "AudioFeatures.pkl",
        put(4, np.zeros((3, 5))),
        r"Audio.*dialogue 4: 5 features per utterance, but dialogue 0 has 3",
    ),
    "words as features": (
        "AudioFeatures.pkl",
        put(0, [["a"], ["b"]]),
        r"utterance 0: features have t",
    ),
    "empty dialogue": (
        "Speakers.pkl",
        at(2, put(0, [])),
        r"Speakers.*dialogue 0: the dialogue is empty",
    ),
    "overlap": (
        "Speakers.pkl",
        at(8, lambda _: [8, 5]),
        r"1 dialogues are in both train and test.*5",
    ),
    "unknown id": ("Speakers.pkl", at(7, lambda _: [0, 99]), r"train lists dialogue 99"),
    "twice": ("Speakers.pkl", at(7, lambda _: [0, 1, 1]), r"train lists dialogue 1 twice"),
    "no test": ("Speakers.pkl", at(8, lambda _: []), r"the test split is empty"),
    "no tuple": (
        "Speakers.pkl",
        lambda value: {"a": 1},
        r"Speakers.*holds a dict of 1.*tuple of 9",
    ),
    "short tuple": ("Speakers.pkl", lambda value: value[:8], r"holds a tuple of 8"),
    "no table": (
        "TextFeatures.pkl",
        lambda value: [1, 2],
        r"Text.*features have type list.*Store a dict",
    ),
    "ids that read alike": ("TextFeatures.pkl", put("3", [[0.0]]), r"two ids with the same text"),
    "truncated": ("TextFeatures.pkl", lambda v: pickle.dumps(v)[:-9], r"Text.*not a complete"),
    "no pickle": ("Speakers.pkl", lambda value: b"hello", r"Speakers.*not a complete pickle"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_wrong_is_named(tmp_path, case):
    name, spoil, message = SPOILT[case]
    files = meld()
    files[name] = spoil(files[name])
    with pytest.raises(CorpusError, match=message):
        read_corpus(write(tmp_path, files), "MELD", "tiny")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("identities.json", '{"0": ["A", "B"]}', r"identities.json: 9 dialogues are missing"),
        ("identities.json", "{", r"identities.json: the file is not JSON"),
        ("identities.json", "[1]", r"identities.json: names have type list"),
        ("dev.json", '["99"]', r"dev.json: dev lists dialogue 99"),
        ("dev.json", "[8]", r"dev.json: dev lists dialogue 8, which is not a training"),
        ("dev.json", "[]", r"dev.json: the dev split is empty"),
        ("dev.json", "[0, 1, 2, 3, 4, 5, 6, 7]", r"dev.json: the file lists every tr"),
    ],
)
def test_json_files_that_do_not_fit_are_named(tmp_path, name, content, message):
    folder = write(tmp_path, meld())
    (folder / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus(folder, "MELD", "tiny")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["A"], r"dialogue 4: 1 names for 3 labels"),
        (["A", 5, "B"], r"dialogue 4, utterance 1: name 5 is not text"),
    ],
)
def test_names_that_do_not_fit_are_named(tmp_path, row, message):
    folder = write(tmp_path, meld())
    names = {str(k): ["A"] * (k % 3 + 2) for k in range(10)} | {"4": row}
    (folder / "identities.json").write_text(json.dumps(names))
    with pytest.raises(CorpusError, match=message):
        read_corpus(folder, "MELD", "tiny")


def test_iemocap_takes_no_other_letters(tmp_path):
    files = iemocap()
    files["Speakers.pkl"] = at(1, put("Ses05F_impro03", ["M", "X", "F"]))(files["Speakers.pkl"])
    with pytest.raises(
        CorpusError, match=r"Ses05F_impro03, utterance 1: speaker 'X' is not a role\. Use .* M, F"
    ):
        read_corpus(write(tmp_path, files), "IEMOCAP", "tiny")


def test_folders_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere: cannot be read as a folder"):
        read_corpus(tmp_path / "nowhere", "MELD", "tiny")
    with pytest.raises(CorpusError, match=r"Speakers.pkl: the file is missing"):
        read_corpus(tmp_path, "MELD", "tiny")
    write(tmp_path, {"Speakers.pkl": meld()["Speakers.pkl"]})
    with pytest.raises(CorpusError, match=r"no feature file.*TextFeatures.pkl"):
        read_corpus(tmp_path, "MELD", "tiny")
    (tmp_path / "TextFeatures.pkl").mkdir()
    with pytest.raises(CorpusError, match=r"TextFeatures.pkl: cannot be read"):
        read_corpus(tmp_path, "MELD", "tiny")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_closed_files_are_named(tmp_path):
    folder = write(tmp_path, meld())
    (folder / "AudioFeatures.pkl").chmod(0)
    with pytest.raises(CorpusError, match=r"AudioFeatures.pkl: cannot be read \(Permission"):
        read_corpus(folder, "MELD", "tiny")


def test_unknown_choices_list_the_allowed_ones(tmp_path):
    folder = write(tmp_path, meld())
    with pytest.raises(CorpusError, match="'DailyDialog' is neither MELD nor IEMOCAP"):
        read_corpus(folder, "DailyDialog", "tiny")
    with pytest.raises(CorpusError, match=r"'sims' is unknown\. Use one of sim, multiemo"):
        open_corpora("sims", "smoke", None, tmp_path)
    with pytest.raises(CorpusError, match=r"'tiny' is unknown\. Use one of smoke, small, paper"):
        open_corpora("sim", "tiny", None, tmp_path)


def test_a_folder_of_one_or_both_benchmarks_is_opened(tmp_path):
    write(tmp_path / "IEMOCAP", iemocap())
    assert list(open_corpora("multiemo", "small", tmp_path, tmp_path / "build")) == ["IEMOCAP"]
    write(tmp_path / "MELD", meld())
    both = open_corpora("multiemo", "small", tmp_path, tmp_path / "build")
    assert list(both) == ["MELD", "IEMOCAP"]
    assert list(open_corpora("multiemo", "small", tmp_path / "MELD", tmp_path)) == ["MELD"]


def test_a_data_folder_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(CorpusError, match="needs DATA"):
        open_corpora("multiemo", "small", None, tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        open_corpora("multiemo", "small", tmp_path / "nowhere", tmp_path)
    with pytest.raises(CorpusError, match="neither MELD/ nor IEMOCAP/"):
        open_corpora("multiemo", "small", tmp_path, tmp_path)
