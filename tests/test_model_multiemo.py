"""MultiEMO and what ML-SAN inherits from it: batches, padding, modalities, seeds."""

import pytest
import torch
from checks import check_the_batch_does_not_matter
from synthetic import LENGTHS, ROLES, SIZES, batch, build, select, settings

from mlsan.corpus.batch import pack
from mlsan.model import MODELS, build_model, model_class
from mlsan.model.interface import Sizes

OFF = {"film": False, "gate": False, "aux": False}
FORMS = ("MELD", "IEMOCAP")


def run(model, b):
    return model.eval()(b)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = build(settings()), build(settings()), build(settings(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.join.weight, same.join.weight)
    assert not torch.equal(one.join.weight, other.join.weight)


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown model 'ML-SAM'.*ML-SAN"):
        build(settings(name="ML-SAM"))


@pytest.mark.parametrize("name", MODELS)
def test_every_name_builds_its_model(name):
    model = model_class(name)
    assert model.Settings().name == name
    sizes = Sizes(SIZES, 4, 3, 6)
    assert type(build_model(model.Settings(), sizes, 0)) is model


@pytest.mark.parametrize("form", FORMS)
def test_masked_predictions_do_not_depend_on_the_batch(form):
    model = build(settings(form))
    check_the_batch_does_not_matter(lambda b: run(model, b), batch(roles=ROLES[form]))


@pytest.mark.parametrize("form", FORMS)
def test_unmasked_predictions_depend_on_the_batch_as_published(form):
    model = build(settings(form, mask_padding=False))
    b = batch(roles=ROLES[form])
    whole = run(model, b).logits.split(LENGTHS)
    alone = [run(model, select(b, [i])).logits for i in range(len(LENGTHS))]
    for i, length in enumerate(LENGTHS):
        same = torch.allclose(alone[i], whole[i], rtol=1e-6)
        assert same == (length == max(LENGTHS))


def test_utterances_come_dialogue_after_dialogue():
    b = batch()
    output = run(build(settings()), b)
    rows = [b.feature["text"][:n, i] for i, n in enumerate(LENGTHS)]
    assert torch.equal(output.stages["raw"]["text"], torch.cat(rows))
    assert torch.equal(pack(b.feature["text"], b.mask), torch.cat(rows))


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "modalities", [("text",), ("visual",), ("text", "audio"), ("audio", "visual")]
)
def test_any_modalities_are_enough(modalities, form, mask_padding):
    sizes = {m: SIZES[m] for m in modalities}
    model = build(settings(form, mask_padding=mask_padding), sizes)
    output = model(batch(sizes=sizes))
    assert tuple(output.fused) == modalities
    assert output.logits.shape == (sum(LENGTHS), 3)
    (output.logits.sum() + output.speaker_logits.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_stream_alone_attends_to_itself():
    """Its prediction then depends on every other turn of its dialogue."""
    sizes = {"text": 5}
    model = build(settings(**OFF), sizes)
    b = batch(lengths=(3,), sizes=sizes)
    b.feature["text"].requires_grad_()
    run(model, b).logits[0].sum().backward()
    assert (b.feature["text"].grad.abs().sum(-1) > 0).all()


def test_no_modality_left_is_an_error():
    with pytest.raises(ValueError, match="no modality left"):
        build(settings(modalities=("audio",)), {"text": 5})


def test_dropout_acts_in_training_only():
    model = build(settings(dropout=0.5))
    b = batch()
    assert torch.equal(run(model, b).logits, run(model, b).logits)
    model.train()
    assert not torch.equal(model(b).logits, model(b).logits)
