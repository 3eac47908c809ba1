"""Scores of counts against scikit-learn; intervals and tests against enumeration and by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score

from mlsan.evaluation.classes import compare_classes
from mlsan.evaluation.counts import dialogue_counts, gathered
from mlsan.evaluation.factorial import SWITCHES, cell_name, coefficients, effects
from mlsan.evaluation.metrics import summed_confusion
from mlsan.evaluation.resampling import (
    RESAMPLES,
    draws,
    mean_over_seeds,
    mean_score,
    percentiles,
    resampled_means,
)
from mlsan.evaluation.significance import (
    adjusted,
    compare_all,
    compared,
    difference,
    holm,
    paired,
    paired_t,
    permutation_p,
    t_needed,
)
from mlsan.scores import class_f1, class_recall, confusion_counts, weighted_f1
from mlsan.training import CELLS

CLASSES = 3


def labels(dialogues=40, turns=6, seed=0):
    return np.random.default_rng(seed).integers(0, CLASSES, (dialogues, turns))


def predictions(label, right, seed):
    """A run's predictions table that hits the label with probability `right`, else guesses."""
    chance = np.random.default_rng([seed, 1])
    guess = chance.integers(0, CLASSES, label.shape)
    found = np.where(chance.random(label.shape) < right, label, guess)
    dialogue, turn = np.indices(label.shape)
    test = pd.DataFrame(
        {
            "split": "test",
            "dialogue": [f"d{i}" for i in dialogue.ravel()],
            "turn": turn.ravel(),
            "speaker": np.where(turn % 3 == 2, "", np.where(turn % 2, "Ann", "Bob")).ravel(),
            "label": label.ravel(),
            "seen": ((turn % 3 != 2) & (turn % 2 == 1)).ravel(),
            "predicted": found.ravel(),
            "predicted_best_test": [f"{p}.0" for p in label.ravel()],
        }
    )
    dev = test.head(4).assign(split="dev", predicted_best_test="")
    return pd.concat([dev, test], ignore_index=True)


def system(right, seeds=range(4), label=None, salt=0):
    label = labels() if label is None else label
    return dialogue_counts({s: predictions(label, right, 100 * salt + s) for s in seeds}, CLASSES)


def test_scores_of_counts_are_scikit_learns():
    frames = {s: predictions(labels(), 0.4, s) for s in range(3)}
    counts = dialogue_counts(frames, CLASSES)
    for place, frame in enumerate(frames.values()):
        test = frame[frame["split"] == "test"]
        pair = test["label"], test["predicted"]
        expected = f1_score(*pair, average="weighted", zero_division=0)
        assert counts.scores()[place] == pytest.approx(100 * expected)
        assert counts.scores(class_f1)[place] == pytest.approx(100 * f1_score(*pair, average=None))
        recall = 100 * recall_score(*pair, average=None)
        assert counts.scores(class_recall)[place] == pytest.approx(recall)
    assert counts.support.tolist() == np.bincount(labels().ravel()).tolist()


def test_a_class_that_never_occurs_weighs_nothing():
    label, found = np.array([0, 0, 1]), np.array([0, 2, 2])
    counts = confusion_counts(label, found, 3)
    expected = 100 * f1_score(label, found, average="weighted", zero_division=0)
    assert weighted_f1(counts) == pytest.approx(expected)
    assert class_f1(counts) == pytest.approx([200 / 3, 0, np.nan], nan_ok=True)
    assert np.isnan(weighted_f1(np.zeros((3, 3))))


def test_resampled_scores_are_those_of_repeated_utterances():
    frame = predictions(labels(5), 0.5, 1).query("split == 'test'")
    counts = dialogue_counts({0: frame}, CLASSES)
    found = resampled_means(counts.table, resamples=20)
    for times, score in zip(draws(1, 5, 20).dialogue, found, strict=True):
        repeated = frame.loc[frame.index.repeat(times[frame["dialogue"].str[1:].astype(int)])]
        expected = f1_score(repeated["label"], repeated["predicted"], average="weighted")
        assert score == pytest.approx(100 * expected)


def test_best_test_predictions_and_seen_speakers_are_counted_apart():
    frames = {0: predictions(labels(), 0.4, 0)}
    assert dialogue_counts(frames, CLASSES, column="predicted_best_test").scores() == [100]
    seen, unseen = (dialogue_counts(frames, CLASSES, seen=s) for s in (True, False))
    test = frames[0].query("split == 'test' and speaker == 'Ann'")
    expected = f1_score(test["label"], test["predicted"], average="weighted")
    assert seen.scores() == pytest.approx([100 * expected])
    assert seen.support.sum() == unseen.support.sum() == 80  # nameless turns are neither
    assert seen.dialogues == unseen.dialogues


