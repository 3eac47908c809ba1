"""The settings of a run, from which its numbers follow, given the corpus and the code."""

from typing import Literal

from pydantic import Field, SerializeAsAny

from mlsan.model.interface import ModelSettings
from mlsan.model.losses import LossSettings
from mlsan.vocabulary import Benchmark, Frozen, SpeakerKind


class TrainSettings(Frozen):
    """Adam, with a lower learning rate when the dev loss stagnates, as MultiEMO is trained."""

    batch: int = Field(128, gt=0, description="dialogues per step")
    epochs: int = Field(15, gt=0)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    plateau_factor: float = Field(0.95, gt=0, lt=1)
    plateau_patience: int = Field(10, ge=0)
    plateau_threshold: float = Field(1e-6, ge=0)
    dev: Literal["official", "random", "session"] = Field(
        "official", description="the corpus's own, a random 5 %, or one session's speakers"
    )
    min_speaker_utterances: int = Field(
        10, ge=1, description="speakers with fewer training utterances count as unknown"
    )
    enrolment: Literal["all", "random"] = Field(
        "all", description="of training speakers: all their utterances, or a random amount"
    )
    unknown_rate: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a dialogue's speakers that are trained as unknown; with random "
        "enrolment in a voice drawn from the population, as strangers",
    )
    modality_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a dialogue's modalities that are trained as absent"
    )
    test_curve: bool = Field(
        False, description="test after every epoch, not only at the end with the best on dev"
    )
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = Field(1, gt=0, description="on the CPU; another number gives other bits")


class RunSettings(Frozen):
    """Everything that decides a run's numbers, except the corpus and the code.

    `model` and `loss` have a class per model and per loss, with the fields that these read.
    """

    benchmark: Benchmark
    model: SerializeAsAny[ModelSettings]
    loss: LossSettings
    train: TrainSettings
    speaker: SpeakerKind = Field("identity", description="what stands for a speaker: `SpeakerCode`")
    seed: int = Field(0, ge=0)
