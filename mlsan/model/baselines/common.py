"""What several baselines share: the batch's grid, context layers, input and output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mlsan.corpus.types import Batch
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.packing import SLACK, grids, group
from mlsan.model.interface import EmotionModel, ModelSettings, Output, Sizes
from mlsan.vocabulary import Modality

LSTM_SLACK = 256  # cells of padding; one more bucket costs more


@dataclass(frozen=True)
class Turns:
    """Which cells of a [dialogue, turn] grid are utterances."""

    mask: Bool[Tensor, "dialogue turn"]
    length: Int[Tensor, "dialogue"]
    """Turns per dialogue, on the CPU."""
    present: Int[Tensor, "utterance"]
    """The utterances' cells in the flattened grid."""

    @classmethod
    def of(cls, batch: Batch) -> "Turns":
        """From a batch, without asking its device for any value."""
        return cls.of_lengths(batch.length, len(batch.mask), batch.mask.device)

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], width: int, device: torch.device) -> "Turns":
        """For dialogues of these lengths, in a grid of `width` turns."""
        length = torch.tensor(lengths)
        mask = torch.arange(width) < length.unsqueeze(1)
        present = mask.flatten().nonzero().squeeze(1)
        mask, present = (x.to(device, non_blocking=True) for x in (mask, present))
        return cls(mask, length, present)

    def rows(
        self, x: Shaped[Tensor, "dialogue turn feature"]
    ) -> Shaped[Tensor, "utterance feature"]:
        """The utterances, dialogue after dialogue (the order of `pack`)."""
        return x.flatten(0, 1).index_select(0, self.present)

    def grid(
        self, x: Shaped[Tensor, "utterance feature"]
    ) -> Shaped[Tensor, "dialogue turn feature"]:
        """The utterances in their cells, 0 on padding: the inverse of `rows`."""
        cells = x.new_zeros(self.mask.numel(), x.shape[1])
        return cells.index_copy(0, self.present, x).unflatten(0, self.mask.shape)


@dataclass(frozen=True)
class Buckets:
    """The utterances on several grids, each of dialogues of similar length, with little padding.

    A layer that compares all turns of a dialogue costs least on these:
    `Buckets.of(turns).each(layer, x)`.
    """

    turns: tuple[Turns, ...]
    """The grids."""
    utterance: Int[Tensor, "cell"]
    """The utterance in each cell, grid after grid; padding repeats its dialogue's last one."""
    cell: Int[Tensor, "utterance"]
    """The cell of each utterance."""

    @classmethod
    def of(cls, turns: Turns, slack: int | None = None) -> "Buckets":
        """With at most `slack` cells of padding per grid; None for a value that suits attention."""
        device, length = turns.mask.device, turns.length.numpy()
        groups = group(length, SLACK.get(device.type, 512) if slack is None else slack)
        cells = grids(groups, length, device)
        lengths = [length[g].tolist() for g in groups]
        return cls(
            tuple(Turns.of_lengths(some, max(some), device) for some in lengths),
            utterance=cells.index,
            cell=cells.inverse,
        )

    def grids(
        self, x: Shaped[Tensor, "utterance *rest"]
    ) -> list[Shaped[Tensor, "_dialogue _turn *rest"]]:
        """The utterances in the cells of each grid."""
        sizes = [turns.mask.numel() for turns in self.turns]
        parts = x.index_select(0, self.utterance).split(sizes)
        return [
            part.unflatten(0, turns.mask.shape)
            for part, turns in zip(parts, self.turns, strict=True)
        ]

    def rows(
        self, grids: Sequence[Shaped[Tensor, "_dialogue _turn *rest"]]
    ) -> Shaped[Tensor, "utterance *rest"]:
        """The utterances of all grids: the inverse of `grids`."""
        return torch.cat([x.flatten(0, 1) for x in grids]).index_select(0, self.cell)

    def each(
        self, layer: Callable[..., Tensor], *x: Shaped[Tensor, "utterance *_rest"]
    ) -> Shaped[Tensor, "utterance *_out"]:
        """`layer(*x, turns)` on each grid, from utterances to utterances."""
        return self.rows(
            [layer(*parts) for parts in zip(*map(self.grids, x), self.turns, strict=True)]
        )


@dataclass(frozen=True, kw_only=True)
class LabelledOutput(Output):
    """An output for a model whose own losses need the labels (`EmotionModel.total_loss`)."""

    label: Int[Tensor, "utterance"]
    single: dict[Modality, Float[Tensor, "utterance class"]]
    """Logits of each modality's own classifier."""


