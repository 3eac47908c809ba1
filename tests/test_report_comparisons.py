"""The comparison tables carry the right numbers, intervals, and the paper's beside ours."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from guesses import guessed

from mlsan.corpus.declaration import BUILT_IN
from mlsan.evaluation.counts import Counts, dialogue_counts
from mlsan.evaluation.factorial import SWITCHES, cell_name
from mlsan.evaluation.significance import compare_all, difference
from mlsan.report import paper
from mlsan.report.nb02_baseline import main_table
from mlsan.report.nb03_mlsan import (
    classes_table,
    seen_unseen_table,
    selection_figure,
    selection_table,
    significance_table,
)
from mlsan.report.nb04_ablations import ALONE, ablation_table, factorial_table
from mlsan.report.nb05_sensitivity import lambda_figure, lambda_table
from mlsan.report.nb07_beyond import STRANGERS, adapted_findings, adapted_table
from mlsan.report.tables import ENROLLED, PROBE, STANDARDISED
from mlsan.scores import class_f1, class_recall

EMOTIONS = {name: declared.emotions for name, declared in BUILT_IN.items()}


def counts(right, benchmark="MELD", seeds=range(3), asked=3, salt=0, dialogues=30):
    """Runs that hit the label with probability `right` on the same simulated test dialogues."""
    classes = len(EMOTIONS[benchmark])
    share = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    label = np.random.default_rng(7).choice(classes, (dialogues, 5), p=share)
    return guessed(label, classes, right, seeds, salt, asked)


def test_table3_has_every_system_and_the_papers_claim():
    systems = {"MultiEMO": counts(0.4), "ML-SAN": counts(0.8), "BC-LSTM": counts(0.4, salt=1)}
    systems["MMGCN"] = counts(0.4, seeds=(0, 2))
    systems["only Aux"] = dialogue_counts({}, 7, asked=3)
    compared = compare_all({"MELD": systems}, "MultiEMO")
    table = significance_table(compared)
    data = table.data.set_index("system")
    shown = table.shown.set_index("system")
    assert list(data.index) == ["ML-SAN", "BC-LSTM", "MMGCN", "only Aux"]
    scores = [systems[name].scores().mean() for name in ("ML-SAN", "MultiEMO")]
    assert data.loc["ML-SAN", "delta"] == pytest.approx(scores[0] - scores[1])
    assert data.loc["ML-SAN", "paper_delta"] == pytest.approx(1.39)
    assert data.loc["ML-SAN", "paper_t_needed"] == pytest.approx(9.92, abs=0.005)
    assert data["paper_p_below"].notna().sum() == 1
    assert np.isnan(data.loc["only Aux", "paper_delta"])
    row = data.loc["ML-SAN"]
    expected = f"{row['delta']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    assert shown.loc["ML-SAN", "Δ [95 %]"] == expected
    assert shown.loc["MMGCN", "W-F1"].endswith("(2 of 3)")
    assert shown.loc["only Aux", "W-F1"] == "–"
    claim = table.data.set_index("system").loc["ML-SAN"]
    assert claim[["paper_p_below", "paper_runs"]].tolist() == [0.01, 3]
    assert claim["paper_t_needed"] == pytest.approx(9.92, abs=0.01)
    assert len(table.shown.columns) == 8
    assert shown.loc["only Aux", "Δ [95 %]"] == "–"
    assert not table.shown.astype(str).apply(lambda c: c.str.contains("nan")).any(axis=None)


def test_table3_has_the_enrolled_model_against_the_normalisation():
    systems = {"MultiEMO": counts(0.4), STANDARDISED: counts(0.7, salt=1)}
    systems |= {"ML-SAN as printed": counts(0.4, salt=2), ENROLLED: counts(0.8, salt=3)}
    both = {"MELD": systems, "IEMOCAP": {"MultiEMO": counts(0.4, "IEMOCAP")}}
    pairs = [(ENROLLED, STANDARDISED)]
    compared = compare_all(both, "MultiEMO", pairs)
    table = significance_table(compared)
    assert list(table.data["reference"]) == ["MultiEMO"] * 3 + [STANDARDISED]
    assert table.shown["system"].iloc[-1].endswith(f", against {STANDARDISED}")
    assert not table.shown["system"].iloc[:-1].str.contains("against").any()
    last = table.data.iloc[-1]
    expected = difference(systems[ENROLLED], systems[STANDARDISED])
    assert (last["system"], last["delta"]) == (ENROLLED, expected.value)
    assert (last["low"], last["high"]) == expected[1:3]
    # Holm's correction counts this comparison too.
    alone = compare_all(both, "MultiEMO")
    assert (compared["p_t_holm"][:3] >= alone["p_t_holm"]).all()
    assert (compared["p_t_holm"][:3] > alone["p_t_holm"]).any()
    printed = table.data.set_index("system").loc["ML-SAN as printed"]
    assert printed["paper_delta"] == pytest.approx(1.39)
    assert printed["paper_p_below"] == 0.01


def test_a_probe_that_is_the_same_for_every_seed_is_compared_with_runs():
    once = counts(0.7, seeds=(0,), asked=1).table
    probe = Counts((0, 1, 2), counts(0.4).dialogues, np.repeat(once, 3, axis=0), 3)
    (row,) = compare_all({"MELD": {"MultiEMO": counts(0.4), PROBE: probe}}, "MultiEMO").to_dict(
        "records"
    )
    assert row["wf1_sd"] == 0
    assert row["low"] < row["delta"] < row["high"]
    assert row["seeds"] == 3


def test_table4_has_the_tail_first_and_the_papers_utterances():
    both = {
        b: {"MultiEMO": counts(0.4, b), "ML-SAN": counts(0.6, b, salt=1)}
        for b in ("MELD", "IEMOCAP")
    }
    table = classes_table(both, EMOTIONS)
    assert len(table.data) == 13
    for benchmark, part in table.data.groupby("benchmark"):
        assert part["support"].is_monotonic_increasing
        assert part["support"].sum() == 150
        pair = both[benchmark]
        for score, function in (("f1", class_f1), ("recall", class_recall)):
            found = part.set_index("emotion").loc[list(EMOTIONS[benchmark])]
            for who, name in (("system", "ML-SAN"), ("reference", "MultiEMO")):
                expected = pair[name].scores(function).mean(axis=0)
                assert found[f"{score}_{who}"].to_numpy() == pytest.approx(expected)
    assert len(table.shown.columns) == 7
    named = table.shown["emotion (utterances)"].str.split(" ").str[0]
    shown = table.shown.assign(emotion=named).set_index(["benchmark", "emotion", "score"])
    pair = ["MultiEMO", "ML-SAN"]
    printed = shown.xs("MELD paper, recall", level="score")[pair]
    assert printed.loc[("MELD", "fear")].tolist() == ["12 % (6 of 50)", "18 % (9 of 50)"]
    assert printed.loc[("MELD", "anger")].tolist() == ["55 % (190 of 345)", "57 % (197 of 345)"]
    assert len(printed) == len(paper.FIG4_RECOGNISED)
    row = table.data.query("benchmark == 'MELD' and emotion == 'fear'").iloc[0]
    right = row["support"] * row["recall_system"] / 100
    fear = EMOTIONS["MELD"].index("fear")
    hits = both["MELD"]["ML-SAN"].table[:, :, fear]
    assert right == pytest.approx(hits[..., fear].sum() / 3)
    assert shown.loc[("MELD", "fear", "right"), "ML-SAN"] == f"{right:.1f}"
    recall = f"{row['recall_system']:.2f} ["
    assert shown.loc[("MELD", "fear", "recall"), "ML-SAN"].startswith(recall)
    assert shown.loc[("MELD", "fear", "F1"), "ML-SAN"].startswith(f"{row['f1_system']:.2f} [")
    smallest = table.data["p_perm"].min()
    assert table.data["p_perm_holm"].min() == pytest.approx(min(13 * smallest, 1))
    assert smallest < 1 / 13


def test_the_papers_numbers_are_absent_for_other_corpora():
    pair = {"MultiEMO": counts(0.4), "ML-SAN": counts(0.6, salt=1)}
    ablated = {name: counts(0.4, salt=salt) for salt, name in enumerate(paper.TABLE2)}
    emotions = EMOTIONS | {"lessons": EMOTIONS["MELD"]}

    def tables(*benchmarks):
        runs = pd.DataFrame(
            {"corpus": b, "benchmark": b, "system": s, "speaker": "", "seed": 0, "run": s + b}
            for b in benchmarks
            for s in ablated
        ).assign(test_wf1=50.0, best_test_wf1=50.0)
        return (
            main_table(runs),
            significance_table(compare_all(dict.fromkeys(benchmarks, pair), "MultiEMO")),
            ablation_table(runs, dict.fromkeys(benchmarks, ablated)),
            classes_table(dict.fromkeys(benchmarks, pair), emotions),
        )

    for table in tables("lessons"):
        assert not [name for frame in table for name in frame if "paper" in name]
        assert not table.shown.astype(str).apply(lambda c: c.str.contains("paper")).any(axis=None)
    alone, *_ = tables("lessons")
    assert "UniMSE" not in alone.data["system"].tolist()
    for table in tables("MELD", "lessons"):
        assert [name for name in table.data if "paper" in name]
        assert "paper" in table.shown.to_csv()
        assert not [name for name in table.shown if "paper" in name and "lessons" in name]
    curve = lambda_table({"lessons": {0.2: pair["ML-SAN"], 0.5: pair["MultiEMO"]}})
    assert len(lambda_figure(curve).axes[0].texts) == 0


def test_table4_survives_a_system_without_runs():
    pair = {"MultiEMO": counts(0.4), "ML-SAN": dialogue_counts({}, 7, asked=3)}
    shown = classes_table({"MELD": pair}, EMOTIONS).shown
    assert shown["emotion (utterances)"].str.endswith(", 0 of 3 seeds").all()
    assert (shown["Δ [95 %]"] == "–").all()
    assert "right" not in set(shown["score"])


def design(benchmark, default, kinds=(), **worth):
    """All eight cells, each part worth so much in accuracy, and controls."""
    cells = {}
    for place, on in enumerate(SWITCHES):
        right = 0.3 + sum(w * switch for w, switch in zip(worth.values(), on, strict=True))
        cells[(*on, default if any(on) else "")] = counts(right, benchmark, salt=place)
    for place, (kind, right) in enumerate(kinds):
        cells[(True, True, True, kind)] = counts(right, benchmark, salt=20 + place)
    return cells


def test_the_factorial_has_cells_effects_and_controls():
    kinds = (("role", 0.3), ("shuffled", 0.6), ("constant", 0.3))
    named = design("IEMOCAP", "identity", kinds, film=0.3, gate=0.0, aux=0.0)
    nameless = design("MELD", "role", (("shuffled", 0.3),), film=0.3, gate=0.0, aux=0.0)
    table = factorial_table({"MELD": nameless, "IEMOCAP": named})
    assert len(table.shown.columns) == 6
    shown = table.shown.set_index(["benchmark", "kind", "system"])
    assert list(table.shown["benchmark"].unique()) == ["MELD", "IEMOCAP"]
    for name in ("MELD", "IEMOCAP"):
        own = shown.loc[name]
        assert list(own.index.unique("kind")) == ["cell", "effect", "control"]
        assert list(own.loc["cell"].index) == [cell_name(*on) for on in SWITCHES]
        assert len(own.loc["effect"]) == 7
    data = table.data.set_index(["benchmark", "kind", "system"])
    full = named[(True, True, True, "identity")].scores().mean()
    base = named[(False, False, False, "")].scores().mean()
    assert data.loc[("IEMOCAP", "cell", "ML-SAN"), "delta"] == pytest.approx(full - base)
    assert np.isnan(data.loc[("IEMOCAP", "cell", "MultiEMO"), "delta"])
    effect = data.loc[("IEMOCAP", "effect", "FiLM")]
    assert effect["low"] > 0
    on = [c.scores().mean() for k, c in named.items() if k[0] and k[3] == "identity"]
    off = [c.scores().mean() for k, c in named.items() if not k[0]]
    assert effect["delta"] == pytest.approx(np.mean(on) - np.mean(off))
    control = data.loc[("IEMOCAP", "control", "ML-SAN, role")]
    role = named[(True, True, True, "role")].scores().mean()
    assert control["delta"] == pytest.approx(role - full)
    assert control["high"] < 0
    delta = shown.loc[:, "Δ [95 %]"]
    assert ("MELD", "control", "ML-SAN, role") not in shown.index
    assert delta[("IEMOCAP", "control", "ML-SAN, role")].endswith("to identity")
    assert delta[("MELD", "control", "ML-SAN, shuffled")].endswith("to role")
    tests = table.data["p_perm"].notna()
    assert tests.sum() == 7 + 7 + 3 + 1
    smallest = table.data.loc[tests, "p_perm"].min()
    assert table.data["p_perm_holm"].min() == pytest.approx(tests.sum() * smallest)


def test_the_factorial_survives_failed_runs_and_refuses_half_a_design():
    cells = design("MELD", "identity", film=0.3, gate=0.0, aux=0.0)
    cells[(True, False, False, "identity")] = counts(0.5, seeds=(0, 2))
    shown = factorial_table({"MELD": cells}).shown.set_index("system")
    assert shown.loc["only FiLM", "W-F1"].endswith("(2 of 3)")
    data = factorial_table({"MELD": cells}).data.set_index("system")
    assert (data.loc[data["kind"] == "effect", "seeds"] == 2).all()
    with pytest.raises(ValueError, match="only Gate"):
        factorial_table({"MELD": {k: c for k, c in cells.items() if k[:3] != (False, True, False)}})
    with pytest.raises(ValueError, match="role"):
        factorial_table({"MELD": {**cells, (True, False, True, "role"): counts(0.5)}})


def test_the_factorial_has_the_cells_without_enrolment_beside_them():
    enrolled = design("IEMOCAP", "identity", film=0.3, gate=0.0, aux=0.0)
    alone = design("IEMOCAP", "identity", film=0.05, gate=0.0, aux=0.0)
    meld = design("MELD", "identity", film=0.3, gate=0.0, aux=0.0)
    table = factorial_table({"MELD": meld, "IEMOCAP": enrolled}, {"IEMOCAP": alone})
    rows = table.shown[table.shown["kind"] == ALONE].set_index("system")
    assert list(rows.index) == [cell_name(*on) for on in SWITCHES[1:]]
    assert (rows["benchmark"] == "IEMOCAP").all()
    data = table.data.set_index(["kind", "benchmark", "system"])
    for kind, cells in (("cell", enrolled), (ALONE, alone)):
        full = cells[(True, True, True, "identity")].scores().mean()
        assert data.loc[(kind, "IEMOCAP", "ML-SAN"), "wf1_mean"] == pytest.approx(full)
        base = cells[(False, False, False, "")].scores().mean()
        assert data.loc[(kind, "IEMOCAP", "ML-SAN"), "delta"] == pytest.approx(full - base)
    own = table.shown[table.shown["benchmark"] == "IEMOCAP"]
    assert list(own["kind"].unique()) == ["cell", ALONE, "effect"]


def test_seen_and_unseen_speakers_stand_apart_where_there_are_any():
    def empty(benchmark):
        whole = counts(0.5, benchmark)
        return Counts(whole.seeds, whole.dialogues, np.zeros_like(whole.table), 3)

    names = ("MultiEMO", "ML-SAN")
    seen = {"MELD": {n: counts(0.4 + 0.4 * k) for k, n in enumerate(names)}}
    unseen = {"MELD": {n: counts(0.4, dialogues=9) for n in names}}
    seen["IEMOCAP"] = {n: empty("IEMOCAP") for n in names}
    unseen["IEMOCAP"] = {n: counts(0.4, "IEMOCAP", salt=k) for k, n in enumerate(names)}
    table = seen_unseen_table(seen, unseen)
    data = table.data.set_index(["benchmark", "speakers", "system"])
    assert list(data.index) == [
        ("MELD", "seen", "MultiEMO"),
        ("MELD", "seen", "ML-SAN"),
        ("MELD", "unseen", "MultiEMO"),
        ("MELD", "unseen", "ML-SAN"),
        ("IEMOCAP", "unseen", "MultiEMO"),
        ("IEMOCAP", "unseen", "ML-SAN"),
    ]
    assert data.loc[("MELD", "seen", "ML-SAN"), "low"] > 0
    assert data.loc[("MELD", "unseen", "ML-SAN"), "delta"] == 0
    assert list(data["utterances"]) == [150, 150, 45, 45, 150, 150]
    row = data.loc[("MELD", "seen", "ML-SAN")]
    assert row["wf1_low"] < row["wf1"] < row["wf1_high"]
    nobody = {"MELD": seen["IEMOCAP"]}
    none = seen_unseen_table(nobody, nobody)
    assert none.data.empty
    assert none.shown.empty


def test_the_same_comparison_has_the_same_interval_in_every_table():
    systems = {"MultiEMO": counts(0.4), "ML-SAN": counts(0.55, salt=3), "BC-LSTM": counts(0.3)}
    expected = difference(systems["ML-SAN"], systems["MultiEMO"])[:3]

    def found(table, *columns, **where):
        data = table.data
        for column, value in where.items():
            data = data[data[column] == value]
        (row,) = data[list(columns)].to_numpy(dtype=float)
        return tuple(row)

    ends = ("delta", "low", "high")
    table3 = significance_table(compare_all({"MELD": systems}, "MultiEMO"))
    assert found(table3, *ends, system="ML-SAN") == expected
    nobody = {n: Counts(c.seeds, c.dialogues, 0 * c.table, 3) for n, c in systems.items()}
    table6 = seen_unseen_table({"MELD": nobody}, {"MELD": systems})
    assert found(table6, *ends, system="ML-SAN") == expected
    cells = design("MELD", "identity", film=0.1, gate=0.0, aux=0.0)
    cells[(False, False, False, "")] = systems["MultiEMO"]
    cells[(True, True, True, "identity")] = systems["ML-SAN"]
    all_cells = factorial_table({"MELD": cells})
    assert found(all_cells, *ends, kind="cell", system="ML-SAN") == expected
    without = {**systems, **dict.fromkeys(("w/o FiLM", "w/o Gate", "w/o Aux"), systems["MultiEMO"])}
    rows = pd.DataFrame(
        [("sim-meld", "MELD", name, "", 60.0) for name in paper.TABLE2],
        columns=["corpus", "benchmark", "system", "speaker", "test_wf1"],
    )
    table2 = ablation_table(rows, {"MELD": without})
    turned = found(table2, "delta", "delta_high", "delta_low", system="w/o FiLM")
    assert [-x for x in turned] == pytest.approx(expected)


def runs():
    rows = [
        (benchmark, system, seed, 60.0 + seed, 60.5 + 2 * seed)
        for benchmark in ("MELD", "IEMOCAP")
        for system in ("MultiEMO", "ML-SAN", "only FiLM")
        for seed in range(3)
    ]
    columns = ["benchmark", "system", "seed", "test_wf1", "best_test_wf1"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "corpus", "sim-" + table["benchmark"].str.lower())
    table.loc[(table["system"] == "ML-SAN") & (table["seed"] == 2), columns[3:]] = np.nan
    table.loc[table["system"] == "only FiLM", columns[3:]] = np.nan
    return table


def test_selection_says_what_the_best_test_epoch_is_worth():
    table = selection_table(runs())
    data = table.data.set_index(["benchmark", "system"])
    row = data.loc[("MELD", "MultiEMO")]
    assert row["gain"] == pytest.approx(1.5)
    assert (row["gain_low"], row["gain_high"]) == (0.5, 2.5)  # of three seeds the range
    assert data.loc[("MELD", "ML-SAN"), "gain"] == pytest.approx(1)
    shown = table.shown.set_index(["corpus", "system"])
    assert shown.loc[("sim-meld", "ML-SAN"), "seeds"] == "2 of 3"
    assert shown.loc[("sim-meld", "only FiLM"), "gain [95 %]"] == "–"
    assert shown.loc[("sim-meld", "MultiEMO"), "gain [95 %]"].startswith("+1.50 [")


def test_the_selection_figure_draws_both_scores_of_every_system():
    figure = selection_figure(selection_table(runs()).data)
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["sim-meld", "sim-iemocap"]
    axis = figure.axes[0]
    ticks = [text.get_text() for text in axis.get_yticklabels()]
    assert ticks == ["MultiEMO", "ML-SAN", "only FiLM"]
    drawn = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    assert drawn[:4] == [61, 62.5, 60.5, 61.5]
    assert any(text.get_text().startswith("+1.50") for text in axis.texts)
    plt.close(figure)


def adapted():
    """One model gains from the parts with all utterances, one loses, one has no finished run."""
    ways = {
        "MMGCN": {"": counts(0.5), "none": counts(0.5, salt=1), "all": counts(0.8)},
        "DialogueRNN": {"": counts(0.7), "none": counts(0.4), "all": counts(0.4, seeds=(0, 2))},
        "MultiEMO": {"": counts(0.6)} | dict.fromkeys(STRANGERS, dialogue_counts({}, 7, asked=3)),
    }
    return adapted_table({"MELD": ways}), ways


def test_table11_compares_each_model_with_itself():
    table, ways = adapted()
    data = table.data.set_index(["system", "strangers"])
    for model, found in ways.items():
        for strangers in STRANGERS:
            row = data.loc[model, strangers]
            delta = difference(found[strangers], found[""])
            np.testing.assert_equal(row[["delta", "low", "high"]].tolist(), list(delta[:3]))
            assert row["seeds"] == len(found[strangers].seeds)
        assert data.loc[(model, ""), ["delta", "low", "high"]].isna().all()
        assert data.loc[(model, ""), "wf1_mean"] == pytest.approx(found[""].scores().mean())
    shown = table.shown.set_index("model")
    assert list(shown.index) == list(ways)
    assert shown.loc["MMGCN", "Δ all [95 %]"].startswith("+")
    assert shown.loc["DialogueRNN", "Δ none [95 %]"].startswith("-")
    assert shown.loc["MultiEMO", "with the parts, strangers: all"] == "–"
    assert shown.loc["MultiEMO", "alone"] != "–"


def test_findings_of_table11_count_gains_and_losses_by_their_intervals():
    table, _ = adapted()
    none, most = adapted_findings(table.data)
    assert none.startswith("MELD, strangers enrolled with none: of 2 models 0 gain (")
    assert most.startswith("MELD, strangers enrolled with all: of 2 models 1 gain (")
    assert "1 lose (interval below zero): " in none
    gain = table.shown.set_index("model").loc["MMGCN", "Δ all [95 %]"]
    assert f"MMGCN {gain}; DialogueRNN -" in most
    assert adapted_findings(table.data[table.data["strangers"] == ""]) == []
