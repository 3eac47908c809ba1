"""Dialogues side by side: padded, turn-first batches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mlsan.corpus.types import Batch, Dialogue
from mlsan.vocabulary import UNKNOWN


def collate(dialogues: Sequence[Dialogue], codes: Sequence[Int[np.ndarray, "_turn"]]) -> Batch:
    """The dialogues in their order, with their speaker codes, padded to the longest."""
    return Batch(
        feature={
            modality: _pad([d.feature[modality] for d in dialogues])
            for modality in dialogues[0].feature
        },
        party=_pad([d.party for d in dialogues]),
        speaker=_pad(codes),
        label=_pad([d.label for d in dialogues], value=-1),
        mask=_pad([np.ones(len(d), dtype=bool) for d in dialogues]),
        length=tuple(len(d) for d in dialogues),
    )


def batches(
    dialogues: Sequence[Dialogue],
    codes: Sequence[Int[np.ndarray, "_turn"]],
    size: int,
    generator: torch.Generator | None = None,
) -> Iterator[Batch]:
    """Batches of `size` dialogues: shuffled by `generator`, in order without one."""
    if generator is None:
        order = list(range(len(dialogues)))
    else:
        order = torch.randperm(len(dialogues), generator=generator).tolist()
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield collate([dialogues[i] for i in chosen], [codes[i] for i in chosen])


def drop_identities(batch: Batch, rate: float, generator: torch.Generator, speakers: int) -> Batch:
    """The batch with each (dialogue, speaker) turned to unknown with probability `rate`.

    A speaker is dropped for a whole dialogue, as an unknown speaker would come. `speakers` is the
    number of entries, unknown included. Numbers are drawn on the generator's device. What the
    auxiliary head has to name (Eq. 4) stays the true speaker: take its targets from the batch as
    it was before. With the entry withheld, z can only keep the speaker by way of the features.
    """
    if rate == 0:
        return batch
    dialogues = batch.speaker.shape[1]
    drawn = torch.rand(speakers, dialogues, generator=generator, device=generator.device).to(
        batch.speaker.device
    )
    dropped = (drawn < rate).gather(0, batch.speaker.long())
    return replace(batch, speaker=batch.speaker.masked_fill(dropped, UNKNOWN))


def drop_modalities(batch: Batch, rate: float, generator: torch.Generator) -> Batch:
    """The batch with each modality of each dialogue absent (all 0) with probability `rate`.

    A dialogue always keeps one. Numbers are drawn on the CPU, as the batch is made there.
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


def _pad(rows: Sequence[np.ndarray], value: int = 0) -> Tensor:
    return pad_sequence([torch.from_numpy(row) for row in rows], padding_value=value)
