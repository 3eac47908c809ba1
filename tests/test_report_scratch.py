"""Notebook 0's figures and findings, and the badges."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mlsan.report import Provenance, notebooks, save_figure
from mlsan.report.badges import badges, repository
from mlsan.report.nb00_from_scratch import FIG0, actors_figure, finding, starts_figure

EMOTIONS = ("neutral", "joy")
STARTS = ("zero", "oracle")


def points() -> pd.DataFrame:
    rows = [
        (start, speaker, emotion, float(i), float(len(speaker)))
        for start in STARTS
        for speaker in ("8", "9", "")
        for i, emotion in enumerate(EMOTIONS)
    ]
    return pd.DataFrame(rows, columns=["start", "speaker", "emotion", "x", "y"])


def test_starts_figure_has_a_panel_per_start_on_equal_axes_and_the_scores() -> None:
    rows = [(start, seed, 10.0 * i + seed) for i, start in enumerate(STARTS) for seed in range(3)]
    scores = pd.DataFrame(rows, columns=["start", "seed", "wf1"])
    figure = starts_figure(points(), scores, EMOTIONS)
    *planes, right = figure.axes
    assert [axis.get_title() for axis in planes] == ["zero start", "oracle start"]
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in planes}) == 1
    shown = [sorted(map(tuple, dots.get_offsets().tolist())) for dots in planes[0].collections]
    assert shown == [[(0, 1), (0, 1), (1, 1), (1, 1)], [(0, 0), (1, 0)]]
    *seeds, mean = (list(line.get_ydata()) for line in right.get_lines())
    assert seeds == [[0, 10], [1, 11], [2, 12]]
    assert mean == [1, 11]
    assert [text.get_text() for text in figure.texts] == ["simulated data"]
    plt.close(figure)


def test_actors_figure_joins_the_two_scores_of_each_actor() -> None:
    scores = pd.DataFrame({"zero": [30.0, 40.0], "statistics": [70.0, 50.0]}, index=["A", "B"])
    figure = actors_figure(scores, ("zero", "statistics"))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["B", "A"]
    (lines,) = axis.collections
    assert [segment[:, 0].tolist() for segment in lines.get_segments()] == [[40, 50], [30, 70]]
    plt.close(figure)


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ([4, 5, 6], "+5.0 points [+2.5, +7.5]; the interval is above zero"),
        ([-4, -5, -6], "-5.0 points [-7.5, -2.5]; the interval is below zero"),
        ([-4, 5, -1, 4], "+1.0 points [-5.8, +7.8]; the interval includes zero"),
    ],
)
def test_finding_states_mean_interval_and_verdict(differences: list[float], text: str) -> None:
    assert finding("a against b", np.array(differences, float)) == f"a against b: {text}"


def test_caption_says_where_the_data_come_from_on_any_corpus(tmp_path: Path) -> None:
    origin = Provenance("00_from_scratch", "small", "multiemo", False, {"MELD": "a"}, (), "c")
    scores = pd.DataFrame({"start": STARTS, "seed": 0, "wf1": 50.0})
    figure = starts_figure(points(), scores, EMOTIONS)
    caption = save_figure(figure, points(), FIG0.name, tmp_path, origin)
    plt.close(figure)
    assert caption.endswith(FIG0.origin)
    assert "On MELD" not in caption


def pyproject(folder: Path, urls: str = "") -> Path:
    path = folder / "pyproject.toml"
    path.write_text(f'[project]\nname = "x"\n{urls}')
    return path


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_address_is_read_from_pyproject(tmp_path: Path, end: str) -> None:
    urls = f'[project.urls]\nRepository = "https://github.com/ada/ml-san.x{end}"\n'
    assert repository(pyproject(tmp_path, urls)) == "ada/ml-san.x"


def test_without_an_address_there_are_no_badges(tmp_path: Path) -> None:
    assert repository(pyproject(tmp_path)) == ""
    assert repository(tmp_path / "absent.toml") == ""
    assert badges("00_x", "") == ""


def test_other_hosts_are_refused(tmp_path: Path) -> None:
    urls = '[project.urls]\nRepository = "https://example.org/ada/x"\n'
    with pytest.raises(ValueError, match=r"Repository = 'https://example\.org/ada/x' is not"):
        repository(pyproject(tmp_path, urls))


def test_badges_lead_to_the_notebook() -> None:
    text = badges("00_x", "ada/x")
    for link in (
        "(https://colab.research.google.com/github/ada/x/blob/main/notebooks/00_x.ipynb)",
        "(https://mybinder.org/v2/gh/ada/x/main?urlpath=lab/tree/notebooks/00_x.ipynb)",
        "pip install git+https://github.com/ada/x`",
    ):
        assert link in text


def test_published_notebook_has_badges_where_its_source_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "00_x.py"
    source.write_text('# %% [markdown] tags=["badges"]\n# # A title\n\n# %% [markdown]\n# Text\n')
    plain = notebooks._read(source)
    monkeypatch.setattr(notebooks, "repository", lambda: "ada/x")
    first, second = notebooks._read(source).cells
    assert first.source == f"# A title\n\n{badges('00_x', 'ada/x')}"
    assert second.source == plain.cells[1].source == "Text"
    published = notebooks.publish(source)
    assert notebooks.drift(source, published) == []
    assert notebooks._read(published).cells[0].source == first.source
    monkeypatch.setattr(notebooks, "repository", lambda: "")
    assert "cell 1 differs from its source" in notebooks.drift(source, published)[0]
