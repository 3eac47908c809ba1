"""Where each utterance of a batch lies: as a row, as a step of DialogueRNN, as a cell of attention.

A batch arrives as a padded [turn, dialogue] grid. Outside DialogueRNN and attention every
utterance is treated alike, so those layers run on *rows*: utterances, dialogue after dialogue,
without padding. In the published form (`mask_padding=False`) padded turns are rows too, because
attention reads them as keys and the forward output GRU runs on over them. (Other effects of
padding reach no utterance: its queries are dropped and it changes no speaker's state.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from mlsan.corpus.types import Batch
from mlsan.model.interface import Features
from mlsan.vocabulary import Modality

# One more bucket (one more attention per layer) costs about as much as this many spare cells.
SLACK = {"cpu": 96, "cuda": 512}


@dataclass(frozen=True)
class Move:
    """A rearrangement: place p takes row `index[p]`, and row r is found at place `inverse[r]`.

    Spare places may repeat a row if nothing depends on them. The backward pass is then a
    selection too, which is much faster than adding up by index.
    """

    index: Int[Tensor, "place"]
    inverse: Int[Tensor, "row"]

    def __call__(self, x: Float[Tensor, "*stream row feature"]) -> Tensor:
        """From rows to places; [*stream, place, feature]."""
        return _Select.apply(x, self.index, self.inverse)

    def back(self, x: Float[Tensor, "*stream place feature"]) -> Tensor:
        """From places to rows, where no place is spare; [*stream, row, feature]."""
        return _Select.apply(x, self.inverse, self.index)


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, index, inverse):
        ctx.save_for_backward(inverse)
        return x.index_select(-2, index)

    @staticmethod
    def backward(ctx, grad):
        return grad.index_select(-2, ctx.saved_tensors[0]), None, None


@dataclass(frozen=True)
class Direction:
    """DialogueRNN's order in one direction: step by step, longest dialogue first in each step."""

    rows: Int[Tensor, "place"]
    """The row at each place; padding has no place."""
    places: Int[Tensor, "row"] | None
    """Its inverse; None if some rows are padding."""
    previous: Int[Tensor, "place"]
    """Place of the same speaker's previous utterance in the dialogue; `len(rows)` if none."""
    counts: tuple[int, ...]
    """Dialogues that have not ended, by step."""


