"""Dose, probes, speakers and robustness: rows of runs become the right numbers and panels."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mlsan.evaluation.neutrality import STAGES
from mlsan.report.evidence import (
    ADVERSARY,
    WITHHELD,
    arm_of,
    dose_figure,
    dose_table,
    probes_figure,
    probes_table,
    robustness_figure,
    robustness_table,
    speakers_table,
    way_of,
)
from mlsan.vocabulary import ModelConfig

DOSES = (0.0, 0.5, 1.0)
SYSTEMS = ("MultiEMO", "ML-SAN", "w/o Aux", ADVERSARY, WITHHELD)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def panels(figure):
    figure.canvas.draw()
    return figure.axes


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def dose_runs(benchmarks=("MELD", "IEMOCAP")):
    """ML-SAN gains four points times the dose, with seeds half a point to either side."""
    return pd.DataFrame(
        {
            "benchmark": benchmark,
            "heterogeneity": dose,
            "system": system,
            "seed": seed,
            "test_wf1": 50.0 + seed + (system == "ML-SAN") * (4 * dose + (seed - 1) / 2),
        }
        for dose, benchmark, system, seed in product(
            reversed(DOSES), benchmarks, ("MultiEMO", "ML-SAN"), range(3)
        )
    )


def test_the_dose_is_paired_by_seed_and_a_failed_run_takes_its_pair_along():
    runs = dose_runs()
    table = dose_table(runs)
    assert list(table["benchmark"]) == ["MELD"] * 3 + ["IEMOCAP"] * 3
    assert list(table["heterogeneity"]) == [*DOSES, *DOSES]
    assert table["delta"].to_numpy() == pytest.approx([0, 2, 4] * 2)
    half = 4.302653 * 0.5 / 3**0.5
    assert (table["high"] - table["delta"]).to_numpy() == pytest.approx(half)
    assert (table["delta"] - table["low"]).to_numpy() == pytest.approx(half)
    assert table["multiemo"].to_numpy() == pytest.approx(51)
    runs.loc[runs.query("system == 'MultiEMO' and seed == 2").index, "test_wf1"] = np.nan
    fewer = dose_table(runs)
    assert set(fewer["seeds"]) == {2}
    assert fewer["delta"].to_numpy() == pytest.approx(table["delta"].to_numpy() - 0.25)


@pytest.mark.parametrize("benchmarks", [("MELD", "IEMOCAP"), ("IEMOCAP",)])
def test_the_dose_figure_has_a_panel_a_benchmark(benchmarks):
    table = dose_table(dose_runs(benchmarks))
    axes = panels(dose_figure(table))
    assert [axis.get_title() for axis in axes] == list(benchmarks)
    for axis in axes:
        drawn = axis.containers[0].lines[0].get_xydata()
        assert drawn[:, 0].tolist() == list(DOSES)
        assert drawn[:, 1] == pytest.approx([0, 2, 4])


def probe_rows():
    return pd.DataFrame(
        {
            "benchmark": benchmark,
            "system": system,
            "seed": seed,
            "target": target,
            "stage": stage,
            "modalities": "audio+visual",
            "wf1": 60.0 + 5 * SYSTEMS.index(system) + 2 * seed - 3 * STAGES.index(stage),
            "chance": 20.0,
        }
        for benchmark, system, seed, target, stage in product(
            ("MELD", "IEMOCAP"), SYSTEMS, range(2), ("speaker", "emotion"), STAGES
        )
    )


def test_probes_are_averaged_over_seeds_and_drawn_along_the_stages():
    table = probes_table(probe_rows())
    assert len(table) == 2 * 2 * len(SYSTEMS) * len(STAGES)
    row = table.query("system == 'ML-SAN' and stage == 'context'").iloc[0]
    assert row["wf1_mean"] == pytest.approx(60)
    assert row["high"] - row["low"] == pytest.approx(2 * 12.7062, rel=1e-4)
    assert (row["seeds"], row["chance"], row["modalities"]) == (2, 20, "audio+visual")
    figure = probes_figure(table)
    assert [axis.get_title() for axis in panels(figure)] == [
        *("MELD: speaker", "IEMOCAP: speaker", "MELD: emotion", "IEMOCAP: emotion")
    ]
    assert sorted(legend(figure)) == sorted(["chance", *SYSTEMS])
    for axis in figure.axes:
        heights = [drawn.lines[0].get_ydata() for drawn in axis.containers]
        assert heights[0] == pytest.approx([61, 58, 55, 52, 49])
        assert heights[3] - heights[0] == pytest.approx(15)


CONDITIONS = {
    "clean": ("", 0.0, 0),
    "no text": ("text", 0.0, 20),
    "no audio": ("audio", 0.0, 5),
    "noise 1": ("", 1.0, 4),
    "noise 2": ("", 2.0, 8),
}


def robustness_rows(conditions=CONDITIONS):
    return pd.DataFrame(
        {
            "benchmark": benchmark,
            "system": system,
            "dropout": dropout,
            "seed": seed,
            "condition": condition,
            "absent": absent,
            "noise": noise,
            "wf1": 60.0 + seed - loss * (1 - dropout),
        }
        for benchmark, system, dropout, seed, (condition, (absent, noise, loss)) in product(
            ("MELD", "IEMOCAP"), ("MultiEMO", "ML-SAN"), (0.0, 0.2), range(3), conditions.items()
        )
    )


def test_robustness_has_absent_modalities_left_and_noise_right():
    table = robustness_table(robustness_rows())
    assert len(table) == 2 * 2 * 2 * len(CONDITIONS)
    row = table.query("dropout == 0.2 and condition == 'no text'").iloc[0]
    assert row["wf1_mean"] == pytest.approx(61 - 16)
    figure = robustness_figure(table)
    axes = panels(figure)
    assert len(axes) == 4
    assert len(legend(figure)) == 4
    for left, right in (axes[:2], axes[2:]):
        assert [t.get_text() for t in left.get_xticklabels()] == ["clean", "no text", "no audio"]
        assert left.containers[0].lines[0].get_ydata() == pytest.approx([61, 41, 56])
        line = right.containers[0].lines[0]
        assert line.get_xdata() == pytest.approx([0, 1, 2], abs=0.11)
        assert line.get_ydata() == pytest.approx([61, 57, 53])


def test_one_modality_leaves_nothing_but_clean_and_noise():
    kept = {name: c for name, c in CONDITIONS.items() if not c[0]}
    left, right, *_ = panels(robustness_figure(robustness_table(robustness_rows(kept))))
    assert [t.get_text() for t in left.get_xticklabels()] == ["clean"]
    assert len(right.containers[0].lines[0].get_xdata()) == 3


def test_ways_to_tell_the_speaker_have_their_names():
    assert way_of(ModelConfig(film=False, gate=False, aux=False)) == "MultiEMO"
    assert way_of(ModelConfig(speaker="role")) == "role"
    assert way_of(ModelConfig(speaker="inferred")) == "inferred (dialogue)"
    assert way_of(ModelConfig(speaker="inferred", infer_from="past")) == "inferred (past)"
    corrected = ModelConfig(speaker="inferred", infer_residual=True)
    assert way_of(corrected) == "inferred (dialogue) + residual"
    assert arm_of(ModelConfig(adversary=True)) == ADVERSARY
    assert arm_of(ModelConfig(aux=False)) == "w/o Aux"


def test_the_speakers_table_shows_parts_side_by_side_and_dashes_what_is_not_there():
    rows = pd.DataFrame(
        {"benchmark": benchmark, "system": way, "part": part, "utterances": 0}
        | dict.fromkeys(("wf1_mean", "wf1_sd", "delta", "low", "high"), np.nan)
        for part, benchmark, way in product(
            ("seen", "unseen"), ("MELD", "IEMOCAP"), ("identity", "inferred (past)")
        )
    )
    there = rows.query("benchmark == 'IEMOCAP' and part == 'unseen'").index
    rows.loc[there, ["utterances", "wf1_mean", "wf1_sd"]] = 1600, 40.5, 0.25
    rows.loc[there[1], ["delta", "low", "high"]] = 1.5, -0.5, 3.5
    data, shown = speakers_table(rows)
    assert data is rows
    assert list(shown["speaker told as"]) == ["(utterances)", "identity", "inferred (past)"] * 2
    assert list(shown["unseen"]) == ["0", "–", "–", "1,600", "40.50 ± 0.25", "40.50 ± 0.25"]
    assert list(shown["Δ unseen [95 %]"]) == ["", "–", "–", "", "–", "+1.50 [-0.50, +3.50]"]
    assert list(shown["seen"]) == ["0", "–", "–"] * 2
    assert list(shown["Δ seen [95 %]"]) == ["", "–", "–"] * 2


def test_seeds_that_agree_to_the_last_bit_are_drawn():
    rows = robustness_rows().assign(wf1=40.370589)
    table = robustness_table(rows).assign(high=40.370588)
    assert len(panels(robustness_figure(table))) == 4
