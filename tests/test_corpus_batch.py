"""Batches are turn-first and padded with what Batch promises."""

import numpy as np
import torch

from mlsan.corpus import Dialogue, batches, collate


def dialogue(number, turns):
    return Dialogue(
        id=str(number),
        label=np.arange(turns),
        party=np.arange(turns) % 2,
        speaker=None,
        feature={
            "text": np.full((turns, 3), number, dtype=np.float32),
            "audio": np.full((turns, 2), -number, dtype=np.float32),
        },
    )


DIALOGUES = [dialogue(number, turns) for number, turns in ((1, 2), (2, 4), (3, 1), (4, 3), (5, 2))]
CODES = [np.full(len(d), 7) for d in DIALOGUES]


def test_padding_is_what_batch_says():
    batch = collate(DIALOGUES[:2], CODES[:2])
    assert batch.mask.tolist() == [[True, True], [True, True], [False, True], [False, True]]
    assert batch.label.T.tolist() == [[0, 1, -1, -1], [0, 1, 2, 3]]
    assert batch.party.T.tolist() == [[0, 1, 0, 0], [0, 1, 0, 1]]
    assert batch.speaker.T.tolist() == [[7, 7, 0, 0], [7, 7, 7, 7]]
    assert batch.feature["text"].shape == (4, 2, 3)
    assert batch.feature["text"][:, 0, 0].tolist() == [1, 1, 0, 0]
    assert batch.feature["audio"][:, 1, 1].tolist() == [-2, -2, -2, -2]


def test_in_order_without_a_generator():
    sizes = [batch.mask.sum(0).tolist() for batch in batches(DIALOGUES, CODES, 2, None)]
    assert sizes == [[2, 4], [1, 3], [2]]


def numbers(seed):
    drawn = batches(DIALOGUES, CODES, 2, torch.Generator().manual_seed(seed))
    return [int(n) for batch in drawn for n in batch.feature["text"][0, :, 0]]


def test_a_generator_shuffles_and_repeats():
    assert sorted(numbers(0)) == [1, 2, 3, 4, 5]
    assert numbers(0) == numbers(0)
    assert len({tuple(numbers(seed)) for seed in range(5)}) > 1


def test_two_passes_with_one_generator_differ():
    generator = torch.Generator().manual_seed(0)
    passes = [
        [
            int(n)
            for b in batches(DIALOGUES, CODES, 5, generator)
            for n in b.feature["text"][0, :, 0]
        ]
        for _ in range(6)
    ]
    assert len({tuple(order) for order in passes}) > 1


def test_a_batch_moves_whole():
    moved = collate(DIALOGUES, CODES).to("meta")
    tensors = [*moved.feature.values(), moved.party, moved.speaker, moved.label, moved.mask]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
