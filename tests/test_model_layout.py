"""Packing, walks and buckets."""

import numpy as np
import pytest
import torch
from synthetic import LENGTHS, batch

from mlsan.model.fast.packing import Layout, _groups, pack


def layout(b, mask_padding=True, bidirectional=True):
    return Layout.of(b.mask, b.party, b.length, mask_padding, bidirectional)


@pytest.mark.parametrize("mask_padding", [True, False])
def test_rows_are_dialogue_major(mask_padding):
    b = batch()
    lay = layout(b, mask_padding)
    rows = lay.rows(b.feature["text"])
    assert len(rows) == (sum(LENGTHS) if mask_padding else b.mask.numel())
    assert torch.equal(lay.utterances(rows), pack(b.feature["text"], b.mask))


@pytest.mark.parametrize("mask_padding", [True, False])
def test_previous_is_where_the_party_last_spoke(mask_padding):
    b = batch()
    lay = layout(b, mask_padding)
    party = lay.rows(b.party).tolist()
    extent = LENGTHS if mask_padding else (max(LENGTHS),) * len(LENGTHS)
    dialogue = np.repeat(np.arange(len(extent)), extent)
    for walk in lay.walks:
        order = walk.rows.tolist()
        assert sorted(order) == torch.arange(len(party))[lay.rows(b.mask)].tolist()
        for place, row in enumerate(order):
            earlier = [
                p
                for p, other in enumerate(order[:place])
                if dialogue[other] == dialogue[row] and party[other] == party[row]
            ]
            assert walk.previous[place] == (earlier[-1] if earlier else len(order))


def test_walks_run_forward_and_backward():
    b = batch(lengths=(2, 3))
    forward, backward = layout(b).walks
    assert forward.counts == backward.counts == (2, 2, 1)
    assert forward.rows.tolist() == [2, 0, 3, 1, 4]
    assert backward.rows.tolist() == [4, 1, 3, 0, 2]


def test_the_tour_goes_over_padding_and_hears_party_0_there():
    b = batch(lengths=(1, 1, 4))
    b.party[:] = torch.tensor([[0, 1, 1], [0, 0, 0], [0, 0, 1], [0, 0, 1]])
    lay = layout(b, mask_padding=False)
    assert lay.walks[0].rows.tolist() == [8, 0, 4, 9, 10, 11]
    assert lay.tour.counts == (3, 3, 3, 3)
    assert lay.tour.move.index.tolist() == [8, 0, 4, 9, 1, 5, 10, 2, 6, 11, 3, 7]
    # Dialogue 0 hears its one utterance on; dialogue 1, whose party 0 never spoke, hears nothing.
    assert lay.tour.heard.tolist() == [0, 1, 2, 3, 1, 6, 4, 1, 6, 5, 1, 6]
    assert layout(b).tour is None


@pytest.mark.parametrize("mask_padding", [True, False])
def test_queries_go_to_cells_and_back(mask_padding):
    lay = layout(batch(lengths=(9, 1, 8, 5, 9)), mask_padding)
    x = torch.arange(32.0).unsqueeze(1).requires_grad_()
    cells = lay.queries(x)
    assert len(cells) == sum(b.dialogues * b.turns for b in lay.buckets)
    assert torch.equal(cells[lay.queries.inverse], x)
    assert sum(b.dialogues for b in lay.buckets) == 5


def test_groups_hold_little_padding():
    length = np.array([3, 9, 8, 1, 9, 2])
    groups = _groups(length, slack=1)
    assert [length[g].tolist() for g in groups] == [[9, 9, 8], [3, 2], [1]]
    assert [length[g].tolist() for g in _groups(length, 0)] == [[9, 9], [8], [3], [2], [1]]
    assert len(_groups(length, 10**6)) == 1
