"""Dose, probes, speakers and robustness: counts of runs become the right numbers and panels."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from mlsan.corpus.declaration import BUILT_IN
from mlsan.evaluation import mean_score, score_table
from mlsan.evaluation.balance import gates_and_truth
from mlsan.evaluation.counts import Counts, dialogue_counts
from mlsan.evaluation.factorial import SWITCHES, cell_name
from mlsan.evaluation.heterogeneity import speaker_gap
from mlsan.evaluation.neutrality import STAGES
from mlsan.evaluation.significance import difference
from mlsan.report import ARTIFACTS, DOUBLE, use_style
from mlsan.report.artifacts import words
from mlsan.report.nb01_data import heterogeneity_figure
from mlsan.report.nb03_mlsan import architecture_figure, selection_figure
from mlsan.report.nb04_ablations import ablation_figure, ablation_points, effects_figure
from mlsan.report.nb05_sensitivity import (
    dev_table,
    dose_figure,
    dose_table,
    lambda_figure,
    lambda_table,
)
from mlsan.report.nb06_qualitative import (
    ADVERSARY,
    SEEN,
    STRANGERS,
    WITHHELD,
    WRONG,
    arm_of,
    balance_figure,
    confusion_figure,
    feature_figure,
    gate_figure,
    probes_figure,
    probes_table,
    recovery_table,
)
from mlsan.report.nb07_beyond import (
    AMOUNTS,
    CURVE,
    MARKS,
    ORACLE,
    enrolment_curve,
    enrolment_figure,
    enrolment_table,
    robustness_figure,
    robustness_table,
)
from mlsan.report.style import SMALL
from mlsan.report.tables import labelled
from mlsan.training import run_settings

EMOTIONS = {name: declared.emotions for name, declared in BUILT_IN.items()}

SIM = {"MELD": "sim-meld", "IEMOCAP": "sim-iemocap"}
DOSES = (0.0, 0.5, 1.0)
SYSTEMS = ("MultiEMO", "ML-SAN as printed", ADVERSARY, "ML-SAN", WITHHELD)


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
    axes = panels(dose_figure(labelled(table, SIM)))
    scores, gains = np.split(np.array(axes), 2)
    assert [axis.get_title() for axis in scores] == [SIM[name] for name in benchmarks]
    for axis in gains:
        drawn = axis.containers[0].lines[0].get_xydata()
        assert drawn[:, 0].tolist() == list(DOSES)
        assert drawn[:, 1] == pytest.approx([0, 10, 20], abs=0.2)
    for axis in scores:
        full, base = (container.lines[0].get_ydata() for container in axis.containers)
        assert full - base == pytest.approx([0, 10, 20], abs=0.2)
    assert len(table.filter(like="_low").columns) == 2


def probe_rows(targets=("speaker", "emotion")):
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
            ("MELD", "IEMOCAP"), SYSTEMS, range(2), targets, STAGES
        )
    )


def test_probes_are_averaged_over_seeds_and_drawn_along_the_stages():
    table = probes_table(probe_rows())
    assert len(table) == 2 * 2 * len(SYSTEMS) * len(STAGES)
    row = table.query("system == 'ML-SAN as printed' and stage == 'context'").iloc[0]
    assert row["wf1_mean"] == pytest.approx(60)
    assert (row["low"], row["high"]) == (59, 61)  # of two seeds the range
    assert (row["seeds"], row["chance"], row["modalities"]) == (2, 20, "audio+visual")
    assert row[["above", "above_low", "above_high"]].tolist() == [40, 39, 41]
    figure = probes_figure(labelled(table, SIM))
    axes = np.array(panels(figure)).reshape(2, len(SYSTEMS))
    titles = [axis.get_title().replace("\n", " ") for axis in axes[0]]
    assert titles == [name.replace("\n", " ") for name in SYSTEMS]
    assert legend(figure) == ["sim-meld", "sim-iemocap", "chance"]
    for place, column in enumerate(axes.T):
        for axis in column:
            heights = [drawn.lines[0].get_ydata() for drawn in axis.containers]
            assert len(heights) == 2  # corpora
            for line in heights:
                assert line == pytest.approx(np.array([61, 58, 55, 52, 49]) + 5 * place)


def test_strangers_have_a_row_of_panels_where_a_corpus_has_any():
    rows = probe_rows(("speaker", "stranger", "emotion"))
    some = rows[(rows["benchmark"] == "IEMOCAP") | (rows["target"] != "stranger")]
    some = some[(some["system"] != WITHHELD) | (some["target"] != "stranger")]
    axes = np.array(panels(probes_figure(probes_table(some)))).reshape(3, len(SYSTEMS))
    assert [axis.get_ylabel().split("\n")[0] for axis in axes[:, 0]] == [
        *("speaker", "stranger", "emotion")
    ]
    for system, axis in zip(SYSTEMS, axes[1], strict=True):
        assert len(axis.containers) == (system != WITHHELD)


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
    table = robustness_table(robustness_rows(), EMOTIONS)
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
    left, right, *_ = panels(robustness_figure(robustness_table(robustness_rows(kept), EMOTIONS)))
    assert [t.get_text() for t in left.get_xticklabels()] == ["clean"]
    assert len(right.containers[0].lines[0].get_xdata()) == 3


def test_runs_have_the_names_of_their_rows():
    def run(system, **changes):
        return run_settings("MELD", "smoke", system, 0, **changes)

    assert arm_of(run("MultiEMO")) == "MultiEMO"
    assert arm_of(run("ML-SAN as printed", adversary=True)) == ADVERSARY
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


def table5_parts(ways, parts=(("all", None), ("seen", True), ("unseen", False))):
    """Counts by part and way; `ways` are each seed's wrong utterances of unseen speakers."""
    tables = {
        way: {seed: predictions(n, seed) for seed, n in enumerate(wrong)}
        for way, wrong in ways.items()
    }
    return tables, {
        part: {"MELD": {way: dialogue_counts(t, 2, seen=seen) for way, t in tables.items()}}
        for part, seen in parts
    }


