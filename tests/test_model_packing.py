"""Rows, the orders of DialogueRNN, attention's buckets, and those of the baselines."""

import numpy as np
import pytest
import torch
from synthetic import LENGTHS, batch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mlsan.corpus.batch import pack
from mlsan.model.baselines import common
from mlsan.model.baselines.common import BiLSTM, Buckets, DialogueAttention, Turns
from mlsan.model.fast.packing import Packing, group


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
    groups = group(length, slack=1)
    assert [length[g].tolist() for g in groups] == [[9, 9, 8], [3, 2], [1]]
    assert [length[g].tolist() for g in group(length, 0)] == [[9, 9], [8], [3], [2], [1]]
    assert len(group(length, 10**6)) == 1


@pytest.mark.parametrize("slack", [None, 0, 2, 100])
def test_baselines_find_each_utterance_again_in_its_bucket(slack):
    lengths = (9, 1, 8, 5, 9)
    buckets = Buckets.of(Turns.of(batch(lengths)), slack)
    number = torch.arange(sum(lengths))
    cells = buckets.grids(number)
    found = [
        tuple(row.tolist())
        for grid, turns in zip(cells, buckets.turns, strict=True)
        for row in map(torch.masked_select, grid, turns.mask)
    ]
    assert sorted(found) == [tuple(x.tolist()) for x in number.split(lengths)]
    assert torch.equal(buckets.rows(cells), number)


def test_layers_in_buckets_are_those_on_the_whole_grid():
    turns = Turns.of(batch(lengths=(9, 1, 8, 5, 9)))
    layer = DialogueAttention(4).double()
    x = torch.randn(32, 4, dtype=torch.float64, requires_grad=True)
    buckets = Buckets.of(turns, slack=2)
    assert len(buckets.turns) > 1
    whole, parts = turns.rows(layer(turns.grid(x), turns)), buckets.each(layer, x)
    check_same(parts, whole, (x, *layer.parameters()))


def check_same(found, expected, of):
    """Outputs and gradients."""
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    pairs = (torch.autograd.grad((y * weight).sum(), of) for y in (found, expected))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("slack", [2, 100])
def test_the_lstm_is_that_over_packed_dialogues(dtype, slack, monkeypatch):
    monkeypatch.setattr(common, "LSTM_SLACK", slack)
    turns = Turns.of(batch(lengths=(9, 1, 8, 5, 9)))
    layer = BiLSTM(4, 3, 2, dropout=0.5).to(dtype).eval()
    x = torch.randn(5, 9, 4, dtype=dtype, requires_grad=True)
    packed = pack_padded_sequence(x, turns.length, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(layer.lstm(packed)[0], batch_first=True)[0]
    check_same(layer(x, turns), expected, (x, *layer.parameters()))


def test_the_lstm_has_dropout_between_its_layers():
    turns = Turns.of(batch())
    x = torch.randn(5, 7, 4)
    one, two = (BiLSTM(4, 3, layers, dropout=0.5) for layers in (1, 2))
    assert torch.equal(one(x, turns), one(x, turns))
    assert not torch.equal(two(x, turns), two(x, turns))
    with torch.no_grad():
        two.lstm.weight_ih_l1.zero_()
        two.lstm.weight_ih_l1_reverse.zero_()
    assert torch.equal(two(x, turns), two(x, turns)), "dropout acts elsewhere"
