"""Batches of dialogues, padded and turn-first, and what training does to them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from mlsan.corpus.types import Batch, Dialogue, Speakers
from mlsan.vocabulary import UNKNOWN

Code = Int[np.ndarray, "_turn"]


def collate(dialogues: Sequence[Dialogue], speakers: Speakers | Sequence[Code]) -> Batch:
    """A batch of these dialogues, padded to the longest.

    `speakers` says who speaks: codes alone, or with styles and withheld identities.
    """
    if not isinstance(speakers, Speakers):
        speakers = Speakers(speakers)
    styles = speakers.style or [{}]
    length = np.array([len(d) for d in dialogues])
    turn = np.arange(length.max())[:, None]
    mask = turn < length
    # The utterance in each cell of the grid; padding is a row after the last one.
    cell = np.where(mask, np.cumsum(length) - length + turn, length.sum())

    def pad(rows: Sequence[np.ndarray], value: int = 0) -> Tensor:
        padding = np.full_like(rows[0][:1], value)
        return torch.from_numpy(np.concatenate([*rows, padding]).take(cell, axis=0))

    return Batch(
        feature={
            modality: pad([d.feature[modality] for d in dialogues])
            for modality in dialogues[0].feature
        },
        party=pad([d.party for d in dialogues]),
        speaker=pad(speakers.code),
        label=pad([d.label for d in dialogues], value=-1),
        mask=torch.from_numpy(mask),
        length=tuple(length.tolist()),
        withheld=pad(speakers.withheld) if speakers.withheld else None,
        style={m: pad([style[m] for style in styles], value=1) for m in styles[0]},
    )


def batches(
    dialogues: Sequence[Dialogue],
    speakers: Speakers | Sequence[Code],
    size: int,
    generator: torch.Generator | None = None,
) -> Iterator[Batch]:
    """Batches of `size` dialogues, shuffled if there is a `generator`, otherwise in order."""
    if not isinstance(speakers, Speakers):
        speakers = Speakers(speakers)
    if generator is None:
        order = list(range(len(dialogues)))
    else:
        order = torch.randperm(len(dialogues), generator=generator).tolist()
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield collate([dialogues[i] for i in chosen], speakers.at(chosen))


def withhold_identities(batch: Batch) -> Batch:
    """The batch as a model in training gets it: unknown speakers where identities are withheld.

    Take the targets of the auxiliary loss (Eq. 4) from `batch` itself: they stay the true
    speakers.
    """
    if batch.withheld is None:
        return batch
    return replace(batch, speaker=batch.speaker.masked_fill(batch.withheld, UNKNOWN))


def drop_modalities(batch: Batch, rate: float, generator: torch.Generator) -> Batch:
    """The batch with each modality of each dialogue set to 0 with probability `rate`.

    Every dialogue keeps at least one modality. Numbers are drawn on the CPU, where batches are
    made.
    """
    if rate == 0 or len(batch.feature) == 1:
        return batch
    drawn = torch.rand(len(batch.feature), len(batch.length), generator=generator)
    kept = (drawn >= rate) | (drawn == drawn.amax(0))
    return replace(
        batch,
        feature={
            modality: x * keep.to(x)[:, None]
            for (modality, x), keep in zip(batch.feature.items(), kept, strict=True)
        },
    )


def pack(
    x: Shaped[Tensor, "turn dialogue *rest"], mask: Bool[Tensor, "turn dialogue"]
) -> Shaped[Tensor, "utterance *rest"]:
    """The utterances of a padded grid: all turns of dialogue 0, then of dialogue 1, and so on."""
    return x.transpose(0, 1)[mask.T]
