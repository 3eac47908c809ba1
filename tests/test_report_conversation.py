"""Words, conversations, failures and findings: what a reader is shown of single utterances."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlsan.corpus import Corpus, Dialogue, open_corpora
from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.simulate.settings import COUNTS
from mlsan.evaluation import Counts, Stages
from mlsan.evaluation.conversation import (
    BOTH_RIGHT,
    BOTH_WRONG,
    answers,
    only,
    outcomes,
    surest,
    telling_feature,
)
from mlsan.evaluation.qualitative import case_dialogue
from mlsan.report import words as module
from mlsan.report.conversation import (
    WIDEST,
    conversation_table,
    failure_table,
    outcome_sentences,
    plain,
)
from mlsan.report.nb06_qualitative import (
    balance_findings,
    calibrated_sentences,
    correct,
    distance_answer,
    identity_answer,
    probe_findings,
    recall_changes,
    recovery_findings,
)
from mlsan.report.nb07_beyond import (
    AMOUNTS,
    absent_answer,
    changed_answers,
    curve_sentences,
    dialogue_answer,
    dropout_findings,
    enrolment_findings,
    half_answer,
    speaker_answer,
    way_answer,
)
from mlsan.report.nb08_audit import answered as answered_claims
from mlsan.report.nb08_audit import gates_evidence, probe_answer
from mlsan.report.nb09_voices import (
    FLAT,
    clouds_answer,
    inside_answer,
    neutral_answer,
    session_answer,
    stranger_answer,
    summary,
    voices_findings,
)
from mlsan.report.tables import TEXT_PROBE
from mlsan.report.words import GRAMMAR, INVENTED, REAL, TOPICS, every_line, invented_lines, words

PAIR = ("MultiEMO", "ML-SAN")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return open_corpora("sim", "smoke", None, tmp_path_factory.mktemp("cache"))["MELD"]


def dialogue(label: list[int], name: str = "7") -> Dialogue:
    return Dialogue(name, np.array(label), np.zeros(len(label), dtype=int), None, {})


def test_lines_are_always_the_same() -> None:
    emotions = ("joy", "anger", "joy", "neutral")
    assert invented_lines("7", emotions) == invented_lines("7", emotions)
    assert len({invented_lines(str(i), emotions) for i in range(20)}) > 15
    assert invented_lines("1153", ("joy", "fear")) == (
        "Ha! The letter went so well!",
        "Oh no, I can't face the letter alone.",
    )


def test_every_line_fits_one_emotion_and_one_topic() -> None:
    for topic in TOPICS:
        by = {emotion: set(every_line(emotion, topic)) for emotion in GRAMMAR}
        assert all(topic in line.lower() for lines in by.values() for line in lines)
        assert sum(map(len, by.values())) == len(set.union(*by.values()))
        for line in set.union(*by.values()):
            assert line[0].isupper()
            assert line[-1] in ".!?"
            assert ", The" not in line
            assert "! the" not in line


def test_a_line_comes_back_only_after_all_others() -> None:
    lines = invented_lines("7", ["joy"] * 18)
    assert len(set(lines[:9])) == 9
    assert sorted(lines[:9]) == sorted(lines[9:])
    topic = {topic for topic in TOPICS for line in lines if topic in line.lower()}
    assert len(topic) == 1


def test_every_simulated_emotion_has_lines() -> None:
    for benchmark, counts in COUNTS.items():
        assert set(counts) == set(BUILT_IN[benchmark].emotions)
        for emotion in counts:
            assert every_line(emotion, "the letter")
    with pytest.raises(ValueError, match="no invented lines for the emotion 'awe'; there are for"):
        invented_lines("7", ["awe"])


def test_simulated_words_say_that_they_are_invented(corpus: Corpus) -> None:
    found = words(corpus, corpus.test[0])
    assert found.heading == INVENTED == "line (invented)"
    emotions = [corpus.declaration.emotions[i] for i in corpus.test[0].label]
    assert found.lines == invented_lines(corpus.test[0].id, emotions)


def test_real_words_are_read_where_they_are(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame({"dialogue": [7, 7, 8], "text": ["Hey!", "You did it.", "No."]})
    monkeypatch.setattr(module, "holds_transcripts", lambda folder: folder == tmp_path)
    monkeypatch.setattr(module, "read_transcripts", lambda folder: table)
    real = replace(corpus, simulated=False)
    assert words(real, dialogue([0, 1]), tmp_path) == (REAL, ("Hey!", "You did it."))
    assert words(real, dialogue([0, 1, 2]), tmp_path) is None, "another number of utterances"
    assert words(real, dialogue([0, 1]), tmp_path / "elsewhere") is None
    assert words(real, dialogue([0, 1])) is None
    other = replace(real, declaration=BUILT_IN["IEMOCAP"])
    assert words(other, dialogue([0, 1]), tmp_path) is None


def stages(logits: np.ndarray, corpus: Corpus, shift: float = 0.0) -> Stages:
    """Stages over test; feature 1 of audio tells the speakers apart until it is calibrated."""
    label = np.concatenate([d.label for d in corpus.test])
    speaker = np.array([name for d in corpus.test for name in d.speaker])
    x = np.random.default_rng(0).normal(size=(len(label), 3))
    raw = x.copy()
    raw[:, 1] += 10 * np.unique(speaker, return_inverse=True)[1] + shift
    at = {"raw": {"audio": raw}, "calibrated": {"audio": x}}
    return Stages(label, np.zeros_like(label), speaker, logits, logits, at)


@pytest.fixture(scope="module")
def answered(corpus: Corpus) -> pd.DataFrame:
    label = np.concatenate([d.label for d in corpus.test])
    classes = len(corpus.declaration.emotions)
    perfect = 2.0 * np.eye(classes)[label]
    shifted = 3.0 * np.eye(classes)[(label + (np.arange(len(label)) % 2)) % classes]
    return answers({"MultiEMO": stages(perfect, corpus), "ML-SAN": stages(shifted, corpus)}, corpus)


def test_answers_have_probabilities(corpus: Corpus, answered: pd.DataFrame) -> None:
    assert len(answered) == sum(map(len, corpus.test))
    first = corpus.test[0]
    own = answered[answered["dialogue"] == first.id]
    assert own["turn"].tolist() == list(range(1, len(first) + 1))
    assert own["speaker"].tolist() == list(first.speaker)
    e, rest = np.exp(3), len(corpus.declaration.emotions) - 1
    assert answered["ML-SAN p"].to_numpy() == pytest.approx(e / (e + rest))
    assert (answered["MultiEMO p"] == answered["MultiEMO p of true"]).all()
    wrong = answered[answered["ML-SAN"] != answered["emotion"]]
    assert wrong["ML-SAN p of true"].to_numpy() == pytest.approx(1 / (e + rest))


def test_outcomes_and_failures(answered: pd.DataFrame) -> None:
    found = outcomes(answered, PAIR)
    assert set(found) == {BOTH_RIGHT, only("MultiEMO")}
    assert found.iloc[:4].tolist() == [BOTH_RIGHT, only("MultiEMO")] * 2
    bad = answered.assign(MultiEMO="nothing")
    assert set(outcomes(bad, PAIR)) == {only("ML-SAN"), BOTH_WRONG}
    lost = answered[found == only("MultiEMO")].copy()
    lost.iloc[5, lost.columns.get_loc("ML-SAN p")] = 0.99
    shown = surest(lost, "ML-SAN", 3)
    assert shown.index[0] == lost.index[5]
    assert shown["dialogue"].is_unique
    assert len(shown) == 3


def test_the_telling_feature_is_the_one_that_tells(corpus: Corpus) -> None:
    seen = stages(np.zeros((sum(map(len, corpus.test)), 7)), corpus, shift=500)
    speakers = sorted(set(seen.speaker))[:3]
    number, moved = telling_feature(seen, speakers, "audio")
    assert number == 1
    assert len(moved) == np.isin(seen.speaker, speakers).sum()
    assert moved["raw"].mean() == pytest.approx(0, abs=1e-9)
    assert moved["raw"].std(ddof=0) == pytest.approx(1)
    raw = seen.at["raw"]["audio"][moved.index, 1]
    back = moved["calibrated"] * raw.std() + raw.mean()
    assert back.to_numpy() == pytest.approx(seen.at["calibrated"]["audio"][moved.index, 1])


def test_a_conversation_is_a_table_that_fits(corpus: Corpus, answered: pd.DataFrame) -> None:
    seen = stages(np.zeros((len(answered), 7)), corpus)
    one = max(corpus.test, key=lambda d: len(set(d.speaker)))
    turns = answered[answered["dialogue"] == one.id]
    _, moved = telling_feature(seen, one.speaker, "audio")
    text = conversation_table(
        turns, PAIR, words(corpus, one), moved.loc[turns.index], "audio feature 1"
    )
    head, _, *rows = text.splitlines()
    names = [name.strip() for name in head.strip("|").split("|")]
    assert names[:4] == ["turn", "speaker", INVENTED, "true emotion"]
    assert names[4:] == ["audio feature 1 (sd)", *PAIR]
    assert len(names) <= WIDEST
    assert len(rows) == len(one)
    for row, line in zip(rows, words(corpus, one).lines, strict=True):
        assert line in row
        assert "→" in row
    marks = (turns["ML-SAN"] != turns["emotion"]).tolist()
    assert ["✗ (true 0.0" in row for row in rows] == marks
    without = conversation_table(turns, PAIR, None, moved.loc[turns.index], "x")
    assert "line" not in without.splitlines()[0]
    names = [f"system {i}" for i in range(5)]
    kinds = ("", " p", " p of true")
    many = turns.assign(**{name + kind: turns[f"ML-SAN{kind}"] for name in names for kind in kinds})
    with pytest.raises(ValueError, match="9 columns are more than a page has room for"):
        conversation_table(many, names, None, moved.loc[turns.index], "x")


def test_failures_have_the_line_of_their_turn(corpus: Corpus, answered: pd.DataFrame) -> None:
    by = {d.id: d for d in corpus.test}
    rows = surest(answered[outcomes(answered, PAIR) == only("MultiEMO")], "ML-SAN", 2)
    text = failure_table(rows, PAIR, lambda name: words(corpus, by[name]))
    for place, row in zip(text.splitlines()[2:], rows.itertuples(), strict=True):
        assert f"{row.dialogue}, {row.turn} " in place
        assert words(corpus, by[row.dialogue]).lines[row.turn - 1] in place
        assert place.count("✗") == 1
    assert "line" not in failure_table(rows, PAIR, lambda name: None)


def test_sentences_count_outcomes(answered: pd.DataFrame) -> None:
    first, base, ours = outcome_sentences("sim-meld", answered, PAIR)
    assert "both right 50 %, only MultiEMO right 50 %, only ML-SAN right 0 %" in first
    p = np.exp(3) / (np.exp(3) + 6)
    assert "ML-SAN is no surer" in ours
    assert f"its answer is {p:.2f} there, and {p:.2f} where it is wrong" in ours
    assert base.endswith("there, and – where it is wrong.")
    half = answered["MultiEMO"].where(answered.index % 2 == 0, "nothing")
    mixed = answered.assign(MultiEMO=half, **{"MultiEMO p": 0.9 - 0.2 * (answered.index % 2)})
    said = outcome_sentences("sim-meld", mixed, PAIR)[1]
    assert "**sim-meld: MultiEMO is surer where it is right.** The mean" in said


def test_a_line_with_marks_stays_as_it_is() -> None:
    assert plain("a|b *c* $5\n [d]") == r"a\|b \*c\* \$5 \[d\]"


def test_the_case_has_three_people_if_any_dialogue_has() -> None:
    def talk(name: str, party: list[int]) -> Dialogue:
        return Dialogue(name, np.zeros(len(party), dtype=int), np.array(party), None, {})

    talks = [talk("two", [0, 1, 0]), talk("three", [0, 1, 2])]
    table = pd.DataFrame({"split": "test", "dialogue": ["two"] * 3 + ["three"] * 3})
    one, other = table.assign(predicted=0), table.assign(predicted=[1, 1, 1, 1, 0, 0])
    assert case_dialogue(one, other, range(1, 9), talks) == "two"
    assert case_dialogue(one, other, range(1, 9), talks, people=3) == "three"
    assert case_dialogue(one, other, range(1, 9), talks[:1], people=3) == "two"


def test_the_unknown_speaker_is_compared_with_the_others() -> None:
    weights = pd.DataFrame(
        [
            {"speaker": who, "modality": m, "gate": 0.5, "scale": x, "shift": 2 * x}
            for who, x in (("unknown", 0.05), ("Ada", 0.5), ("Ben", 0.2))
            for m in ("audio", "visual")
        ]
    )
    said = identity_answer(weights)
    assert "FiLM does least for the unknown speaker" in said
    assert "by 0.10 (mean" in said
    assert said.endswith("that is 0.40 to 1.00.")
    weights.loc[weights["speaker"] == "unknown", "shift"] = 3
    assert "does not do least" in identity_answer(weights)
    assert identity_answer(weights.assign(scale=np.nan)).startswith("Nothing is calibrated")


def test_the_case_counts_right_turns_and_measures_the_distance() -> None:
    case = pd.DataFrame({"emotion": ["joy", "fear"], "MultiEMO": "joy", "ML-SAN": "anger"})
    assert correct(case, PAIR) == "MultiEMO 1, ML-SAN 0"
    centre = {("Ada", "raw"): 0.0, ("Ben", "raw"): 4.0, ("Ada", "calibrated"): 0.0}
    centre |= {("Ben", "calibrated"): 1.0}
    places = pd.DataFrame(
        {"speaker": who, "stage": stage, "x": x, "y": 0.0} for (who, stage), x in centre.items()
    )
    said = distance_answer(places, "audio")
    assert said.startswith("**The speakers of this conversation come closer.**")
    assert "are 4.00 standard deviations apart in the raw audio features and 1.00 after" in said
    swapped = places.assign(stage=places["stage"].map({"raw": "calibrated", "calibrated": "raw"}))
    assert "do not come closer" in distance_answer(swapped.iloc[::-1], "audio")


@pytest.mark.parametrize(
    ("low", "word"), [(0.1, "holds"), (-0.1, "undecided"), (-0.9, "does not hold")]
)
def test_the_gates_verdict_follows_the_interval(low: float, word: str) -> None:
    row = {"corpus": "sim-meld", "system": "ML-SAN", "seeds": 3, "audio": 0.5, "visual": 0.25}
    row |= {"rho": low + 0.05, "rho_low": low, "rho_high": low + 0.3}
    (said,) = balance_findings(pd.DataFrame([row, row | {"audio": 0.7}]))
    assert f"sim-meld, ML-SAN: the gate follows what a speaker shows: **{word}**; " in said
    assert "deviation of 0.1414 over speakers; in the paper's Fig. 3 the two differ by 0.56" in said


def counts(right: float, total: int = 40) -> Counts:
    """Three seeds, 20 dialogues; the first emotion's recall is `right`, the second's one half."""
    table = np.zeros((3, 20, 2, 2), dtype=int)
    table[:, :, 0, 0] = round(total * right)
    table[:, :, 0, 1] = total - round(total * right)
    table[:, :, 1] = 5
    return Counts((0, 1, 2), tuple(map(str, range(20))), table, 3)


def test_recalls_change_where_the_interval_says_so() -> None:
    shown, said = recall_changes({"MultiEMO": counts(0.5), "ML-SAN": counts(0.75)}, ("joy", "fear"))
    assert shown["emotion"].tolist() == ["fear", "joy"], "the rarest first"
    assert shown["test utterances"].tolist() == [200, 800]
    assert shown["Δ [95 %]"].tolist() == ["+0.00 [+0.00, +0.00]", "+25.00 [+25.00, +25.00]"]
    assert said[0].endswith("joy +25.00 [+25.00, +25.00].")
    assert said[0].startswith("recall rises (interval above zero): ")
    assert said[1].endswith("below zero): no emotion."), "a change of exactly 0 is none"


def probes(z: float) -> pd.DataFrame:
    rows = [
        {"target": target, "system": system, "stage": stage, "wf1_mean": score}
        for target in ("speaker", "stranger")
        for system in ("MultiEMO", "ML-SAN")
        for stage, score in (("raw", 90.0), ("calibrated", 14.0), ("z", z))
    ]
    table = pd.DataFrame(rows).assign(corpus="sim-meld", chance=12.0, seeds=3)
    table = table.assign(low=table["wf1_mean"] - 1, high=table["wf1_mean"] + 1)
    above = {"above": "wf1_mean", "above_low": "low", "above_high": "high"}
    return table.assign(**{name: table[of] - table["chance"] for name, of in above.items()})


def test_probes_decide_what_is_neutral() -> None:
    (said,) = probe_findings(probes(95), 5.0)
    assert 'ML-SAN: the speaker is hardest to name at "calibrated" and easiest at "z"**' in said
    assert "(+2.0 and +83.0 points of W-F1" in said
    assert (
        'chance), "calibrated" is neutral (+2.00 [+1.00, +3.00]) and "z" is not neutral (+8' in said
    )
    assert '"z" is undecided' in probe_findings(probes(17), 5.0)[0]
    assert probe_findings(probes(95).query("system == 'MultiEMO'"), 5.0) == []
    first, second = calibrated_sentences(probes(95))
    assert first == (
        "sim-meld, the training speakers who speak most: the probe's W-F1 is 90.0 on raw features. "
        "On calibrated features: ML-SAN 14.0. Chance is 12.0."
    )
    assert "enrolled strangers" in second


def test_recovery_names_the_closer_start() -> None:
    row = {"corpus": "sim-meld", "speakers": "seen", "none": 0.1, "best": 0.9}
    row |= {"learned (statistics start)": 0.7, "learned as printed": 0.2}
    data = pd.DataFrame([row | {"modality": "audio"}, row | {"modality": "visual"}])
    (said,) = recovery_findings(data)
    assert "seen: the statistics start is closer to the best in every modality**" in said
    data.loc[1, "learned as printed"] = 0.8
    (said,) = recovery_findings(data)
    assert "closer to the best in 1 of 2 modalities** (audio: 0.70, best 0.90, as printed" in said


def test_the_way_of_one_utterance() -> None:
    said = way_answer({0: 0.4, 1: 0.3, 3: 0.2, 15: 0.0})
    assert said.startswith("**One utterance goes 25 % of the way** from")
    assert "falls from 0.40 to 0.30 (root" in said
    assert said.endswith("Of more utterances, 3 go 50 %, 15 go 100 %.")


def test_changed_answers_count_both_ways() -> None:
    talk = replace(dialogue([0, 1, 1, 0]), speaker=("Eve", "Eve", "Ada", "Eve"))
    unknown, enrolled = np.array([1, 1, 0, 0]), np.array([0, 1, 1, 1])
    said = changed_answers([talk], [unknown], [enrolled], "Eve", ("joy", "fear"))
    assert said.startswith(
        "**Enrolment changes 2 of 3 answers**: 1 become right and 1 become wrong"
    )
    assert "Correct: not enrolled 67 %, enrolled 67 %." in said
    rows = said.splitlines()[-2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [["7", "1", "joy", "fear", "joy"], ["7", "4", "joy", "joy", "fear"]]
    same = changed_answers([talk], [unknown], [unknown], "Eve", ("joy", "fear"))
    assert "changes 0 of 3" in same
    assert "|" not in same


def enrolment_rows() -> pd.DataFrame:
    rows = []
    for part, utterances in (("all", 90), ("seen", 60), ("unseen", 30)):
        for way, delta in zip(AMOUNTS.values(), (-3, -1, 0, 2, 4), strict=True):
            row = {"corpus": "sim-meld", "part": part, "utterances": utterances, "system": way}
            row |= {"wf1_mean": 50 + delta, "delta": float(delta), "seeds": 3}
            rows.append(row | {"low": delta - 1.5, "high": delta + 1.5})
    return pd.DataFrame(rows)


def test_enrolment_is_better_worse_or_undecided() -> None:
    found = enrolment_findings(enrolment_rows())
    assert len(found) == 3
    assert found[2] == (
        "sim-meld, unseen speakers (30 utterances), against MultiEMO: **better**: 10 other "
        "utterances +2.00 [+0.50, +3.50], all +4.00 [+2.50, +5.50]; **worse**: none -3.00 [-4.50, "
        "-1.50]; **undecided**: the dialogue so far -1.00 [-2.50, +0.50], the dialogue +0.00 "
        "[-1.50, +1.50]."
    )
    nobody = enrolment_rows().query("part != 'unseen'").assign(utterances=60)
    assert [line.split(" (")[0] for line in enrolment_findings(nobody)] == [
        "sim-meld, seen speakers"
    ]
    (said,) = dialogue_answer(enrolment_rows())
    assert said.startswith(
        "**sim-meld: the dialogue is number 3 of 5, counted from the best** (all 54.00, 10"
    )


def test_the_curve_reaches_half_of_its_gain() -> None:
    wf1 = {"0": 50.0, "1": 51.0, "3": 54.0, "10": 56.0, "30": 57.0, "100": 58.0, "all": 60.0}
    wf1 |= {"past": 52.0, "dialogue": 53.0}
    rows = [
        {"corpus": "sim-meld", "system": "ML-SAN", "amount": amount, "wf1": score}
        | {"gained": (score - 50) / 10}
        for amount, score in wf1.items()
    ]
    rows.append({"corpus": "sim-meld", "system": "MultiEMO", "amount": "", "wf1": 49.0})
    curve = pd.DataFrame(rows)
    assert half_answer(curve) == [
        "**sim-meld: half of the gain is reached with 10 utterances** (60 % of what all utterances "
        "gain)."
    ]
    assert "gains nothing" in half_answer(curve.assign(gained=np.nan))[0]
    (said,) = curve_sentences(curve)
    assert "is +1.00 points without enrolment, +7.00 with 10 utterances and +11.00 with all" in said
    assert said.endswith("The curve never falls with more utterances.")
    low = curve.assign(wf1=curve["wf1"].where(curve["amount"] != "30", 55.0))
    assert curve_sentences(low)[0].endswith("falls by at most 1.00 points with more utterances.")
    enrolled = {"dialogue": counts(0.5), 10: counts(0.75)}
    verdict, gains = session_answer(curve, enrolled)
    assert "better enrolment than ten utterances of other sessions: **does not hold**; -" in verdict
    assert "**holds**; +" in session_answer(curve, {"dialogue": counts(0.75), 10: counts(0.5)})[0]
    assert "(50.00) to all (60.00), ten utterances give 60 % and the session 30 %." in gains
    assert gains.endswith("The curve never falls with more utterances.")


def test_who_gains_most_from_the_three_parts() -> None:
    deltas = {"BC-LSTM": 3.0, "SDT": -1.0, "MultiEMO": 2.0}
    rows = [
        {"system": s, "strangers": k, "delta": d} for s, d in deltas.items() for k in ("", "all")
    ]
    (said,) = speaker_answer(pd.DataFrame(rows).assign(corpus="sim-meld"))
    assert said.startswith("**sim-meld: BC-LSTM gains most** (+3.00 points) and SDT least (-1.00).")
    assert said.endswith("gains +3.00, the models that do +0.50 on average.")


def test_what_is_missed_most_and_what_dropout_costs() -> None:
    rows = [
        {"condition": name, "absent": absent, "wf1_mean": score, "dropout": dropout}
        for dropout in (0.0, 0.2)
        for name, absent, score in (("clean", "", 60.0), ("no text", "text", 40.0 + 50 * dropout))
    ]
    table = pd.DataFrame(rows).assign(corpus="sim-meld", system="ML-SAN")
    assert absent_answer(table) == [
        "**sim-meld, ML-SAN: missed most** is text (-20.0 points); with modality dropout text "
        "(-10.0 points)."
    ]
    parts = []
    for seed, dropout in product((0, 1), (0.0, 0.2)):
        ids = np.repeat([f"d{i}" for i in range(10)], 4)
        own = pd.DataFrame({"dialogue": ids, "turn": np.tile(range(4), 10), "seed": seed})
        own["label"] = np.tile([0, 1, 0, 1], 10)
        own["predicted"] = own["label"] if not dropout else 0
        parts.append(own.assign(dropout=dropout, split="test", speaker="Ada", seen=True))
    found = pd.concat(parts).assign(benchmark="MELD", system="ML-SAN", condition="clean")
    (said,) = dropout_findings(found, {"MELD": ("joy", "fear")}, {"MELD": "sim-meld"})
    assert said.startswith(
        "sim-meld: modality dropout lowers ML-SAN's score on clean data: **holds**"
    )


def test_the_probe_is_compared_with_the_best_model() -> None:
    rows = [(TEXT_PROBE, 50.0), ("MultiEMO", 60.0), ("ML-SAN", 62.5)]
    table = pd.DataFrame(rows, columns=["system", "wf1"]).assign(benchmark="MELD")
    names = {"MELD": "sim-meld"}
    said = [
        "**sim-meld: the probe scores 50.0** and the best model, ML-SAN, 62.5: the model adds 12.5 "
        "points."
    ]
    assert probe_answer(table, names) == said
    assert probe_answer(table[:1], names) == ["**sim-meld: the probe scores 50.0**."]


def test_evidence_on_gates_is_answered_at_once() -> None:
    truth = pd.Series({"Ada": -1.0, "Ben": 0.0, "Cleo": 0.5, "Dov": 2.0})
    learned = [
        pd.DataFrame({"audio": 0.5 + 0.1 * truth + noise, "visual": 0.5})
        for noise in (np.array([0.01, 0, 0, 0]), np.array([0, 0, 0.01, 0]))
    ]
    key = "MELD", "ML-SAN"
    evidence = gates_evidence({key: learned}, {"MELD": truth}, {key: True})
    assert [one.claim for one in evidence] == ["swing", "dynamic", "balance"]
    assert evidence[0].found.value == pytest.approx(0.2)
    said = answered_claims(evidence, {"MELD": "sim-meld"}, "balance")
    assert "the gate opens for the modality in which" in said
    assert " holds: 1.00" in said or " undecided: 1.00" in said
    unknown = gates_evidence({key: learned}, {}, {key: True})
    assert "cannot be tested here" in answered_claims(unknown, {"MELD": "sim-meld"}, "balance")
    assert gates_evidence({key: [one[["audio"]] for one in learned]}, {}, {key: True}) == []


def voices(unseen: float, enrolled: tuple[float, float, float]) -> pd.DataFrame:
    rows = [("seen", "MultiEMO", "", 60.0), ("unseen", "MultiEMO", "", unseen)]
    rows += [("seen", "ML-SAN", "", 61.0)]
    rows += [("unseen", "ML-SAN", a, x) for a, x in zip(("0", "10", "all"), enrolled, strict=True)]
    rows += [("seen", FLAT, "", 70.0), ("unseen", FLAT, "all", 65.0)]
    table = pd.DataFrame(rows, columns=["protocol", "system", "amount", "wf1_mean"])
    table["delta"] = table["wf1_mean"] - table["protocol"].map({"seen": 60.0, "unseen": unseen})
    table = table.assign(low=table["delta"] - 1, high=table["delta"] + 1, reference="MultiEMO")
    also = table[(table["system"] == "ML-SAN") & table["amount"].isin(("", "all"))]
    table.loc[table["system"] == "MultiEMO", ["delta", "low", "high"]] = np.nan
    also = also.assign(reference="MultiEMO, features standardised by speaker")
    return pd.concat([table, also], ignore_index=True).assign(seeds=3)


def test_what_a_stranger_costs() -> None:
    said = stranger_answer(voices(30.0, (31.0, 46.0, 50.0)))
    assert said.startswith("**A stranger costs MultiEMO 30.0 points** (60.0 on seen actors, 30.0")
    assert said.endswith("Half of it is won back with 10 utterances (ML-SAN: 46.0).")
    assert "No amount" in stranger_answer(voices(30.0, (31.0, 36.0, 40.0)))
    assert "costs MultiEMO nothing" in stranger_answer(voices(61.0, (31.0, 36.0, 40.0)))
    found = voices_findings(voices(30.0, (29.5, 46.0, 50.0)))
    assert found[0].startswith("seen actors: ML-SAN is better than MultiEMO: **undecided**; +1.00")
    assert found[1].startswith("unseen actors, not enrolled: ML-SAN is better than MultiEMO: **un")
    assert "enrolled with 10 utterances: ML-SAN is better than MultiEMO: **holds**; +16" in found[2]
    lines = summary(voices(30.0, (31.0, 46.0, 50.0)))
    assert lines[0] == "Seen actors: ML-SAN 61.0, MultiEMO 60.0, difference +1.00 [+0.00, +2.00]."
    assert "reaches 70.0 on seen and 65.0 on unseen actors, ML-SAN 61.0 and 50.0." in lines[3]


def test_where_clouds_go_and_what_moves() -> None:
    rows = [("IC0", "raw", 200.0), ("MP0", "raw", 100.0)]
    rows += [("IC0", "calibrated", 150.0), ("MP0", "calibrated", 150.0)]
    places = pd.DataFrame(rows, columns=["speaker", "stage", "pitch"]).assign(level=-20.0)
    first, woman, _ = clouds_answer(places, {"IC0": "female", "MP0": "male"})
    assert first.startswith("**The clouds come together**: in median pitch they are 12.0 semitones")
    assert woman.startswith("IC0 (female): median pitch 200 → 150 Hz, level -20.0 → -20.0 dB.")
    names = [f"f{i}" for i in range(14)]
    moved = pd.DataFrame({"speaker": "IC0", "feature": names, "move": range(14, 0, -1)})
    gates = pd.DataFrame({"speaker": ["IC0", "MP0"], "seed": 0, "gate": [0.25, 0.5]})
    assert (
        "**Pitch is among the first twelve**: the mean pitch is number 12 of 14"
        in inside_answer(moved, gates, "f11")
    )
    assert "**Pitch is not among" in inside_answer(moved, gates, "f12")
    assert neutral_answer(72.0, 17.0, (12.0, 15.0)).startswith("**The tenth keeps")
    assert neutral_answer(17.0, 72.0, (12.0, 15.0)).startswith("**The full rate keeps")
