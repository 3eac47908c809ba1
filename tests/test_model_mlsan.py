"""ML-SAN: its equations, part by part, and how they sit on MultiEMO."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import LENGTHS, SIZES, SPEAKERS, batch, build, settings
from torch.nn.functional import cross_entropy

from mlsan.corpus.batch import pack
from mlsan.corpus.style import Population
from mlsan.model.adversary import Adversary
from mlsan.model.mlsan import MLSAN, FiLM
from mlsan.model.multiemo import MultiEMO, MultiEMOSettings

OFF = {"film": False, "gate": False, "aux": False}
FORMS = ("MELD", "IEMOCAP")


def run(model, b):
    return model.eval()(b)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask_padding", [True, False])
def test_with_all_parts_off_mlsan_is_multiemo_to_the_bit(form, mask_padding):
    c = settings(form, mask_padding=mask_padding, **OFF)
    shared = {name: getattr(c, name) for name in MultiEMOSettings.model_fields if name != "name"}
    ours, plain = build(c, seed=7), build(MultiEMOSettings(**shared), seed=7)
    assert (type(ours), type(plain)) == (MLSAN, MultiEMO)
    theirs = plain.state_dict()
    assert list(ours.state_dict()) == list(theirs)
    assert all(torch.equal(x, theirs[name]) for name, x in ours.state_dict().items())
    one, other = run(ours, batch()), run(plain, batch())
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.z, other.z)
    assert one.speaker_logits is None
    assert other.speaker_logits is None


@pytest.mark.parametrize("part", ["film", "gate", "aux"])
def test_the_backbone_starts_alike_whichever_parts_are_on(part):
    base = build(settings(**OFF)).state_dict()
    more = build(settings(**(OFF | {part: True}))).state_dict()
    assert set(base) < set(more)
    assert all(torch.equal(more[name], x) for name, x in base.items())


@pytest.mark.parametrize(
    ("start", "styled", "identity"),
    [
        ("zero", True, True),
        ("printed", True, False),
        ("statistics", False, True),
        ("statistics", True, False),
    ],
)
def test_where_film_starts(start, styled, identity):
    b = batch()
    b = b if styled else replace(b, style={})
    plain = run(build(settings(**OFF)), b)
    film = run(build(settings(**(OFF | {"film": True}), film_start=start)), b)
    assert torch.allclose(plain.logits, film.logits) == identity


def test_the_statistics_start_takes_every_speaker_to_the_population():
    """Before training, calibrated features of each speaker have the population's statistics."""
    draw = np.random.default_rng(0)
    level, spread = 3 * draw.standard_normal((5, 4)), np.exp(0.5 * draw.standard_normal((5, 4)))
    speaker = np.repeat(np.arange(5), 400)
    x = level[speaker] + spread[speaker] * draw.standard_normal((2000, 4))
    population = Population.fit(x, np.array([f"s{i}" for i in speaker]))
    film = FiLM(3, 4, "statistics").double()
    film.start_from(population)
    style = [np.stack(population.style(x[speaker == s])) for s in range(5)]
    rows = torch.from_numpy(np.stack([style[s] for s in speaker]))
    calibrated = film(torch.from_numpy(x), torch.randn(2000, 3).double(), rows).detach().numpy()
    for s in range(5):
        own = calibrated[speaker == s]
        np.testing.assert_allclose(own.mean(0), population.mu_0, atol=0.05)
        np.testing.assert_allclose(own.std(0), population.sigma_0, rtol=0.05)


def test_what_film_learns_is_added_to_its_start():
    film = FiLM(2, 3, "statistics")
    film.start_from(Population(*np.zeros((6, 3))))
    e, style = torch.randn(4, 2), torch.rand(4, 2, 3) + 0.5
    start = film.scale_shift(e, style)
    torch.nn.init.normal_(film.project.weight)
    learned = film.project(e).chunk(2, -1)
    for before, after, added in zip(start, film.scale_shift(e, style), learned, strict=True):
        torch.testing.assert_close(after, before + added)


def test_the_gate_starts_open_and_equal_for_everyone():
    gate = build(settings()).gate
    g = gate.weights(torch.randn(6, 3).double())
    torch.testing.assert_close(g, torch.full_like(g, 1 / (1 + math.exp(-3))))
    noise = build(settings(gate_start="random")).gate.weights(torch.randn(6, 3).double())
    assert noise.std() > 0.01


