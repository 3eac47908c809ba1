"""MultiEMO and ML-SAN: against the definition, against each other, option by option."""

from dataclasses import replace

import oracles
import pytest
import torch
from synthetic import (
    CLASSES,
    LENGTHS,
    PARTIES,
    SIZES,
    SPEAKERS,
    batch,
    config,
    published_state,
    select,
)

from mlsan.model import MLSAN, MultiEMO, build_model, class_weights, pack, total_loss
from mlsan.model.checkpoints import load_published, translate
from mlsan.vocabulary import LossConfig

OFF = {"film": False, "gate": False, "aux": False}
FORMS = ("MELD", "IEMOCAP")


def build(c, sizes=SIZES, seed=0):
    return build_model(c, sizes, 4, CLASSES, SPEAKERS, seed).double()


def run(model, b):
    return model.eval()(b)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_outputs_losses_and_gradients_follow_the_definition(form, mask_padding):
    state = {k: v.requires_grad_() for k, v in published_state(form).items()}
    c = config(form, mask_padding=mask_padding, **OFF)
    model = build(c)
    load_published(model, state)
    b = batch(parties=PARTIES[form])
    label = pack(b.label, b.mask)
    weight = class_weights(torch.bincount(label, minlength=CLASSES).double(), 1.2)

    logits, z, fused = oracles.multiemo(
        state, b, PARTIES[form], c.heads, c.layers, form == "IEMOCAP", mask_padding
    )
    expected = {
        "swfc": oracles.swfc(z, label, weight, 1.4, 2.0),
        "hgr": oracles.soft_hgr(list(fused.values())),
        "ce": torch.nn.functional.cross_entropy(logits, label),
    }
    output = model(b)
    loss, parts = total_loss(LossConfig(), output, label, label, weight)

    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.z, z)
    torch.testing.assert_close(output.fused, fused)
    torch.testing.assert_close({k: parts[k] for k in expected}, expected)
    (0.3 * expected["swfc"] + 0.3 * expected["hgr"] + 0.4 * expected["ce"]).backward()
    loss.backward()
    slopes = translate(model, {k: v.grad for k, v in state.items() if v.grad is not None})
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, slopes[name], rtol=1e-7, atol=1e-10, msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_float32_stays_within_1e_5_of_the_definition(form):
    state = published_state(form)
    c = config(form, **OFF)
    model = build(c).float()
    load_published(model, state)
    b = batch(parties=PARTIES[form])
    logits, _, _ = oracles.multiemo(
        state, b, PARTIES[form], c.heads, c.layers, form == "IEMOCAP", True
    )
    single = replace(b, feature={m: x.float() for m, x in b.feature.items()})
    error = (run(model, single).logits - logits).abs().max() / logits.abs().max()
    assert error < 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask_padding", [True, False])
