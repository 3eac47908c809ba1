"""Where each utterance of a batch lies: packed rows, the recurrence's walk, attention's buckets.

A batch arrives as a padded [turn, dialogue] grid. Everything outside recurrence and attention is
the same for every utterance, so it runs on *rows*: the present positions, dialogue after dialogue.
With padding masked, only real utterances are present. In the published form every position is,
and padding then takes part in attention. That one difference is made here and nowhere else.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

# Padded cells worth one more bucket: an extra attention call costs about as much as these rows.
SLACK = {"cpu": 4, "cuda": 512}


@dataclass(frozen=True)
class Bucket:
    """Dialogues of similar length that attention handles together, in `dialogues x turns` cells."""

    dialogues: int
    turns: int
    mask: Bool[Tensor, "dialogue 1 1 turn"] | None
    """Which keys are present; None where all are."""


@dataclass(frozen=True)
class Walk:
    """One direction of the recurrence: rows step by step, dialogues in descending length."""

    rows: Int[Tensor, "utterance"]
    """Row handled at each place of the walk."""
    places: Int[Tensor, "utterance"]
    """Its inverse: place of each row."""
    previous: Int[Tensor, "utterance"]
    """Place where the same party of the same dialogue spoke last; `len(rows)` if it never did."""


@dataclass(frozen=True)
class Layout:
    """Index maps of one batch, made once and used by every layer."""

    present: Int[Tensor, "utterance"]
    """Position of each row in the flattened [turn, dialogue] grid."""
    real: Int[Tensor, "real"] | None
    """The rows that are utterances rather than padding; None where all are."""
    padding: Bool[Tensor, "utterance"] | None
    """True on rows that are padding; None where there is none."""
    counts: tuple[int, ...]
    """Dialogues still going on at each step of a walk."""
    walks: tuple[Walk, ...]
    """Forward, and backward if asked for."""
    buckets: tuple[Bucket, ...]
    cells: Int[Tensor, "cell"]
    """Row in each cell of the buckets, one bucket after the other; spare cells repeat a row."""
    slots: Int[Tensor, "utterance"]
    """Cell of each row."""

    @classmethod
    def of(
        cls,
        mask: Bool[Tensor, "turn dialogue"],
        party: Int[Tensor, "turn dialogue"],
        lengths: tuple[int, ...] | None = None,
        mask_padding: bool = True,
        bidirectional: bool = False,
    ) -> "Layout":
        """Lay out a batch; `lengths`, if known, saves reading the mask back from the device."""
        device = mask.device
        turns, dialogues = mask.shape
        length = np.array(mask.sum(0).tolist() if lengths is None else lengths)
        extent = length if mask_padding else np.full(dialogues, turns)
        start = np.concatenate([[0], np.cumsum(extent)[:-1]])
        dialogue = np.repeat(np.arange(dialogues), extent)
        turn = np.arange(extent.sum()) - start[dialogue]
        padded = turn >= length[dialogue]

        order = np.argsort(-extent, kind="stable")
        counts = (extent[:, None] > np.arange(turns)).sum(0)
        counts = counts[counts > 0]
        # Time-major: at each step, the dialogues that are still going on, longest first.
        step = np.repeat(np.arange(len(counts)), counts)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        who = order[np.arange(len(step)) - first[step]]
        rank = np.argsort(order)
        # turn_at[d]: the turn handled at each place of the walk in direction d.
        turn_at = [step]
        if bidirectional:
            turn_at.append(np.where(step < length[who], length[who] - 1 - step, step))

        def tensor(x: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x)).to(device, non_blocking=True)

        walks = []
        for at in turn_at:
            rows = start[who] + at
            seen = party.flatten()[tensor(at * dialogues + who)]
            place = tensor(first[:, None] + rank)
            last = _last_turn_of_party(seen, tensor(step), tensor(who), mask, len(counts))
            found = place[(last - 1).clamp_min(0), tensor(who)]
            walks.append(
                Walk(
                    rows=tensor(rows),
                    places=tensor(np.argsort(rows)),
                    previous=torch.where(last > 0, found, len(rows)),
                )
            )
        buckets, cells, slots = _buckets(extent, start, order, SLACK.get(device.type, 512))
        return cls(
            present=tensor(turn * dialogues + dialogue),
            real=tensor(np.flatnonzero(~padded)) if padded.any() else None,
            padding=tensor(padded) if padded.any() else None,
            counts=tuple(counts.tolist()),
            walks=tuple(walks),
            buckets=tuple(Bucket(b, t, None if m is None else tensor(m)) for b, t, m in buckets),
            cells=tensor(cells),
            slots=tensor(slots),
        )

    def rows(self, x: Shaped[Tensor, "turn dialogue *rest"]) -> Shaped[Tensor, "utterance *rest"]:
        """The present positions of a padded grid."""
        return x.flatten(0, 1).index_select(0, self.present)

    def utterances(self, x: Tensor, dim: int = 0) -> Tensor:
        """Drop the rows of `dim` that are padding."""
        return x if self.real is None else x.index_select(dim, self.real)


def _last_turn_of_party(
    seen: Int[Tensor, "place"],
    step: Int[Tensor, "place"],
    who: Int[Tensor, "place"],
    mask: Bool[Tensor, "turn dialogue"],
    steps: int,
) -> Int[Tensor, "place"]:
    """One plus the last earlier step at which the place's party spoke in its dialogue; or 0."""
    grid = torch.full((steps, mask.shape[1]), -1, device=mask.device, dtype=seen.dtype)
    grid[step, who] = seen
    spoken = torch.where(mask[:steps], grid, -1)
    earlier = torch.ones(steps, steps, dtype=torch.bool, device=mask.device).tril(-1)
    same = (grid[:, None] == spoken) & earlier[:, :, None]
    number = torch.arange(1, steps + 1, device=mask.device)
    return torch.where(same, number[:, None], 0).amax(1)[step, who]


