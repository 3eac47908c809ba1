"""Lessons 0 to 5: definitions as code, numbers worked by hand, and findings with verdicts."""

import ast
import re
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest
import torch

from mlsan.corpus import open_corpora
from mlsan.corpus.types import Speakers
from mlsan.evaluation import Estimate, difference
from mlsan.evaluation.counts import Counts
from mlsan.evaluation.factorial import SWITCHES
from mlsan.evaluation.heterogeneity import strangers
from mlsan.model import reference
from mlsan.report import lessons, paper
from mlsan.report.lessons import POINTS, Text, definition, delta_of, finding, listed
from mlsan.report.nb01_data import (
    ORACLE,
    RAW,
    STANDARD,
    gap_findings,
    probe_counts,
    probe_findings,
    probe_scores,
    repetition_findings,
    speaker_findings,
    strangers_text,
    variance_findings,
)
from mlsan.report.nb02_baseline import (
    baseline_findings,
    both_forms,
    padding_shift,
    recurrence_weights,
    training_figure,
)
from mlsan.report.nb03_mlsan import (
    class_findings,
    classes_table,
    result_findings,
    seen_findings,
    seen_unseen_table,
    selection_findings,
    selection_table,
    styles_of,
)
from mlsan.report.nb04_ablations import (
    control_findings,
    drop_findings,
    effect_findings,
    factorial_table,
    paper_gains,
)
from mlsan.report.nb05_sensitivity import (
    dev_findings,
    dev_table,
    dose_findings,
    dose_table,
    lambda_findings,
    lambda_table,
)
from mlsan.report.tables import ENROLLED, PROBE, STANDARDISED, labelled
from mlsan.study import open_notebook

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("0[0-9]_*.py"))
EMOTIONS = ("neutral", "joy", "fear")
NAMES = {"MELD": "sim-meld"}
VERDICT = r"\*\*(holds|does not hold|undecided|cannot be tested here)\*\*"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return open_corpora("sim", "smoke", None, tmp_path_factory.mktemp("corpora"))


def counts(right, seeds=(0, 1, 2), salt=0, dialogues=40):
    """Runs that are right with some probability, on the same labels in every call."""
    label = np.random.default_rng(7).integers(0, len(EMOTIONS), (dialogues, 8))
    table = np.zeros((len(seeds), dialogues, len(EMOTIONS), len(EMOTIONS)), dtype=int)
    for counted, seed in zip(table, seeds, strict=True):
        chance = np.random.default_rng([seed, salt])
        guess = chance.integers(0, len(EMOTIONS), label.shape)
        found = np.where(chance.random(label.shape) < right, label, guess)
        np.add.at(counted, (np.indices(label.shape)[0], label, found), 1)
    return Counts(tuple(seeds), tuple(f"d{i}" for i in range(dialogues)), table, len(seeds))


def sweep(scores, best=None, system="MultiEMO"):
    """Rows of finished runs, one per seed."""
    return pd.DataFrame(
        {"benchmark": "MELD", "corpus": "sim-meld", "system": system, "seed": range(len(scores))}
        | {"speaker": "", "test_wf1": scores, "best_test_wf1": best or scores}
    )


def verdicts(lines):
    """What precedes the verdict of each line that has one, and the verdict."""
    found = {}
    for line in lines:
        if match := re.search(VERDICT, line):
            found[line[: match.start()].rstrip(": ")] = match[1]
    return found


# What the lessons share


def test_a_notebook_opens_its_study_in_one_call():
    given = {"PROFILE": "smoke", "CORPUS": "sim", "DATA": "", "JOBS": "1", "DEVICE": ""}
    study = open_notebook("01_data", {"study": None, **given})
    assert (study.notebook, study.profile, study.jobs) == ("01_data", "smoke", 1)
    with pytest.raises(ValueError, match="unknown parameter PROFLE"):
        open_notebook("01_data", {**given, "PROFLE": "paper"})


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.2, 1.8, "holds"), (-1.8, -0.2, "does not hold"), (-0.2, 1.8, "undecided")],
)
def test_a_finding_has_its_verdict_and_interval(low, high, word):
    text = finding("It is better", Estimate((low + high) / 2, low, high, 3))
    number = f"{(low + high) / 2:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert text == f"It is better: **{word}**; {number} {POINTS}, 3 seeds."


