"""Sliders in the lessons: their pictures show the package's numbers, move, and stay readable."""

import ast
import base64
import re
from pathlib import Path

import jupytext
import numpy as np
import pytest
import torch
from ipywidgets import FloatSlider
from matplotlib.figure import Figure
from torch.nn.functional import cross_entropy

from mlsan.corpus.style import Population
from mlsan.model import reference
from mlsan.model.interface import Output
from mlsan.model.mlsan import MLSANSettings
from mlsan.report import sliders
from mlsan.report.explore import Explorer
from mlsan.report.notebooks import WIDGET, drift, execute, publish

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LESSONS = {
    "01_data": "heterogeneity",
    "03_mlsan": "calibration",
    "05_sensitivity": "trade_off",
    "07_beyond": "shrinkage",
}
SOURCE = """# %% [markdown]
# # A title

# %% tags=["parameters"]
PROFILE = "small"

# %%
from ipywidgets import IntSlider
from matplotlib.figure import Figure

from mlsan.report.explore import Explorer

Explorer(lambda n: (Figure((2, 1)), f"n is {n}."), n=IntSlider(3))
"""


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[−-]?\d+(?:\.\d+)?", text)]


# The widget


def fraction(x: float) -> tuple[Figure, str]:
    figure = Figure((2, 1))
    figure.subplots().plot([0, x])
    return figure, f"x < {x:.2f}."


def test_a_slider_redraws_the_picture_and_its_description() -> None:
    shown = Explorer(fraction, x=FloatSlider(0.5, min=0, max=1))
    assert shown.children == (shown.sliders["x"], shown.view)
    before = shown.png
    assert base64.b64decode(before).startswith(b"\x89PNG")
    assert 'alt="x &lt; 0.50."' in shown.view.value
    assert before in shown.view.value
    shown.sliders["x"].value = 1
    assert 'alt="x &lt; 1.00."' in shown.view.value
    assert before not in shown.view.value
    shown.sliders["x"].value = 0.5
    assert shown.png == before


def test_an_output_has_the_widget_and_the_picture() -> None:
    shown = Explorer(fraction, x=FloatSlider(0.5, min=0, max=1))
    bundle = shown._repr_mimebundle_()
    assert bundle.keys() == {WIDGET, "image/png", "text/plain"}
    assert bundle[WIDGET]["model_id"] == shown.model_id
    assert (bundle["image/png"], bundle["text/plain"]) == (shown.png, "x < 0.50.")


def test_long_sentences_are_broken_below_the_picture() -> None:
    figure = Figure((6, 2))
    Explorer(lambda x: (figure, "a word " * 40), x=FloatSlider())
    lines = figure.get_supxlabel().split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 110


def test_notebooks_that_ran_keep_the_picture_alone(tmp_path: Path) -> None:
    source, copy = tmp_path / "01_tiny.py", tmp_path / "build" / "01_tiny.ipynb"
    source.write_text(SOURCE)
    published = publish(source)
    page = execute(source, copy, {})
    assert drift(source, published) == []
    found = [jupytext.read(path).cells[2].outputs[0].data for path in (published, copy)]
    assert found[0] == found[1]
    assert found[0].keys() == {"image/png", "text/plain"}
    assert found[0]["text/plain"] == "n is 3."
    assert found[0]["image/png"] in page.read_text()
    for path in (published, copy, page):
        assert "jupyter.widget" not in path.read_text(), path.name


# The lessons


def slider_cell(lesson: str) -> tuple[str, str]:
    """The text above the one cell with sliders, and its code."""
    cells = jupytext.read(NOTEBOOKS / f"{lesson}.py").cells
    (place,) = [i for i, cell in enumerate(cells) if "Explorer(" in cell.source]
    return cells[place - 1].source, cells[place].source


@pytest.mark.parametrize(("lesson", "picture"), LESSONS.items())
def test_sliders_of_a_lesson_move_and_show_what_is_computed(lesson: str, picture: str) -> None:
    text, code = slider_cell(lesson)
    assert text.startswith("**Drag it.**")
    assert "In JupyterLab, run the cell and drag the slider" in text or "find them" in text
    *setup, last = ast.parse(code).body
    names: dict[str, object] = {}
    exec(compile(ast.Module(setup, []), lesson, "exec"), names)
    shown = eval(compile(ast.Expression(last.value), lesson, "eval"), names)
    assert isinstance(shown, Explorer)
    assert shown.draw is getattr(sliders, picture)
    start = {name: slider.value for name, slider in shown.sliders.items()}
    for name, slider in shown.sliders.items():
        assert slider.description
        for end in (slider.min, slider.max):
            before = shown.png
            slider.value = end
            assert shown.png != before or end == start[name]
            values = {key: each.value for key, each in shown.sliders.items()}
            assert shown.said == shown.draw(**values)[1]
        slider.value = start[name]


# How much speakers differ


@pytest.mark.parametrize("h", [0.2, 0.5])
def test_heterogeneity_scales_and_shifts_as_the_simulator_says(h: float) -> None:
    (alike, speaker, emotion), (full, _, _) = (sliders.two_voices(level) for level in (0.0, 1.0))
    found = sliders.two_voices(h)[0]
    assert np.bincount(2 * speaker + emotion).tolist() == [40] * 4
    for who in (0, 1):
        for channel in (0, 1):
            own = [x[speaker == who, channel] for x in (alike, full, found)]
            gain, shift = np.polyfit(own[0], own[1], 1)
            assert abs(np.log(gain)) + abs(shift) > 0.2
            np.testing.assert_allclose(gain * own[0] + shift, own[1], atol=1e-8)
            np.testing.assert_allclose(gain**h * own[0] + h * shift, own[2], atol=1e-8)