def test_table5_compares_amounts_of_enrolment_on_seen_and_unseen_speakers():
    none, most = AMOUNTS[0], AMOUNTS["all"]
    ways = {"MultiEMO": (20, 22, 24), none: (20, 22, 24), most: (4, 6, 8)}
    tables, parts = table5_parts(ways)
    found = enrolment_table(parts).data.set_index(["part", "system"])
    assert found.loc["all", "utterances"].tolist() == [120] * 3
    assert found.loc["unseen", "utterances"].tolist() == [40] * 3
    assert found.loc["seen", "wf1_mean"].tolist() == [100] * 3
    seen, unseen = found.loc[("seen", most)], found.loc[("unseen", most)]
    assert seen[["delta", "low", "high"]].tolist() == [0, 0, 0]
    assert found.loc[("unseen", none), ["delta", "low", "high"]].tolist() == [0, 0, 0]
    expected = [
        score_table(part)["wf1"]
        for part in (t[t["speaker"] == "Bob"] for t in tables[most].values())
    ]
    assert unseen["wf1_mean"] == pytest.approx(np.mean(expected))
    assert unseen["wf1_sd"] == pytest.approx(np.std(expected, ddof=1))
    assert 0 < unseen["low"] < unseen["delta"] < unseen["high"]
    assert unseen["delta"] == pytest.approx(
        unseen["wf1_mean"] - found.loc[("unseen", "MultiEMO"), "wf1_mean"]
    )
    assert found.xs("MultiEMO", level="system")["delta"].isna().all()


def test_without_the_reference_or_such_speakers_there_is_no_difference():
    nameless = {0: predictions(4, 0).assign(speaker="")}
    ways = ("MultiEMO", AMOUNTS["all"])
    parts = {
        part: {"MELD": {way: dialogue_counts(nameless, 2, seen=seen) for way in ways}}
        for part, seen in (("seen", True), ("all", None))
    }
    found = enrolment_table(parts, "MMGCN").data
    assert found["delta"].isna().all()
    assert found.groupby("part")["wf1_mean"].count().to_dict() == {"seen": 0, "all": 2}
    found = enrolment_table(parts).data.set_index(["part", "system"])["delta"]
    assert found.notna().to_dict() == {
        ("seen", "MultiEMO"): False,
        ("seen", AMOUNTS["all"]): False,
        ("all", "MultiEMO"): False,
        ("all", AMOUNTS["all"]): True,
    }