@dataclass(frozen=True)
class PaddedDirection:
    """The published forward order: every dialogue runs on over its padding."""

    move: Move
    """From rows to places."""
    state: Int[Tensor, "place"]
    """Place in the forward `Direction` whose speaker state is read; on padding, that of role 0."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Bucket:
    """Dialogues of similar length, which attention handles together."""

    dialogues: int
    turns: int
    """Query cells per dialogue."""
    keys: int
    """Key cells per dialogue."""
    mask: Bool[Tensor, "dialogue 1 1 key"] | None
    """Which keys are present; None if all are."""


@dataclass(frozen=True)
class Packing:
    """The index maps of one batch, made once and used by every layer."""

    present: Int[Tensor, "row"]
    """Position of each row in the flattened [turn, dialogue] grid."""
    real: Int[Tensor, "utterance"] | None
    """The rows that are utterances; None if all are."""
    padding: Bool[Tensor, "row"] | None
    """True on rows that are padding; None if there are none."""
    directions: tuple[Direction, ...]
    """Forward, and backward if bidirectional."""
    padded: PaddedDirection | None
    """None if no row is padding."""
    buckets: tuple[Bucket, ...]
    queries: Move
    """From utterances to query cells, bucket after bucket."""
    keys: Move | None
    """From rows to key cells; None if these are the query cells."""
    _head_cells: dict[tuple[int, int], tuple[Move, Move]] = field(default_factory=dict)
    """By streams and heads, see `head_cells`."""

    @classmethod
    def of(cls, batch: Batch, mask_padding: bool, bidirectional: bool) -> "Packing":
        """Plan the layers' orders for a batch, without asking its device for any value."""
        mask, role, device = batch.mask, batch.party, batch.mask.device
        turns, dialogues = mask.shape
        length = np.array(batch.length)
        extent = length if mask_padding else np.full(dialogues, turns)
        start = np.cumsum(extent) - extent
        dialogue = np.repeat(np.arange(dialogues), extent)
        turn = np.arange(extent.sum()) - start[dialogue]
        is_padding = turn >= length[dialogue]
        steps = _Steps.of(length)
        directions = [_direction(steps, start, len(turn), role, mask, backward=False)]
        if bidirectional:
            directions.append(_direction(steps, start, len(turn), role, mask, backward=True))

        groups = group(length, SLACK.get(device.type, 512))
        real = padding = padded = keys = None
        if is_padding.any():
            real = _tensor(np.flatnonzero(~is_padding), device)
            padding = _tensor(is_padding, device)
            padded = _padded_direction(steps, start, turns, role, mask)
            index = np.concatenate([(start[g][:, None] + np.arange(turns)).ravel() for g in groups])
            keys = Move(*(_tensor(x, device) for x in (index, np.argsort(index))))
        return cls(
            present=_tensor(turn * dialogues + dialogue, device),
            real=real,
            padding=padding,
            directions=tuple(directions),
            padded=padded,
            buckets=tuple(_bucket(extent[g], length[g], device) for g in groups),
            queries=grids(groups, length, device),
            keys=keys,
        )

    @property
    def key_cells(self) -> Move:
        """From rows to key cells."""
        return self.queries if self.keys is None else self.keys

    def bucket_cells(self) -> Iterator[tuple[Bucket, slice, slice]]:
        """The buckets with their query and key cells."""
        query = key = 0
        for bucket in self.buckets:
            queries, keys = bucket.dialogues * bucket.turns, bucket.dialogues * bucket.keys
            yield bucket, slice(query, query + queries), slice(key, key + keys)
            query, key = query + queries, key + keys

    def head_cells(self, streams: int, heads: int) -> tuple[Move, Move]:
        """From the heads of queries, and of keys and values side by side, to each head's cells.

        The heads are the rows of [stream, row, heads], flattened, with the features of one head.
        Their cells lie bucket after bucket, in each as [part, stream, dialogue, head, turn]; keys
        are the first part and values the second.
        """
        if (streams, heads) not in self._head_cells:
            self._head_cells[streams, heads] = tuple(
                _head_cells(cells, blocks, streams, parts, heads)
                for cells, parts, blocks in (
                    (self.queries, 1, [(b.dialogues, b.turns) for b in self.buckets]),
                    (self.key_cells, 2, [(b.dialogues, b.keys) for b in self.buckets]),
                )
            )
        return self._head_cells[streams, heads]

    def rows(self, x: Shaped[Tensor, "turn dialogue *rest"]) -> Shaped[Tensor, "row *rest"]:
        """The rows of a padded grid."""
        return x.flatten(0, 1).index_select(0, self.present)

    def utterances(self, x: Tensor, dim: int = 0) -> Tensor:
        """The rows (axis `dim`) that are utterances."""
        return x if self.real is None else x.index_select(dim, self.real)

    def utterances_of(self, x: Mapping[Modality, Tensor]) -> Features:
        """The rows of each modality that are utterances."""
        return {modality: self.utterances(rows) for modality, rows in x.items()}

    def keep_padding(
        self, before: Float[Tensor, "row feature"], after: Float[Tensor, "row feature"]
    ) -> Float[Tensor, "row feature"]:
        """`after` on utterances, `before` on padding."""
        return after if self.padding is None else torch.where(self.padding[:, None], before, after)


def _tensor(x: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).to(device, non_blocking=True)


@dataclass(frozen=True)
class _Steps:
    """Places by step: at each step the dialogues that have not ended, longest first."""

    length: Int[np.ndarray, "dialogue"]
    order: Int[np.ndarray, "dialogue"]
    counts: Int[np.ndarray, "step"]
    step: Int[np.ndarray, "place"]
    dialogue: Int[np.ndarray, "place"]
    place: Int[np.ndarray, "step dialogue"]
    """Place of each step of each dialogue; meaningless after the dialogue's end."""

    @classmethod
    def of(cls, length: Int[np.ndarray, "dialogue"]) -> "_Steps":
        order = np.argsort(-length, kind="stable")
        counts = (length[:, None] > np.arange(length.max())).sum(0)
        step = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum(counts) - counts
        dialogue = order[np.arange(len(step)) - first[step]]
        return cls(length, order, counts, step, dialogue, first[:, None] + np.argsort(order))


def directions(
    length: Int[np.ndarray, "dialogue"],
    role: Int[Tensor, "turn dialogue"],
    mask: Bool[Tensor, "turn dialogue"],
) -> tuple[Direction, Direction]:
    """Forward and backward, if the rows are the utterances."""
    steps, start = _Steps.of(length), np.cumsum(length) - length
    forward, backward = (
        _direction(steps, start, int(length.sum()), role, mask, backward=way)
        for way in (False, True)
    )
    return forward, backward


def _direction(
    steps: _Steps,
    start: Int[np.ndarray, "dialogue"],
    rows: int,
    role: Int[Tensor, "turn dialogue"],
    mask: Bool[Tensor, "turn dialogue"],
    backward: bool,
) -> Direction:
    """From each dialogue's first turn to its last, or back.

    `start` is each dialogue's first row; `rows` counts all rows, padding included.
    """
    device = role.device
    turn = steps.step
    if backward:
        turn = steps.length[steps.dialogue] - 1 - turn
    row = start[steps.dialogue] + turn
    step, dialogue = _tensor(steps.step, device), _tensor(steps.dialogue, device)
    by_step = torch.full(steps.place.shape, -1, device=device, dtype=role.dtype)
    by_step[step, dialogue] = role[_tensor(turn, device), dialogue]
    last = _last_spoken(by_step, mask[: len(by_step)])[step, dialogue]
    place = _tensor(steps.place, device)[last.clamp_min(0), dialogue]
    return Direction(
        rows=_tensor(row, device),
        places=_tensor(np.argsort(row), device) if len(row) == rows else None,
        previous=torch.where(last >= 0, place, len(row)),
        counts=tuple(steps.counts.tolist()),
    )


