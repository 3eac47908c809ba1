"""Where each utterance of a batch lies: packed rows, the recurrence's walk, attention's buckets.

A batch arrives as a padded [turn, dialogue] grid. Everything outside recurrence and attention is
the same for every utterance, so it runs on *rows*: the present positions, dialogue after dialogue.
With padding masked, only real utterances are present. In the published form every position is:
the forward reader of DialogueRNN goes on over padding, and attention sees it as keys. (As a query
it does not matter, for the result is dropped; nor does the global state there, for no party's
state changes any more.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

# An extra bucket costs about as much as this many spare cells: one more attention call a layer.
SLACK = {"cpu": 4, "cuda": 512}


@dataclass(frozen=True)
class Move:
    """Where rows go: place p takes row `index[p]`, and row r is found at place `inverse[r]`.

    Spare places may repeat a row, provided that nothing depends on them. That makes the backward
    pass a selection as well, which is much faster than adding up at an index.
    """

    index: Int[Tensor, "place"]
    inverse: Int[Tensor, "row"]

    def __call__(self, x: Float[Tensor, "*stream row feature"]) -> Tensor:
        """Rows to places; [*stream, place, feature]."""
        return _Select.apply(x, self.index, self.inverse)

    def back(self, x: Float[Tensor, "*stream place feature"]) -> Tensor:
        """Places to rows, where no place is spare; [*stream, row, feature]."""
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
class Walk:
    """One direction through the real utterances, by step, longest dialogue first in each step."""

    rows: Int[Tensor, "place"]
    """Row handled at each place."""
    places: Int[Tensor, "row"] | None
    """Its inverse; None where there are other rows, of padding."""
    previous: Int[Tensor, "place"]
    """Place where the same party of the same dialogue spoke last; `len(rows)` if it never did."""
    counts: tuple[int, ...]
    """Dialogues still going on at each step."""


@dataclass(frozen=True)
class Tour:
    """The forward direction through all rows, padding included, as the published reader goes."""

    move: Move
    """Rows to the places of the tour."""
    heard: Int[Tensor, "place"]
    """Place in the forward walk whose party state is read: on padding that of party 0."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Bucket:
    """Dialogues of similar length that attention handles together."""

    dialogues: int
    turns: int
    """Query cells of each dialogue."""
    keys: int
    """Key cells of each dialogue."""
    mask: Bool[Tensor, "dialogue 1 1 key"] | None
    """Which keys are present; None where all are."""


@dataclass(frozen=True)
class Layout:
    """Index maps of one batch, made once and used by every layer."""

    present: Int[Tensor, "row"]
    """Position of each row in the flattened [turn, dialogue] grid."""
    voice: Int[Tensor, "row"]
    """A number for each party of each dialogue; padding is -1."""
    real: Int[Tensor, "utterance"] | None
    """The rows that are utterances rather than padding; None where all are."""
    padding: Bool[Tensor, "row"] | None
    """True on rows that are padding; None where there is none."""
    walks: tuple[Walk, ...]
    """Forward, and backward if asked for."""
    tour: Tour | None
    """None where no padding is present."""
    buckets: tuple[Bucket, ...]
    queries: Move
    """Utterances to query cells, bucket after bucket."""
    keys: Move | None
    """Rows to key cells; None where these are the query cells."""

    @classmethod
    def of(
        cls,
        mask: Bool[Tensor, "turn dialogue"],
        party: Int[Tensor, "turn dialogue"],
        length: Sequence[int],
        mask_padding: bool,
        bidirectional: bool,
    ) -> "Layout":
        """Lay out a batch; `length` is how many turns `mask` has of each dialogue."""
        device = mask.device
        turns, dialogues = mask.shape
        length = np.array(length)
        extent = length if mask_padding else np.full(dialogues, turns)
        start = np.cumsum(extent) - extent
        dialogue = np.repeat(np.arange(dialogues), extent)
        turn = np.arange(extent.sum()) - start[dialogue]
        padded = turn >= length[dialogue]
        present = _tensor(turn * dialogues + dialogue, device)
        voice = party.flatten()[present] * dialogues + _tensor(dialogue, device)
        course = _Course.of(length)
        walks = [_walk(course, start, len(turn), party, mask, backward=False)]
        if bidirectional:
            walks.append(_walk(course, start, len(turn), party, mask, backward=True))

        groups = _groups(length, SLACK.get(device.type, 512))
        keys = tour = None
        if padded.any():
            tour = _tour(course, start, turns, party, mask)
            index = np.concatenate([(start[g][:, None] + np.arange(turns)).ravel() for g in groups])
            keys = Move(*(_tensor(x, device) for x in (index, np.argsort(index))))
        return cls(
            present=present,
            voice=voice.masked_fill(~mask.flatten()[present], -1),
            real=_tensor(np.flatnonzero(~padded), device) if padded.any() else None,
            padding=_tensor(padded, device) if padded.any() else None,
            walks=tuple(walks),
            tour=tour,
            buckets=tuple(_bucket(extent[g], length[g], device) for g in groups),
            queries=_queries(groups, length, device),
            keys=keys,
        )

    def rows(self, x: Shaped[Tensor, "turn dialogue *rest"]) -> Shaped[Tensor, "row *rest"]:
        """The present positions of a padded grid."""
        return x.flatten(0, 1).index_select(0, self.present)

    def utterances(self, x: Tensor, dim: int = 0) -> Tensor:
        """Drop the rows (axis `dim`) that are padding."""
        return x if self.real is None else x.index_select(dim, self.real)


