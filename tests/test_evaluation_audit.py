"""The audit of text features, on a corpus small enough to know the answers."""

import json

import numpy as np
import pandas as pd
import pytest
from corpus_files import meld, write

from mlsan.corpus import read_corpus
from mlsan.evaluation.audit import read_emoberta_list, text_audit
from mlsan.report.nb08_audit import by_exposure, duplicates, probe_and_models, wf1


@pytest.fixture
def corpus(tmp_path):
    """Text tells the label, but for dialogue 9, which repeats dialogue 0's rows."""
    files = meld()
    label = files["Speakers.pkl"][2]
    generator = np.random.default_rng(0)
    rows = {k: np.eye(7)[v] + generator.normal(0, 0.01, (len(v), 7)) for k, v in label.items()}
    label[9] = [*label[9][:1], 6]
    rows[9] = rows[0].copy()
    files["TextFeatures.pkl"] = rows
    assert len(label[0]) == len(label[9])
    return read_corpus(write(tmp_path / "MELD", files), "MELD", "tiny")


def test_each_test_utterance_is_judged(corpus):
    audit = text_audit(corpus)
    assert audit["dialogue"].tolist() == ["8"] * 4 + ["9"] * 2
    assert audit["duplicate"].tolist() == [False] * 4 + [True] * 2
    assert (audit["predicted"][:4] == audit["label"][:4]).all()
    # Dialogue 0 has labels 0, 1; dialogue 9 says 2, 6 of the same rows.
    assert audit["predicted"].tolist()[4:] == [0, 1]
    assert not audit["same_label"].any()


def test_duplicates_are_counted_and_left_out(corpus):
    found = duplicates(text_audit(corpus))
    assert found["test utterances"] == 6
    assert found["text also in training"] == 2
    assert found["with the same label there"] == 0
    assert found["probe W-F1, repeated"] == 0
    assert found["probe W-F1, the others"] == 100


def test_models_stand_above_the_probe(corpus):
    audit = text_audit(corpus)
    runs = pd.DataFrame(
        {"benchmark": "MELD", "system": ["A", "A", "B"], "test_wf1": [90.0, 92.0, 80.0]}
    )
    table = probe_and_models({"MELD": audit}, runs).set_index("system")
    assert table["wf1"].tolist() == [wf1(audit), 91, 80]
    assert table.loc["A", "above probe"] == pytest.approx(91 - wf1(audit))
    assert table["seeds"].tolist() == [1, 2, 1]
    alone = probe_and_models({"MELD": audit}, pd.DataFrame())
    assert alone["system"].tolist() == ["linear probe, text"]


def test_the_public_list_parts_the_test_dialogues(corpus, tmp_path):
    file = tmp_path / "emoberta-train.json"
    assert read_emoberta_list(file) is None
    train = {"MELD/test/dia0": [], "MELD/train/dia1": [], "IEMOCAP/test/Ses05F_impro01": []}
    file.write_text(json.dumps({"train": train, "val": {"MELD/test/dia2": []}}))
    assert read_emoberta_list(file) == {"1153"}
    parts = by_exposure(text_audit(corpus), {"8"})
    assert parts["utterances"].tolist() == [4, 2]
    assert parts["probe W-F1"].tolist() == [100, 0]
    assert np.isnan(by_exposure(text_audit(corpus), set())["probe W-F1"].iloc[0])


@pytest.mark.parametrize("content", ["[]", '{"test": {}}'])
def test_another_list_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="has no split 'train'"):
        read_emoberta_list(tmp_path / "x.json")
