"""Batches are turn-first and padded with what Batch promises."""

import numpy as np
import torch
from synthetic import batch

from mlsan.corpus import Dialogue, batches, collate, drop_modalities
from mlsan.corpus.batch import drop_identities


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


def drop(b, rate, seed=0):
    return drop_identities(b, rate, torch.Generator().manual_seed(seed), 6)


def test_a_speaker_becomes_unknown_for_a_whole_dialogue():
    b = batch(lengths=(20,) * 30)
    dropped = drop(b, 0.4)
    changed = (b.speaker > 0) & (dropped.speaker == 0)
    assert changed.any()
    for dialogue in range(30):
        for speaker in range(1, 6):
            its = changed[:, dialogue][b.speaker[:, dialogue] == speaker]
            assert its.all() or not its.any()
    assert torch.equal(dropped.speaker[~changed], b.speaker[~changed])


def test_the_rate_is_the_share_of_speakers_dropped():
    b = batch(lengths=(20,) * 400)
    known = b.speaker > 0
    share = (drop(b, 0.25).speaker[known] == 0).double().mean()
    assert abs(share - 0.25) < 0.03


def test_the_batch_itself_is_unchanged_and_the_generator_decides():
    b = batch(lengths=(20,) * 30)
    before = b.speaker.clone()
    one, same, other = drop(b, 0.4), drop(b, 0.4), drop(b, 0.4, seed=1)
    assert torch.equal(b.speaker, before)
    assert torch.equal(one.speaker, same.speaker)
    assert not torch.equal(one.speaker, other.speaker)


def test_at_rate_0_every_speaker_stays():
    b = batch()
    assert drop(b, 0.0) is b
