"""Table A8 and Fig. A12."""

import base64
import re

import numpy as np
import pandas as pd
import pytest

from mlsan.evaluation.counts import Counts
from mlsan.report import ARTIFACTS, use_style
from mlsan.report.nb09_voices import (
    FLAT,
    LINEAR,
    MADE_UP,
    ORDER,
    actors_figure,
    actors_table,
    calibration_figure,
    changes_answer,
    gain_answer,
    inside_figure,
    largest_changes,
    most_moved,
    players,
    sound_figure,
    sound_table,
    voices_table,
)
from mlsan.report.tables import STANDARDISED

AMOUNTS = ("0", "1", "3", "10", "30", "100", "all")


def counts(right: float, seeds: int = 3, dialogues: int = 12) -> Counts:
    """Predictions of which about this share is right, three classes."""
    draw = np.random.default_rng(round(1000 * right))
    table = np.zeros((seeds, dialogues, 3, 3), int)
    for true in range(3):
        hit = draw.binomial(8, right, size=(seeds, dialogues))
        table[:, :, true, true] = hit
        table[:, :, true, (true + 1) % 3] = 8 - hit
    names = tuple(f"d{i}" for i in range(dialogues))
    return Counts(tuple(range(seeds)), names, table, seeds)


@pytest.fixture(scope="module")
def table8():
    right = dict(zip(ORDER, (0.5, 0.8, 0.6, 0.7, 0.2, 0.9), strict=True))
    seen = {system: counts(share) for system, share in right.items()}
    unseen = {
        (system, "all" if system in (FLAT, STANDARDISED) else ""): counts(share - 0.1)
        for system, share in right.items()
        if system != "ML-SAN"
    }
    unseen |= {("ML-SAN", n): counts(0.55 + 0.03 * i) for i, n in enumerate(AMOUNTS)}
    return voices_table(seen, unseen)


def test_table8_compares_every_row_with_multiemo(table8):
    data = table8.data.set_index(["protocol", "system", "amount", "reference"])
    base = data.loc[("seen", "MultiEMO", "", "")]
    assert np.isnan(base["delta"])
    row = data.loc[("seen", "ML-SAN", "", "MultiEMO")]
    assert row["delta"] == pytest.approx(row["wf1_mean"] - base["wf1_mean"])
    assert row["low"] < row["delta"] < row["high"]
    assert row["p_t_holm"] >= row["p_t"]
    assert set(data.xs("unseen").xs("ML-SAN").index.get_level_values("amount")) == set(AMOUNTS)
    assert (data["utterances"] == 12 * 3 * 8).all()


def test_table8_compares_ml_san_with_standardised_features(table8):
    data = table8.data
    second = data[data["reference"] == STANDARDISED]
    assert second[["protocol", "system", "amount"]].to_numpy().tolist() == [
        ["seen", "ML-SAN", ""],
        ["unseen", "ML-SAN", "all"],
    ]
    shown = table8.shown.set_index(["actors", "system"])
    row = shown.loc[("unseen", f"ML-SAN, against {STANDARDISED}")]
    assert row["unlabelled utterances"] == "all"
    assert row["Δ [95 %]"].startswith("+")


def test_table8_has_a_line_for_every_comparison(table8):
    shown = table8.shown
    assert len(shown) == len(table8.data)
    assert len(shown.columns) == 6
    assert list(shown["actors"].unique()) == ["seen", "unseen"]
    by = shown[shown["actors"] == "unseen"].set_index("system")
    own = by.loc[["ML-SAN"], "unlabelled utterances"].tolist()
    assert own == ["none" if n == "0" else n for n in AMOUNTS]
    assert by.loc["MultiEMO", ["unlabelled utterances", "Δ [95 %]"]].tolist() == ["none", "–"]
    assert by.loc[STANDARDISED, "unlabelled utterances"] == "every speaker's"
    seen = shown[shown["actors"] == "seen"].set_index("system")
    assert "±" in seen.loc["ML-SAN", "W-F1"]
    assert "±" not in seen.loc[LINEAR, "W-F1"], "a probe is the same for every seed"


def test_captions_say_what_is_made_up_and_what_is_used():
    assert "nobody talks to anybody" in MADE_UP
    caption = ARTIFACTS["table8_voices"].caption
    assert "unlabelled utterances of other test sessions" in caption
    assert "those of test included" in caption
    voices = [a for a in ARTIFACTS.values() if a.needs == "voices"]
    assert len(voices) == 7
    assert all(a.notebook == "09_voices" for a in voices)


def test_voices_make_their_own_artifacts_and_no_others():
    everything = {"simulation", "names", "strangers", "sessions"}
    for artifact in ARTIFACTS.values():
        assert artifact.fits({"voices", *everything}) == (artifact.needs == "voices")
        assert artifact.fits(everything) == (artifact.needs != "voices")


GENDERS = {"A": "female", "B": "male", "C": "male"}


