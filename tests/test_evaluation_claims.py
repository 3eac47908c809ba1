"""Claims: the verdict's rule, what printed numbers imply, and the tests of Fig. 1 and Eq. 3."""

import numpy as np
import pandas as pd
import pytest
import torch
from guesses import guessed
from scipy import stats

from mlsan.corpus import open_corpora
from mlsan.corpus.simulate import Truth
from mlsan.corpus.simulate.expression import Expression
from mlsan.evaluation import Estimate
from mlsan.evaluation.claims import NOTHING, exactly, implied_t, sd_interval, verdict
from mlsan.evaluation.expressiveness import (
    confusions,
    mean_correlation,
    mean_gates,
    mean_slope,
    true_gains,
)
from mlsan.evaluation.significance import t_needed
from mlsan.report import paper, save_table
from mlsan.report.artifacts import ARTIFACTS, Provenance
from mlsan.report.claims import (
    CLAIMS,
    PRINTED,
    Evidence,
    ablation_evidence,
    emotion_evidence,
    expression_evidence,
    gate_evidence,
    lambda_evidence,
    probe_evidence,
    table1_evidence,
)
from mlsan.report.nb08_audit import answered, claims_table, everywhere, printed_answer, verdicts
from mlsan.report.tables import BASE, ENROLLED, FULL
from mlsan.study import NOTEBOOKS
from mlsan.training import AS_PRINTED, CELLS, run_settings
from mlsan.training.loop import divided, enrolment_of, new_model

MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")