def test_table5_shows_parts_side_by_side_and_a_dash_for_what_is_missing():
    nobody = {0: predictions(4, 0).assign(speaker="")}
    some = {seed: predictions(4 + seed, seed) for seed in range(3)}
    ways = ("MultiEMO", AMOUNTS[10])
    parts = {
        part: {
            "MELD": dict.fromkeys(ways, dialogue_counts(nobody, 2, seen=seen)),
            "IEMOCAP": {
                "MultiEMO": dialogue_counts(some, 2, seen=seen),
                AMOUNTS[10]: dialogue_counts({0: some[0]}, 2, seen=seen),
            },
        }
        for part, seen in (("seen", True), ("unseen", False))
    }
    shown = enrolment_table(parts).shown
    assert list(shown["system"]) == ["(utterances)", *ways] * 2
    assert list(shown["unseen"])[:4] == ["0", "–", "–", "40"]
    assert " ± " in shown["unseen"].iloc[4]
    assert list(shown["Δ unseen [95 %]"])[:5] == ["", "–", "–", "", "–"]
    assert shown["Δ unseen [95 %]"].iloc[5].startswith("+0.00 [")
    assert list(shown["seen"])[4:] == ["100.00 ± 0.00", "100.00"]


def curve_counts(wrong):
    return dialogue_counts({s: predictions(wrong + s, s) for s in range(3)}, 2, seen=False)


def test_the_enrolment_curve_has_every_amount_and_the_share_gained():
    wrong = dict(zip(CURVE, (20, 18, 15, 12, 8, 5, 4), strict=True)) | dict.fromkeys(MARKS, 14)
    amounts = {"IEMOCAP": {amount: curve_counts(n) for amount, n in wrong.items()}}
    lines = {"IEMOCAP": {"MultiEMO": curve_counts(20), ORACLE: curve_counts(2)}}
    curve = enrolment_curve(amounts, lines)
    own = curve[curve["amount"] != ""].set_index("amount")
    assert list(own.index) == [str(amount) for amount in (*CURVE, *MARKS)]
    for amount in wrong:
        row, expected = own.loc[str(amount)], mean_score(amounts["IEMOCAP"][amount])
        assert (row["wf1"], row["low"], row["high"], row["seeds"]) == expected
    assert (own["utterances"] == 40).all()
    assert own.loc["0", "gained"] == 0
    assert own.loc["all", "gained"] == 1
    share = (own.loc["10", "wf1"] - own.loc["0", "wf1"]) / (
        own.loc["all", "wf1"] - own.loc["0", "wf1"]
    )
    assert own.loc["10", "gained"] == pytest.approx(share)
    line = curve[curve["amount"] == ""].set_index("system")
    assert list(line.index) == ["MultiEMO", ORACLE]
    assert line["gained"].isna().all()
    assert line.loc["MultiEMO", "wf1"] == own.loc["0", "wf1"]
    flat = enrolment_curve({"IEMOCAP": dict.fromkeys(wrong, curve_counts(9))}, {})
    assert flat["gained"].isna().all()


