"""ML-SAN: its equations, part by part, and how they sit on MultiEMO."""

from dataclasses import replace

import pytest
import torch
from synthetic import LENGTHS, SIZES, SPEAKERS, batch, build, settings
from torch.nn.functional import cross_entropy

from mlsan.corpus.batch import pack
from mlsan.model.adversary import Adversary
from mlsan.model.mlsan import MLSAN
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


def test_residual_film_starts_as_the_identity_and_printed_does_not():
    b = batch()
    plain = run(build(settings(**OFF)), b)
    film = run(build(settings(**(OFF | {"film": True}))), b)
    printed = run(build(settings(**(OFF | {"film": True}), film_form="printed")), b)
    assert torch.equal(plain.logits, film.logits)
    assert not torch.allclose(plain.logits, printed.logits)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("site", ["raw", "projected"])
@pytest.mark.parametrize(("form", "one"), [("residual", 1), ("printed", 0)])
def test_film_is_equation_2_on_its_modalities(form, one, site, mask_padding):
    c = settings(
        film_form=form, film_site=site, mask_padding=mask_padding, film_modalities=("audio",)
    )
    model = build(c)
    torch.nn.init.normal_(model.film["audio"].project.weight)
    b = batch()
    stages = run(model, b).stages
    speaker = pack(b.speaker, b.mask)
    gamma, beta = model.film_parameters(speaker, "audio")
    x = stages["raw"]["audio"] if site == "raw" else model.project["audio"](stages["raw"]["audio"])
    torch.testing.assert_close(stages["calibrated"]["audio"], (one + gamma) * x + beta)
    if site == "raw":
        assert torch.equal(stages["calibrated"]["visual"], stages["raw"]["visual"])
    with pytest.raises(ValueError, match="no FiLM on visual"):
        model.film_parameters(speaker, "visual")


@pytest.mark.parametrize("site", ["raw", "projected"])
def test_film_leaves_padding_alone(site):
    """As published, attention reads padding, which the calibration of speaker 0 must not reach."""
    # Text, because no DialogueRNN stands between its padding and attention.
    text = {"film_modalities": ("text",)}
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
