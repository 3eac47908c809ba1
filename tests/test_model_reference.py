"""The fast models against their definitions: outputs, losses and gradients."""

import pytest
import torch
from checks import single
from synthetic import CLASSES, ROLES, SIZES, batch, build, published_weights, randomise, settings

from mlsan.corpus.batch import pack
from mlsan.model import reference
from mlsan.model.checkpoints import load_published, published_state
from mlsan.model.losses import MultiEMOLoss, class_weights, emotion_loss
from mlsan.model.multiemo import MultiEMO, MultiEMOSettings

FORMS = ("MELD", "IEMOCAP")
LOSS = MultiEMOLoss()


def multiemo(form, features=SIZES, **changes):
    own = settings(form, **changes).model_dump(
        include=set(MultiEMOSettings.model_fields) - {"name"}
    )
    return build(MultiEMOSettings(**own), features, roles=ROLES[form])


def assert_same(model, b, define):
    """The model's output, loss and gradients are those of `define`, a function of `reference`."""
    label, speaker = pack(b.label, b.mask), pack(b.speaker, b.mask)
    weight = class_weights(torch.bincount(label, minlength=CLASSES).double(), LOSS.alpha)
    parameters = dict(model.named_parameters())

    defined = define(published_state(model), b, model.settings)
    erc = reference.erc_loss(LOSS, defined, label, weight)
    if define is reference.mlsan:
        erc = reference.total_loss(model.settings, erc, defined, speaker)
    expected = torch.autograd.grad(erc, list(parameters.values()), materialize_grads=True)

    output = model(b)
    loss, _ = emotion_loss(LOSS, output, label, weight)
    loss, _ = model.total_loss(loss, output, speaker)
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)

    torch.testing.assert_close(vars(output), vars(defined))
    torch.testing.assert_close(loss, erc)
    for name, one, other in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10, msg=name)
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_multiemo_with_published_weights(form, mask_padding):
    model = multiemo(form, mask_padding=mask_padding)
    assert type(model) is MultiEMO
    state = published_weights(form)
    load_published(model, state)
    b = batch(roles=ROLES[form])
    assert_same(model, b, reference.multiemo)
    torch.testing.assert_close(model(b).logits, reference.multiemo(state, b, model.settings).logits)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("modalities", [("text",), ("visual",), ("text", "audio")], ids="+".join)
def test_multiemo_with_fewer_modalities(form, modalities):
    features = {m: SIZES[m] for m in modalities}
    model = multiemo(form, features, modalities=modalities)
    randomise(model)
    assert_same(model, batch(roles=ROLES[form], sizes=features), reference.multiemo)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_mlsan_with_all_parts(form, mask_padding):
    model = build(settings(form, mask_padding=mask_padding), roles=ROLES[form])
    randomise(model)
    gradients = assert_same(model, batch(roles=ROLES[form]), reference.mlsan)
    for name in ("embedding.weight", "film.audio.project.weight", "gate.by_speaker.weight"):
        assert gradients[name].abs().sum() > 0, f"{name} has no part in the comparison"
    assert gradients["speaker_head.weight"].abs().sum() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"film_start": "zero"},
        {"film_start": "printed"},
        {"film_site": "projected", "film_start": "zero"},
        {"film_site": "projected", "film_start": "zero", "mask_padding": False},
        {"film_modalities": ("text", "visual")},
        # Only text without DialogueRNN shows its padding to attention.
        {"film_modalities": ("text", "visual"), "mask_padding": False},
        {"gate_input": "speaker+context"},
        {"aux_input": "fused"},
        {"film": False},
        {"gate": False},
        {"aux": False},
    ],
    ids=str,
)
def test_mlsan_with_each_choice(changes):
    model = build(settings(**changes))
    randomise(model)
    assert_same(model, batch(), reference.mlsan)


@pytest.mark.parametrize("form", FORMS)
def test_float32_stays_within_1e_5_of_the_definition(form):
    state = published_weights(form)
    model = multiemo(form).float()
    load_published(model, state)
    b = batch(roles=ROLES[form])
    logits = reference.multiemo(state, b, model.settings).logits
    error = (model.eval()(single(b)).logits - logits).abs().max() / logits.abs().max()
    assert error < 1e-5
