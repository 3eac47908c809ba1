"""Checks that several models have to pass, whatever they compute."""

from collections.abc import Callable
from dataclasses import replace

import torch
from synthetic import CLASSES, LENGTHS, select
from torch import Tensor
from torch.nn.functional import cross_entropy

from mlsan.corpus.batch import pack
from mlsan.corpus.types import Batch
from mlsan.model.interface import EmotionModel, Output


def single(b: Batch) -> Batch:
    """The batch in float32."""
    return replace(b, feature={m: x.float() for m, x in b.feature.items()})


def filled(b: Batch, roles: int, **changes) -> Batch:
    """The batch with something in the padding of its features and roles."""
    padding = ~b.mask
    return replace(
        b,
        feature={m: x + 9.0 * padding[..., None] for m, x in b.feature.items()},
        party=b.party + (roles - 1) * padding,
        **changes,
    )


def in_other_roles(b: Batch, roles: int) -> Batch:
    """The batch with other people in turn: each role is moved on by the number of the turn."""
    turn = torch.arange(len(b.party))[:, None]
    return replace(b, party=(b.party + turn) % roles * b.mask)


def check_the_batch_does_not_matter(model: Callable[[Batch], Output], b: Batch) -> None:
    """Each dialogue of a batch of `LENGTHS` has the same logits in another order, and alone."""
    order = (3, 0, 4, 2, 1)
    whole = model(b).logits.split(LENGTHS)
    turned = model(select(b, order)).logits.split([LENGTHS[i] for i in order])
    for place, i in enumerate(order):
        torch.testing.assert_close(turned[place], whole[i])
        torch.testing.assert_close(model(select(b, [i])).logits, whole[i])


def check_every_parameter_learns(
    model: EmotionModel, loss: Tensor, flat: str | None = None
) -> None:
    """Every parameter has a finite gradient, and none but those that end in `flat` a zero one."""
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any() or (flat and key.endswith(flat)), key


def check_all_is_finite(model: EmotionModel, b: Batch) -> None:
    """Logits and gradients."""
    output = model(b)
    output.logits.square().sum().backward()
    assert output.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def check_dropout_acts_in_training_only(model: EmotionModel, b: Batch) -> None:
    model.train()
    assert not torch.equal(model(b).logits, model(b).logits)
    model.eval()
    assert torch.equal(model(b).logits, model(b).logits)


def check_output_of_text_and_audio(model: EmotionModel, b: Batch) -> Output:
    """An output without fusion and speaker head, its stages those of the two modalities."""
    output = model(b)
    assert output.logits.shape == (sum(LENGTHS), CLASSES)
    assert len(output.z) == sum(LENGTHS)
    assert output.fused == {}
    assert output.speaker_logits is None
    assert {stage: tuple(x) for stage, x in output.stages.items()} == dict.fromkeys(
        output.stages, ("text", "audio")
    )
    for m, x in output.stages["raw"].items():
        assert torch.equal(x, pack(b.feature[m], b.mask))
    return output


def trained(model: EmotionModel, b: Batch, lr: float, steps: int = 100) -> list[float]:
    """The emotion losses of a short training in float32, with the same dropout every time."""
    torch.manual_seed(0)
    model, b = model.float().train(), single(b)
    label, speaker = pack(b.label, b.mask), pack(b.speaker, b.mask)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        output = model(b)
        erc = cross_entropy(output.logits, label)
        optimiser.zero_grad()
        model.total_loss(erc, output, speaker)[0].backward()
        optimiser.step()
        losses.append(erc.item())
    return losses
