"""CGGM: its modulation by hand, and nothing but the model inside where it is off."""

import pytest
import torch
from synthetic import SIZES, SPEAKERS, batch
from torch.nn.functional import cosine_similarity, cross_entropy

from mlsan.corpus.batch import pack
from mlsan.model import MODELS, build_model
from mlsan.model.cggm import CGGM, CGGMSettings, balance
from mlsan.model.interface import Sizes
from mlsan.training import run_settings

CLASSES = 7  # MELD's: the losses of some models have a weight for each
GUIDED = pytest.mark.parametrize("base", ["MultiEMO", "MMGCN"])


def build(base, seed=0, sizes=SIZES, **changes):
    inside = run_settings("MELD", "smoke", base, 0, dropout=0.0).model
    settings = inside if changes.pop("plain", False) else CGGMSettings(base=inside, **changes)
    return build_model(settings, Sizes(sizes, 4, CLASSES, SPEAKERS), seed).double().train()


def losses(model, b):
    """The output, and the emotion loss with all that the model adds to it."""
    output = model(b)
    erc = cross_entropy(output.logits, pack(b.label, b.mask))
    return output, *model.total_loss(erc, output, pack(b.speaker, b.mask))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # The sum is .4; who improved by .2 is left with the others' half of it.
        ([0.2, 0.1, 0.1], [0.5, 0.75, 0.75]),
        ([0.1, 0.1, 0.1], [2 / 3, 2 / 3, 2 / 3]),
        # One modality alone improves: its own gradient rests.
        ([0.3, 0.0, 0.0], [0.0, 1.0, 1.0]),
        # B of (.3, -.1, 0) is (-.5, 1.5, 1) before it is kept in [0, 1].
        ([0.3, -0.1, 0.0], [0.0, 1.0, 1.0]),
        ([0.1, -0.1, 0.0], [0.0, 1.0, 0.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
    ],
)
def test_balance_by_hand(change, expected):
    found = balance(torch.tensor(change, dtype=torch.float64))
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
    )


@GUIDED
def test_with_modulation_off_it_is_the_model_inside(base):
    guided, plain = build(base, magnitude=False, lam=0.0), build(base, plain=True)
    b = batch()
    found = {}
    for name, model in (("guided", guided), ("plain", plain)):
        torch.manual_seed(3)
        output, loss, _ = losses(model, b)
        loss.backward()
        found[name] = output.logits
    assert torch.equal(found["guided"], found["plain"])
    for name, parameter in plain.named_parameters():
        assert torch.equal(guided.base.get_parameter(name).grad, parameter.grad), name
    assert guided.classifiers["audio"][0].weight.grad.any()


@GUIDED
def test_in_evaluation_it_is_the_model_inside_and_reads_no_label(base):
    guided, plain = build(base).eval(), build(base, plain=True).eval()
    b = batch()
    output, loss, parts = losses(guided, b)
    assert torch.equal(output.logits, plain(b).logits)
    assert parts == {}
    assert loss == cross_entropy(output.logits, pack(b.label, b.mask))
    assert not guided.accuracy.any()


@GUIDED
def test_each_encoders_gradient_is_scaled_by_rho_and_its_share(base):
    """All other gradients stay as they are, with the direction term off."""
    guided, plain = build(base, rho=1.7, lam=0.0), build(base, plain=True)
    b = batch()
    label = pack(b.label, b.mask)
    # A last step that makes the shares differ.
    guided.accuracy += torch.tensor([-0.2, -0.1, -0.3])
    before = guided.accuracy.clone()
    for model in (guided, plain):
        torch.manual_seed(3)
        losses(model, b)[1].backward()
    share = balance(guided.accuracy - before)
    assert len(set(share.tolist())) == 3
    own = dict(guided.base.named_parameters())
    for m, k in zip(SIZES, share, strict=True):
        for name in (f"project.{m}.weight", f"project.{m}.bias"):
            theirs = plain.get_parameter(name).grad
            assert theirs.any()
            torch.testing.assert_close(own[name].grad, 1.7 * k * theirs)
    if base == "MultiEMO":
        # DialogueRNN has a stream for each modality but text, stacked in its parameters.
        for k, stream in zip(share[1:], range(2), strict=True):
            theirs = dict(plain.context.named_parameters())
            for name, parameter in guided.base.context.named_parameters():
                ours = parameter.grad[stream]
                torch.testing.assert_close(ours, 1.7 * k * theirs[name].grad[stream])
    after = "fusion" if base == "MultiEMO" else "graph"
    for name, parameter in plain.named_parameters():
        if name.startswith((after, "classify")):
            torch.testing.assert_close(own[name].grad, parameter.grad)
    # Accuracies are shares of the utterances.
    right = guided.accuracy * len(label)
    torch.testing.assert_close(right, right.round())


