"""ML-SAN's parts, and speaker normalisation, around other models."""

import pytest
import torch
from synthetic import LENGTHS, SIZES, SPEAKERS, batch, randomise
from torch.nn.functional import cross_entropy

from mlsan.corpus.batch import pack
from mlsan.model import MODELS, build_model
from mlsan.model.adversary import Adversary
from mlsan.model.interface import Sizes
from mlsan.model.mlsan import speaker_loss
from mlsan.model.wrapper import linears
from mlsan.training import run_settings

# ML-SAN has the parts itself.
every_base = pytest.mark.parametrize("base", [name for name in MODELS if name != "ML-SAN"])
CLASSES = 7  # MELD's: the losses of some models have a weight for each
NEUTRAL = {"film_start": "zero", "lam": 0.0}


def settings(system, **changes):
    return run_settings("MELD", "smoke", system, 0, **changes).model


def build(of, seed=0):
    return build_model(of, Sizes(SIZES, 4, CLASSES, SPEAKERS), seed).double()


def opened(model):
    """The model with a gate that is 1 everywhere."""
    torch.nn.init.constant_(model.gate.by_speaker.bias, 60.0)
    return model


def shaken(model):
    """The model with random FiLM and gate, which start at the same for every speaker."""
    for part in (model.embedding, model.film, model.gate):
        randomise(part)
    return model


def emotion(model, output, b):
    loss = cross_entropy(output.logits, pack(b.label, b.mask)) + output.z.square().mean()
    return model.total_loss(loss, output, pack(b.speaker, b.mask))[0]


@every_base
def test_at_the_identity_it_is_the_model_inside_number_for_number(base):
    """In training too: the same dropout, the same gradients."""
    outer = opened(build(settings(f"{base} + speaker", **NEUTRAL))).train()
    inner = build(settings(base)).train()
    b = batch()
    outputs = {}
    for name, model in (("outer", outer), ("inner", inner)):
        torch.manual_seed(5)
        outputs[name] = model(b)
        emotion(model, outputs[name], b).backward()
    assert torch.equal(outputs["outer"].logits, outputs["inner"].logits)
    assert torch.equal(outputs["outer"].z, outputs["inner"].z)
    theirs = dict(inner.named_parameters())
    ours = dict(outer.base.named_parameters())
    assert set(ours) == set(theirs)
    for name, parameter in ours.items():
        assert torch.equal(parameter, theirs[name])
        assert torch.equal(parameter.grad, theirs[name].grad), name


@every_base
def test_the_parts_are_equations_1_to_4(base):
    model = shaken(build(settings(f"{base} + speaker", lam=0.7))).eval()
    b = batch()
    output = model(b)
    speaker = pack(b.speaker, b.mask)
    e = model.embedding(speaker)
    for m in ("audio", "visual"):
        gamma, beta = model.film[m].scale_shift(e, pack(b.style[m], b.mask))
        x = pack(b.feature[m], b.mask)
        assert torch.equal(output.stages["raw"][m], x)
        torch.testing.assert_close(output.stages["calibrated"][m], gamma * x + beta)
    assert torch.equal(output.stages["calibrated"]["text"], output.stages["raw"]["text"])

    # What the model inside makes of the calibrated features, with the gate on top.
    z = model.base(model.calibrated(b)).z
    g = torch.sigmoid(e @ model.gate.by_speaker.weight[0].T + model.gate.by_speaker.bias[0])
    torch.testing.assert_close(output.z, g * z)
    torch.testing.assert_close(output.logits, model.base.classify(output.z))
    torch.testing.assert_close(output.speaker_logits, model.speaker_head(output.z))
    erc = torch.tensor(2.0, dtype=torch.float64)
    loss, parts = model.total_loss(erc, output, speaker)
    spk = speaker_loss(output.speaker_logits, speaker)
    torch.testing.assert_close(loss, model.base.total_loss(erc, output, speaker)[0] + 0.7 * spk)
    assert parts["spk"] == spk


