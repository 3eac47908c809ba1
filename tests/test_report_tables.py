"""The paper's tables are made of our numbers and of theirs, and never of each other's."""

import numpy as np
import pandas as pd
import pytest

from mlsan.corpus import open_corpora
from mlsan.report import paper
from mlsan.report.figures import architecture, lambda_curve
from mlsan.report.tables import (
    ablation_table,
    corpora_table,
    lambda_table,
    main_table,
    plus_minus,
)
from mlsan.training import run_settings
from mlsan.vocabulary import EMOTIONS


def runs(systems, benchmark="MELD", scores=(60.0, 62.0), lam=0.5):
    return pd.DataFrame(
        [
            {
                "corpus": f"sim-{benchmark.lower()}",
                "benchmark": benchmark,
                "system": system,
                "speaker": "" if system == "MultiEMO" else "identity",
                "seed": seed,
                "lam": lam,
                "test_wf1": score + place,
                "best_test_wf1": score + place + 1,
                "run": f"{system}{seed}",
            }
            for place, system in enumerate(systems)
            for seed, score in enumerate(scores)
        ]
    )


def test_table0_counts_what_the_reader_read(tmp_path):
    corpora = open_corpora("sim", "smoke", None, tmp_path)
    table = corpora_table(corpora)
    counts = table.data.set_index("count")
    corpus = corpora["MELD"]
    assert counts.loc["utterances", "sim-meld train"] == sum(map(len, corpus.train))
    labels = [f"label {e}" for e in EMOTIONS["MELD"]]
    assert counts.loc[labels, "sim-meld test"].sum() == counts.loc["utterances", "sim-meld test"]
    # the held-out session has two actors of its own
    assert counts.loc["speakers unseen in training", "sim-iemocap test"] == 2
    unseen = counts.loc["utterances of unseen speakers", "sim-iemocap test"]
    assert unseen == counts.loc["utterances", "sim-iemocap test"]
    assert table.shown.isna().sum().sum() == 0


def test_table1_says_what_was_measured_and_what_is_quoted():
    table = main_table(runs(["MultiEMO", "ML-SAN"]))
    data = table.data.set_index("system")
    assert list(data.index) == list(paper.TABLE1)
    assert data.loc["ML-SAN", "wf1_mean"] == 62
    assert data.loc["ML-SAN", "best_test_wf1_mean"] == 63
    assert data.loc["ML-SAN", "paper_mean"] == 67.73
    measured = data.index[data["ours"] == "measured"]
    assert set(measured) == {"MultiEMO", "ML-SAN"}
    assert data.drop(measured)[["wf1_mean", "best_test_wf1_mean"]].isna().all(axis=None)
    shown = table.shown.set_index("system")
    assert shown.loc["UniMSE", "ours"] == "quoted"
    assert shown.loc["UniMSE", "sim-meld, dev-selected"] == "–"
    assert shown.loc["ML-SAN", "ours"] == "2 seeds, speaker: identity"
    assert shown.loc["MultiEMO", "sim-meld, dev-selected"] == "61.00 ± 1.41"


def test_table1_counts_failed_runs():
    table = runs(["MultiEMO", "ML-SAN"])
    table.loc[table["run"] == "ML-SAN1", ["test_wf1", "best_test_wf1"]] = np.nan
    shown = main_table(table).shown.set_index("system")
    assert shown.loc["ML-SAN", "ours"].endswith("1 failed")


def test_table2_pairs_by_seed():
    systems = list(paper.TABLE2)
    table = ablation_table(runs(systems))
    data = table.data.set_index("system")
    assert data.loc[systems[1:], "delta"].tolist() == [1, 2, 3]
    assert (data.loc[systems[1:], "delta_low"] == [1, 2, 3]).all()
    assert np.isnan(data.loc["ML-SAN", "delta"])
    assert data.loc["w/o FiLM", "paper_delta"] == -0.51


def test_the_lambda_curve_has_an_interval_for_each_lambda():
    both = pd.concat([runs(["ML-SAN"], lam=lam) for lam in (0.0, 0.5)])
    curve = lambda_table(both)
    assert list(curve["lam"]) == [0, 0.5]
    assert (curve["wf1_mean"] == 61).all()
    assert (curve["high"] - curve["low"]).to_numpy() == pytest.approx(2 * 12.7062, rel=1e-4)
    axis = lambda_curve(curve).axes[0]
    assert any("0.5" in text.get_text() for text in axis.texts)


def test_a_drawing_shows_the_parts_that_are_on():
    sizes = {"text": 8, "audio": 4}

    def words(system):
        figure = architecture(run_settings("MELD", "small", system, 0), sizes)
        return " ".join(text.get_text() for text in figure.axes[0].texts)

    assert words("ML-SAN").count("FiLM") == 1
    assert words("ML-SAN").count("gate") == 2
    assert "FiLM" not in words("w/o FiLM")
    assert "Eq. 4" not in words("w/o Aux")


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (66.344, 0.04, "66.34 ± 0.04"),
        (66.3, None, "66.30"),
        (66.3, np.nan, "66.30"),
        (np.nan, np.nan, "–"),
    ],
)
def test_a_score_is_written_with_its_spread(mean, sd, text):
    assert plus_minus(mean, sd) == text


def test_table1_says_what_a_speaker_was_told_as():
    named = runs(["MultiEMO", "ML-SAN"], "IEMOCAP")
    unnamed = runs(["MultiEMO", "ML-SAN"], "MELD").replace("identity", "role")
    both = main_table(pd.concat([unnamed, named])).shown.set_index("system")
    assert both.loc["ML-SAN", "ours"] == "2 seeds, speaker: role (MELD), identity (IEMOCAP)"
    assert both.loc["MultiEMO", "ours"] == "2 seeds"