def test_runs_on_other_utterances_are_refused():
    frames = {0: predictions(labels(), 0.4, 0), 1: predictions(labels(seed=1), 0.4, 0)}
    with pytest.raises(ValueError, match="seeds 0 and 1 differ in their labels"):
        dialogue_counts(frames, CLASSES)
    with pytest.raises(ValueError, match="dialogues"):
        paired(system(0.4), system(0.4, label=labels(39)))
    with pytest.raises(ValueError, match="labels"):
        paired(system(0.4), system(0.4, label=labels(seed=1)))


def test_failed_runs_are_missing_and_others_are_paired():
    first, second = system(0.6, (0, 1, 3)), system(0.4, (3, 1, 2))
    one, other = paired(first, second)
    assert np.array_equal(one, first.table[[1, 2]])
    assert np.array_equal(other, second.table[[1, 0]])  # in the order of the seeds
    assert difference(first, second).seeds == 2
    nothing = dialogue_counts({}, CLASSES)
    assert compared(first, nothing)["seeds"] == 0
    assert np.isnan([compared(first, nothing)["delta"], difference(first, nothing).value]).all()
    assert np.isnan(mean_score(nothing)[:3]).all()
    assert mean_score(nothing, class_f1).value.shape == (CLASSES,)


def test_gathering_counts_what_was_asked_for():
    tables = {f"k{s}": predictions(np.zeros((3, 2), int), 0.5, s) for s in range(2)}
    rows = [("MELD", "ML-SAN", s, f"k{s}", "trained") for s in range(2)]
    rows += [("MELD", "ML-SAN", 2, "k2", "failed"), ("MELD", "MultiEMO", 0, "k0", "failed")]
    runs = pd.DataFrame(rows, columns=["benchmark", "system", "seed", "run", "status"])
    emotions = {"MELD": tuple("abcdefg")}
    found = gathered(runs, tables.__getitem__, emotions)["MELD"]
    assert list(found) == ["ML-SAN", "MultiEMO"]
    assert found["ML-SAN"].seeds == (0, 1)
    assert (found["ML-SAN"].asked, found["MultiEMO"].asked) == (3, 1)
    assert found["MultiEMO"].seeds == ()
    assert found["ML-SAN"].table.shape == (2, 3, 7, 7)
    assert list(gathered(runs, tables.__getitem__, emotions, ["system", "status"])["MELD"]) == [
        ("ML-SAN", "trained"),
        ("ML-SAN", "failed"),
        ("MultiEMO", "failed"),
    ]


def test_equal_systems_differ_by_nothing():
    found = compared(system(0.5), system(0.5))
    assert (found["delta"], found["low"], found["high"]) == (0, 0, 0)
    assert (found["t"], found["p_t"], found["p_perm"]) == (0, 1, 1)


def test_a_comparison_has_the_same_numbers_wherever_it_is_made():
    one, base = system(0.5), system(0.45, salt=1)
    alone = difference(one, base)
    assert RESAMPLES >= 20_000
    table = compare_all({"MELD": {"other": system(0.7), "base": base, "one": one}}, "base")
    row = table.set_index("system").loc["one"]
    assert tuple(row[["delta", "low", "high"]]) == pytest.approx(alone[:3], abs=0)
    assert compared(one, base)["p_perm"] == row["p_perm"]
    back = dialogue_counts({s: predictions(labels(), 0.5, s) for s in (3, 1, 0, 2)}, CLASSES)
    assert difference(back, base)[:3] == alone[:3]
    turned = difference(base, one)
    assert (-turned.value, -turned.high, -turned.low) == pytest.approx(alone[:3])


def test_what_does_not_vary_has_an_interval_of_no_width():
    counts = system(0.5, (0,), labels(1))
    assert (resampled_means(counts.table, resamples=9) == counts.scores()).all()
    found = compared(counts, system(0.2, (0,), labels(1), salt=1))
    assert found["low"] == found["delta"] == found["high"]
    assert np.isnan([found["t"], found["p_t"], found["p_perm"]]).all()


def test_pairing_removes_what_both_systems_share():
    # dialogues differ much in difficulty, and equally for both systems
    label = labels(60)
    hard = np.random.default_rng(5).random(60) < 0.5
    wrong = np.where(hard[:, None], (label + 1) % CLASSES, label)
    better = wrong.copy()
    better[::6, 0] = label[::6, 0]

    def counts(found):
        frame = predictions(label, 1, 0).query("split == 'test'").assign(predicted=found.ravel())
        return dialogue_counts({0: frame}, CLASSES)

    pair = counts(better), counts(wrong)
    joint = difference(*pair)
    apart = [mean_score(c) for c in pair]
    widths = [e.high - e.low for e in (joint, *apart)]
    assert widths[0] < min(widths[1:]) / 4