class BiLSTM(nn.Module):
    """A bidirectional LSTM over each dialogue's turns, `d` per direction; 0 on padding."""

    def __init__(self, inputs: int, d: int, layers: int, dropout: float):
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(
            inputs, d, layers, batch_first=True, bidirectional=True, dropout=between
        )
        self.between = Dropout(between)

    def forward(
        self, x: Float[Tensor, "dialogue turn inputs"], turns: Turns
    ) -> Float[Tensor, "dialogue turn outputs"]:
        if x.device.type == "cpu":
            return turns.grid(Buckets.of(turns, LSTM_SLACK).each(self.on_grid, turns.rows(x)))
        packed = pack_padded_sequence(x, turns.length, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], True, total_length=x.shape[1])[0]

    def on_grid(
        self, x: Float[Tensor, "dialogue turn inputs"], turns: Turns
    ) -> Float[Tensor, "dialogue turn outputs"]:
        """The same but for padding, which may hold anything.

        On a CPU an LSTM over a grid, which oneDNN computes, takes a small part of the time of one
        over packed dialogues. Both directions run from the first column on, so that padding, which
        comes last, reaches no turn.
        """
        cells = reversal(turns)
        weights = self.lstm.all_weights
        for layer, (forward, backward) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
            if layer and self.training:
                x = self.between(x)
            ahead, back = _lstm(x, forward), _lstm(reverse(x, cells), backward)
            x = torch.cat([ahead, reverse(back, cells)], -1)
        return x


def _lstm(
    x: Float[Tensor, "dialogue turn inputs"], weights: Sequence[Tensor]
) -> Float[Tensor, "dialogue turn outputs"]:
    """One layer in one direction."""
    start = x.new_zeros(1, len(x), weights[1].shape[1])
    return torch.lstm(x, (start, start), weights, True, 1, 0.0, False, False, True)[0]


def reversal(turns: Turns) -> Int[Tensor, "cell"]:
    """For each cell of the flattened grid, the cell it swaps with if dialogues are reversed."""
    length = turns.length.unsqueeze(1)
    dialogues, width = turns.mask.shape
    turn = torch.arange(width).expand(dialogues, -1)
    swapped = torch.where(turn < length, length - 1 - turn, turn)
    cell = swapped + width * torch.arange(dialogues).unsqueeze(1)
    return cell.flatten().to(turns.mask.device, non_blocking=True)


def reverse(
    x: Shaped[Tensor, "dialogue turn *rest"], cells: Int[Tensor, "cell"]
) -> Shaped[Tensor, "dialogue turn *rest"]:
    """Each dialogue reversed, with its padding still at the end."""
    return x.flatten(0, 1).index_select(0, cells).view_as(x)


class DialogueAttention(nn.Module):
    """For turn i, the mean of all x_j in its dialogue with weights softmax_j((W x_i + b) x_j)."""

    def __init__(self, features: int):
        super().__init__()
        self.query = nn.Linear(features, features)

    def forward(
        self, x: Float[Tensor, "dialogue turn feature"], turns: Turns
    ) -> Float[Tensor, "dialogue turn feature"]:
        score = self.query(x) @ x.transpose(1, 2)
        return score.masked_fill(~turns.mask.unsqueeze(1), -torch.inf).softmax(-1) @ x


class JointModel(EmotionModel):
    """A model that reads all modalities side by side, as one vector per utterance.

    A subclass defines `encode`. Its output passes through a hidden layer with ReLU, which gives z,
    then dropout and a linear layer to the classes (see `add_head`).
    """

    def __init__(self, settings: ModelSettings, sizes: Sizes):
        super().__init__()
        self.modalities = sizes.used(settings)
        self.inputs = sum(sizes.features[m] for m in self.modalities)

    def add_head(self, outputs: int, hidden: int, classes: int, dropout: float) -> None:
        """Add the layers after `encode`, which gives `outputs` features per utterance."""
        self.hidden = nn.Linear(outputs, hidden)
        self.classify = nn.Sequential(Dropout(dropout), nn.Linear(hidden, classes))

    def forward(self, batch: Batch) -> Output:
        turns = Turns.of(batch)
        raw = {m: batch.feature[m].transpose(0, 1) for m in self.modalities}
        x = self.encode(torch.cat(list(raw.values()), -1), batch.party.T, turns)
        z = torch.relu(self.hidden(turns.rows(x)))
        return Output(
            logits=self.classify(z),
            z=z,
            fused={},
            stages={"raw": {m: turns.rows(x) for m, x in raw.items()}},
        )

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        """Each utterance in its context; padding may hold anything finite."""
        raise NotImplementedError