def test_with_all_parts_off_mlsan_is_multiemo_to_the_bit(form, mask_padding):
    c = config(form, mask_padding=mask_padding, **OFF)
    ours = build(c, seed=7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        plain = MultiEMO(c, SIZES, 4, CLASSES).double()
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
    base = build(config(**OFF)).state_dict()
    more = build(config(**(OFF | {part: True}))).state_dict()
    assert set(base) < set(more)
    assert all(torch.equal(more[name], x) for name, x in base.items())


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = build(config()), build(config()), build(config(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.join.weight, same.join.weight)
    assert not torch.equal(one.join.weight, other.join.weight)


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown model 'mlsam'.*ml-san"):
        build(config(name="mlsam"))


@pytest.mark.parametrize("form", FORMS)
def test_masked_predictions_do_not_depend_on_the_batch(form):
    model = build(config(form))
    b = batch(parties=PARTIES[form])
    order = (3, 0, 4, 2, 1)
    whole = run(model, b).logits.split(LENGTHS)
    turned = run(model, select(b, order)).logits.split([LENGTHS[i] for i in order])
    for place, i in enumerate(order):
        torch.testing.assert_close(turned[place], whole[i])
        torch.testing.assert_close(run(model, select(b, [i])).logits, whole[i])


@pytest.mark.parametrize("form", FORMS)
def test_unmasked_predictions_depend_on_the_batch_as_published(form):
    model = build(config(form, mask_padding=False))
    b = batch(parties=PARTIES[form])
    whole = run(model, b).logits.split(LENGTHS)
    alone = [run(model, select(b, [i])).logits for i in range(len(LENGTHS))]
    for i, length in enumerate(LENGTHS):
        same = torch.allclose(alone[i], whole[i], rtol=1e-6)
        assert same == (length == max(LENGTHS))


def test_utterances_come_dialogue_after_dialogue():
    b = batch()
    output = run(build(config()), b)
    rows = [b.feature["text"][:n, i] for i, n in enumerate(LENGTHS)]
    assert torch.equal(output.stages["raw"]["text"], torch.cat(rows))
    assert torch.equal(pack(b.feature["text"], b.mask), torch.cat(rows))


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "modalities", [("text",), ("visual",), ("text", "audio"), ("audio", "visual")]
)
def test_any_modalities_will_do(modalities, form, mask_padding):
    sizes = {m: SIZES[m] for m in modalities}
    model = build(config(form, mask_padding=mask_padding), sizes)
    output = model(batch(sizes=sizes))
    assert tuple(output.fused) == modalities
    assert output.logits.shape == (sum(LENGTHS), CLASSES)
    (output.logits.sum() + output.speaker_logits.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_stream_alone_attends_to_itself():
    """Its prediction then hears every other turn of its dialogue."""
    sizes = {"text": 5}
    model = build(config(**OFF), sizes)
    b = batch(lengths=(3,), sizes=sizes)
    b.feature["text"].requires_grad_()
    run(model, b).logits[0].sum().backward()
    assert (b.feature["text"].grad.abs().sum(-1) > 0).all()


def test_no_modality_left_is_an_error():
    with pytest.raises(ValueError, match="no modality left"):
        build(config(modalities=("audio",)), {"text": 5})


def test_residual_film_starts_as_the_identity_and_printed_does_not():
    b = batch()
    plain = run(build(config(**OFF)), b)
    film = run(build(config(**(OFF | {"film": True}))), b)
    printed = run(build(config(**(OFF | {"film": True}), film_form="printed")), b)
    assert torch.equal(plain.logits, film.logits)
    assert not torch.allclose(plain.logits, printed.logits)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("site", ["raw", "projected"])
@pytest.mark.parametrize(("form", "one"), [("residual", 1), ("printed", 0)])
def test_film_is_equation_2_on_its_modalities(form, one, site, mask_padding):
    c = config(
        film_form=form, film_site=site, mask_padding=mask_padding, film_modalities=("audio",)
    )
    model = build(c)
    torch.nn.init.normal_(model.film["audio"].project.weight)
    b = batch()
    stages = run(model, b).stages
    speaker = pack(b.speaker, b.mask)
    gamma, beta = model.calibration(speaker, "audio")
    x = stages["raw"]["audio"] if site == "raw" else model.project["audio"](stages["raw"]["audio"])
    torch.testing.assert_close(stages["calibrated"]["audio"], (one + gamma) * x + beta)
    if site == "raw":
        assert torch.equal(stages["calibrated"]["visual"], stages["raw"]["visual"])
    with pytest.raises(ValueError, match="no FiLM on visual"):
        model.calibration(speaker, "visual")


@pytest.mark.parametrize("site", ["raw", "projected"])
def test_film_leaves_padding_alone(site):
    """In the published form padding is seen; a calibration of speaker 0 must not reach it."""
    c = config(mask_padding=False, gate=False, aux=False, film_site=site)
    model = build(c)
    b = batch(lengths=(2, 6))
    b = replace(b, speaker=b.mask.long())
    before = run(model, b).logits
    # All real utterances are speaker 1, whose calibration stays the identity.
    torch.nn.init.normal_(model.film["audio"].project.weight)
    with torch.no_grad():
        model.speaker.weight[1] = 0
    torch.testing.assert_close(run(model, b).logits, before)


def test_gate_is_equation_3():
    model = build(config())
    b = batch()
    stages = run(model, b).stages
    speaker = pack(b.speaker, b.mask)
    for m in SIZES:
        g = model.gate(speaker, m)
        assert ((g > 0) & (g < 1)).all()
        torch.testing.assert_close(stages["gated"][m], g * stages["context"][m])
    with pytest.raises(ValueError, match="no gate on audio"):
        build(config(gate=False)).gate(speaker, "audio")


def test_a_gate_with_context_changes_by_utterance():
    model = build(config(gate_input="speaker+context"))
    torch.nn.init.normal_(model.gates.by_context)
    b = batch()
    b = replace(b, speaker=b.mask.long())
    stages = run(model, b).stages
    used = stages["gated"]["text"] / stages["context"]["text"]
    assert used.std(0).max() > 0.01
    plain = run(build(config()), b).stages
    fixed = plain["gated"]["text"] / plain["context"]["text"]
    assert fixed.std(0).max() < 1e-9


@pytest.mark.parametrize("source", ["z", "fused"])
def test_the_speaker_head_reads_what_it_is_told_to(source):
    model = build(config(aux_input=source))
    output = run(model, batch())
    x = output.z if source == "z" else torch.cat(list(output.fused.values()), 1)
    torch.testing.assert_close(output.speaker_logits, model.name(x))
    assert output.speaker_logits.shape == (sum(LENGTHS), SPEAKERS)


def test_dropout_acts_in_training_only():
    model = build(config(dropout=0.5))
    b = batch()
    assert torch.equal(run(model, b).logits, run(model, b).logits)
    model.train()
    assert not torch.equal(model(b).logits, model(b).logits)


def test_mlsan_is_what_the_registry_builds():
    assert type(build(config())) is MLSAN
