"""Table A9: what the literature reports, and what of it this project measures."""

import numpy as np
import pytest

from mlsan.report import ARTIFACTS, Provenance, paper, save_table
from mlsan.report.literature import FOUR, SYSTEMS, TABLE1, Reported
from mlsan.report.nb02_baseline import literature_table, selection_text
from mlsan.training import SYSTEMS as OURS
from mlsan.vocabulary import BENCHMARKS


@pytest.fixture(scope="module")
def data():
    return literature_table().data.set_index("system")


def test_every_system_of_the_papers_table_1_is_there(data):
    names = {name.removesuffix(" (original)") for name in paper.TABLE1}
    assert names <= set(data.index)
    assert not data.index.duplicated().any()
    assert data["year"].is_monotonic_increasing


def test_scores_of_table_1_are_typed_once():
    for system in SYSTEMS:
        if TABLE1 in system.source:
            assert not system.scores, f"{system.name}: its scores are those of paper.TABLE1"
            assert set(system.reported) == set(BENCHMARKS)
        else:
            assert set(system.scores) <= {*BENCHMARKS, FOUR}


def test_multiemo_has_its_own_papers_score_and_not_the_reproduction(data):
    assert data.loc["MultiEMO", ["meld", "iemocap"]].tolist() == [66.74, 72.84]


def test_scores_are_points_of_weighted_f1_with_a_source(data):
    scores = data[["meld", "iemocap", "iemocap_4"]]
    assert scores.stack().dropna().between(40, 95).all()
    assert (data["source"] != "").all()
    assert data.loc["COGMEN", "iemocap_4"] == 84.5
    assert scores.loc["EmoQ"].isna().all()


def test_measured_follows_from_the_list_of_systems(data):
    assert set(data.index[data["measured"]]) == {s.name for s in SYSTEMS if s.system in OURS}
    assert data.loc["MultiEMO", "measured"]
    assert not data.loc["UniMSE", "measured"]
    known = (Reported("A", 2020, "text", system="a"), Reported("B", 2019, "text", why_not="why"))
    for measured in ((), ("a",)):
        table = literature_table(known, measured).shown.set_index("system")
        assert table.index.tolist() == ["B (2019)", "A (2020)"]
        assert table.loc["A (2020)", "measured here"] == ("yes" if measured else "no")
        assert (table.loc["A (2020)", "why not"] == "–") == bool(measured)
        assert table.loc["B (2019)", "why not"] == "why"


def test_each_system_has_a_name_here_or_a_reason():
    assert all(bool(system.system) != bool(system.why_not) for system in SYSTEMS)
    named = [system.system for system in SYSTEMS if system.system]
    assert len(set(named)) == len(named)


def test_other_numbers_of_the_paper_are_beside_the_source():
    shown = literature_table().shown.set_index("system")
    cell = shown.loc["DialogueGCN (2019)", "source"]
    assert cell.endswith("(ML-SAN, Table 1 prints 57.52 on MELD and 63.16 on IEMOCAP)")
    assert "58.73 on MELD)" in shown.loc["DialogueRNN (2019)", "source"]
    assert "prints" not in shown.loc["MMGCN (2021)", "source"]
    assert shown.loc["COGMEN (2022)", "IEMOCAP"] == "67.63 (6), 84.50 (4)"


def test_the_table_fits_a_page_and_claims_no_corpus(tmp_path):
    table = literature_table()
    assert table.shown.shape[1] <= 8
    assert not table.shown.isna().any(axis=None)
    origin = Provenance("02_baseline", "small", "sim", True, {"MELD": "a"}, (), "c")
    text = save_table(table.data, "table9_literature", tmp_path, origin, display=table.shown)
    assert "imulated" not in text
    assert ARTIFACTS["table1_main"].origin is None


def test_the_sentence_counts_the_choices(data):
    text = selection_text(data)
    test = (data["chosen_on"] == "test").sum()
    assert test >= 6
    assert f"Of {len(data)} systems" in text
    assert f"{test} of these chose it on the test set" in text
    assert np.isin(data["chosen_on"], ["test", "dev", "folds", ""]).all()
