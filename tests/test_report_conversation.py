"""Words, conversations, failures and findings: what a reader is shown of single utterances."""

from dataclasses import replace
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
    identity_answer,
    probe_findings,
    recall_changes,
    recovery_findings,
)
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
    assert "row is closest to the identity" in said
    assert "by 0.10 (root" in said
    assert "by 0.40 to 1.00." in said
    weights.loc[weights["speaker"] == "unknown", "shift"] = 3
    assert "is not closest" in identity_answer(weights)
    assert identity_answer(weights.assign(scale=np.nan)).startswith("Nothing is calibrated")


@pytest.mark.parametrize(
    ("low", "word"), [(0.1, "holds"), (-0.1, "undecided"), (-0.9, "does not hold")]
)
def test_the_gates_verdict_follows_the_interval(low: float, word: str) -> None:
    row = {"corpus": "sim-meld", "system": "ML-SAN", "seeds": 3, "audio": 0.5, "visual": 0.25}
    row |= {"rho": low + 0.05, "rho_low": low, "rho_high": low + 0.3}
    (said,) = balance_findings(pd.DataFrame([row, row | {"audio": 0.7}]))
    assert f"sim-meld, ML-SAN: the gate follows what a speaker shows: **{word}**; " in said
    assert "by 0.1414" in said


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
    assert said[1].endswith("zero: nowhere."), "a change of exactly 0 is none"


def probes(z: float) -> pd.DataFrame:
    rows = [
        {"target": target, "system": system, "stage": stage, "wf1_mean": score}
        for target in ("speaker", "stranger")
        for system in ("MultiEMO", "ML-SAN")
        for stage, score in (("raw", 90.0), ("calibrated", 14.0), ("z", z))
    ]
    table = pd.DataFrame(rows).assign(corpus="sim-meld", chance=12.0, seeds=3)
    return table.assign(low=table["wf1_mean"] - 1, high=table["wf1_mean"] + 1)


def test_probes_decide_what_is_neutral() -> None:
    (said,) = probe_findings(probes(95), 5.0)
    assert "hardest to name at the stage calibrated and easiest at z** (+2.0 and +83.0" in said
    assert "calibrated is neutral (+2.00 [+1.00, +3.00] points) and z is not neutral" in said
    assert "z is undecided" in probe_findings(probes(17), 5.0)[0]
    assert probe_findings(probes(95).query("system == 'MultiEMO'"), 5.0) == []
    first, second = calibrated_sentences(probes(95))
    assert first == (
        "sim-meld, the speakers who speak most: the probe's W-F1 is 90.0 on raw features; on "
        "calibrated features ML-SAN 14.0; chance is 12.0."
    )
    assert "the strangers, enrolled" in second


def test_recovery_names_the_closer_start() -> None:
    row = {"corpus": "sim-meld", "speakers": "seen", "none": 0.1, "best": 0.9}
    row |= {"learned (statistics start)": 0.7, "learned as printed": 0.2}
    data = pd.DataFrame([row | {"modality": "audio"}, row | {"modality": "visual"}])
    assert "seen: the statistics start is closer in every modality**" in recovery_findings(data)[0]
    data.loc[1, "learned as printed"] = 0.8
    assert "closer in 1 of 2** (audio 0.70 of at most 0.90" in recovery_findings(data)[0]