def test_a_finding_may_claim_another_range_and_have_no_number():
    assert "**holds**" in finding("It is worse", Estimate(-2.0, -3.0, -1.0, 3), -np.inf, 0.0)
    assert "**does not hold**" in finding("Above 5", Estimate(2.0, 1.0, 3.0, 3), low=5.0)
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    assert finding("It is better", nothing) == "It is better: **cannot be tested here**."
    assert "seeds" not in finding("It is better", Estimate(1.0, 0.5, 2.0, 1))


def test_texts_are_shown_as_markdown():
    text = listed(["one.", "two."])
    assert text._repr_markdown_() == "- one.\n- two."
    assert isinstance(text, Text)
    assert len(repr(text)) < 40
    assert str(listed([], none="Nothing.")) == "Nothing."


def test_a_definition_is_the_source_itself():
    text = definition(reference.gate, lessons.Text._repr_markdown_)
    assert text.startswith("`mlsan.model.reference.gate`\n\n```python\ndef gate(")
    assert "`mlsan.report.lessons.Text._repr_markdown_`" in text
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert [type(ast.parse(block).body[0]) for block in blocks] == [ast.FunctionDef] * 2


def test_delta_of_reads_a_row():
    row = pd.DataFrame([{"delta": 1.0, "low": 0.5, "high": 2.0, "seeds": 3}])
    assert delta_of(next(row.itertuples())) == Estimate(1.0, 0.5, 2.0, 3)


# Lesson 1


def test_strangers_are_counted(corpora):
    meld, iemocap = strangers_text(corpora)
    assert meld.startswith("sim-meld: ")
    assert iemocap.endswith("they have 100.0 % of the test utterances.")
    assert f" {len(strangers(corpora['IEMOCAP']))} of 2 test speakers" in iemocap


def test_probes_are_scored_and_compared(corpora):
    corpus = corpora["MELD"]
    kinds = probe_counts(corpus, oracle=corpus)
    assert list(kinds) == ["text alone", RAW, STANDARD, ORACLE]
    assert ORACLE not in probe_counts(corpus)
    scores = probe_scores({"sim-meld": kinds}).loc["sim-meld"]
    assert scores[RAW] == scores[ORACLE] > scores["text alone"]
    first, *lines = probe_findings({"sim-meld": kinds})
    assert f"{scores.max():.1f}" in first
    gain = difference(kinds[STANDARD], kinds[RAW])
    assert f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" in lines[0]
    assert gain.value == pytest.approx(scores[STANDARD] - scores[RAW])
    assert verdicts(lines)["sim-meld: the oracle helps a probe on all features"] == "does not hold"


def test_tables_of_lesson_1_are_put_in_words():
    repeated = pd.DataFrame({"same emotion again": [0.4], "by chance": [0.2]}, index=["sim-meld"])
    again = "40.0 % of the time, which is 2.0 times as often as by chance (20.0 %)"
    assert again in repetition_findings(repeated)[0]
    shares = {("sim-meld", "text"): [0.1, 3.0], ("sim-meld", "audio"): [18.0, 4.0]}
    explained = pd.DataFrame(shares, index=["speaker", "emotion"]).T
    (line,) = variance_findings(explained)
    assert "the speaker explains 18.0 % of the variance, the emotion 4.0 %: 4.5 times" in line
    (line,) = variance_findings(explained / [9, 1])
    assert "the emotion explains 4.0 % of the variance, the speaker 2.0 %: 2.0 times" in line
    known = pd.DataFrame({"raw": [88.4], "standardised by speaker": [11.6]}, index=["sim-meld"])
    assert "scores 88 from raw features, and 12 from" in speaker_findings(known)[0]
    gap = pd.Series({"raw audio": 3.0, "standardised by speaker": 0.5})
    (line,) = gap_findings(gap, "sim-meld")
    assert line.startswith("sim-meld, standardised by speaker: ")
    assert "from 3.00 to 0.50" in line


# Lesson 2


@pytest.mark.parametrize("benchmark", ["MELD", "IEMOCAP"])
@pytest.mark.parametrize("system", ["MultiEMO", "ML-SAN"])
def test_both_forms_agree_away_from_their_start(corpora, benchmark, system):
    corpus = corpora[benchmark]
    fast, defined, label = both_forms(corpus, system, dialogues=2)
    assert label.tolist() == [int(y) for d in corpus.train[:2] for y in d.label]
    torch.testing.assert_close(vars(fast), vars(defined))
    stages = fast.stages
    changed = [(stages["gated"][m] != stages["context"][m]).any() for m in corpus.modalities]
    assert all(changed) == any(changed) == (system == "ML-SAN")


