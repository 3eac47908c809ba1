"""Dropping identities to the unknown entry."""

import torch
from synthetic import batch

from mlsan.model import drop_identities


def drop(b, rate, seed=0):
    return drop_identities(b, rate, torch.Generator().manual_seed(seed), 6)


def test_a_speaker_is_dropped_for_a_whole_dialogue():
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


def test_rate_0_drops_nobody():
    b = batch()
    assert drop(b, 0.0) is b
