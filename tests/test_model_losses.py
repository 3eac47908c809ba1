"""SWFC, Soft-HGR, class weights, and the sums that training minimises."""

from dataclasses import replace

import pytest
import torch
from synthetic import CLASSES, SPEAKERS, build, settings

from mlsan.model import reference
from mlsan.model.interface import Output
from mlsan.model.losses import (
    CrossEntropyLoss,
    FocalLoss,
    MultiEMOLoss,
    class_weights,
    emotion_loss,
    soft_hgr,
    swfc,
)

WEIGHT = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gradient(function, *inputs):
    return torch.autograd.grad(function(*inputs), inputs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.4])
@pytest.mark.parametrize("tau", [0.1, 1.4])
@pytest.mark.parametrize("label", [[0, 1, 1, 2, 0, 1, 0, 2], [0, 1, 1, 1], [0, 0, 0], [0, 1, 2]])
def test_swfc_follows_the_definition(label, tau, gamma):
    """With lonely utterances (no positive), one class only, and none with a positive."""
    label = torch.tensor(label)
    z = randn(len(label), 5).requires_grad_()
    expected = reference.swfc(z, label, WEIGHT, tau, gamma)
    torch.testing.assert_close(swfc(z, label, WEIGHT, tau, gamma), expected)
    if expected.requires_grad:
        ours = gradient(lambda x: swfc(x, label, WEIGHT, tau, gamma), z)
        theirs = gradient(lambda x: reference.swfc(x, label, WEIGHT, tau, gamma), z)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swfc_is_finite_where_p_is_1(gamma, dtype):
    pair = randn(2, 4).to(dtype).requires_grad_()
    close = torch.tensor([[1.0, 0.0], [1.0, 1e-4], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    for z, label, tau in ((pair, [1, 1], 1.0), (close, [0, 0, 1], 1e-3)):
        loss = swfc(z, torch.tensor(label), WEIGHT.to(dtype), tau, gamma)
        (grad,) = torch.autograd.grad(loss, z)
        assert loss.abs() < 1e-6
        assert grad.isfinite().all()


def test_swfc_of_one_utterance_is_0():
    z = randn(1, 4).requires_grad_()
    loss = swfc(z, torch.tensor([1]), WEIGHT, 1.0, 2.0)
    (grad,) = torch.autograd.grad(loss, z)
    assert loss == 0
    assert grad.isfinite().all()


@pytest.mark.parametrize("streams", [2, 3])
def test_soft_hgr_follows_the_definition(streams):
    fused = [randn(9, 4, seed=s).requires_grad_() for s in range(streams)]
    torch.testing.assert_close(soft_hgr(fused), reference.soft_hgr(fused))
    ours = gradient(lambda *x: soft_hgr(list(x)), *fused)
    theirs = gradient(lambda *x: reference.soft_hgr(list(x)), *fused)
    torch.testing.assert_close(ours, theirs)


def test_soft_hgr_of_one_stream_is_0():
    assert soft_hgr([randn(4, 3)]) == 0


def test_class_weights_favour_rare_classes():
    counts = torch.tensor([80, 15, 5])
    weight = class_weights(counts, 1.2)
    expected = (100 / counts) ** 1.2
    torch.testing.assert_close(weight, expected / expected.sum())
    assert class_weights(counts, 0.0).tolist() == pytest.approx([1 / 3] * 3)


def test_a_class_without_utterances_has_weight_0():
    weight = class_weights(torch.tensor([3, 0, 1]), 1.0)
    assert weight[1] == 0
    assert weight.sum().item() == pytest.approx(1)


def output(speaker_logits=True):
    n = 6
    return Output(
        logits=randn(n, CLASSES, seed=1).requires_grad_(),
        z=randn(n, 4, seed=2).requires_grad_(),
        fused={m: randn(n, 4, seed=i) for i, m in enumerate(("text", "audio"))},
        speaker_logits=randn(n, SPEAKERS, seed=3).requires_grad_() if speaker_logits else None,
        stages={},
    )


LABEL = torch.tensor([0, 0, 1, 1, 2, 2])
SPEAKER = torch.tensor([0, 1, 2, 3, 0, 5])


def total(lam, erc, out, speaker=SPEAKER):
    """ML-SAN's total loss and its speaker terms."""
    return build(settings(lam=lam)).total_loss(erc, out, speaker)


def test_the_total_is_the_weighted_sum_of_the_parts():
    out = output()
    erc, parts = emotion_loss(MultiEMOLoss(swfc=0.3, hgr=0.2, ce=0.4), out, LABEL, WEIGHT)
    loss, speaker_parts = total(0.5, erc, out)
    mix = 0.3 * parts["swfc"] + 0.2 * parts["hgr"] + 0.4 * parts["ce"]
    torch.testing.assert_close(erc, mix)
    torch.testing.assert_close(loss, mix + 0.5 * speaker_parts["spk"])
    torch.testing.assert_close(parts["swfc"], reference.swfc(out.z, LABEL, WEIGHT, 1.4, 2.0))
    known = SPEAKER > 0
    expected = torch.nn.functional.cross_entropy(out.speaker_logits[known], SPEAKER[known])
    torch.testing.assert_close(speaker_parts["spk"], expected)


def test_unknown_speakers_do_not_count():
    out = output()
    erc, _ = emotion_loss(MultiEMOLoss(), out, LABEL, WEIGHT)
    loss, parts = total(0.5, erc, out, torch.zeros(6, dtype=torch.long))
    assert parts["spk"] == 0
    (grad,) = torch.autograd.grad(loss, out.speaker_logits)
    assert torch.equal(grad, torch.zeros_like(grad))


def test_cross_entropy_alone_leaves_out_the_rest():
    out = output(speaker_logits=False)
    loss, parts = emotion_loss(CrossEntropyLoss(), out, LABEL, WEIGHT)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(out.logits, LABEL))
    assert set(parts) == {"ce"}
    assert total(0.5, loss, out) == (loss, {})


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5)])
def test_the_focal_loss_is_that_of_its_definition(weights):
    out = output(speaker_logits=False)
    p = out.logits.softmax(-1)
    terms = [
        -((1 - p[i, y]) ** 2.5) * p[i, y].log() * (weights[y] if weights else 1)
        for i, y in enumerate(LABEL.tolist())
    ]
    loss, _ = emotion_loss(FocalLoss(gamma=2.5, class_weight=weights), out, LABEL, WEIGHT)
    torch.testing.assert_close(loss, sum(terms) / len(terms))


def test_class_weights_make_cross_entropy_a_weighted_mean():
    chosen = CrossEntropyLoss(class_weight=(1.0, 2.0, 0.5))
    out = output(speaker_logits=False)
    weight = torch.tensor(chosen.class_weight, dtype=out.logits.dtype)[LABEL]
    negative_log_p = -out.logits.log_softmax(-1)[range(6), LABEL]
    loss, _ = emotion_loss(chosen, out, LABEL, WEIGHT)
    torch.testing.assert_close(loss, (weight * negative_log_p).sum() / weight.sum())


def test_the_adversary_counts_with_lambda():
    out = replace(output(), adversary_logits=randn(6, SPEAKERS, seed=4))
    erc = torch.tensor(1.0, dtype=torch.float64)
    with_it, parts = total(0.5, erc, out)
    without, _ = total(0.5, erc, output())
    known = SPEAKER > 0
    expected = torch.nn.functional.cross_entropy(out.adversary_logits[known], SPEAKER[known])
    torch.testing.assert_close(parts["adv"], expected)
    torch.testing.assert_close(with_it, without + 0.5 * expected)