def test_padding_moves_a_prediction_unless_it_is_masked(corpora):
    corpus = corpora["MELD"]
    assert padding_shift(corpus, mask_padding=False) > 1e-3
    assert padding_shift(corpus, mask_padding=True) < 1e-5


def test_the_recurrence_is_half_tanh_half_memory():
    u = torch.tensor([[1.0], [-1.0], [1.0]])
    q_a, q_b, e, expected = 0.0, 0.0, 0.0, []
    for x, is_a in ((1, True), (-1, False), (1, True)):
        if is_a:
            q_a = (np.tanh(x) + q_a) / 2
        else:
            q_b = (np.tanh(x) + q_b) / 2
        e = (np.tanh(q_a if is_a else q_b) + e) / 2
        expected.append(e)
    found = reference.dialogue_rnn(recurrence_weights("toy"), "toy", u, [0, 1, 0], 3)
    torch.testing.assert_close(found[:, 0], torch.tensor(expected, dtype=torch.float32))


def test_the_baseline_is_stated_for_each_corpus():
    runs = sweep([70.0, 71.0, 72.5, np.nan], [71.0, 72.0, 73.6, np.nan])
    gain, seeds = baseline_findings(runs)
    assert verdicts([gain]) == {
        "sim-meld: the best test epoch overstates MultiEMO by more than 0.5 points": "holds"
    }
    assert "differ by 2.50 points (lowest 70.00, highest 72.50)" in seeds
    assert len(baseline_findings(sweep([70.0]))) == 1


def test_the_course_of_a_run_is_drawn():
    losses = {f"train_{name}": [3, 2, 1] for name in ("ce", "swfc", "hgr")}
    scores = {"dev_wf1": [50, 62, 60], "test_wf1": [51, 61, 63]}
    figure = training_figure(pd.DataFrame({"epoch": [1, 2, 3], **losses, **scores}))
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["cross-entropy", "SWFC", "Soft-HGR"]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in right.lines}
    assert drawn["dev"] == [[1, 50], [2, 62], [3, 60]]
    assert drawn["test"] == [[1, 51], [2, 61], [3, 63]]
    assert drawn["test at the best dev epoch"] == [[2, 61]]
    assert drawn["test at the best test epoch"] == [[3, 63]]


# Lesson 3


def test_results_are_stated_where_a_corpus_has_both_rows():
    systems = {"MultiEMO": counts(0.5), "ML-SAN": counts(0.9, salt=1), PROBE: counts(0.2, salt=2)}
    lines = result_findings({"MELD": systems}, NAMES)
    assert verdicts(lines) == {
        "sim-meld: ML-SAN, strangers not enrolled, is better than MultiEMO": "holds",
        "sim-meld: context and fusion help: MultiEMO is better than the linear probe": "holds",
    }
    assert f"{difference(systems['ML-SAN'], systems['MultiEMO']).value:+.2f} [" in lines[0]
    systems |= {ENROLLED: counts(0.1, salt=3), STANDARDISED: counts(0.9, salt=4)}
    lost = verdicts(result_findings({"MELD": systems}, NAMES))
    key = "ML-SAN, strangers enrolled, is better than MultiEMO on features standardised by speaker"
    assert lost[f"sim-meld: {key}"] == "does not hold"


def test_seen_and_unseen_speakers_have_their_own_findings():
    part = {"MELD": {"MultiEMO": counts(0.5), "ML-SAN": counts(0.9, salt=1)}}
    nobody = {"MELD": {name: counts(0.5, dialogues=0) for name in ("MultiEMO", "ML-SAN")}}
    lines = seen_findings(seen_unseen_table(part, part).data, NAMES)
    assert verdicts(lines) == {
        f"sim-meld, {who} speakers: ML-SAN is better than MultiEMO": "holds"
        for who in ("seen", "unseen")
    }
    assert seen_findings(seen_unseen_table(nobody, nobody).data, NAMES) == []


def test_rare_emotions_have_findings():
    pair = {"MultiEMO": counts(0.3), "ML-SAN": counts(0.95, salt=1)}
    data = classes_table({"MELD": pair}, {"MELD": EMOTIONS}).data
    (line,) = class_findings(data, NAMES, rarest=1)
    rarest = data.loc[data["support"].idxmin()]
    assert f"F1 of {rarest['emotion']} ({rarest['support']} utterances) rises" in line
    assert "**holds**" in line
    assert "points of F1" in line


