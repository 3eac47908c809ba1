"""Calibration inferred from a dialogue, against statistics taken utterance by utterance."""

import pytest
import torch
from mlsan.model.inferred import InferredFiLM, voice_statistics
from mlsan.model.speaker import Adversary
from synthetic import CLASSES, SIZES, SPEAKERS, batch, config, select
from torch.nn.functional import cross_entropy

from mlsan.model import build_model


def model(config):
    return build_model(config, SIZES, 4, CLASSES, SPEAKERS, seed=0).double()


def by_definition(x, voice, past):
    counts, means, scatters = [], [], []
    for i in range(len(x)):
        own = [j for j in range(i + 1 if past else len(x)) if voice[j] == voice[i]]
        counts.append(len(own))
        means.append(x[own].mean(0))
        scatters.append((x[own] - x[own].mean(0)).square().sum(0))
    return torch.tensor(counts)[:, None].to(x), torch.stack(means), torch.stack(scatters)


@pytest.fixture
def talk():
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(40, 5, generator=generator)
    return x, torch.randint(-1, 6, (40,), generator=generator)


@pytest.mark.parametrize("past", [False, True])
def test_statistics_are_those_of_the_definition(talk, past):
    for found, expected in zip(
        voice_statistics(*talk, past), by_definition(*talk, past), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_standardisation_leaves_every_voice_with_mean_0_and_variance_1(talk):
    x, voice = talk
    film = InferredFiLM(5, shrink=False, past=False, residual=False).eval()
    calibrated = film(x, voice)
    for one in voice.unique():
        own = calibrated[voice == one]
        torch.testing.assert_close(own.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
        if len(own) > 1:
            torch.testing.assert_close(own.var(0), torch.ones(5), atol=1e-4, rtol=0)


def test_shrinkage_runs_from_the_speaker_to_the_population(talk):
    x, voice = talk
    film = InferredFiLM(5, shrink=True, past=False, residual=False)
    film.train()(x, voice)
    torch.testing.assert_close(film.population.running_mean, x.mean(0))
    film.eval()
    standardised = (x - x.mean(0)) / x.std(0)
    with torch.no_grad():
        film.strength.fill_(30.0)
        torch.testing.assert_close(film(x, voice), standardised, atol=1e-4, rtol=0)
        film.strength[0], film.strength[1] = torch.tensor([2.0, 5.0]).log()
        n, mean, scatter = by_definition(x, voice, past=False)
        mu = (n * mean + 2 * x.mean(0)) / (n + 2)
        sigma = ((scatter + 5 * x.var(0)) / (n - 1 + 5)).sqrt()
        torch.testing.assert_close(film(x, voice), (x - mu) / sigma, atol=1e-4, rtol=0)


def test_the_causal_form_does_not_see_what_is_still_to_come(talk):
    x, voice = talk
    film = InferredFiLM(5, shrink=True, past=True, residual=True).eval()
    torch.nn.init.normal_(film.correct[-1].weight)
    later = x.clone()
    later[20:] += 5
    assert torch.equal(film(x, voice)[:20], film(later, voice)[:20])
    film.past = False
    assert not torch.allclose(film(x, voice)[:20], film(later, voice)[:20])


def test_the_residual_starts_as_the_closed_form_and_learns(talk):
    plain = InferredFiLM(5, shrink=True, past=False, residual=False).eval()
    corrected = InferredFiLM(5, shrink=True, past=False, residual=True).eval()
    assert torch.equal(plain(*talk), corrected(*talk))
    corrected(*talk).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (corrected.strength, corrected.correct[-1].weight))


@pytest.mark.parametrize("kind", ["standardised", "inferred"])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_a_dialogue_calibrates_itself_whatever_stands_beside_it(kind, mask_padding):
    b = batch((5, 2, 7))
    net = model(config(speaker=kind, film=True, gate=True, aux=True, mask_padding=mask_padding))
    net.eval()
    together = net(b).stages["calibrated"]
    alone = net(select(b, [2])).stages["calibrated"]
    for modality in ("audio", "visual"):
        torch.testing.assert_close(together[modality][7:], alone[modality])
    assert torch.equal(together["text"], net(b).stages["raw"]["text"])


def test_one_lone_utterance_and_a_silent_modality_stay_finite():
    b = batch((1, 3))
    b.feature["audio"].zero_()
    for kind in ("standardised", "inferred"):
        net = model(config(speaker=kind, film=True, gate=True, aux=True)).train()
        output = net(b)
        assert torch.isfinite(output.logits).all()
        output.logits.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_an_inferred_calibration_has_no_table():
    net = model(config(speaker="inferred", film=True, gate=True, aux=True))
    with pytest.raises(ValueError, match="infers calibration from each dialogue"):
        net.calibration(torch.tensor([1]), "audio")
    assert net.gate(torch.tensor([1]), "audio").shape == (1, 8)


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
    with_film = model(config(film=True, gate=True, aux=True, adversary=True))
    assert with_film(b).adversary_logits.shape == (7, with_film.name.out_features)
    without = model(config(film=False, gate=True, aux=True, adversary=True))
    assert without(b).adversary_logits is None