def test_the_enrolment_figure_has_lines_a_curve_and_marks_apart():
    amounts = {a: curve_counts(20 - place) for place, a in enumerate((*CURVE, *MARKS))}
    lines = {"MultiEMO": curve_counts(20), "ML-SAN as printed": curve_counts(21)}
    both = {"MELD": lines, "IEMOCAP": lines | {ORACLE: curve_counts(1)}}
    curve = enrolment_curve(dict.fromkeys(both, amounts), both)
    figure = enrolment_figure(labelled(curve, SIM))
    axes = panels(figure)
    assert [axis.get_title() for axis in axes] == [
        *("sim-meld: 40 utterances of strangers", "sim-iemocap: 40 utterances of strangers")
    ]
    for axis, benchmark in zip(axes, both, strict=True):
        part = curve[curve["benchmark"] == benchmark].set_index("amount")
        along, apart = (container.lines[0] for container in axis.containers)
        assert along.get_ydata() == pytest.approx(part.loc[[str(a) for a in CURVE], "wf1"])
        assert apart.get_ydata() == pytest.approx(part.loc[list(MARKS), "wf1"])
        assert min(apart.get_xdata()) > max(along.get_xdata())
        names = [text.get_text().replace("\n", " ") for text in axis.get_xticklabels()]
        assert names == ["0", "1", "3", "10", "30", "100", "all", "dialogue so far", "dialogue"]
        levels = [line.get_ydata()[0] for line in axis.lines if line.get_label() in both[benchmark]]
        assert sorted(levels) == sorted(part.loc[[""], "wf1"])


def test_table7_sets_the_starts_side_by_side():
    def rows(system, speakers, learned):
        kinds = {"none": 0.3, "by speaker": 0.8, "learned": learned, "best": 0.9}
        return pd.DataFrame(
            [
                ("MELD", system, speakers, modality, kind, np.nan if modality == "text" else r2)
                for modality in ("text", "audio")
                for kind, r2 in kinds.items()
            ],
            columns=["benchmark", "system", "speakers", "modality", "calibration", "r2_mean"],
        )

    found = [rows("ML-SAN as printed", SEEN, x) for x in (0.0, 0.1)]
    found += [rows("ML-SAN", SEEN, 0.82), rows("ML-SAN", STRANGERS, 0.7)]
    nobody = rows("ML-SAN", STRANGERS, np.nan).assign(benchmark="IEMOCAP", r2_mean=np.nan)
    table = recovery_table(pd.concat([*found, nobody], ignore_index=True)).data
    assert list(table.columns[3:]) == [
        *("none", "by speaker", "learned as printed", "learned (statistics start)", "best")
    ]
    assert table["speakers"].tolist() == [SEEN, STRANGERS]
    assert table["modality"].tolist() == ["audio", "audio"]
    assert table.iloc[0, 3:].tolist() == pytest.approx([0.3, 0.8, 0.05, 0.82, 0.9])
    assert table.iloc[1]["learned (statistics start)"] == pytest.approx(0.7)
    assert np.isnan(table.iloc[1]["learned as printed"])


def test_table10_says_what_the_dev_split_changes():
    wrong = {("MultiEMO", "official"): 20, ("MultiEMO", "session"): 12}
    wrong |= {("ML-SAN", "official"): 10, ("ML-SAN", "session"): 10}
    found = {key: curve_counts(n) for key, n in wrong.items()}
    runs = pd.DataFrame(
        [
            ("IEMOCAP", system, dev, seed, 4.0 + seed, 70.0, score)
            for (system, dev), counts in found.items()
            for seed, score in enumerate(counts.scores())
        ],
        columns=["benchmark", "system", "dev", "seed", "epoch", "dev_wf1", "test_wf1"],
    )
    table = dev_table(runs, {"IEMOCAP": found})
    data = table.data.set_index(["system", "dev"])
    row = data.loc[("MultiEMO", "session")]
    pair = (found["MultiEMO", dev] for dev in ("session", "official"))
    assert (row["delta"], row["low"], row["high"], 3) == difference(*pair)
    assert row["low"] > 0
    assert data.loc[("ML-SAN", "session"), "delta"] == 0
    assert data.xs("official", level="dev")["delta"].isna().all()
    assert (row["epoch_mean"], row["epoch_sd"], row["dev_wf1_mean"]) == (5, 1, 70)
    assert table.shown["dev dialogues"].tolist() == [
        *("training speakers'", "a session of strangers") * 2,
    ]
    assert table.shown["epoch"].iloc[0] == "5.00 ± 1.00"


