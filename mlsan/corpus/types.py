"""The objects that the rest of the package sees of a corpus: dialogues, corpora and batches."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mlsan.vocabulary import EMOTIONS, Benchmark, Modality


@dataclass(frozen=True)
class Dialogue:
    """One conversation, utterance by utterance.

    `party` is the dialogue-local role (MELD: order of first appearance; IEMOCAP: M 0, F 1);
    `speaker` names who speaks, None where the corpus does not say.
    """

    id: str
    label: Int[np.ndarray, "turn"]
    party: Int[np.ndarray, "turn"]
    speaker: tuple[str, ...] | None
    feature: dict[Modality, Float[np.ndarray, "turn feature"]]

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Corpus:
    """Dialogues in their three splits, with what was found out while reading them."""

    name: str
    benchmark: Benchmark
    train: tuple[Dialogue, ...]
    dev: tuple[Dialogue, ...]
    test: tuple[Dialogue, ...]
    sizes: dict[Modality, int]
    simulated: bool
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what training sees: emotion names, splits, labels, speakers and features."""
        digest = hashlib.sha256(json.dumps([self.benchmark, EMOTIONS[self.benchmark]]).encode())
        for split in (self.train, self.dev, self.test):
            digest.update(json.dumps([(d.id, d.speaker, list(d.feature)) for d in split]).encode())
            for d in split:
                for array in (d.label, d.party, *d.feature.values()):
                    digest.update(f"{array.dtype.str}{array.shape}".encode())
                    digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities there are, in the order text, audio, visual."""
        return tuple(self.sizes)

    @property
    def named(self) -> bool:
        """Whether every utterance names its speaker."""
        return all(d.speaker is not None for d in self.train + self.dev + self.test)


@dataclass(frozen=True)
class Batch:
    """Dialogues padded to the longest: features 0, label -1, party 0, speaker 0 (unknown).

    `length` says the same as `mask` without asking the device that the tensors are on.
    """

    feature: dict[Modality, Float[Tensor, "turn dialogue feature"]]
    party: Int[Tensor, "turn dialogue"]
    speaker: Int[Tensor, "turn dialogue"]
    label: Int[Tensor, "turn dialogue"]
    mask: Bool[Tensor, "turn dialogue"]
    length: tuple[int, ...]

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on `device`; to a GPU it is copied from pinned memory, without waiting."""

        def move(tensor: Tensor) -> Tensor:
            source = tensor.pin_memory() if pinned else tensor
            return source.to(device, non_blocking=pinned)

        pinned = torch.device(device).type == "cuda" and self.mask.device.type == "cpu"
        return type(self)(
            feature={modality: move(tensor) for modality, tensor in self.feature.items()},
            party=move(self.party),
            speaker=move(self.speaker),
            label=move(self.label),
            mask=move(self.mask),
            length=self.length,
        )
