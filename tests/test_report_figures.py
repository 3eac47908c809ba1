"""Dose, probes, speakers and robustness: counts of runs become the right numbers and panels."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mlsan.evaluation import score_predictions
from mlsan.evaluation.counts import Counts, dialogue_counts
from mlsan.evaluation.neutrality import STAGES
from mlsan.evaluation.significance import difference
from mlsan.report.nb05_sensitivity import dose_figure, dose_table
from mlsan.report.nb06_qualitative import (
    ADVERSARY,
    WITHHELD,
    arm_of,
    probes_figure,
    probes_table,
)
from mlsan.report.nb07_beyond import (
    robustness_figure,
    robustness_table,
    speakers_table,
    way_of,
)
from mlsan.training import run_settings
from mlsan.vocabulary import EMOTIONS

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


def dose_counts(benchmarks=("MELD", "IEMOCAP"), missing=()):
    """Forty test utterances; ML-SAN gets four more of them right at each dose."""
    found = {}
    for dose, benchmark, system in product(reversed(DOSES), benchmarks, ("MultiEMO", "ML-SAN")):
        classes = len(EMOTIONS[benchmark])
        right = 20 + (system == "ML-SAN") * int(8 * dose)
        seeds = tuple(s for s in range(3) if (system, s) not in missing)
        table = np.zeros((len(seeds), 40, classes, classes), dtype=int)
        for place, seed in enumerate(seeds):
            label = np.arange(40) % 2
            wrong = np.arange(40) >= right + seed
            np.add.at(table[place], (np.arange(40), label, np.where(wrong, 1 - label, label)), 1)
        counts = Counts(seeds, tuple(map(str, range(40))), table, 3)
        found.setdefault(benchmark, {})[(dose, system)] = counts
    return found


def test_the_dose_is_paired_by_seed_and_a_failed_run_takes_its_pair_along():
    runs = dose_counts()
    table = dose_table(runs)
    assert list(table["benchmark"]) == ["MELD"] * 3 + ["IEMOCAP"] * 3
    assert list(table["heterogeneity"]) == [*DOSES, *DOSES]
    assert table["delta"].to_numpy() == pytest.approx([0, 10, 20] * 2, abs=0.2)
    for row in table.itertuples():
        pair = (runs[row.benchmark][row.heterogeneity, s] for s in ("ML-SAN", "MultiEMO"))
        assert (row.delta, row.low, row.high, row.seeds) == difference(*pair)
    assert (table.query("heterogeneity == 0")[["low", "high"]] == 0).all(axis=None)
    assert (table.query("heterogeneity == 1")["low"] > 0).all()
    fewer = dose_table(dose_counts(missing={("MultiEMO", 2)}))
    assert set(fewer["seeds"]) == {2}


@pytest.mark.parametrize("benchmarks", [("MELD", "IEMOCAP"), ("IEMOCAP",)])
def test_the_dose_figure_has_one_panel_per_benchmark(benchmarks):
    table = dose_table(dose_counts(benchmarks))
    axes = panels(dose_figure(table))
    assert [axis.get_title() for axis in axes] == list(benchmarks)
    for axis in axes:
        drawn = axis.containers[0].lines[0].get_xydata()
        assert drawn[:, 0].tolist() == list(DOSES)
        assert drawn[:, 1] == pytest.approx([0, 10, 20], abs=0.2)


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
    assert (row["low"], row["high"]) == (59, 61)  # of two seeds the range
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
    """A hundred utterances; 60 right, more with the seed and fewer by the condition's loss."""
    frames = []
    for benchmark, system, dropout, seed, (condition, (absent, noise, loss)) in product(
        ("MELD", "IEMOCAP"), ("MultiEMO", "ML-SAN"), (0.0, 0.2), range(3), conditions.items()
    ):
        label = np.arange(100) % 2
        wrong = np.arange(100) >= 60 + seed - loss * (1 - dropout)
        frames.append(
            pd.DataFrame(
                {
                    "benchmark": benchmark,
                    "system": system,
                    "dropout": dropout,
                    "seed": seed,
                    "condition": condition,
                    "absent": absent,
                    "noise": noise,
                    "split": "test",
                    "dialogue": [f"d{place // 10}" for place in range(100)],
                    "turn": np.arange(100) % 10,
                    "label": label,
                    "predicted": np.where(wrong, 1 - label, label),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_robustness_has_absent_modalities_left_and_noise_right():
    table = robustness_table(robustness_rows())
    assert len(table) == 2 * 2 * 2 * len(CONDITIONS)
    row = table.query("dropout == 0.2 and condition == 'no text'").iloc[0]
    assert row["wf1_mean"] == pytest.approx(61 - 16, abs=0.1)
    assert row["seeds"] == 3
    assert row["low"] < row["wf1_mean"] < row["high"]
    figure = robustness_figure(table)
    axes = panels(figure)
    assert len(axes) == 4
    assert len(legend(figure)) == 4
    for left, right in (axes[:2], axes[2:]):
        assert [t.get_text() for t in left.get_xticklabels()] == ["clean", "no text", "no audio"]
        assert left.containers[0].lines[0].get_ydata() == pytest.approx([61, 41, 56], abs=0.1)
        line = right.containers[0].lines[0]
        assert line.get_xdata() == pytest.approx([0, 1, 2], abs=0.11)
        assert line.get_ydata() == pytest.approx([61, 57, 53], abs=0.1)


def test_one_modality_leaves_nothing_but_clean_and_noise():
    kept = {name: c for name, c in CONDITIONS.items() if not c[0]}
    left, right, *_ = panels(robustness_figure(robustness_table(robustness_rows(kept))))
    assert [t.get_text() for t in left.get_xticklabels()] == ["clean"]
    assert len(right.containers[0].lines[0].get_xdata()) == 3


def test_runs_have_the_names_of_their_rows():
    def run(system, **changes):
        return run_settings("MELD", "smoke", system, 0, **changes)

    assert way_of(run("MultiEMO")) == "MultiEMO"
    assert way_of(run("ML-SAN")) == "identity"
    assert way_of(run("ML-SAN", named=False)) == "role"
    assert arm_of(run("MultiEMO")) == "MultiEMO"
    assert arm_of(run("ML-SAN", adversary=True)) == ADVERSARY
    assert arm_of(run("w/o Aux")) == "w/o Aux"


def predictions(wrong, seed):
    """Forty test dialogues of a seen, an unseen and a nameless utterance; some are wrong."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "split": "test",
            "dialogue": np.repeat([f"d{i}" for i in range(40)], 3),
            "turn": np.tile(range(3), 40),
            "speaker": np.tile(["Ann", "Bob", ""], 40),
            "seen": np.tile([True, False, False], 40),
            "label": np.arange(120) % 5 % 2,
        }
    )
    chosen = draw.permutation(np.flatnonzero(table["speaker"] == "Bob"))[:wrong]
    table["predicted"] = table["label"].to_numpy()
    table.loc[chosen, "predicted"] = 1 - table.loc[chosen, "label"]
    return table


def test_table5_compares_kinds_of_speaker_on_seen_and_unseen_speakers():
    ways = {"identity": (20, 22, 24), "role": (4, 6, 8)}
    tables = {
        way: {seed: predictions(n, seed) for seed, n in enumerate(wrong)}
        for way, wrong in ways.items()
    }
    parts = {
        part: {"MELD": {way: dialogue_counts(t, 2, seen=seen) for way, t in tables.items()}}
        for part, seen in (("all", None), ("seen", True), ("unseen", False))
    }
    found = speakers_table(parts, {"MELD": "identity"}).data.set_index(["part", "system"])
    assert found.loc["all", "utterances"].tolist() == [120, 120]
    assert found.loc["unseen", "utterances"].tolist() == [40, 40]
    assert found.loc["seen", "wf1_mean"].tolist() == [100, 100]
    seen, unseen = found.loc[("seen", "role")], found.loc[("unseen", "role")]
    assert seen[["delta", "low", "high"]].tolist() == [0, 0, 0]
    expected = [
        score_predictions(part["label"].to_numpy(), part["predicted"].to_numpy())["wf1"]
        for part in (t[t["speaker"] == "Bob"] for t in tables["role"].values())
    ]
    assert unseen["wf1_mean"] == pytest.approx(np.mean(expected))
    assert unseen["wf1_sd"] == pytest.approx(np.std(expected, ddof=1))
    assert 0 < unseen["low"] < unseen["delta"] < unseen["high"]
    assert found.loc["unseen", "wf1_mean"].diff().iloc[1] == pytest.approx(unseen["delta"])
    assert found.xs("identity", level="system")["delta"].isna().all()


def test_without_the_reference_or_such_speakers_there_is_no_difference():
    nameless = {0: predictions(4, 0).assign(speaker="")}
    ways = ("role", "shuffled")
    parts = {
        part: {"MELD": {way: dialogue_counts(nameless, 2, seen=seen) for way in ways}}
        for part, seen in (("seen", True), ("all", None))
    }
    found = speakers_table(parts, {"MELD": "identity"}).data
    assert found["delta"].isna().all()
    assert found.groupby("part")["wf1_mean"].count().to_dict() == {"seen": 0, "all": 2}
    found = speakers_table(parts, {"MELD": "role"}).data.set_index(["part", "system"])["delta"]
    assert found.notna().to_dict() == {
        ("seen", "role"): False,
        ("seen", "shuffled"): False,
        ("all", "role"): False,
        ("all", "shuffled"): True,
    }


def test_table5_shows_parts_side_by_side_and_a_dash_for_what_is_missing():
    nobody = {0: predictions(4, 0).assign(speaker="")}
    some = {seed: predictions(4 + seed, seed) for seed in range(3)}
    parts = {
        part: {
            "MELD": dict.fromkeys(("identity", "role"), dialogue_counts(nobody, 2, seen=seen)),
            "IEMOCAP": {
                "identity": dialogue_counts(some, 2, seen=seen),
                "role": dialogue_counts({0: some[0]}, 2, seen=seen),
            },
        }
        for part, seen in (("seen", True), ("unseen", False))
    }
    shown = speakers_table(parts, dict.fromkeys(("MELD", "IEMOCAP"), "identity")).shown
    assert list(shown["speaker given as"]) == ["(utterances)", "identity", "role"] * 2
    assert list(shown["unseen"])[:4] == ["0", "–", "–", "40"]
    assert " ± " in shown["unseen"].iloc[4]
    assert list(shown["Δ unseen [95 %]"])[:5] == ["", "–", "–", "", "–"]
    assert shown["Δ unseen [95 %]"].iloc[5].startswith("+0.00 [")
    assert list(shown["seen"])[4:] == ["100.00 ± 0.00", "100.00"]


def test_seeds_that_agree_to_the_last_bit_are_drawn():
    table = robustness_table(robustness_rows())
    table = table.assign(wf1_mean=40.370589, low=40.370587, high=40.370588)
    assert len(panels(robustness_figure(table))) == 4