def case_tables():
    """Weights, places and a case of two speakers and two turns."""
    weights = pd.DataFrame(
        [
            ("unknown", m, 0.9, np.nan if m == "text" else 0.1, np.nan if m == "text" else 0.2)
            for m in ("text", "audio")
        ],
        columns=["speaker", "modality", "gate", "scale", "shift"],
    )
    case = pd.DataFrame({"turn": [1, 2], "speaker": ["Ann", "Bob"], "emotion": ["joy", "anger"]})
    case = case.assign(MultiEMO=["joy", "joy"], weight_text=0.5, weight_audio=0.5)
    places = pd.DataFrame(
        [
            (stage, speaker, emotion, turn, gap * x, 0.0)
            for stage, gap in (("raw", 3.0), ("calibrated", 0.0))
            for x, (speaker, emotion) in enumerate((("Ann", "joy"), ("Bob", "anger")))
            for turn in (0, x + 1)
        ],
        columns=["stage", "speaker", "emotion", "turn", "x", "y"],
    )
    return weights, places, case, "a case", EMOTIONS["MELD"]


def test_the_case_study_has_its_speakers_before_and_after():
    figure = gate_figure(*case_tables())
    titles = [axis.get_title() for axis in panels(figure)]
    assert "raw: distance of the speakers' centres 3.00" in titles
    assert "calibrated: distance of the speakers' centres 0.00" in titles
    texts = [text for axis in figure.axes for text in axis.texts]
    wrong = [text.get_text() for text in texts if text.get_color() == WRONG]
    assert wrong == ["joy"]  # MultiEMO's second turn
    assert "a case" in words(figure)


def test_the_gates_scale_is_its_whole_range():
    figure = gate_figure(*case_tables())
    maps = {axis.get_title(): axis.collections[0] for axis in figure.axes if axis.collections}
    assert maps["gate: mean of $g_m$"].get_clim() == (0, 1)
    film = [grid.get_clim() for title, grid in maps.items() if title.startswith("FiLM")]
    assert film[0] == film[1] == (0, 0.5), "one scale for scale and shift"


def confusions():
    """Two systems; the second moves a tenth of the first emotion to the diagonal."""
    rows = []
    for benchmark, system in product(SIM, ("MultiEMO", "ML-SAN")):
        names = EMOTIONS[benchmark]
        share = np.full((len(names),) * 2, 0.1)
        share[0, :2] += (0.1, -0.1) if system == "ML-SAN" else (0.0, 0.0)
        rows += [
            (benchmark, system, true, predicted, 20 * share[i, j], share[i, j])
            for i, true in enumerate(names)
            for j, predicted in enumerate(names)
        ]
    columns = ["benchmark", "system", "emotion", "predicted", "count", "share"]
    return pd.DataFrame(rows, columns=columns)


def test_confusion_has_a_panel_for_the_difference():
    axes = panels(confusion_figure(labelled(confusions(), SIM)))
    titles = [axis.get_title().replace("\n", " ") for axis in axes]
    assert titles == [
        f"{name}: {part}"
        for name in SIM.values()
        for part in ("MultiEMO", "ML-SAN", "difference (points)")
    ]
    first = [text.get_text() for text in axes[2].texts[:3]]
    assert first == ["+10", "-10", "+0"]
    alone = confusions().query("system == 'ML-SAN'")
    assert len(panels(confusion_figure(alone))) == 2