@GUIDED
def test_the_direction_term_draws_the_last_layer_towards_the_classifiers(base):
    guided = build(base, lam=0.5)
    b = batch()
    guided.accuracy += torch.tensor([-0.2, -0.1, -0.3])
    before = guided.accuracy.clone()
    _, _, parts = losses(guided, b)
    share = balance(guided.accuracy - before)
    last = [layer for layer in guided.base.classify if hasattr(layer, "weight")][-1].weight
    cosines = [
        cosine_similarity(last.flatten(), layer[-1].weight.flatten(), dim=0)
        for layer in guided.classifiers.values()
    ]
    by_hand = sum(abs(k) - k * c for k, c in zip(share, cosines, strict=True)) / 3
    torch.testing.assert_close(parts["direction"], by_hand)
    (gradient,) = torch.autograd.grad(guided.direction(share), last)
    stepped = last - 0.1 * gradient
    nearer = sum(
        k * cosine_similarity(stepped.flatten(), layer[-1].weight.flatten(), dim=0)
        for k, layer in zip(share, guided.classifiers.values(), strict=True)
    )
    assert nearer > sum(k * c for k, c in zip(share, cosines, strict=True))


def test_the_classifiers_learn_the_emotions_from_what_fusion_reads():
    guided = build("MultiEMO", lam=0.5)
    b = batch()
    output, loss, _ = losses(guided, b)
    loss.backward()
    label = pack(b.label, b.mask)
    for m, layer in guided.classifiers.items():
        logits = layer(output.stages["gated"][m].detach())
        own = list(layer.parameters())
        by_hand = torch.autograd.grad(cross_entropy(logits, label), own)
        for parameter, gradient in zip(own, by_hand, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
        assert guided.accuracy[list(SIZES).index(m)] == (logits.argmax(1) == label).double().mean()


def test_with_one_modality_no_gradient_is_scaled():
    guided = build("MultiEMO", sizes={"text": 5}, lam=0.0)
    plain = build("MultiEMO", sizes={"text": 5}, plain=True)
    b = batch(sizes={"text": 5})
    for model in (guided, plain):
        losses(model, b)[1].backward()
    for name, parameter in plain.named_parameters():
        assert torch.equal(guided.base.get_parameter(name).grad, parameter.grad), name


def test_the_classifiers_learn_at_their_own_rate():
    guided = build("MultiEMO", classifier_rate=0.25)
    base, classifiers = guided.parameter_groups(0.4)
    assert (base["lr"], classifiers["lr"]) == (0.4, 0.1)
    ids = {id(p) for p in classifiers["params"]}
    assert ids == {id(p) for p in guided.classifiers.parameters()}


def test_the_last_accuracies_are_part_of_the_state():
    """A run that resumes goes on from them."""
    guided = build("MMGCN")
    losses(guided, batch())
    again = build("MMGCN", seed=1)
    again.load_state_dict(guided.state_dict())
    assert guided.accuracy.any()
    assert torch.equal(again.accuracy, guided.accuracy)


def encoders(base):
    """Whether a model of the registry has a layer of its own for each modality."""
    model = run_settings("MELD", "smoke", base, 0).model
    inside = build_model(model, Sizes(SIZES, 4, CLASSES, SPEAKERS), 0)
    return isinstance(getattr(inside, "project", None), torch.nn.ModuleDict)


@pytest.mark.parametrize("base", [name for name in MODELS if encoders(name)])
def test_every_model_with_encoders_can_be_guided(base):
    model = build(base)
    assert isinstance(model, CGGM)
    _, loss, parts = losses(model, batch())
    loss.backward()
    assert {"classifiers", "direction"} <= set(parts)
    for parameter in model.classifiers.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("base", [name for name in MODELS if not encoders(name)])
def test_a_model_without_encoders_is_refused(base):
    with pytest.raises(ValueError, match=f"{base} has no encoders by modality"):
        build(base)