def _padded_direction(
    steps: _Steps,
    start: Int[np.ndarray, "dialogue"],
    turns: int,
    role: Int[Tensor, "turn dialogue"],
    mask: Bool[Tensor, "turn dialogue"],
) -> PaddedDirection:
    """All `turns` of all dialogues, which keep the order that they have in `steps`."""
    device = role.device
    dialogues = len(steps.order)
    step, dialogue = np.repeat(np.arange(turns), dialogues), np.tile(steps.order, turns)
    row = start[dialogue] + step
    place = _tensor(steps.place, device)
    number = torch.arange(turns, device=device).unsqueeze(1)
    last = torch.where((role == 0) & mask, number, -1).amax(0)
    on_padding = place[last.clamp_min(0), torch.arange(dialogues, device=device)]
    on_padding = torch.where(last >= 0, on_padding, len(steps.step))
    state = torch.where(mask, place, on_padding)[_tensor(step, device), _tensor(dialogue, device)]
    return PaddedDirection(
        move=Move(_tensor(row, device), _tensor(np.argsort(row), device)),
        state=state,
        counts=(dialogues,) * turns,
    )


def _last_spoken(
    role: Int[Tensor, "step dialogue"], real: Bool[Tensor, "step dialogue"]
) -> Int[Tensor, "step dialogue"]:
    """The last earlier step at which the step's role spoke in that dialogue; -1 if none."""
    step = torch.arange(len(role), device=role.device)
    same = (role[:, None] == role) & real & (step[:, None] > step).unsqueeze(2)
    return torch.where(same, step[:, None], -1).amax(1)


def group(length: Int[np.ndarray, "dialogue"], slack: int) -> list[np.ndarray]:
    """Dialogues, longest first, split wherever a group would get more than `slack` spare cells."""
    groups: list[list[int]] = []
    spare = 0
    for b in np.argsort(-length, kind="stable"):
        gap = length[groups[-1][0]] - length[b] if groups else 0
        if not groups or spare + gap > slack:
            groups.append([])
            spare = gap = 0
        groups[-1].append(b)
        spare += gap
    return [np.array(g) for g in groups]


def _bucket(
    extent: Int[np.ndarray, "dialogue"], length: Int[np.ndarray, "dialogue"], device: torch.device
) -> Bucket:
    """The bucket of a group of dialogues, the longest first."""
    present = np.arange(extent[0]) < extent[:, None]
    return Bucket(
        dialogues=len(length),
        turns=int(length[0]),
        keys=int(extent[0]),
        mask=None if present.all() else _tensor(present[:, None, None], device),
    )


def grids(
    groups: list[np.ndarray], length: Int[np.ndarray, "dialogue"], device: torch.device
) -> Move:
    """From utterances to the groups' cells; a group is as wide as its longest dialogue."""
    start = np.cumsum(length) - length
    cells, slots = [], np.empty(length.sum(), dtype=np.int64)
    offset = 0
    for group in groups:
        turn = np.arange(length[group[0]])
        used = turn < length[group, None]
        # A spare cell repeats its dialogue's last utterance.
        utterances = start[group, None] + np.minimum(turn, length[group, None] - 1)
        slots[utterances[used]] = offset + np.flatnonzero(used)
        cells.append(utterances.ravel())
        offset += utterances.size
    return Move(_tensor(np.concatenate(cells), device), _tensor(slots, device))


def _head_cells(
    cells: Move, blocks: list[tuple[int, int]], streams: int, parts: int, heads: int
) -> Move:
    """`cells`, one for each head of each part; `blocks` are the buckets' dialogues and turns."""
    rows, device = len(cells.inverse), cells.index.device
    number = torch.arange(streams * rows * parts * heads, device=device)
    number = number.view(streams, rows, parts, heads)
    sources, places, end = [], [], 0
    for block, index in zip(blocks, cells.index.split([b * t for b, t in blocks]), strict=True):
        source = number[:, index].unflatten(1, block).permute(3, 0, 1, 4, 2)
        sources.append(source.flatten())
        place = torch.arange(end, end + source.numel(), device=device).view(source.shape)
        places.append(place.permute(1, 2, 4, 0, 3).flatten(1, 2))
        end += source.numel()
    return Move(torch.cat(sources), torch.cat(places, 1)[:, cells.inverse].flatten())
