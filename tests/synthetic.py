"""Small random batches, settings, models and published weights for the models' tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlsan.corpus.types import Batch
from mlsan.model import build_model
from mlsan.model.interface import EmotionModel, ModelSettings, Sizes
from mlsan.model.mlsan import MLSANSettings
from mlsan.vocabulary import MODALITIES, Benchmark

SIZES = {"text": 5, "audio": 4, "visual": 6}
LENGTHS = (4, 7, 1, 5, 7)
ROLES = {"MELD": 4, "IEMOCAP": 2}
CLASSES, SPEAKERS = 3, 6


def batch(
    lengths: Sequence[int] = LENGTHS,
    roles: int = 4,
    sizes: dict[str, int] = SIZES,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Batch:
    """Random dialogues; every speaker code from 0 (unknown) up occurs."""
    generator = torch.Generator().manual_seed(seed)
    shape = (max(lengths), len(lengths))
    mask = torch.arange(shape[0])[:, None] < torch.tensor(lengths)

    def integers(below: int) -> Tensor:
        return torch.randint(below, shape, generator=generator) * mask

    return Batch(
        feature={
            m: torch.randn(*shape, n, generator=generator, dtype=dtype) * mask[..., None]
            for m, n in sizes.items()
        },
        party=integers(roles),
        speaker=integers(SPEAKERS),
        label=torch.where(mask, integers(CLASSES), -1),
        mask=mask,
        length=tuple(lengths),
        style={m: style(mask, n, dtype, generator) for m, n in sizes.items()},
    )


def style(mask: Tensor, size: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """A mean and a positive deviation of each feature for every utterance; 1 on padding."""
    mu = torch.randn(*mask.shape, size, generator=generator, dtype=dtype)
    sigma = 0.5 + torch.rand(*mask.shape, size, generator=generator, dtype=dtype)
    return torch.where(mask[..., None, None], torch.stack([mu, sigma], 2), 1)


def select(of: Batch, dialogues: Sequence[int]) -> Batch:
    """These dialogues in this order, padded to the longest of them."""
    chosen = list(dialogues)
    turns = int(of.mask[:, chosen].sum(0).max())

    def cut(x: Tensor) -> Tensor:
        return x[:turns, chosen]

    return Batch(
        feature={m: cut(x) for m, x in of.feature.items()},
        party=cut(of.party),
        speaker=cut(of.speaker),
        label=cut(of.label),
        mask=cut(of.mask),
        length=tuple(of.length[b] for b in chosen),
        style={m: cut(x) for m, x in of.style.items()},
    )


def settings(form: Benchmark = "MELD", **changes) -> MLSANSettings:
    """A tiny ML-SAN in the form that the published code has for this benchmark."""
    both = form == "IEMOCAP"
    tiny = {
        "d": 8,
        "heads": 2,
        "layers": 2,
        "feedforward": 12,
        "classifier": 8 if both else 16,
        "bidirectional": both,
        "text_context": both,
        "speaker_dim": 3,
    }
    return MLSANSettings(**(tiny | changes))


def build(
    of: ModelSettings, features: dict[str, int] = SIZES, seed: int = 0, roles: int = 4
) -> EmotionModel:
    """A model in float64."""
    return build_model(of, Sizes(features, roles, CLASSES, SPEAKERS), seed).double()


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Draw every parameter and buffer anew, also those that start at 0."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in (*model.parameters(), *model.buffers()):
        torch.nn.init.normal_(tensor, std=0.5, generator=generator)


def published_weights(form: Benchmark, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of `settings(form)` under all the published names, in float64."""
    c = settings(form)
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    for m in MODALITIES:
        linear(f"{m}_fc", SIZES[m], c.d)
        linear(f"{m}_dialoguernn.linear", 2 * c.d, c.d)
        for way in "fr":
            stem = f"{m}_dialoguernn.dialog_rnn_{way}.dialogue_cell"
            shapes[f"{stem}.attention.scalar.weight"] = (1, c.d)
            for cell, inputs in (("g", 2 * c.d), ("p", 2 * c.d), ("e", c.d)):
                for side, width in (("ih", inputs), ("hh", c.d)):
                    shapes[f"{stem}.{cell}_cell.weight_{side}"] = (3 * c.d, width)
                    shapes[f"{stem}.{cell}_cell.bias_{side}"] = (3 * c.d,)
        for n in range(c.layers):
            stem = f"multiattn.multiattn_{m}.multiattn_layers.{n}"
            for k in (1, 2):
                for h in range(c.heads):
                    for role in ("query", "key", "value"):
                        head = f"{stem}.attn_{k}.attention_heads.{h}.{role}_matrix"
                        linear(head, c.d, c.d // c.heads)
                linear(f"{stem}.attn_{k}.projection_matrix", c.d, c.d)
            for k in (1, 2, 3):
                norm = f"{stem}.add_norm_{k}.layer_norm"
                shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (c.d,)
            linear(f"{stem}.ff.linear_W1", c.d, c.feedforward)
            linear(f"{stem}.ff.linear_W2", c.feedforward, c.d)
    linear("fc", 3 * c.d, c.d)
    linear("mlp.linear_1", c.d, c.classifier)
    linear("mlp.linear_2", c.classifier, CLASSES)

    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.5
        for name, shape in shapes.items()
    }