@every_base
def test_padding_is_not_calibrated(base):
    model = shaken(build(settings(f"{base} + speaker")))
    b = batch()
    calibrated = model.calibrated(b)
    for m, x in calibrated.feature.items():
        assert torch.equal(x[~b.mask], b.feature[m][~b.mask])
        assert torch.equal(x, b.feature[m]) == (m == "text")


@every_base
def test_every_parameter_has_one_rate_and_films_is_its_own(base):
    model = build(settings(f"{base} + speaker", film_rate=0.25))
    groups = model.parameter_groups(0.4)
    together = [id(p) for group in groups for p in group["params"]]
    assert sorted(together) == sorted(id(p) for p in model.parameters())
    (slow,) = [group for group in groups if group["lr"] == 0.1]
    assert {id(p) for p in slow["params"]} == {id(p) for p in model.film.parameters()}


@pytest.mark.parametrize("part", ["film", "gate", "aux"])
def test_each_part_can_be_off(part):
    model = build(settings("MMGCN + speaker", **{part: False})).eval()
    missing = {"film": "film", "gate": "gate", "aux": "speaker_head"}[part]
    assert getattr(model, missing) is None
    output = model(batch())
    assert output.logits.shape == (sum(LENGTHS), CLASSES)
    assert (output.speaker_logits is None) == (part == "aux")
    assert model.settings.styled == (() if part == "film" else ("audio", "visual"))


def test_ml_san_is_refused_as_it_has_the_parts():
    fields = settings("MMGCN + speaker").model_dump() | {"base": settings("ML-SAN")}
    with pytest.raises(ValueError, match="ML-SAN has the three parts itself: take MultiEMO"):
        type(settings("MMGCN + speaker"))(**fields)


def test_a_wrapper_is_refused_inside_another():
    inner = settings("MMGCN + speaker")
    with pytest.raises(ValueError, match="is a wrapper itself: name a model"):
        type(inner)(base=inner)


def test_modalities_are_those_of_the_model_inside():
    model = settings("MMGCN + speaker", modalities=("text", "audio"))
    assert model.modalities == model.base.modalities == ("text", "audio")
    with pytest.raises(ValueError, match="must be those of the base"):
        type(model)(base=model.base)
    assert set(build(model).film) == {"audio"}


def test_the_adversary_reads_what_fusion_reads_and_reverses_its_gradient():
    model = build(settings("MultiEMO + speaker normalisation", lam=0.3))
    plain = build(settings("MultiEMO"))
    b = batch()
    speaker = pack(b.speaker, b.mask)
    output, inside = model(b), plain(b)
    assert torch.equal(output.logits, inside.logits)
    encoded = torch.cat(list(inside.stages["context"].values()), -1)
    torch.testing.assert_close(output.adversary_logits, model.adversary.head(encoded))

    zero = torch.zeros((), dtype=torch.float64)
    loss, parts = model.total_loss(zero, output, speaker)
    loss.backward()
    assert set(parts) == {"adv"}
    straight = Adversary(encoded.shape[1], SPEAKERS).double()
    straight.load_state_dict(model.adversary.state_dict())
    (0.3 * speaker_loss(straight.head(encoded), speaker)).backward()
    for name, parameter in plain.project.named_parameters():
        torch.testing.assert_close(model.base.project.get_parameter(name).grad, -parameter.grad)
    ours, theirs = model.adversary.head[1].weight.grad, straight.head[1].weight.grad
    torch.testing.assert_close(ours, theirs)
    assert all(p.grad is None for p in model.base.fusion.parameters())


def test_speaker_normalisation_is_for_multiemo():
    of = settings("MultiEMO + speaker normalisation")
    with pytest.raises(ValueError, match="base='MMGCN' is not possible here: take MultiEMO"):
        type(of)(base=settings("MMGCN"))


@every_base
def test_the_classifier_reads_z(base):
    """What a wrapper relies on, in every model of the registry."""
    model = build(settings(base)).eval()
    output = model(batch())
    torch.testing.assert_close(output.logits, model.classify(output.z))
    assert linears(model)[0].in_features == output.z.shape[1]
