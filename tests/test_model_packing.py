"""Rows, the orders of DialogueRNN, and attention's buckets."""

import numpy as np
import pytest
import torch
from synthetic import LENGTHS, batch

from mlsan.corpus.batch import pack
from mlsan.model.fast.packing import Packing, _groups


def packing(b, mask_padding=True, bidirectional=True):
    return Packing.of(b, mask_padding, bidirectional)


@pytest.mark.parametrize("mask_padding", [True, False])
def test_rows_are_dialogue_major(mask_padding):
    b = batch()
    packed = packing(b, mask_padding)
    rows = packed.rows(b.feature["text"])
    assert len(rows) == (sum(LENGTHS) if mask_padding else b.mask.numel())
    assert torch.equal(packed.utterances(rows), pack(b.feature["text"], b.mask))


@pytest.mark.parametrize("mask_padding", [True, False])
def test_previous_is_where_the_speaker_last_spoke(mask_padding):
    b = batch()
    packed = packing(b, mask_padding)
    role = packed.rows(b.party).tolist()
    extent = LENGTHS if mask_padding else (max(LENGTHS),) * len(LENGTHS)
    dialogue = np.repeat(np.arange(len(extent)), extent)
    for direction in packed.directions:
        order = direction.rows.tolist()
        assert sorted(order) == torch.arange(len(role))[packed.rows(b.mask)].tolist()
        for place, row in enumerate(order):
            earlier = [
                p
                for p, other in enumerate(order[:place])
                if dialogue[other] == dialogue[row] and role[other] == role[row]
            ]
            assert direction.previous[place] == (earlier[-1] if earlier else len(order))


def test_directions_run_forward_and_backward():
    b = batch(lengths=(2, 3))
    forward, backward = packing(b).directions
    assert forward.counts == backward.counts == (2, 2, 1)
    assert forward.rows.tolist() == [2, 0, 3, 1, 4]
    assert backward.rows.tolist() == [4, 1, 3, 0, 2]


def test_the_padded_direction_reads_the_state_of_role_0_on_padding():
    b = batch(lengths=(1, 1, 4))
    b.party[:] = torch.tensor([[0, 1, 1], [0, 0, 0], [0, 0, 1], [0, 0, 1]])
    packed = packing(b, mask_padding=False)
    assert packed.directions[0].rows.tolist() == [8, 0, 4, 9, 10, 11]
    assert packed.padded.counts == (3, 3, 3, 3)
    assert packed.padded.move.index.tolist() == [8, 0, 4, 9, 1, 5, 10, 2, 6, 11, 3, 7]
    # Dialogue 0 keeps reading its one utterance's state; in dialogue 1 role 0 never spoke.
    assert packed.padded.state.tolist() == [0, 1, 2, 3, 1, 6, 4, 1, 6, 5, 1, 6]
    assert packing(b).padded is None


@pytest.mark.parametrize("mask_padding", [True, False])
def test_queries_go_to_cells_and_back(mask_padding):
    packed = packing(batch(lengths=(9, 1, 8, 5, 9)), mask_padding)
    x = torch.arange(32.0).unsqueeze(1).requires_grad_()
    cells = packed.queries(x)
    assert len(cells) == sum(b.dialogues * b.turns for b in packed.buckets)
    assert torch.equal(cells[packed.queries.inverse], x)
    assert sum(b.dialogues for b in packed.buckets) == 5


def test_groups_hold_little_padding():
    length = np.array([3, 9, 8, 1, 9, 2])
    groups = _groups(length, slack=1)
    assert [length[g].tolist() for g in groups] == [[9, 9, 8], [3, 2], [1]]
    assert [length[g].tolist() for g in _groups(length, 0)] == [[9, 9], [8], [3], [2], [1]]
    assert len(_groups(length, 10**6)) == 1