def test_a_statistics_start_needs_raw_features():
    with pytest.raises(ValueError, match="film_site=projected has no statistics"):
        settings(film_site="projected")


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("site", ["raw", "projected"])
@pytest.mark.parametrize("start", ["statistics", "zero", "printed"])
def test_film_is_equation_2_on_its_modalities(start, site, mask_padding):
    if (start, site) == ("statistics", "projected"):
        pytest.skip("there are no statistics of projected features")
    c = settings(
        film_start=start, film_site=site, mask_padding=mask_padding, film_modalities=("audio",)
    )
    model = build(c)
    torch.nn.init.normal_(model.film["audio"].project.weight)
    b = batch()
    stages = run(model, b).stages
    speaker = pack(b.speaker, b.mask)
    style = pack(b.style["audio"], b.mask) if start == "statistics" else None
    gamma, beta = model.film_parameters(speaker, "audio", style)
    x = stages["raw"]["audio"] if site == "raw" else model.project["audio"](stages["raw"]["audio"])
    torch.testing.assert_close(stages["calibrated"]["audio"], gamma * x + beta)
    if site == "raw":
        assert torch.equal(stages["calibrated"]["visual"], stages["raw"]["visual"])
    with pytest.raises(ValueError, match="no FiLM on visual"):
        model.film_parameters(speaker, "visual")


@pytest.mark.parametrize("site", ["raw", "projected"])
def test_film_leaves_padding_alone(site):
    """As published, attention reads padding, which the calibration of speaker 0 must not reach."""
    # Text, because no DialogueRNN stands between its padding and attention.
    text = {"film_modalities": ("text",), "film_start": "zero"}
    c = settings(mask_padding=False, gate=False, aux=False, film_site=site, **text)
    model = build(c)
    b = batch(lengths=(2, 6))
    b = replace(b, speaker=b.mask.long())
    before = run(model, b).logits
    # All real utterances are speaker 1, whose calibration stays the identity.
    torch.nn.init.normal_(model.film["text"].project.weight)
    with torch.no_grad():
        model.embedding.weight[1] = 0
    torch.testing.assert_close(run(model, b).logits, before)


def test_gate_is_equation_3():
    model = build(settings())
    torch.nn.init.normal_(model.gate.by_speaker.weight)
    b = batch()
    stages = run(model, b).stages
    speaker = pack(b.speaker, b.mask)
    for m in SIZES:
        g = model.gate_weights(speaker, m)
        assert ((g > 0) & (g < 1)).all()
        torch.testing.assert_close(stages["gated"][m], g * stages["context"][m])
    with pytest.raises(ValueError, match="no gate on audio"):
        build(settings(gate=False)).gate_weights(speaker, "audio")


def test_a_gate_with_context_changes_by_utterance():
    model = build(settings(gate_input="speaker+context"))
    torch.nn.init.normal_(model.gate.by_context)
    b = batch()
    b = replace(b, speaker=b.mask.long())
    stages = run(model, b).stages
    used = stages["gated"]["text"] / stages["context"]["text"]
    assert used.std(0).max() > 0.01
    plain = run(build(settings()), b).stages
    fixed = plain["gated"]["text"] / plain["context"]["text"]
    assert fixed.std(0).max() < 1e-9


@pytest.mark.parametrize("source", ["z", "fused"])
def test_the_speaker_head_reads_z_or_the_fused_streams(source):
    model = build(settings(aux_input=source))
    output = run(model, batch())
    x = output.z if source == "z" else torch.cat(list(output.fused.values()), 1)
    torch.testing.assert_close(output.speaker_logits, model.speaker_head(x))
    assert output.speaker_logits.shape == (sum(LENGTHS), SPEAKERS)


def test_the_adversary_learns_the_speaker_and_teaches_the_features_to_hide_it():
    torch.manual_seed(0)
    adversary = Adversary(6, 4)
    x = torch.randn(20, 6, requires_grad=True)
    speaker = torch.randint(4, (20,))
    loss = cross_entropy(adversary(x), speaker)
    ours, head = torch.autograd.grad(loss, (x, adversary.head[1].weight))
    straight = cross_entropy(adversary.head(x), speaker)
    theirs, same_head = torch.autograd.grad(straight, (x, adversary.head[1].weight))
    torch.testing.assert_close(ours, -theirs)
    torch.testing.assert_close(head, same_head)


def test_only_a_model_with_film_can_have_an_adversary():
    b = batch((3, 4))
    with_film = build(settings(film=True, gate=True, aux=True, adversary=True))
    assert with_film(b).adversary_logits.shape == (7, with_film.speaker_head.out_features)
    without = build(settings(film=False, gate=True, aux=True, adversary=True))
    assert without(b).adversary_logits is None


def test_film_learns_at_its_own_rate_and_no_parameter_is_left_out():
    model = build(settings(film_rate=0.25))
    others, film = model.parameter_groups(0.4)
    assert (others["lr"], film["lr"]) == (0.4, 0.1)
    assert {id(p) for p in film["params"]} == {id(p) for p in model.film.parameters()}
    both = [id(p) for group in (others, film) for p in group["params"]]
    assert sorted(both) == sorted(id(p) for p in model.parameters())
    (alone,) = build(settings(**OFF)).parameter_groups(0.4)
    assert alone["lr"] == 0.4