def z_map():
    draw = np.random.default_rng(0)
    parts = [
        pd.DataFrame(draw.normal(size=(20, 2)), columns=["x", "y"]).assign(
            benchmark=benchmark,
            system=system,
            emotion=draw.choice(EMOTIONS[benchmark], 20),
            speaker=["Ann", "Bob", "others (7)", "others (7)"] * 5,
        )
        for benchmark, system in product(SIM, ("MultiEMO", "ML-SAN"))
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_map_of_z_names_its_method_and_its_grey_dots():
    figure = feature_figure(labelled(z_map(), SIM), EMOTIONS)
    axes = np.array(panels(figure)).reshape(2, 4)
    assert axes[0, 0].get_title() == "sim-meld, MultiEMO\nby emotion"
    shown = [text.get_text() for text in axes[1, 1].get_legend().get_texts()]
    assert shown == ["others (7)", "Ann", "Bob"]
    assert "principal components" in ARTIFACTS["fig5_features"].caption
    assert sum(len(found.get_offsets()) for found in axes[0, 1].collections) == 20


def cell_counts():
    draws = {on: 10 + 15 * on[0] + 2 * place for place, on in enumerate(SWITCHES)}
    return {b: {cell_name(*on): curve_counts(30 - n) for on, n in draws.items()} for b in SIM}


def test_the_ablation_has_a_dot_per_seed_and_a_bar_at_the_mean():
    cells = cell_counts()
    scores = ablation_points(cells)
    axes = panels(ablation_figure(labelled(scores, SIM)))
    assert [axis.get_title() for axis in axes] == list(SIM.values())
    names = [text.get_text() for text in axes[0].get_yticklabels()]
    for axis in axes:
        dots, bars = axis.lines[::2], axis.lines[1::2]
        for (name, counts), dot, bar in zip(cells["MELD"].items(), dots, bars, strict=True):
            assert dot.get_xdata() == pytest.approx(counts.scores())
            assert np.ravel(bar.get_xdata()) == pytest.approx([counts.scores().mean()])
            assert names[int(dot.get_ydata()[0])] == name


def effects_rows():
    rows = [("FiLM", 6.0, 4.0, 8.0), ("Gate", 0.1, -0.5, 0.6), ("FiLM × Gate", -1.0, -2.0, -0.1)]
    columns = ["system", "delta", "low", "high"]
    return pd.concat(
        pd.DataFrame(rows, columns=columns).assign(benchmark=b, kind="effect") for b in SIM
    )


def test_an_effect_is_filled_where_its_interval_excludes_zero():
    axes = panels(effects_figure(labelled(effects_rows(), SIM)))
    names = [text.get_text() for text in axes[0].get_yticklabels()]
    assert names == ["FiLM", "Gate", "FiLM × Gate"]
    for axis in axes:
        marks = [line for line in axis.lines if line.get_marker() == "o"]
        assert [mark.get_xdata()[0] for mark in marks] == [6.0, 0.1, -1.0]
        assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True, False]


def balance_rows():
    """Gates of three seeds: of ML-SAN they follow the truth, as printed they do not."""
    names = [f"s{i}" for i in range(6)]
    truth = pd.Series(np.linspace(-1, 1, 6), index=names)
    parts = []
    for benchmark, system, seed in product(SIM, ("ML-SAN as printed", "ML-SAN"), range(3)):
        follows = truth if system == "ML-SAN" else truth.abs()
        gates = {"audio": 0.5 + 0.1 * follows + 0.01 * seed, "visual": 0.5 - 0.1 * follows}
        frame = pd.DataFrame({"speaker": names} | {m: g.to_numpy() for m, g in gates.items()})
        parts.append(frame.assign(benchmark=benchmark, system=system, seed=seed))
    return gates_and_truth(pd.concat(parts), dict.fromkeys(SIM, truth))


def test_gates_that_follow_the_truth_correlate_with_it():
    table = balance_rows()
    assert len(table) == 2 * 2 * 6
    by = table.groupby("system")[["rho", "rho_low", "rho_high", "seeds"]].first()
    assert by.loc["ML-SAN"].tolist() == [1, 1, 1, 3]
    assert abs(by.loc["ML-SAN as printed", "rho"]) < 0.1
    row = table.query("benchmark == 'MELD' and system == 'ML-SAN' and speaker == 's5'").iloc[0]
    assert row[["balance", "audio", "visual"]].tolist() == pytest.approx([1, 0.61, 0.4])
    axes = panels(balance_figure(labelled(table, SIM)))
    assert all(axis.get_ylim() == (0, 1) for axis in axes)
    assert "correlation +1.00 [+1.00, +1.00]" in axes[1].texts[0].get_text()


def plane_rows():
    draw = np.random.default_rng(1)
    columns = list(product(("raw", "standardised by speaker"), ("Ann", "Bob"), ("joy", "anger")))
    rows = [(*key, *draw.normal(size=2)) for key in columns for _ in range(20)]
    return pd.DataFrame(rows, columns=["space", "speaker", "emotion", "x", "y"])


