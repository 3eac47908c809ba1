"""What the rest of the package sees of a corpus: dialogues, corpora and batches."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import AfterValidator, Field, StringConstraints
from torch import Tensor

from mlsan.vocabulary import Benchmark, Frozen, Modality


class CorpusError(ValueError):
    """A corpus cannot be used as it is. The message names the file, the value and the fix."""


LONGEST, MOST = 40, 100  # characters of a declared word, words in a list
# Words come into tables, figures and names of folders, so they have no marks of any of these.
Word = Annotated[str, StringConstraints(pattern=r"^[^\W_]([\w -]{0,38}[^\W_])?$")]


def _different(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(words)) < len(words):
        raise ValueError("a name is there twice")
    return words


Words = Annotated[tuple[Word, ...], Field(max_length=MOST), AfterValidator(_different)]


class Declaration(Frozen):
    """What a corpus says about itself.

    `emotions` are in the order of the labels, `roles` in that of the speakers' one-hot rows.
    """

    name: Word
    emotions: Annotated[Words, Field(min_length=2)]
    roles: Annotated[Words, Field(min_length=1)]


@dataclass(frozen=True)
class Dialogue:
    """One conversation, utterance by utterance.

    `label` indexes the declared emotions, `party` the declared roles. `speaker` has the names, ""
    for no known person; it is None if the corpus does not name its speakers.
    """

    id: str
    label: Int[np.ndarray, "turn"]
    party: Int[np.ndarray, "turn"]
    speaker: tuple[str, ...] | None
    feature: dict[Modality, Float[np.ndarray, "turn feature"]]

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Dialogues in their three splits. A corpus equals only itself.

    `name` is the corpus's name in tables. `sizes` is the number of features per modality; `notes`
    are what a reader of results must know.
    """

    name: str
    declaration: Declaration
    train: tuple[Dialogue, ...]
    dev: tuple[Dialogue, ...]
    test: tuple[Dialogue, ...]
    sizes: dict[Modality, int]
    simulated: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def benchmark(self) -> Benchmark:
        """The declared name, under which corpora and their runs are kept."""
        return self.declaration.name

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of the corpus, in the order text, audio, visual."""
        return tuple(self.sizes)

    @property
    def named(self) -> bool:
        """Whether the corpus names its speakers."""
        return all(d.speaker is not None for d in self.train + self.dev + self.test)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that a run can see of the corpus.

        That is the declaration, and each split's dialogues in order: id, labels, roles, speakers
        and features. The corpus's name in tables, its notes and the format of its files do not
        count. Computed once per object; arrays must not change after.
        """
        digest = hashlib.sha256()
        digest.update(json.dumps([self.declaration.model_dump(), self.sizes]).encode())
        for split in (self.train, self.dev, self.test):
            digest.update(json.dumps(len(split)).encode())
            for d in split:
                arrays = {"label": d.label, "party": d.party, **d.feature}
                kinds = [(name, x.dtype.str, x.shape) for name, x in arrays.items()]
                digest.update(json.dumps([d.id, d.speaker, kinds]).encode())
                for x in arrays.values():
                    digest.update(np.ascontiguousarray(x).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Speakers:
    """What a model is given of who speaks, dialogue by dialogue."""

    code: Sequence[Int[np.ndarray, "_turn"]]
    """Entries of the speaker table, 0 for the unknown speaker."""
    style: Sequence[dict[Modality, Float[np.ndarray, "_turn 2 _feature"]]] = ()
    """mu and sigma of the speaker's features, by modality; empty if no model reads them."""
    withheld: Sequence[Bool[np.ndarray, "_turn"]] = ()
    """Where training withholds the identity; empty for nowhere."""

    def at(self, dialogues: Sequence[int]) -> "Speakers":
        """Those of some of the dialogues, by their numbers."""
        parts = (self.code, self.style, self.withheld)
        return Speakers(*([part[i] for i in dialogues] if part else () for part in parts))


@dataclass(frozen=True)
class Batch:
    """Dialogues padded to the longest: features 0, label -1, party 0, speaker 0 (unknown).

    `length` has each dialogue's number of turns, as `mask` does, but on the host: reading it does
    not wait for the device.
    """

    feature: dict[Modality, Float[Tensor, "turn dialogue feature"]]
    party: Int[Tensor, "turn dialogue"]
    speaker: Int[Tensor, "turn dialogue"]
    label: Int[Tensor, "turn dialogue"]
    mask: Bool[Tensor, "turn dialogue"]
    length: tuple[int, ...]
    withheld: Bool[Tensor, "turn dialogue"] | None = None
    """Where training withholds the speaker's identity from the model; None for nowhere."""
    style: dict[Modality, Float[Tensor, "turn dialogue 2 _"]] = field(default_factory=dict)
    """mu and sigma of the speaker's features (`mlsan.corpus.style`), for models that read them."""

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on `device`; the copy to a GPU is asynchronous, from pinned memory."""

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
            withheld=None if self.withheld is None else move(self.withheld),
            style={modality: move(tensor) for modality, tensor in self.style.items()},
        )
