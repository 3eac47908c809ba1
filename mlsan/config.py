"""What a run is: the frozen, validated description that everything else takes as an argument.

The paper leaves many choices open. Each is a field here, and the first option named is the
default, so reading this file is reading the list of assumptions.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Modality = Literal["text", "audio", "visual"]
Benchmark = Literal["MELD", "IEMOCAP"]
SpeakerKind = Literal["identity", "role", "shuffled", "constant", "inferred", "standardised"]

MODALITIES: tuple[Modality, ...] = ("text", "audio", "visual")
BENCHMARKS: tuple[Benchmark, ...] = ("MELD", "IEMOCAP")

# Label order of the published feature files.
EMOTIONS: dict[Benchmark, tuple[str, ...]] = {
    "MELD": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
    "IEMOCAP": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
}
# Columns of the one-hot party rows: MELD's order of first appearance, IEMOCAP's M and F.
PARTIES: dict[Benchmark, int] = {"MELD": 9, "IEMOCAP": 2}


class Frozen(BaseModel):
    """A settings object that cannot change and refuses fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Frozen):
    """MultiEMO's sizes (ACL 2023) and ML-SAN's three parts (Eq. 1-4), each on or off.

    `film`, `gate` and `aux` all off is MultiEMO itself. The other models of Table 1, by `name`,
    take their sizes from the same fields; each module says which.
    """

    name: str = "ml-san"
    # -- MultiEMO --
    d: int = Field(256, gt=0, description="width of every stream")
    heads: int = Field(4, gt=0)
    layers: int = Field(2, gt=0, description="L: cross-attention layers a stack")
    feedforward: int = Field(1024, gt=0)
    classifier: int = Field(512, gt=0, description="hidden width of the emotion classifier")
    dropout: float = Field(0.0, ge=0, lt=1)
    bidirectional: bool = Field(False, description="DialogueRNN also runs backwards (IEMOCAP)")
    text_context: bool = Field(False, description="text passes through DialogueRNN (IEMOCAP)")
    mask_padding: bool = Field(True, description="False: queries attend to padding, as published")
    modalities: tuple[Modality, ...] = MODALITIES
    # -- DialogueGCN --
    window: int = Field(10, gt=0, description="utterances to either side that are neighbours")
    bases: int = Field(30, gt=0, description="matrices that the relations' weights are mixed from")
    # -- ML-SAN --
    film: bool = True
    gate: bool = True
    aux: bool = True
    speaker: SpeakerKind = "identity"
    speaker_dim: int = Field(64, gt=0, description="size of the speaker embedding e_s")
    film_site: Literal["raw", "projected"] = "raw"
    film_form: Literal["residual", "printed"] = "residual"
    film_modalities: tuple[Modality, ...] = ("audio", "visual")
    gate_input: Literal["speaker", "speaker+context"] = "speaker"
    aux_input: Literal["z", "fused"] = "z"
    unknown_rate: float = Field(
        0.1, ge=0, lt=1, description="share of speakers, by dialogue, trained as the unknown one"
    )
    # -- beyond the paper --
    infer_from: Literal["dialogue", "past"] = Field(
        "dialogue", description="utterances that speaker=inferred looks at"
    )
    infer_residual: bool = Field(False, description="a small network corrects the closed form")
    adversary: bool = Field(
        False, description="a speaker head, its gradient reversed, on the calibrated features"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.name == "ml-san" and self.d % self.heads:
            raise ValueError(f"d={self.d} must be a multiple of heads={self.heads}")
        for field in ("modalities", "film_modalities"):
            given = getattr(self, field)
            if list(given) != [m for m in MODALITIES if m in given]:
                raise ValueError(f"{field}={given} must list {MODALITIES} in this order, once each")
        if not self.modalities:
            raise ValueError("modalities is empty: name at least one of text, audio, visual")
        return self


class LossConfig(Frozen):
    """L_ERC = swfc*SWFC(z) + hgr*SoftHGR(fused) + ce*CE(logits); Eq. 4 adds lam*L_spk."""

    emotion: Literal["multiemo", "cross-entropy", "focal"] = "multiemo"
    swfc: float = Field(0.3, ge=0)
    hgr: float = Field(0.3, ge=0)
    ce: float = Field(0.4, ge=0)
    tau: float = Field(1.4, gt=0, description="temperature of SWFC")
    gamma: float = Field(2.0, ge=0, description="focus of SWFC and of the focal loss")
    alpha: float = Field(1.2, ge=0, description="exponent of SWFC's class weights")
    class_weight: tuple[float, ...] = Field(
        (), description="of cross-entropy and focal, by label; empty: all alike"
    )
    lam: float = Field(0.5, ge=0, description="lambda of Eq. 4")


class TrainConfig(Frozen):
    """MultiEMO's optimiser and schedule: Adam, and a rate cut when the dev loss stands still."""

    batch: int = Field(128, gt=0, description="dialogues a step")
    epochs: int = Field(15, gt=0)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    plateau_factor: float = Field(0.95, gt=0, lt=1)
    plateau_patience: int = Field(10, ge=0)
    plateau_threshold: float = Field(1e-6, ge=0)
    dev: Literal["official", "random"] = "official"
    min_speaker_utterances: int = Field(
        10, ge=1, description="names with fewer training utterances count as unknown"
    )
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = Field(1, gt=0, description="CPU threads; part of the run, for equal bits")
    modality_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a dialogue's modalities trained as absent"
    )


class RunConfig(Frozen):
    """Everything that decides a run's numbers, except the corpus's own bytes and the code."""

    benchmark: Benchmark
    model: ModelConfig
    loss: LossConfig
    train: TrainConfig
    seed: int = Field(0, ge=0)