def selection_rows():
    rows = [
        {
            "benchmark": benchmark,
            "system": system,
            "test_wf1_mean": 60.0,
            "test_wf1_sd": 1.0,
            "best_test_wf1_mean": 61.0,
            "best_test_wf1_sd": 0.5,
            "gain": 1.0,
            "gain_low": 0.5,
            "gain_high": 1.5,
        }
        for benchmark, system in product(SIM, ("MultiEMO", "ML-SAN as printed", "ML-SAN"))
    ]
    return pd.DataFrame(rows)


def drawings():
    """Every figure of a simulated corpus, by its name."""
    plane = plane_rows()
    amounts = {a: curve_counts(20 - place) for place, a in enumerate((*CURVE, *MARKS))}
    lines = {"MultiEMO": curve_counts(20), "ML-SAN as printed": curve_counts(21)}
    curve = enrolment_curve(dict.fromkeys(SIM, amounts), dict.fromkeys(SIM, lines))
    lams = {lam: curve_counts(int(10 * lam)) for lam in (0.0, 0.02, 0.2, 0.5)}
    base = {"MultiEMO": curve_counts(20)}
    rows = probe_rows(("speaker", "stranger", "emotion"))
    run = run_settings("MELD", "paper", "ML-SAN", 0)
    two_way = run_settings("IEMOCAP", "paper", "ML-SAN", 0)
    sizes = {"text": 768, "audio": 512, "visual": 1000}
    return {
        "fig1_heterogeneity": lambda _: heterogeneity_figure(
            plane, speaker_gap(plane), EMOTIONS["MELD"]
        ),
        "fig2_architecture": lambda _: architecture_figure(run, sizes),
        "fig2_architecture ": lambda _: architecture_figure(two_way, sizes),
        "fig3_gate": lambda _: gate_figure(*case_tables()),
        "fig4_confusion": lambda name: confusion_figure(name(confusions())),
        "fig5_features": lambda name: feature_figure(name(z_map()), EMOTIONS),
        "fig6_lambda": lambda name: lambda_figure(
            name(lambda_table(dict.fromkeys(SIM, lams), dict.fromkeys(SIM, base)))
        ),
        "fig7_selection": lambda name: selection_figure(name(selection_rows())),
        "fig8_dose": lambda name: dose_figure(name(dose_table(dose_counts()))),
        "fig9_probes": lambda name: probes_figure(name(probes_table(rows))),
        "fig10_robustness": lambda name: robustness_figure(
            name(robustness_table(robustness_rows(), EMOTIONS))
        ),
        "fig11_enrolment": lambda name: enrolment_figure(name(curve)),
        "fig13_ablation": lambda name: ablation_figure(name(ablation_points(cell_counts()))),
        "fig14_effects": lambda name: effects_figure(name(effects_rows())),
        "fig15_balance": lambda name: balance_figure(name(balance_rows())),
    }


def test_every_figure_is_readable_at_column_width_and_has_the_corpora_by_their_names():
    use_style()
    drawn = drawings()
    others = {"00_from_scratch", "09_voices"}  # tested with their own modules
    figures = {a.name for a in ARTIFACTS.values() if a.kind == "figure"}
    figures -= {a.name for a in ARTIFACTS.values() if a.notebook in others}
    assert {name.strip() for name in drawn} == figures
    for name, draw in drawn.items():
        figure = draw(lambda frame: labelled(frame, SIM))
        figure.canvas.draw()
        for text in words(figure):
            assert not any(benchmark in text for benchmark in SIM), (name, text)
        shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        small = {t.get_text(): t.get_fontsize() for t in shown if t.get_fontsize() < SMALL}
        assert not small, (name, small)
        box = figure.get_tightbbox(figure.canvas.get_renderer())
        assert box.width < DOUBLE + 0.1, (name, box.width)
        plt.close(figure)


def test_seeds_that_agree_to_the_last_bit_are_drawn():
    table = robustness_table(robustness_rows(), EMOTIONS)
    table = table.assign(wf1_mean=40.370589, low=40.370587, high=40.370588)
    assert len(panels(robustness_figure(table))) == 4