@pytest.mark.parametrize(("best", "word"), [(75.0, "more"), (70.5, "less")])
def test_choosing_on_test_is_compared_with_the_difference_of_systems(best, word):
    runs = pd.concat(
        [sweep([70.0, 70.0], [best] * 2), sweep([72.0, 72.0], [72.0] * 2, system="ML-SAN")]
    )
    (line,) = selection_findings(selection_table(runs).data)
    assert f"That is {word} than the difference of +2.00 between ML-SAN and MultiEMO" in line
    assert f"at most {best - 70:.2f} (MultiEMO)" in line
    assert selection_findings(selection_table(sweep([70.0, 70.0])).data) == []


def test_styles_of_a_speaker_are_told_apart():
    codes = [np.array([1, 2, 1]), np.array([1, 1])]
    styles = [{"audio": np.zeros((3, 2, 4))}, {"audio": np.ones((2, 2, 4))}]
    assert styles_of(Speakers(codes, styles), 1) == 2
    assert styles_of(Speakers(codes, styles), 2) == 1
    assert styles_of(Speakers(codes, styles), 3) == 0


# Lesson 4


@pytest.fixture(scope="module")
def cells():
    """All cells, where FiLM helps and nothing else does, with controls that keep nothing."""
    made = {
        (*on, "identity" if any(on) else ""): counts(0.9 if on[0] else 0.5, salt=i)
        for i, on in enumerate(SWITCHES)
    }
    return {"MELD": made | {(True, True, True, "shuffled"): counts(0.5, salt=9)}}


def test_effects_and_controls_are_stated(cells):
    design = labelled(factorial_table(cells).data, NAMES)
    effects = effect_findings(design)
    found = verdicts(effects)
    assert found["sim-meld: FiLM helps"] == "holds"
    assert found["sim-meld: Gate helps"] != "holds"
    assert effects[-1].startswith("sim-meld: interactions whose interval excludes zero: ")
    (line,) = control_findings(design, cells)
    better = "sim-meld: ML-SAN is better with identity than with shuffled"
    assert verdicts([line]) == {better: "holds"}
    base = cells["MELD"][False, False, False, ""].scores().mean()
    kept = cells["MELD"][True, True, True, "shuffled"].scores().mean() - base
    assert line.endswith(f"with identity, {kept:+.2f} with shuffled.")


def test_drops_hold_where_the_system_is_worse():
    rows = [
        {"corpus": "sim-meld", "system": name, "seeds": 3, "delta": delta}
        | {"delta_low": low, "delta_high": high}
        for name, delta, low, high in (
            ("ML-SAN", np.nan, np.nan, np.nan),
            ("w/o FiLM", -2.0, -3.0, -1.0),
            ("w/o Gate", 2.0, 1.0, 3.0),
            ("w/o Aux", 0.1, -1.0, 1.0),
        )
    ]
    first, *lines = drop_findings(pd.DataFrame(rows))
    assert first == "sim-meld: leaving out FiLM costs most, 2.00 points."
    assert verdicts(lines) == {
        "sim-meld: ML-SAN is worse without FiLM": "holds",
        "sim-meld: ML-SAN is worse without Gate": "does not hold",
        "sim-meld: ML-SAN is worse without Aux": "undecided",
    }


def test_the_papers_gains_are_those_that_the_lesson_states():
    gains = paper_gains()
    assert list(gains.index) == [name for name in paper.TABLE2 if name != "ML-SAN"]
    assert gains["MELD"].agg(["min", "max"]).tolist() == [0.88, 1.12]
    assert gains["IEMOCAP"].agg(["min", "max"]).tolist() == [-0.67, -0.27]
    text = (NOTEBOOKS / "04_ablations.py").read_text()
    assert "On MELD yes, by 0.88 to 1.12 points." in text
    assert "by 0.27 to 0.67 points" in text


# Lesson 5


def test_the_best_lambda_is_compared_with_the_worst():
    lams = {"MELD": {0.0: counts(0.5), 0.1: counts(0.95, salt=1), 0.5: counts(0.7, salt=2)}}
    first, second = lambda_findings(lambda_table(lams), lams, NAMES)
    assert "λ = 0.1 is best" in first
    assert "λ = 0 worst" in first
    assert "do not overlap" in first
    key = "sim-meld: the best λ is better than the worst (chosen on these scores)"
    assert verdicts([second]) == {key: "holds"}
    same = {"MELD": {0.0: counts(0.5), 0.1: counts(0.5, salt=1)}}
    assert "intervals overlap" in lambda_findings(lambda_table(same), same, NAMES)[0]
    one = {"MELD": {0.0: counts(0.5)}}
    assert lambda_findings(lambda_table(one), one, NAMES) == []