def test_intervals_of_equal_systems_cover_0_and_of_unequal_ones_do_not():
    label = labels(60)
    covered = 0
    for trial in range(60):
        one, other = (
            resampled_means(system(0.5, range(3), label, salt=2 * trial + k).table, resamples=300)
            for k in (1, 2)
        )
        low, high = percentiles(one - other)
        covered += low <= 0 <= high
    assert 50 <= covered <= 60
    found = compared(system(0.7, label=label), system(0.4, label=label))
    assert found["low"] > 0
    assert found["p_perm"] == 1 / 10_000
    assert found["p_t"] < 0.01


def test_few_seeds_vary_as_a_sample_of_seeds_does():
    # The variance of a mean of three seeds is s²/3; drawing three of three would give 2/3 of it.
    table = np.zeros((3, 1, 2, 2), dtype=int)
    table[:, 0, 0, 0], table[:, 0, 0, 1] = (30, 40, 50), (70, 60, 50)
    found = resampled_means(table, lambda counts: class_recall(counts)[..., 0])
    assert found.mean() == pytest.approx(40, abs=0.2)
    assert found.var() == pytest.approx(10**2 / 3, rel=0.03)


def test_where_only_seeds_vary_the_interval_stays_within_their_values():
    found = mean_over_seeds(np.array([0.0, 0.4, np.nan, 3.0]))
    assert found.value == pytest.approx(3.4 / 3)
    assert (found.low, found.high, found.seeds) == (0, 3, 3)
    five = mean_over_seeds(np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert 0 < five.low < 2 < five.high < 4
    assert mean_over_seeds(np.array([7.0]))[:3] == (7, 7, 7)
    assert np.isnan(mean_over_seeds(np.array([np.nan]))[:3]).all()


@pytest.mark.parametrize("right", [0.9, 0.0])
def test_intervals_of_a_score_stay_between_0_and_100(right):
    frames = {seed: predictions(labels(4, turns=1), right, seed) for seed in range(3)}
    found = mean_score(dialogue_counts(frames, CLASSES))
    assert 0 <= found.low < found.high <= 100


def test_percentiles_leave_resamples_without_a_score_out():
    values = np.stack([np.arange(101.0), np.full(101, np.nan), np.arange(101.0)], axis=1)
    values[:50, 2] = np.nan
    low, high = percentiles(values)
    assert low == pytest.approx([2.5, np.nan, 51.25], nan_ok=True)
    assert high == pytest.approx([97.5, np.nan, 98.75], nan_ok=True)


def test_the_permutation_p_is_exact_where_patterns_are_few():
    one, other = (system(r, (0, 1), labels(7), salt=k).table for k, r in enumerate((0.7, 0.3)))
    gaps = []
    for swap in product((False, True), repeat=7):
        where = np.array(swap)[:, None, None]
        a, b = np.where(where, other, one), np.where(where, one, other)
        gaps.append((weighted_f1(a.sum(axis=1)) - weighted_f1(b.sum(axis=1))).mean())
    gaps = np.abs(gaps)
    expected = np.mean(gaps >= gaps[0] - 1e-9)
    exact = permutation_p(one, other)
    assert exact == pytest.approx(expected)
    assert 0 < expected < 1
    drawn = permutation_p(one, other, permutations=99)
    assert drawn == pytest.approx(expected, abs=0.15)
    assert drawn * 100 == pytest.approx(round(drawn * 100))


def test_the_t_test_by_hand():
    t, p = paired_t(np.array([3.0, 5.0, 4.0]), np.array([2.0, 3.0, 1.0]))
    assert t == pytest.approx(2 / (1 / 3**0.5))
    assert p == pytest.approx(0.0741799, rel=1e-5)
    assert t_needed(3) == pytest.approx(9.924843, rel=1e-6)
    assert np.isnan(t_needed(1))
    assert paired_t(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == (np.inf, 0)


def test_holms_worked_example():
    # Holm (1979): each p times the number of hypotheses not yet rejected, never decreasing
    found = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    assert found == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_a_table_of_comparisons_is_one_family():
    systems = {"base": system(0.4), "good": system(0.7), "same": system(0.4, salt=1)}
    found = compare_all({"MELD": systems, "IEMOCAP": systems}, "base")
    assert list(found["system"]) == ["good", "same"] * 2
    assert (found["p_perm_holm"] >= found["p_perm"]).all()
    good = found[found["system"] == "good"]
    assert good["p_perm_holm"].to_numpy() == pytest.approx(4e-4)
    scores = systems["good"].scores()
    assert good["wf1_mean"].to_numpy() == pytest.approx(scores.mean())
    assert good["wf1_sd"].to_numpy() == pytest.approx(scores.std(ddof=1))
    assert adjusted(pd.DataFrame()).empty


def test_classes_are_compared_the_rarest_first():
    label = labels()
    label[label == 1] = np.where(np.arange((label == 1).sum()) % 4, 0, 1)
    pair = system(0.8, label=label), system(0.4, label=label)
    table = compare_classes(*pair, ("x", "y", "z"))
    assert table["emotion"].iloc[0] == "y"
    assert table["support"].is_monotonic_increasing
    row = table.set_index("emotion").loc["z"]
    expected = [c.scores(class_f1)[:, 2].mean() for c in pair]
    assert [row["f1_system"], row["f1_reference"]] == pytest.approx(expected)
    assert row["f1_delta"] == pytest.approx(expected[0] - expected[1])
    assert row["f1_delta_low"] < row["f1_delta"] < row["f1_delta_high"]
    assert row["recall_delta_low"] > 0
    assert row["p_perm"] < 0.01
    none = compare_classes(pair[0], dialogue_counts({}, CLASSES), ("x", "y", "z"))
    assert list(none.columns) == list(table.columns)
    assert none["f1_delta"].isna().all()
    assert list(none["support"]) == list(table["support"])


def test_contrasts_of_a_known_design():
    weights = coefficients()
    assert list(weights) == [
        "FiLM",
        "Gate",
        "Aux",
        "FiLM × Gate",
        "FiLM × Aux",
        "Gate × Aux",
        "FiLM × Gate × Aux",
    ]
    value = np.array([60 + 2 * f - g + 4 * f * g for f, g, a in SWITCHES], dtype=float)
    found = {effect: float(value @ w) for effect, w in weights.items()}
    # FiLM: 2 without the gate, 6 with it; half of how much more is the interaction
    assert found["FiLM"] == pytest.approx(4)
    assert found["Gate"] == pytest.approx(1)
    assert found["FiLM × Gate"] == pytest.approx(2)
    rest = [found[effect] for effect in found if "Aux" in effect]
    assert rest == pytest.approx([0, 0, 0, 0])


def test_contrasts_are_of_the_cells_scores_with_joint_intervals():
    good = {on: system(0.4 + 0.3 * on[0], salt=1 + 10 * sum(on)) for on in SWITCHES}
    table = effects(good).set_index("effect")
    scores = np.array([good[on].scores().mean() for on in SWITCHES])
    on = np.array([film for film, _, _ in SWITCHES])
    assert table.loc["FiLM", "delta"] == pytest.approx(scores[on].mean() - scores[~on].mean())
    assert table.loc["FiLM", "low"] > 0
    assert table.loc["Gate", "low"] < 0 < table.loc["Gate", "high"]
    assert (table["seeds"] == 4).all()
    fewer = good | {SWITCHES[2]: system(0.4, (1, 2))}
    assert (effects(fewer)["seeds"] == 2).all()
    none = effects(good | {SWITCHES[2]: dialogue_counts({}, CLASSES)})
    assert none["delta"].isna().all()
    assert none["low"].isna().all()


def test_equal_cells_have_no_effects_in_any_resample():
    table = effects(dict.fromkeys(SWITCHES, system(0.5)))
    assert table[["delta", "low", "high"]].to_numpy() == pytest.approx(0, abs=1e-9)


def test_cells_have_the_systems_names():
    for name, parts in CELLS.items():
        assert cell_name(**parts) == name
    assert cell_name(False, True, False) == "only Gate"
    assert cell_name(False, False, False) == "MultiEMO"


def test_confusions_are_summed_over_runs():
    frames = [predictions(labels(), 0.5, s) for s in range(2)]
    table = summed_confusion(frames, ("x", "y", "z"))
    assert list(table["emotion"]) == list("xxxyyyzzz")
    assert table["count"].sum() == 2 * 240
    test = pd.concat(frames).query("split == 'test'")
    hits = ((test["label"] == 1) & (test["predicted"] == 2)).sum()
    row = table.query("emotion == 'y' and predicted == 'z'").iloc[0]
    assert row["count"] == hits
    assert row["share"] == pytest.approx(hits / (test["label"] == 1).sum())