@pytest.fixture(scope="module")
def people():
    gain = {"A": 0.1, "B": 0.3, "C": -0.1}
    systems = {
        "MultiEMO": {actor: counts(0.5) for actor in GENDERS},
        "ML-SAN, none": {actor: counts(0.55) for actor in GENDERS},
        "ML-SAN, all": {actor: counts(0.5 + more) for actor, more in gain.items()},
    }
    return actors_table(systems, GENDERS)


def test_actors_are_in_the_order_of_their_gain(people):
    assert list(people["actor"].unique()) == ["B", "A", "C"]
    full = people[people["system"] == "ML-SAN, all"].set_index("actor")
    assert full.loc["B", "delta_low"] > 0 > full.loc["C", "delta_high"]
    assert people.loc[people["system"] == "MultiEMO", "delta"].isna().all()
    assert full.loc["B", "gender"] == "male"


def test_actors_figure_has_every_actor(people):
    use_style()
    left, right = actors_figure(people).axes
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["B\nm", "A\nf", "C\nm"]
    assert left.get_legend_handles_labels()[1] == ["MultiEMO", "ML-SAN, none", "ML-SAN, all"]


def test_calibration_figure_has_a_panel_per_stage():
    draw = np.random.default_rng(0)
    places = pd.DataFrame(
        {
            "stage": np.repeat(["raw", "calibrated"], 40),
            "speaker": np.tile(["A", "B"], 40),
            "label": 0,
            "pitch": draw.uniform(90, 250, 80),
            "level": draw.uniform(-30, -15, 80),
        }
    )
    panels = calibration_figure(places, GENDERS).axes
    assert [axis.get_title() for axis in panels] == ["raw", "calibrated"]
    assert panels[0].get_legend_handles_labels()[1] == ["A (female)", "B (male)"]


def test_the_most_moved_features_come_first():
    moved = pd.DataFrame(
        [(s, f"f{i}", i + (s == "A")) for s in "AB" for i in range(20)],
        columns=["speaker", "feature", "move"],
    )
    assert most_moved(moved, 3) == ["f19", "f18", "f17"]
    gates = pd.DataFrame(
        {"speaker": ["unknown", "A", "B"] * 2, "seed": np.repeat([0, 1], 3), "gate": 0.9}
    )
    left, right = inside_figure(moved, gates, GENDERS).axes
    assert next(tick.get_text() for tick in left.get_yticklabels()) == "f19"
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["unknown", "A", "B"]


def test_sound_figure_has_a_column_per_clip():
    rate = 24000
    time = np.arange(rate // 2) / rate
    clips = {
        f"{pitch} Hz": (0.3 * np.sin(2 * np.pi * pitch * time).astype(np.float32), rate)
        for pitch in (120, 240)
    }
    frames = sound_table(clips)
    assert list(frames.columns) == ["clip", "time", "pitch", "level"]
    medians = frames.groupby("clip", sort=False)["pitch"].median()
    assert medians.to_numpy() == pytest.approx([120, 240], rel=0.02)
    axes = sound_figure(clips, frames).axes
    assert len(axes) == 6
    assert [axis.get_title() for axis in axes[:2]] == ["120 Hz", "240 Hz"]


def test_largest_changes_are_confusions():
    shares = pd.DataFrame(
        [
            (system, true, predicted, share)
            for system, table in (
                ("a", [[0.5, 0.5, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]]),
                ("b", [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]]),
            )
            for true, row in zip("xyz", table, strict=True)
            for predicted, share in zip("xyz", row, strict=True)
        ],
        columns=["system", "emotion", "predicted", "share"],
    )
    found = largest_changes(shares, ("a", "b"), 2)
    assert found[["emotion", "predicted"]].to_numpy().tolist() == [["x", "y"], ["z", "y"]]
    assert found["change"].tolist() == pytest.approx([-40, -10])
    assert changes_answer(shares, ("a", "b"))[0] == "x taken for y: 50 % → 10 %."


def test_clips_are_played_in_one_table(tmp_path):
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"RIFF sound")
    text = players({"man & anger": clip, "woman": tmp_path / "absent.wav"})
    assert text.count("<tr>") == 2
    assert "<td>man &amp; anger</td>" in text
    (data,) = re.findall(r'<audio controls src="data:audio/wav;base64,([^"]+)"></audio>', text)
    assert base64.b64decode(data) == b"RIFF sound"
    assert "<td>woman</td><td>not installed</td>" in text


def test_gains_of_people_are_counted():
    people = pd.DataFrame({"actor": ["A", "B"], "delta": [5.0, -2.0]})
    people = people.assign(delta_low=people["delta"] - 1, delta_high=people["delta"] + 1)
    said = gain_answer(people)
    assert said.startswith("**Not everybody gains for certain.** Of 2 actors 1 gain (interval")
    assert "that of A, +5.00 [+4.00, +6.00]; the smallest that of B, -2.00 [-3.00, -1.00]." in said
    assert gain_answer(people[:1]).startswith("**Everybody gains.**")
