"""The paper's tables have our numbers and the paper's, each in its own column."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from mlsan.corpus import open_corpora
from mlsan.corpus.declaration import BUILT_IN
from mlsan.evaluation import Counts, difference, mean_score
from mlsan.model import MODELS
from mlsan.report import paper
from mlsan.report.nb01_data import corpora_table
from mlsan.report.nb02_baseline import main_table
from mlsan.report.nb03_mlsan import SPEAKER, architecture_figure, cost_table
from mlsan.report.nb04_ablations import ablation_table
from mlsan.report.nb05_sensitivity import lambda_figure, lambda_table
from mlsan.report.tables import (
    ENROLLED,
    PROBE,
    STANDARDISED,
    TEXT_PROBE,
    by_corpus,
    change,
    labelled,
    plus_minus,
)
from mlsan.training import VARIANTS, run_settings


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


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
    labels = [f"label {e}" for e in BUILT_IN["MELD"].emotions]
    assert counts.loc[labels, "sim-meld test"].sum() == counts.loc["utterances", "sim-meld test"]
    # the held-out session has two actors of its own
    assert counts.loc["speakers unseen in training", "sim-iemocap test"] == 2
    unseen = counts.loc["utterances of unseen speakers", "sim-iemocap test"]
    assert unseen == counts.loc["utterances", "sim-iemocap test"]
    assert table.shown.isna().sum().sum() == 0


def test_table1_says_what_was_measured_and_what_is_quoted():
    table = main_table(runs(["MultiEMO", "ML-SAN"]))
    data = table.data.set_index("system")
    assert set(data.index) == set(paper.TABLE1)
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


def test_table1_has_every_system_that_was_run_in_the_order_of_the_registry():
    table = main_table(runs(["My Model", "ML-SAN", "BC-LSTM"]))
    shown = table.shown.set_index("system")
    printed = [name for name in MODELS if name in paper.TABLE1]
    assert list(shown.index) == [*printed, "My Model", "UniMSE", "MultiEMO (original)"]
    mine = shown.loc["My Model"]
    assert mine["sim-meld, dev-selected"] == "61.00 ± 1.41"
    assert mine["MELD paper"] == "–"
    assert mine["ours"] == "2 seeds, speaker: identity"
    row = table.data.set_index("system").loc["My Model"]
    assert row["ours"] == "measured"
    assert np.isnan(row["paper_mean"])
    assert (shown.loc[["MMGCN", "UniMSE"], "ours"] == "quoted").all()


def test_table1_has_a_registered_model_in_its_place(monkeypatch):
    monkeypatch.setitem(MODELS, "My Model", "mlsan.model.baselines.mine:Mine")
    systems = list(main_table(runs(["My Model", "ML-SAN"])).shown["system"])
    placed = [name for name in MODELS if name in paper.TABLE1 or name == "My Model"]
    assert systems[: len(placed)] == placed
    untrained = main_table(runs(["ML-SAN"])).shown["system"]
    assert "My Model" not in set(untrained)


def test_table1_has_probes_first_and_ml_sans_rows_together():
    systems = ["ML-SAN", "ML-SAN as printed", "MultiEMO", STANDARDISED, "MMGCN"]
    more = {
        "MELD": {
            ENROLLED: counts(0.9),
            PROBE: counts(0.7, seeds=(0, 1, 2)),
            TEXT_PROBE: counts(0.5),
        }
    }
    table = main_table(runs(systems), more)
    shown = table.shown.set_index("system")
    assert list(shown.index) == [
        *(TEXT_PROBE, PROBE, "BC-LSTM", "DialogueRNN", "DialogueGCN", "MMGCN"),
        *("MultiEMO", STANDARDISED, "ML-SAN as printed", "ML-SAN", ENROLLED),
        *("UniMSE", "MultiEMO (original)"),
    ]
    data = table.data.set_index("system")
    assert data.loc[ENROLLED, "wf1_mean"] == pytest.approx(counts(0.9).scores().mean())
    assert data.loc[ENROLLED, "wf1_sd"] > 0
    assert np.isnan(data.loc[ENROLLED, "best_test_wf1_mean"])
    assert np.isnan(data.loc[PROBE, "wf1_sd"])
    assert shown.loc[PROBE, "ours"] == "deterministic"
    assert shown.loc[ENROLLED, "ours"] == "2 seeds"
    assert data.loc["ML-SAN as printed", "paper_mean"] == 67.73
    used = shown["unlabelled test utterances used"]
    assert used[STANDARDISED] == "every speaker's"
    assert used[ENROLLED] == "the strangers'"
    assert set(used[["ML-SAN", "ML-SAN as printed", "MultiEMO", PROBE, "MMGCN"]]) == {"none"}
    assert set(used[["UniMSE", "BC-LSTM"]]) == {"–"}


def test_table1_has_multiemos_variants_after_it():
    table = main_table(runs(["ML-SAN", *VARIANTS, "MultiEMO", "BC-LSTM", "MMGCN + speaker"]))
    systems = list(table.shown["system"])
    at = systems.index("MultiEMO")
    assert systems[at : at + 1 + len(VARIANTS)] == ["MultiEMO", *VARIANTS]
    assert systems.index("MMGCN + speaker") > systems.index("ML-SAN")


def test_table1_has_a_dash_where_a_corpus_has_no_strangers():
    both = pd.concat([runs(["ML-SAN"]), runs(["ML-SAN"], "IEMOCAP")])
    table = main_table(both, {"IEMOCAP": {ENROLLED: counts(0.9, "IEMOCAP")}})
    row = table.shown.set_index("system").loc[ENROLLED]
    assert row["sim-meld, dev-selected"] == "–"
    assert " ± " in row["sim-iemocap, dev-selected"]


def test_table1_counts_failed_runs():
    table = runs(["MultiEMO", "ML-SAN"])
    table.loc[table["run"] == "ML-SAN1", ["test_wf1", "best_test_wf1"]] = np.nan
    shown = main_table(table).shown.set_index("system")
    assert shown.loc["ML-SAN", "ours"].endswith("1 failed")


def counts(right, benchmark="MELD", seeds=(0, 1), dialogues=30):
    """Runs of which each utterance is right with probability `right`."""
    classes = len(BUILT_IN[benchmark].emotions)
    label = np.random.default_rng(7).integers(0, classes, (dialogues, 5))
    tables = np.zeros((len(seeds), dialogues, classes, classes), dtype=int)
    for table, seed in zip(tables, seeds, strict=True):
        draw = np.random.default_rng(seed)
        found = np.where(draw.random(label.shape) < right, label, (label + 1) % classes)
        np.add.at(table, (np.indices(label.shape)[0], label, found), 1)
    return Counts(tuple(seeds), tuple(f"d{i}" for i in range(dialogues)), tables, len(seeds))


def test_table2_has_the_paired_difference_with_its_interval():
    systems = list(paper.TABLE2)
    both = {name: counts(0.8 - 0.2 * place) for place, name in enumerate(systems)}
    table = ablation_table(runs(systems), {"MELD": both})
    data = table.data.set_index("system")
    for system in systems[1:]:
        expected = difference(both[system], both["ML-SAN"])
        row = data.loc[system, ["delta", "delta_low", "delta_high"]].tolist()
        assert row == pytest.approx(expected[:3])
        assert row[2] < 0
    assert data.loc["ML-SAN", ["delta", "delta_low", "delta_high"]].isna().all()
    # The scores are those of the evaluation that is counted, not of the runs' own test.
    for system in systems:
        assert data.loc[system, "wf1_mean"] == pytest.approx(both[system].scores().mean())
    assert data.loc["w/o FiLM", "paper_delta"] == -0.51
    assert table.shown["sim-meld Δ [95 %]"].iloc[0] == "–"


def test_the_lambda_curve_has_an_interval_for_each_lambda():
    lams = {2.0: counts(0.8), 0.0: counts(0.4), 0.5: counts(0.6)}
    base = counts(0.3)
    curve = lambda_table({"MELD": lams}, {"MELD": {"MultiEMO": base}})
    assert list(curve["lam"])[:3] == [0, 0.5, 2]
    for row in curve[:3].itertuples():
        assert (row.wf1_mean, row.low, row.high, row.seeds) == mean_score(lams[row.lam])
    assert (curve["low"] < curve["wf1_mean"]).all()
    last = curve.iloc[3]
    assert (last["system"], last["wf1_mean"]) == ("MultiEMO", mean_score(base).value)
    axis = lambda_figure(labelled(curve, {"MELD": "sim-meld"})).axes[0]
    assert axis.get_title() == "sim-meld"
    assert any("0.5" in text.get_text() for text in axis.texts)
    lines = {line.get_label(): line for line in axis.lines}
    assert lines["ML-SAN"].get_xdata().tolist() == [0, 0.5, 2]
    assert set(lines["MultiEMO"].get_ydata()) == {last["wf1_mean"]}
    # The axis is to scale: .5 to 2 is as far as .125 to .5 would be.
    to_axis = axis.get_xscale(), axis.transData.transform([(x, 0) for x in (0.125, 0.5, 2)])[:, 0]
    assert to_axis[0] == "symlog"
    assert np.diff(to_axis[1])[0] == pytest.approx(np.diff(to_axis[1])[1])


def test_a_drawing_shows_the_parts_that_are_on():
    sizes = {"text": 8, "audio": 4}

    def words(system):
        figure = architecture_figure(run_settings("MELD", "small", system, 0), sizes)
        return " ".join(text.get_text() for text in figure.axes[0].texts)

    assert words("ML-SAN").count("FiLM") == 1
    assert words("ML-SAN").count("gate") == 2
    assert "FiLM" not in words("w/o FiLM")
    assert "Eq. 4" not in words("w/o Aux")
    assert "style" in words("ML-SAN")
    assert "style" not in words("ML-SAN as printed"), "its FiLM starts at random"
    for loss in ("CE", "SWFC", "Soft-HGR", "{spk}"):
        assert loss in words("ML-SAN")
    assert "{spk}" not in words("w/o Aux")


def test_the_speaker_reaches_every_part_that_reads_it():
    sizes = {"text": 8, "audio": 4, "visual": 6}

    def arrows(system):
        figure = architecture_figure(run_settings("MELD", "small", system, 0), sizes)
        found = [a for a in figure.axes[0].texts if getattr(a, "arrow_patch", None)]
        dashed = to_rgba(SPEAKER)
        return sum(a.arrow_patch.get_edgecolor() == dashed for a in found)

    assert arrows("w/o FiLM") == 3  # a gate per modality
    assert arrows("w/o Gate") == 4  # embedding and style to FiLM of audio and visual
    assert arrows("ML-SAN") == 7
    assert arrows("ML-SAN as printed") == 5


def test_a_corpus_has_its_own_name_beside_the_benchmark():
    frame = pd.DataFrame({"kind": "cell", "benchmark": ["MELD", "lessons"], "wf1": [1.0, 2.0]})
    found = labelled(frame, {"MELD": "sim-meld"})
    assert list(found.columns) == ["kind", "corpus", "benchmark", "wf1"]
    assert list(found["corpus"]) == ["sim-meld", "lessons"]
    assert labelled(found, {"MELD": "other"}) is found
    assert "corpus" not in frame
    assert [name for name, _ in by_corpus(found)] == ["sim-meld", "lessons"]
    assert [name for name, _ in by_corpus(frame)] == ["MELD", "lessons"]


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


def test_a_change_has_its_sign_and_nothing_is_not_negative():
    assert change(1.2, -0.1, 2.304) == "+1.20 [-0.10, +2.30]"
    assert change(-1e-15, -0.004, 0.0) == "+0.00 [+0.00, +0.00]"
    assert change(np.nan, np.nan, np.nan) == "–"


def test_table1_says_which_kind_of_speaker_was_used():
    named = runs(["MultiEMO", "ML-SAN"], "IEMOCAP")
    unnamed = runs(["MultiEMO", "ML-SAN"], "MELD").replace("identity", "role")
    both = main_table(pd.concat([unnamed, named])).shown.set_index("system")
    assert both.loc["ML-SAN", "ours"] == "2 seeds, speaker: role (sim-meld), identity (sim-iemocap)"
    assert both.loc["MultiEMO", "ours"] == "2 seeds"


def test_costs_are_medians_beside_the_number_of_parameters():
    runs = pd.DataFrame(
        {"corpus": "toy", "system": ["a", "a", "a", "b"], "seconds": [1.0, 9.0, 2.0, 4.0]}
    )
    cost = cost_table(runs, {("toy", "a"): 1500, ("toy", "b"): 20})["toy"]
    assert cost["seconds per run"].to_dict() == {"a": 2.0, "b": 4.0}
    assert cost["parameters (thousands)"].to_dict() == {"a": 1.5, "b": 0.0}