def test_each_dose_has_a_verdict():
    runs = {
        (0.0, "MultiEMO"): counts(0.7),
        (0.0, "ML-SAN"): counts(0.7),
        (1.0, "MultiEMO"): counts(0.4),
        (1.0, "ML-SAN"): counts(0.8, salt=1),
    }
    lines = dose_findings(labelled(dose_table({"MELD": runs}), NAMES))
    found = verdicts(lines)
    assert found["sim-meld, heterogeneity 0: ML-SAN is better than MultiEMO"] == "does not hold"
    assert found["sim-meld, heterogeneity 1: ML-SAN is better than MultiEMO"] == "holds"
    gain = difference(runs[1.0, "ML-SAN"], runs[1.0, "MultiEMO"]).value
    assert lines[-1].endswith(f"the gain changes by {gain:+.2f} points; it rises with each step.")


def test_the_dev_split_is_stated():
    rows = [
        {"benchmark": "MELD", "system": "ML-SAN", "dev": dev, "epoch": epoch, "dev_wf1": wf1}
        | {"test_wf1": 60.0 + seed}
        for dev, epoch, wf1 in (("official", 9, 80.0), ("session", 4, 65.0))
        for seed in (0, 1)
    ]
    pair = {("ML-SAN", "official"): counts(0.4), ("ML-SAN", "session"): counts(0.8, salt=1)}
    first, second = dev_findings(dev_table(pd.DataFrame(rows), {"MELD": pair}).data, NAMES)
    assert "is 9.0 with the training speakers' dialogues and 4.0 with strangers'" in first
    assert "dev minus test is +19.5 and +4.5 points" in first
    key = "sim-meld, ML-SAN: choosing the epoch on strangers raises the test score"
    assert verdicts([second]) == {key: "holds"}


# The sources


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_says_what_a_student_needs_to_know(source):
    text = source.read_text()
    cells = jupytext.read(source).cells
    for heading in ("**Goals.**", "**Prerequisites.**", "**Your time.**"):
        assert heading in cells[1].source
    for heading in ("## What would change our mind", "## Further reading"):
        assert text.count(f"# {heading}\n") == 1
    opening = [cell.source for cell in cells if cell.cell_type == "code"][1]
    assert opening.endswith(f'study = open_notebook("{source.stem}", globals())')


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_every_prediction_is_followed_by_an_answer(source):
    cells = jupytext.read(source).cells
    asked = [i for i, cell in enumerate(cells[2:], 2) if "**Predict" in cell.source]
    asked = [i for i in asked if "## Exercises" not in cells[i].source]
    assert asked
    for i in asked:
        assert cells[i + 1].cell_type == "code", cells[i].source


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_cells_of_a_lesson_are_short(source):
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 18, cell.source


def test_each_part_of_the_models_is_shown_and_compared():
    two, three = ((NOTEBOOKS / name).read_text() for name in ("02_baseline.py", "03_mlsan.py"))
    for part in ("dialogue_rnn", "attention", "swfc", "soft_hgr"):
        assert re.search(rf"lessons\.definition\(.*reference\.{part}\b", two), part
    assert two.count("torch.testing.assert_close(") >= 6
    for part in ("calibrate", "gate", "speaker_loss", "total_loss"):
        assert re.search(rf"lessons\.definition\(.*reference\.{part}\b", three), part
    assert three.index("# # Part I · ") < three.index("# # Part II · ")


def test_part_ii_uses_no_variable_of_part_i():
    cells = jupytext.read(NOTEBOOKS / "03_mlsan.py").cells
    (border,) = [i for i, cell in enumerate(cells) if "# Part II" in cell.source]
    first, second = (
        ast.parse("\n".join(cell.source for cell in part if cell.cell_type == "code"))
        for part in (cells[4:border], cells[border:])  # the first four cells open the study
    )
    used = names_of(second, ast.Load) - names_of(second, ast.Store)
    assert used & names_of(first, ast.Store) == set()


def names_of(tree, context):
    """Names that code reads (`ast.Load`) or sets (`ast.Store`), by assignment or import."""
    found = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and type(n.ctx) is context}
    if context is ast.Store:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {name.asname or name.name for name in node.names}
            elif isinstance(node, ast.FunctionDef):
                found |= {node.name, *(a.arg for a in node.args.args)}
    return found