def test_lines_err_more_the_more_speakers_differ_unless_they_are_standardised() -> None:
    said = [numbers(sliders.heterogeneity(h)[1]) for h in (0.0, 0.5, 1.0)]
    raw, standardised = zip(*((wrong, left) for _, wrong, left in said), strict=True)
    assert list(raw) == sorted(raw)
    assert raw[2] > 3 * raw[0]
    assert raw[0] == pytest.approx(standardised[0], abs=2)
    assert len({*standardised}) == 1, "standardising removes every gain and shift"


# Gamma and beta


def test_film_starts_where_the_speaker_is_like_the_population() -> None:
    assert sliders.started() == (2.0, -4.0)
    for gamma, beta in ((1.0, 0.0), (2.0, -4.0), (0.3, 1.5)):
        x = np.array([-1.0, 0.0, 2.5])
        np.testing.assert_allclose(sliders.calibrated(x, gamma, beta), gamma * x + beta, rtol=1e-6)
        found = "Found" in sliders.calibration(gamma, beta)[1]
        assert found == ((gamma, beta) == sliders.started())


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    figure, said = sliders.calibration(1.0, 0.0)
    mean, sd, divergence = numbers(said)[2:]
    assert (mean, sd) == (2.0, 0.5)
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(2.0, 0.5), normal(0.0, 1.0))
    assert divergence == pytest.approx(exact.item(), abs=0.005)
    ours, plain = figure.axes[0].lines
    np.testing.assert_allclose(ours.get_xydata(), plain.get_xydata(), atol=1e-6)
    assert "divergence from the population is 0.00" in sliders.calibration(2.0, -4.0)[1]


# Shrinkage


def test_shrinkage_is_the_estimate_of_the_package() -> None:
    n, mean = np.arange(6), np.full((6, 1), 7.0)
    zero, one = np.zeros(1), np.ones(1)
    population = Population(zero, 2 * one, 8 * one, np.log(8 * one), zero, one)
    estimate = population.estimate(n, mean, mean)[0][:, 0]
    np.testing.assert_allclose(sliders.shrinkage_errors(n, 4.0)["k"] * 7, estimate)


def test_expected_errors_are_those_of_many_strangers() -> None:
    draw = np.random.default_rng(1)
    truth = draw.normal(0, 1, 40_000)
    for n in (1, 4, 30):
        mean = truth + draw.normal(0, np.sqrt(4 / n), len(truth))
        errors = {name: error[0] for name, error in shrunk_at(n).items()}
        k = errors.pop("k")
        estimates = (mean, np.zeros(len(truth)), k * mean)
        for error, estimate in zip(errors.values(), estimates, strict=True):
            assert error == pytest.approx(np.mean((estimate - truth) ** 2), rel=0.04)


def shrunk_at(n: int) -> dict[str, np.ndarray]:
    return sliders.shrinkage_errors(np.array([n]), 4.0)


def test_lab_says_what_the_site_says_of_shrinkage() -> None:
    site = (NOTEBOOKS / "site" / "sliders.md").read_text()
    for n in (1, 4, 30):
        found = {name: f"{error[0]:.2f}" for name, error in shrunk_at(n).items()}
        assert found["k"] in site
        for name in ("plain mean", "shrunk"):
            assert f"{found[name]} b" in site
        assert f"plain mean {found['plain mean']} b" in sliders.shrinkage(n, 4.0)[1]
    assert "not defined" in sliders.shrinkage(0, 4.0)[1]


# Lambda


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.5, 1.0])
def test_lab_says_what_the_site_says_of_lambda(lam: float) -> None:
    fallback = re.search(r'data-demo="lambda">\n(.*)', (NOTEBOOKS / "site/sliders.md").read_text())
    _, angle, emotion, speaker, _ = numbers(sliders.trade_off(lam)[1])
    said = rf"λ = {lam:g}\b[^λ]* {angle:.0f}°[^λ]*\b{emotion:.0f} %[^λ]* {speaker:.0f} %"
    assert re.search(said, fallback[1]), fallback[1]


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_the_losses_are_those_of_equation_4(angle: int) -> None:
    _, speaker, emotion = sliders.crossed()
    z = sliders.SURE * torch.tensor(sliders.read_from(angle))
    logits = torch.stack([-z, z], 1)
    with_unknown = torch.cat([torch.full((len(z), 1), -1e9), logits], 1)
    erc = cross_entropy(logits, torch.tensor(emotion))
    output = Output(logits, z[:, None], {}, {}, speaker_logits=with_unknown)
    total = reference.total_loss(
        MLSANSettings(lam=0.5), erc, output, torch.tensor(speaker) + 1
    ).item()
    assert sliders.both_losses()[:, angle] @ [1, 0.5] == pytest.approx(total)


def test_lambda_turns_z_from_the_emotion_to_the_speaker() -> None:
    said = [numbers(sliders.trade_off(lam)[1]) for lam in (0.0, 0.2, 0.5, 1.0, 2.0)]
    _, angle, emotion, speaker, _ = np.array(said).T
    assert (angle[0], angle[3]) == (0, 45)
    assert (np.diff(angle) > 5).all()
    assert (np.diff(emotion) <= 0).all()
    assert (np.diff(speaker) >= 0).all()
    assert emotion[0] > 95
    assert emotion[3] == speaker[3]