def pack(
    x: Shaped[Tensor, "turn dialogue *rest"], mask: Bool[Tensor, "turn dialogue"]
) -> Shaped[Tensor, "utterance *rest"]:
    """Real positions of a padded grid: all turns of dialogue 0, then of dialogue 1, and so on."""
    return x.transpose(0, 1)[mask.T]


def _tensor(x: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).to(device, non_blocking=True)


@dataclass(frozen=True)
class _Course:
    """Places of a walk: at each step the dialogues still going on, longest first."""

    length: Int[np.ndarray, "dialogue"]
    order: Int[np.ndarray, "dialogue"]
    counts: Int[np.ndarray, "step"]
    step: Int[np.ndarray, "place"]
    dialogue: Int[np.ndarray, "place"]
    place: Int[np.ndarray, "step dialogue"]
    """Place of each step of each dialogue; meaningless after its end."""

    @classmethod
    def of(cls, length: Int[np.ndarray, "dialogue"]) -> "_Course":
        order = np.argsort(-length, kind="stable")
        counts = (length[:, None] > np.arange(length.max())).sum(0)
        step = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum(counts) - counts
        dialogue = order[np.arange(len(step)) - first[step]]
        return cls(length, order, counts, step, dialogue, first[:, None] + np.argsort(order))


def _walk(
    course: _Course,
    start: Int[np.ndarray, "dialogue"],
    total: int,
    party: Int[Tensor, "turn dialogue"],
    mask: Bool[Tensor, "turn dialogue"],
    backward: bool,
) -> Walk:
    """From each dialogue's first turn to its last, or back.

    `start` is the first row of each dialogue; `total` counts the rows, padding included.
    """
    device = party.device
    turn = course.step
    if backward:
        turn = course.length[course.dialogue] - 1 - turn
    rows = start[course.dialogue] + turn
    step, dialogue = _tensor(course.step, device), _tensor(course.dialogue, device)
    speaks = torch.full(course.place.shape, -1, device=device, dtype=party.dtype)
    speaks[step, dialogue] = party[_tensor(turn, device), dialogue]
    last = _last_spoken(speaks, mask[: len(speaks)])[step, dialogue]
    place = _tensor(course.place, device)[last.clamp_min(0), dialogue]
    return Walk(
        rows=_tensor(rows, device),
        places=_tensor(np.argsort(rows), device) if len(rows) == total else None,
        previous=torch.where(last >= 0, place, len(rows)),
        counts=tuple(course.counts.tolist()),
    )


def _tour(
    course: _Course,
    start: Int[np.ndarray, "dialogue"],
    turns: int,
    party: Int[Tensor, "turn dialogue"],
    mask: Bool[Tensor, "turn dialogue"],
) -> Tour:
    """All `turns` of all dialogues, in the walk's order of dialogues."""
    device = party.device
    dialogues = len(course.order)
    step, dialogue = np.repeat(np.arange(turns), dialogues), np.tile(course.order, turns)
    rows = start[dialogue] + step
    place = _tensor(course.place, device)
    number = torch.arange(turns, device=device).unsqueeze(1)
    last = torch.where((party == 0) & mask, number, -1).amax(0)
    silent = place[last.clamp_min(0), torch.arange(dialogues, device=device)]
    silent = torch.where(last >= 0, silent, len(course.step))
    heard = torch.where(mask, place, silent)[_tensor(step, device), _tensor(dialogue, device)]
    return Tour(
        move=Move(_tensor(rows, device), _tensor(np.argsort(rows), device)),
        heard=heard,
        counts=(dialogues,) * turns,
    )


def _last_spoken(
    party: Int[Tensor, "step dialogue"], real: Bool[Tensor, "step dialogue"]
) -> Int[Tensor, "step dialogue"]:
    """The last earlier step at which the step's party spoke in that dialogue; -1 for none."""
    step = torch.arange(len(party), device=party.device)
    same = (party[:, None] == party) & real & (step[:, None] > step).unsqueeze(2)
    return torch.where(same, step[:, None], -1).amax(1)


def _groups(length: Int[np.ndarray, "dialogue"], slack: int) -> list[np.ndarray]:
    """Dialogues, longest first, cut wherever going on would bring more than `slack` spare cells."""
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
    """A group of dialogues, of which the first is the longest."""
    there = np.arange(extent[0]) < extent[:, None]
    return Bucket(
        dialogues=len(length),
        turns=int(length[0]),
        keys=int(extent[0]),
        mask=None if there.all() else _tensor(there[:, None, None], device),
    )


def _queries(
    groups: list[np.ndarray], length: Int[np.ndarray, "dialogue"], device: torch.device
) -> Move:
    """Utterances to the cells of the groups, each as wide as its longest dialogue."""
    start = np.cumsum(length) - length
    cells, slots = [], np.empty(length.sum(), dtype=np.int64)
    offset = 0
    for group in groups:
        turn = np.arange(length[group[0]])
        held = turn < length[group, None]
        # A spare cell repeats its dialogue's last utterance.
        utterances = start[group, None] + np.minimum(turn, length[group, None] - 1)
        slots[utterances[held]] = offset + np.flatnonzero(held)
        cells.append(utterances.ravel())
        offset += utterances.size
    return Move(_tensor(np.concatenate(cells), device), _tensor(slots, device))
