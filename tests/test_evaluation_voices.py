"""Folds scored as one test set, actors one by one, calibration in Hz and dB, and sound."""

import numpy as np
import pandas as pd
import pytest

from mlsan.evaluation import Stages, score_table
from mlsan.evaluation.acoustics import contour, mel_edges, mel_spectrogram
from mlsan.evaluation.counts import Counts, dialogue_counts
from mlsan.evaluation.voices import (
    LEVEL,
    PITCH,
    by_actor,
    hertz,
    moves,
    pitch_and_level,
    pooled,
    pooled_unseen,
    speaker_probes,
)

CLASSES = 3


def predictions(seed: int, actors: str, turns: int = 40) -> pd.DataFrame:
    """Random predictions of a fold; the same labels for every seed."""
    label = np.random.default_rng(len(actors)).integers(CLASSES, size=turns)
    return pd.DataFrame(
        {
            "split": "test",
            "dialogue": [str(turn // 10) for turn in range(turns)],
            "turn": np.arange(turns) % 10,
            "speaker": np.resize(list(actors), turns),
            "label": label,
            "seen": False,
            "predicted": np.random.default_rng(seed).integers(CLASSES, size=turns),
        }
    )


def test_pooled_folds_score_as_their_predictions_together():
    folds = [{s: predictions(s, actors) for s in (0, 1)} for actors in ("AB", "C")]
    found = pooled([dialogue_counts(fold, CLASSES) for fold in folds])
    for seed, score in zip(found.seeds, found.scores(), strict=True):
        both = pd.concat([fold[seed] for fold in folds])
        assert score == pytest.approx(score_table(both)["wf1"])
    assert len(found.dialogues) == len(set(found.dialogues)) == 8
    assert found.asked == 2


def test_pooled_folds_keep_the_seeds_that_every_fold_has():
    first = dialogue_counts({s: predictions(s, "AB") for s in (0, 1, 2)}, CLASSES)
    second = dialogue_counts({s: predictions(s, "C") for s in (2, 0)}, CLASSES, asked=3)
    found = pooled([first, second])
    assert found.seeds == (0, 2)
    assert found.asked == 3
    assert np.array_equal(found.table[1, :4], first.table[2])
    assert np.array_equal(found.table[1, 4:], second.table[0])


def test_seen_actors_are_not_pooled():
    counts = dialogue_counts({0: predictions(0, "AB")}, CLASSES)
    none = Counts((0,), ("x",), np.zeros((1, 1, CLASSES, CLASSES), int), 1)
    found = pooled_unseen({"seen": {"a": none}, "1": {"a": counts}, "2": {"a": counts}}, "seen")
    assert found.keys() == {"a"}
    assert found["a"].support.sum() == 80


def test_each_actor_is_scored_on_their_own_utterances():
    frames = {"k0": predictions(0, "AB"), "k1": predictions(1, "AB"), "k2": predictions(0, "C")}
    runs = pd.DataFrame(
        {"benchmark": ["one", "one", "two"], "seed": [0, 1, 0], "run": ["k0", "k1", "k2"]}
    )
    found = by_actor(runs, frames.get, CLASSES)
    assert list(found) == ["A", "B", "C"]
    assert {name: counts.seeds for name, counts in found.items()} == {
        "A": (0, 1),
        "B": (0, 1),
        "C": (0,),
    }
    own = frames["k1"][frames["k1"]["speaker"] == "B"]
    expected = score_table(own)["wf1"]
    assert found["B"].scores()[1] == pytest.approx(expected)


def stages(raw: np.ndarray, calibrated: np.ndarray, speaker) -> Stages:
    size = len(raw)
    return Stages(
        label=np.arange(size) % CLASSES,
        code=np.zeros(size, int),
        speaker=np.array(speaker),
        logits=np.zeros((size, CLASSES)),
        z=np.zeros((size, 2)),
        at={"raw": {"audio": raw}, "calibrated": {"audio": calibrated}},
    )


def test_moves_are_medians_by_speaker_and_feature():
    raw = np.zeros((6, 2))
    calibrated = np.array([[1, 0], [-1, 0], [100, 0], [0, 3], [0, 3], [0, -3]], float)
    found = moves(stages(raw, calibrated, list("AAABBB")), np.array(["f", "g"]))
    by = found.set_index(["speaker", "feature"])["move"]
    assert by.to_dict() == {("A", "f"): 1, ("A", "g"): 0, ("B", "f"): 0, ("B", "g"): 3}


def test_pitch_and_level_are_in_hertz_and_decibels():
    names = np.array(["other", LEVEL, PITCH])
    raw, calibrated = np.array([[9.0, 0, 0]]), np.array([[9.0, 1, 1]])
    mean, sd = np.array([0.0, -20, 24]), np.array([1.0, 5, 12])
    found = pitch_and_level(stages(raw, calibrated, ["A"]), names, mean, sd).set_index("stage")
    assert found.loc["raw", ["pitch", "level"]].tolist() == [110, -20]
    assert found.loc["calibrated", ["pitch", "level"]].tolist() == [220, -15]
    assert hertz(np.array([0.0, 12.0])).tolist() == [27.5, 55]


def test_speakers_are_named_from_raw_features_and_not_from_standardised_ones():
    draw = np.random.default_rng(0)

    def part(size):
        speaker = np.resize(["A", "B", "C"], size)
        level = np.select([speaker == "A", speaker == "B"], [-3, 0], 3)[:, None]
        noise = draw.normal(size=(size, 4))
        return stages(level + noise, noise, speaker)

    found = speaker_probes(part(300), part(90))
    assert found["raw"] > 95
    assert found["standardised"] < 50
    assert found["calibrated"] < 55


RATE = 24000


def tone(frequency: float, seconds: float = 0.5) -> np.ndarray:
    """A voice-like tone: a fundamental with weaker overtones."""
    time = np.arange(round(RATE * seconds)) / RATE
    parts = [0.3 / k * np.sin(2 * np.pi * k * frequency * time) for k in range(1, 6)]
    return np.sum(parts, axis=0).astype(np.float32)


@pytest.mark.parametrize("frequency", [90, 120, 180, 240, 350])
def test_pitch_of_a_tone_is_its_fundamental(frequency):
    found = contour(tone(frequency), RATE)
    assert np.isfinite(found.pitch[5:-5]).all()
    assert np.abs(found.pitch[5:-5] / frequency - 1).max() < 0.02
    power = 10 * np.log10(np.mean(tone(frequency) ** 2))
    assert np.median(found.level) == pytest.approx(power, abs=0.5)
    assert np.diff(found.time) == pytest.approx(0.01)


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert np.isfinite(contour(noise, RATE).pitch).mean() < 0.1
    half = np.concatenate([tone(150), np.zeros(RATE // 2, np.float32)])
    found = contour(half, RATE)
    assert np.isnan(found.pitch[60:]).all()
    assert found.level[-1] < -100
    assert np.isnan(contour(np.zeros(RATE, np.float32), RATE).pitch).all()


@pytest.mark.parametrize("frequency", [200, 1000, 5000])
def test_mel_spectrogram_has_its_power_in_the_right_band(frequency):
    time = np.arange(RATE) / RATE
    power = mel_spectrogram(np.sin(2 * np.pi * frequency * time).astype(np.float32), RATE)
    assert power.shape[0] == 64
    assert power.shape[1] == pytest.approx(100, abs=2)
    band = int(power.mean(axis=1).argmax())
    edges = mel_edges(RATE, 64)
    assert edges[band] < frequency < edges[band + 2]
