"""Batches are turn-first and padded with what Batch promises."""

import numpy as np
import torch

from mlsan.corpus import Dialogue, batches, collate, drop_modalities
from mlsan.corpus.batch import pack, withhold_identities
from mlsan.corpus.types import Speakers


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


def test_length_says_what_mask_says():
    batch = collate(DIALOGUES, CODES)
    assert batch.length == tuple(batch.mask.sum(0).tolist()) == (2, 4, 1, 3, 2)


def test_a_dropped_modality_is_zero_in_the_whole_dialogue_and_one_always_stays():
    full = collate([dialogue(number, 3) for number in range(1, 2001)], [np.zeros(3, int)] * 2000)
    generator = torch.Generator().manual_seed(0)
    dropped = drop_modalities(full, 0.5, generator)
    there = {m: (x != 0).all(2) for m, x in dropped.feature.items()}
    for modality, kept in there.items():
        assert torch.equal(kept, kept[:1].expand_as(kept)), "a dialogue loses all turns or none"
        x = full.feature[modality]
        assert torch.equal(dropped.feature[modality], x * kept[..., None])
        # Dropped with 1/2, but where both were drawn (1/4) one of the two is given back.
        assert abs((~kept).float().mean().item() - 0.375) < 0.03
    assert torch.stack(list(there.values())).any(0).all()


def test_without_dropout_no_number_is_drawn():
    batch = collate(DIALOGUES, CODES)
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert drop_modalities(batch, 0.0, generator) is batch
    assert torch.equal(generator.get_state(), state)


def test_withheld_identities_become_unknown_and_the_batch_keeps_them():
    codes = [np.array([1, 2]), np.array([3, 0, 3, 0])]
    hidden = [np.array([True, False]), np.array([False] * 4)]
    b = collate(DIALOGUES[:2], Speakers(codes, withheld=hidden))
    shown = withhold_identities(b)
    assert pack(shown.speaker, b.mask).tolist() == [0, 2, 3, 0, 3, 0]
    assert pack(b.speaker, b.mask).tolist() == [1, 2, 3, 0, 3, 0]


def test_without_withheld_identities_the_batch_is_the_same():
    b = collate(DIALOGUES, CODES)
    assert withhold_identities(b) is b


def test_styles_are_padded_with_a_sigma_that_can_divide():
    styles = [{"audio": np.full((len(d), 2, 3), 5.0, dtype=np.float32)} for d in DIALOGUES]
    b = collate(DIALOGUES, Speakers(CODES, styles))
    assert b.style["audio"].shape == (*b.mask.shape, 2, 3)
    assert (b.style["audio"][b.mask] == 5).all()
    assert (b.style["audio"][~b.mask] == 1).all()