def estimate(low, high):
    return Estimate((low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    ("found", "low", "high", "expected"),
    [
        (estimate(1, 2), 0, np.inf, "holds"),
        (estimate(-1, 2), 0, np.inf, "undecided"),
        (estimate(-2, -1), 0, np.inf, "does not hold"),
        (exactly(0.0, 5), 0, np.inf, "does not hold"),
        (estimate(-2, -1), -np.inf, 0, "holds"),
        (estimate(-1, 1), -2, 2, "holds"),
        (estimate(-1, 3), -2, 2, "undecided"),
        (estimate(3, 4), -2, 2, "does not hold"),
        (Estimate(30.0, 20.0, np.inf, 3), 9.92, np.inf, "holds"),
        (Estimate(30.0, 5.0, np.inf, 3), 9.92, np.inf, "undecided"),
        (NOTHING, 0, np.inf, "cannot be tested here"),
    ],
)
def test_verdict_follows_from_the_interval(found, low, high, expected):
    assert verdict(found, float(low), float(high)) == expected


def test_t_is_bounded_by_the_printed_deviations():
    generator = np.random.default_rng(0)
    for _ in range(50):
        first, second = generator.normal(size=(2, 3))
        gap = first.mean() - second.mean()
        bounds = implied_t(gap, (first.std(ddof=1), second.std(ddof=1)), 3)
        t = stats.ttest_rel(first, second).statistic
        assert bounds.low - 1e-9 <= t <= bounds.high + 1e-9
    assert implied_t(1.0, (0.1, 0.1), 3).high == np.inf
    assert implied_t(1.26, (0.13, 0.07), 3).low == pytest.approx(10.91, abs=0.01)


def test_interval_of_a_deviation_covers_it():
    generator = np.random.default_rng(1)
    found = [sd_interval(generator.normal(0, 2, 5)) for _ in range(400)]
    covered = np.mean([one.low <= 2 <= one.high for one in found])
    assert 0.92 <= covered <= 0.98
    assert np.isnan(sd_interval(np.array([1.0])).value)


def truth(audio, visual, prototype):
    """Two speakers with their gains per channel in voice and face."""
    nothing = np.zeros((3, 2))
    expression = {
        m: Expression(prototype, nothing, np.array(gain, float), nothing[:2], nothing[:2], nothing)
        for m, gain in (("audio", audio), ("visual", visual))
    }
    names, speaker = ("Ada", "Ben"), np.array([0, 1, 0])
    return Truth(("d",), np.array([3]), names, ("F", "M"), speaker, expression)


def test_gains_count_the_channels_that_show_emotions():
    prototype = np.array([[1.0, 0.0], [-1.0, 0.0]])
    table = true_gains(truth([[2, 9], [1, 9]], [[0.5, 9], [4, 9]], prototype))
    assert table.loc["Ada", "strength"] == pytest.approx(0)
    assert table.loc["Ada", "balance"] == pytest.approx(2)
    assert table.loc["Ben", "strength"] == pytest.approx(1)


STRENGTH = pd.Series({f"s{i}": float(i - 4) for i in range(9)})


def predictions(salt, slope, dialogues=60):
    """Nine speakers, of whose emotions 50 - `slope` * strength percent are called neutral."""
    generator = np.random.default_rng(salt)
    rows = []
    for dialogue in range(dialogues):
        for turn in range(9):
            speaker = f"s{(turn + dialogue) % 9}"
            label = int(np.random.default_rng([dialogue, turn]).integers(0, 3))
            missed = 100 * generator.random() < 50 - slope * STRENGTH[speaker]
            rows.append(("test", str(dialogue), speaker, label, 0 if missed else label))
    rows.append(("dev", "x", "s0", 1, 1))
    rows.append(("test", "x", "", 1, 1))
    return pd.DataFrame(rows, columns=["split", "dialogue", "speaker", "label", "predicted"])


def runs(slope):
    return {seed: predictions([seed, slope], slope) for seed in range(3)}


def test_confusions_are_counted_by_speaker():
    rows = [("a", 0, 0), ("a", 0, 2), ("a", 1, 0), ("b", 1, 1), ("b", 2, 0), ("b", 2, 1)]
    frame = pd.DataFrame(rows, columns=["speaker", "label", "predicted"]).assign(split="test")
    missed, utterances = confusions({7: frame}, 0, emotional=True)
    assert missed[7].to_dict() == pytest.approx({"a": 100, "b": 100 / 3})
    assert utterances.to_dict() == {"a": 1, "b": 3}
    alarmed, utterances = confusions({7: frame}, 0, emotional=False)
    assert alarmed[7].to_dict() == {"a": 50}
    assert utterances.to_dict() == {"a": 2}


def test_slope_is_that_of_weighted_least_squares():
    generator = np.random.default_rng(0)
    true, utterances = generator.normal(size=12), generator.integers(1, 30, 12)
    values = 3 * true + generator.normal(size=(2, 12))
    expected = [np.polyfit(true, row, 1, w=np.sqrt(utterances))[0] for row in values]
    found = mean_slope(values, true, utterances)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.low < 3 < found.high
    assert np.isnan(mean_slope(values, np.zeros(12), utterances).value)
    assert np.isnan(mean_slope(values[:, :2], true[:2], utterances[:2]).value)


def test_introverts_are_found_and_levelled():
    found = expression_evidence("MELD", {BASE: runs(10), FULL: runs(0)}, STRENGTH, 0)
    assert of(found, "introverts", BASE).verdict == "holds"
    slope = of(found, "introverts", BASE).found.value
    assert slope == pytest.approx(-10 * STRENGTH.std(ddof=0), rel=0.2)
    assert of(found, "introverts", FULL).verdict == "undecided"
    assert of(found, "levelled").verdict == "holds"
    assert of(found, "extroverts", BASE).verdict == "does not hold"


def test_nothing_is_levelled_where_there_is_no_gap():
    found = expression_evidence("MELD", {BASE: runs(0), FULL: runs(10)}, STRENGTH, 0)
    assert of(found, "levelled").verdict == "cannot be tested here"
    assert of(found, "levelled").against == "MultiEMO has no clear gap"
    systems = {BASE: runs(10)}
    for args in ((systems, None, 0), (systems, STRENGTH, None), ({}, STRENGTH, 0)):
        nothing = expression_evidence("MELD", *args)
        assert {e.verdict for e in nothing} == {"cannot be tested here"}


def test_correlation_over_speakers_and_seeds():
    generator = np.random.default_rng(0)
    true = generator.normal(size=40)
    follows = true + generator.normal(0, 0.3, (3, 40))
    found = mean_correlation(follows, true)
    each = [np.corrcoef(row, true)[0, 1] for row in follows]
    assert found.value == pytest.approx(np.mean(each))
    assert found.low > 0.8
    assert verdict(found) == "holds"
    assert verdict(mean_correlation(generator.normal(size=(3, 40)), true)) == "undecided"
    assert np.isnan(mean_correlation(np.ones((3, 40)), true).value)
    assert np.isnan(mean_correlation(follows[:, :2], true[:2]).value)
    few = mean_correlation(follows[:, :4], true[:4])
    assert -1 <= few.low <= few.high <= 1


def test_mean_gates_are_those_of_the_training_speakers(tmp_path):
    corpus = open_corpora("sim", "smoke", None, tmp_path)["MELD"]
    run = run_settings("MELD", "smoke", AS_PRINTED, 0)
    code = enrolment_of(run, divided(run, corpus)).code
    model = new_model(run, corpus, code.size).eval()
    table = mean_gates(run, corpus, model)
    assert table.index.tolist() == list(code.names[1:])
    assert list(table.columns) == list(model.modalities)
    row = model.gate_weights(torch.tensor([2]), "visual").mean().item()
    assert table["visual"].iloc[1] == pytest.approx(row)


def counts(right, salt=0, seeds=range(5), classes=7, dialogues=60):
    """Runs that hit the label with probability `right`."""
    label = np.random.default_rng(7).integers(0, classes, (dialogues, 5))
    return guessed(label, classes, right, seeds, salt, asked=len(seeds))


def of(evidence, claim, tested=None):
    (found,) = [e for e in evidence if e.claim == claim and tested in (None, e.tested)]
    return found


def test_table_1_is_judged_system_by_system():
    systems = {
        "BC-LSTM": counts(0.6, 1),
        BASE: counts(0.4),
        AS_PRINTED: counts(0.2, 2),
        FULL: counts(0.8, 3),
    }
    found = table1_evidence("MELD", systems, same_features=False)
    assert of(found, "better", FULL).verdict == "holds"
    assert of(found, "better", FULL).printed == "+1.39"
    assert of(found, "better", AS_PRINTED).verdict == "does not hold"
    assert of(found, "best", FULL).against == "against BC-LSTM"
    assert of(found, "best", FULL).printed == "+0.99"
    assert of(found, "scores").verdict == "cannot be tested here"
    assert of(found, "p", FULL).verdict == "holds"
    assert of(found, "p", AS_PRINTED).verdict == "does not hold"
    assert of(found, "p", FULL).found.value > of(found, "p", FULL).low == pytest.approx(t_needed(5))
    assert of(found, "spread", FULL).verdict == "does not hold"
    assert of(found, "t").tested == PRINTED
    real = table1_evidence("MELD", systems, same_features=True)
    measured = systems[FULL].scores().mean()
    assert of(real, "scores").found.value == pytest.approx(measured - 67.73)
    assert not [e for e in found if e.tested == ENROLLED]
    own = table1_evidence("mine", systems, same_features=False)
    assert {e.claim for e in own} == {"better", "best", "p", "spread"}
    assert {e.printed for e in own} <= {"", "p < .01"}


def test_printed_numbers_of_table_1_allow_the_printed_p():
    for benchmark in ("MELD", "IEMOCAP"):
        evidence = table1_evidence(benchmark, {BASE: counts(0.4), FULL: counts(0.5)}, False)
        assert of(evidence, "t").verdict == "holds"
        assert of(evidence, "t").found.low > t_needed(paper.RUNS)


def test_ablation_names_the_part_that_costs_most():
    cells = dict.fromkeys(("MultiEMO", *CELLS), 0.5)
    cells |= {FULL: 0.9, "w/o FiLM": 0.2, "w/o Gate": 0.9, "only FiLM": 0.8, "only Gate": 0.3}
    systems = {name: counts(right, salt) for salt, (name, right) in enumerate(cells.items())}
    found = ablation_evidence("MELD", systems)
    assert of(found, "film").verdict == "holds"
    assert of(found, "gate").verdict == "undecided"
    assert of(found, "order_film").verdict == "holds"
    assert of(found, "order_film").against == "against w/o Aux"
    assert of(found, "misalignment").verdict == "holds"
    assert of(found, "fusion").verdict == "does not hold"
    assert of(found, "drops").against == "w/o Aux"
    assert of(found, "drops").found.low == pytest.approx(0.27 * np.sqrt(3) / 0.12)
    assert of(ablation_evidence("IEMOCAP", systems), "order_aux").verdict == "does not hold"


def test_lambda_matters_where_the_best_is_far_from_the_worst():
    flat = {lam: counts(0.6) for lam in (0.0, 0.02, 0.5)}
    found = lambda_evidence("MELD", flat)
    assert of(found, "lambda").verdict == "holds"
    assert of(found, "peak").verdict == "does not hold"
    steep = flat | {0.5: counts(0.2, 1)}
    assert of(lambda_evidence("MELD", steep), "lambda").verdict == "does not hold"
    assert lambda_evidence("mine", flat) == []
    assert lambda_evidence("MELD", {lam: flat[lam] for lam in (0.0, 0.5)}) == []


def test_rare_emotions_are_those_with_least_utterances():
    systems = {BASE: counts(0.3), FULL: counts(0.9, 1)}
    found = emotion_evidence("MELD", systems, MELD)
    assert of(found, "fear").verdict == "holds"
    assert of(found, "fear").printed == "12 % to 18 %"
    support = systems[BASE].support
    rare = of(found, "tail").against.split(" and ")
    assert {support[MELD.index(name)] for name in rare} == set(np.sort(support)[:2])
    assert [e.claim for e in emotion_evidence("IEMOCAP", systems, MELD)] == ["tail"]


def test_the_two_claims_about_z_exclude_each_other():
    for value in (estimate(20, 30), estimate(0, 2), estimate(4, 6)):
        found = probe_evidence("MELD", FULL, {"calibrated": value, "z": value})
        pair = {of(found, "disentangled").verdict, of(found, "kept").verdict}
        assert pair in ({"holds", "does not hold"}, {"undecided"})


NAMES = {"MELD": "sim-meld", "IEMOCAP": "sim-iemocap"}


def evidence_for_all():
    systems = {BASE: counts(0.4), AS_PRINTED: counts(0.3, 2), FULL: counts(0.8, 3)}
    evidence = table1_evidence("MELD", systems, False)
    evidence += gate_evidence("MELD", FULL, estimate(0.1, 0.2), NOTHING, by_speaker=True)
    evidence += table1_evidence("IEMOCAP", systems, False)
    return evidence + expression_evidence("IEMOCAP", {}, None, 2)


def ledger():
    return claims_table(evidence_for_all()[::-1], NAMES)


def test_the_ledger_has_a_verdict_for_each_claim_and_corpus(tmp_path):
    table = ledger()
    order = [list(CLAIMS).index(name) for name in table.data["claim"]]
    assert order == sorted(order)
    shown = table.shown.set_index(["claim", "tested"])
    row = shown.loc[CLAIMS["better"].says, FULL]
    assert row["paper"] in (
        "MELD paper: +1.39; IEMOCAP paper: +1.26",
        "IEMOCAP paper: +1.26; MELD paper: +1.39",
    )
    assert row["sim-meld"].startswith("holds: ")
    row = shown.loc[CLAIMS["swing"].says, FULL]
    assert row["sim-meld"] == "does not hold: 0.15 [0.10, 0.20]"
    assert row["sim-iemocap"] == "–"
    assert table.shown.shape[1] <= 8
    names = {"MELD": "sim-meld"}
    origin = Provenance("08_audit", "small", "sim", True, {"MELD": "a"}, (), "c", names=names)
    data = table.data.drop(columns="benchmark")
    text = save_table(data, "table12_claims", tmp_path, origin, display=table.shown)
    assert "](table3_significance.md)" in text
    latex = (tmp_path / "table12_claims.tex").read_text()
    assert "ipynb" not in latex
    assert "Table A3, notebook 3" in latex


def test_links_of_the_ledger_lead_to_declared_files():
    for claim in CLAIMS.values():
        if claim.shown is not None:
            assert ARTIFACTS[claim.shown.name] is claim.shown
            assert (NOTEBOOKS / f"{claim.shown.notebook}.py").exists()


def test_verdicts_are_counted_and_stated():
    data = ledger().data
    table = verdicts(data)
    assert table.to_numpy().sum() == len(data)
    assert table.loc[("sim-meld", PRINTED), "holds"] == 1
    common = everywhere(data)
    assert CLAIMS["t"].says in common["holds"]
    assert CLAIMS["better"].says in common["mixed"]
    assert sum(map(len, common.values())) == data["claim"].nunique()


def test_some_claims_are_answered_in_a_small_table():
    text = answered(evidence_for_all(), NAMES, "swing", "better")
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
    )
    assert head == ["claim", "number", "tested", "sim-meld", "sim-iemocap"]
    assert [row[2] for row in rows] == [AS_PRINTED, FULL, FULL]
    assert rows[0][:2] == ["ML-SAN is better than MultiEMO", "points of W-F1"]
    assert rows[1][:2] == ["", ""], "each claim is written once"
    assert rows[2][:2] == [CLAIMS["swing"].says, "largest difference of mean gates"]
    assert rows[2][3:] == ["does not hold: 0.15 [0.10, 0.20]", "–"]
    assert "cannot be tested here" in answered(evidence_for_all(), NAMES, "levelled")
    assert "Nothing to report" in answered([], NAMES, "swing")


def test_the_printed_p_is_possible():
    meld, iemocap = printed_answer()
    least = 1.26 * np.sqrt(3) / (0.13 + 0.07)
    assert (
        f"IEMOCAP paper: the printed numbers allow p < .01: **holds**; t is between {least:.1f}"
        in iemocap
    )
    assert iemocap.endswith(f"and p < .01 needs {stats.t.ppf(0.995, 2):.2f}.")
    assert meld.startswith("MELD paper: ")


def test_a_claim_with_its_own_upper_end():
    assert Evidence("lambda", "MELD", FULL, estimate(0.5, 1.0), high=1.39).verdict == "holds"
    assert Evidence("lambda", "MELD", FULL, estimate(1.5, 2.0), high=1.39).verdict != "holds"
