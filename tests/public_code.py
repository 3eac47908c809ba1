"""What the published code of the baselines gives for a small batch with fixed weights.

`fixtures/public_code.json` holds its outputs and where they come from. Weights and inputs follow
from Python's `random.Random`, whose `random()` gives the same numbers in every version, so that
only outputs are stored.
"""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mlsan.corpus.types import Batch
from mlsan.vocabulary import MODALITIES

FIXTURE = Path(__file__).parent / "fixtures" / "public_code.json"
LENGTHS, ROLES, CLASSES, WINDOW = (6, 1, 3), 3, 3, 2
SIZES = dict(zip(MODALITIES, (5, 4, 6), strict=True))


def outputs() -> dict:
    """The stored outputs, by model, and their provenance."""
    return json.loads(FIXTURE.read_text())


def uniform(drawn: random.Random, *shape: int) -> Tensor:
    """Numbers from -1 to 1, in float64."""
    numbers = [2 * drawn.random() - 1 for _ in range(math.prod(shape))]
    return torch.tensor(numbers, dtype=torch.float64).view(shape)


def weights(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each parameter within 2 / sqrt(size of its last axis), drawn in the order of the names."""
    drawn = random.Random(0)
    return {
        name: 2 * uniform(drawn, *like[name].shape) / like[name].shape[-1] ** 0.5
        for name in sorted(like)
    }


def batch() -> Batch:
    """Three dialogues of one to six turns."""
    drawn = random.Random(1)
    shape = (max(LENGTHS), len(LENGTHS))
    mask = torch.arange(shape[0])[:, None] < torch.tensor(LENGTHS)
    feature = {m: 2 * uniform(drawn, *shape, n) * mask[..., None] for m, n in SIZES.items()}
    role = ((uniform(drawn, *shape) + 1) / 2 * ROLES).long() * mask
    return Batch(
        feature=feature,
        party=role,
        speaker=role,
        label=torch.where(mask, role, -1),
        mask=mask,
        length=LENGTHS,
    )


def logits() -> tuple[Tensor, Tensor]:
    """The 50 utterances and 7 classes on which the focal losses are compared, and the labels."""
    drawn = random.Random(2)
    label = ((uniform(drawn, 50) + 1) / 2 * 7).long()
    return 2 * uniform(drawn, 50, 7), label