def _buckets(
    extent: np.ndarray, start: np.ndarray, order: np.ndarray, slack: int
) -> tuple[list[tuple[int, int, np.ndarray | None]], np.ndarray, np.ndarray]:
    """Cut the dialogues, longest first, wherever going on would add `slack` spare cells."""
    groups: list[list[int]] = []
    spare = 0
    for b in order[extent[order] > 0]:
        gap = extent[groups[-1][0]] - extent[b] if groups else 0
        if not groups or spare + gap > slack:
            groups.append([])
            spare = gap = 0
        groups[-1].append(b)
        spare += gap
    buckets, cells = [], []
    slots = np.empty(extent.sum(), dtype=np.int64)
    offset = 0
    for group in groups:
        turns = extent[group[0]]
        turn = np.arange(turns)
        held = turn < extent[group, None]
        # A spare cell repeats its dialogue's last utterance; no query ever looks at it.
        rows = start[group, None] + np.minimum(turn, extent[group, None] - 1)
        slots[rows[held]] = offset + np.flatnonzero(held)
        buckets.append((len(group), int(turns), None if held.all() else held[:, None, None]))
        cells.append(rows.ravel())
        offset += rows.size
    return buckets, np.concatenate(cells), slots


class _Rearrange(torch.autograd.Function):
    """Rows by index. Backward is a gather too, which is much faster than adding at an index."""

    @staticmethod
    def forward(ctx, x, index, inverse):
        ctx.save_for_backward(inverse)
        return x.index_select(-2, index)

    @staticmethod
    def backward(ctx, grad):
        return grad.index_select(-2, ctx.saved_tensors[0]), None, None


def rearrange(
    x: Float[Tensor, "*stream utterance feature"],
    index: Int[Tensor, "place"],
    inverse: Int[Tensor, "utterance"],
) -> Float[Tensor, "*stream place feature"]:
    """`x[..., index, :]`, where `index[inverse]` is 0, 1, 2, ... and other places get no gradient.

    Places beyond the inverse (spare cells) may repeat rows, provided that nothing depends on them.
    """
    return _Rearrange.apply(x, index, inverse)


def pack(
    x: Shaped[Tensor, "turn dialogue *rest"], mask: Bool[Tensor, "turn dialogue"]
) -> Shaped[Tensor, "utterance *rest"]:
    """Real positions of a padded grid: all turns of dialogue 0, then of dialogue 1, and so on."""
    return x.transpose(0, 1)[mask.T]
