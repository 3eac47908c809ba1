"""ML-SAN: MultiEMO with the speaker as a control signal in three places (Eq. 1-4)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mlsan.model.fast.packing import Layout
from mlsan.model.fast.stacked import StackedLinear
from mlsan.model.interface import Features, Output, Sizes, check_order
from mlsan.model.multiemo import MultiEMO, MultiEMOSettings
from mlsan.vocabulary import UNKNOWN, Modality


class MLSANSettings(MultiEMOSettings):
    """ML-SAN's three parts, each on or off, and the choices that the paper leaves open.

    The first option of each choice is the default.
    """

    name: str = "ML-SAN"
    film: bool = True
    gate: bool = True
    aux: bool = True
    lam: float = Field(0.5, ge=0, description="lambda of Eq. 4")
    speaker_dim: int = Field(64, gt=0, description="size of the speaker embedding e_s")
    film_site: Literal["raw", "projected"] = "raw"
    film_form: Literal["residual", "printed"] = "residual"
    film_modalities: tuple[Modality, ...] = ("audio", "visual")
    gate_input: Literal["speaker", "speaker+context"] = "speaker"
    aux_input: Literal["z", "fused"] = "z"
    adversary: bool = Field(
        False, description="a speaker head, its gradient reversed, on the calibrated features"
    )

    @model_validator(mode="after")
    def _film_modalities_in_order(self) -> "MLSANSettings":
        check_order("film_modalities", self.film_modalities)
        return self


class FiLM(nn.Module):
    """Input-level calibration: one scale and one shift of each feature for each speaker.

        gamma = W_gamma e_s + b_gamma,  beta = W_beta e_s + b_beta          (Eq. 1)
        x~ = gamma * x + beta                                               (Eq. 2, "printed")
        x~ = (1 + gamma) * x + beta                                         ("residual")

    The residual form starts as the identity, with W and b zero; the printed form, which would
    start by deleting its input so, starts as any linear layer.
    """

    def __init__(self, speaker_dim: int, features: int, residual: bool):
        super().__init__()
        self.residual = residual
        self.project = nn.Linear(speaker_dim, 2 * features)
        if residual:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def scale_shift(
        self, e: Float[Tensor, "utterance speaker_dim"]
    ) -> tuple[Float[Tensor, "utterance feature"], Float[Tensor, "utterance feature"]]:
        """gamma and beta of Eq. 1."""
        return self.project(e).chunk(2, -1)

    def forward(
        self,
        x: Float[Tensor, "utterance feature"],
        e: Float[Tensor, "utterance speaker_dim"],
    ) -> Float[Tensor, "utterance feature"]:
        gamma, beta = self.scale_shift(e)
        calibrated = torch.addcmul(beta, gamma, x)
        return calibrated + x if self.residual else calibrated


class Gate(nn.Module):
    """Interaction-level gating of the context features h, all modalities at once.

    g_m = sigmoid(W_m e_s + b_m),  h'_m = g_m * h_m      (Eq. 3)

    With `context`, W_m also sees h_m itself, so that the gate can change by utterance, which
    Eq. 3 as printed cannot.
    """

    def __init__(self, modalities: int, speaker_dim: int, d: int, context: bool):
        super().__init__()
        self.by_speaker = StackedLinear(modalities, speaker_dim, d)
        self.by_context = nn.Parameter(torch.zeros(modalities, d, d)) if context else None

    def weights(
        self,
        e: Float[Tensor, "utterance speaker_dim"],
        h: Float[Tensor, "modality utterance feature"] | None = None,
    ) -> Float[Tensor, "modality utterance feature"]:
        """g of Eq. 3; without `h`, the speaker's part alone."""
        g = self.by_speaker(e.expand(len(self.by_speaker.weight), -1, -1))
        if h is not None and self.by_context is not None:
            g = torch.baddbmm(g, h, self.by_context.transpose(1, 2))
        return torch.sigmoid(g)

    def forward(
        self,
        h: Float[Tensor, "modality utterance feature"],
        e: Float[Tensor, "utterance speaker_dim"],
    ) -> Float[Tensor, "modality utterance feature"]:
        return self.weights(e, h) * h


class Adversary(nn.Module):
    """A linear speaker head on the calibrated features that teaches FiLM to hide the speaker.

    Not in the paper: a control of its claim that calibrated features are neutral. The head learns
    to name the speaker; its gradient is reversed on the way down (Ganin and Lempitsky, ICML 2015).
    """

    def __init__(self, features: int, speakers: int):
        super().__init__()
        # Normalised, for else the features could escape the head by growing.
        self.head = nn.Sequential(
            nn.LayerNorm(features, elementwise_affine=False), nn.Linear(features, speakers)
        )

    def forward(
        self, calibrated: Float[Tensor, "utterance feature"]
    ) -> Float[Tensor, "utterance speaker"]:
        return self.head(_Reverse.apply(calibrated))


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -grad


def speaker_loss(
    logits: Float[Tensor, "utterance speaker"], speaker: Int[Tensor, "utterance"]
) -> Float[Tensor, ""]:
    """L_spk of Eq. 4: mean over utterances of known speakers; 0 where there are none."""
    total = nn.functional.cross_entropy(logits, speaker, ignore_index=UNKNOWN, reduction="sum")
    return total / (speaker != UNKNOWN).sum().clamp_min(1)


class MLSAN(MultiEMO):
    """MultiEMO with calibration by FiLM, gating by speaker and a speaker head, each on or off.

    `speakers` counts the entries of the speaker code, unknown (0) included. The backbone is made
    first, so that the same seed gives it the same weights whichever parts are on.
    """

    Settings = MLSANSettings

    def __init__(self, settings: MLSANSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        speakers = sizes.speakers
        d = settings.d
        self.speaker = self.film = self.gates = self.name = self.adversary = None
        if settings.gate or settings.film:
            self.speaker = nn.Embedding(speakers, settings.speaker_dim)
        width = sizes.features if settings.film_site == "raw" else dict.fromkeys(sizes.features, d)
        calibrated = [m for m in settings.film_modalities if m in self.modalities]
        if settings.film:
            self.film = nn.ModuleDict(
                {
                    m: FiLM(settings.speaker_dim, width[m], settings.film_form == "residual")
                    for m in calibrated
                }
            )
        if settings.gate:
            context = settings.gate_input == "speaker+context"
            self.gates = Gate(len(self.modalities), settings.speaker_dim, d, context)
        if settings.aux:
            inputs = d if settings.aux_input == "z" else d * len(self.modalities)
            self.name = nn.Linear(inputs, speakers)
        if settings.film and settings.adversary and calibrated:
            self.adversary = Adversary(sum(width[m] for m in calibrated), speakers)

    def calibrate(
        self, x: Features, speaker: Int[Tensor, "row"], layout: Layout, site: str
    ) -> Features:
        """Eq. 1-2 on `film_modalities`. Padding stays what it was."""
        if self.film is None or site != self.settings.film_site:
            return x
        e = self.speaker(speaker)
        done = {m: film(x[m], e) for m, film in self.film.items()}
        if layout.padding is not None:
            padding = layout.padding.unsqueeze(1)
            done = {m: torch.where(padding, x[m], y) for m, y in done.items()}
        return x | done

    def weigh(
        self, h: Float[Tensor, "modality row feature"], speaker: Int[Tensor, "row"]
    ) -> Float[Tensor, "modality row feature"]:
        """Eq. 3, on every modality there is."""
        return h if self.gates is None else self.gates(h, self.speaker(speaker))

    def identify(
        self, z: Float[Tensor, "utterance feature"], joined: Float[Tensor, "utterance features"]
    ) -> Float[Tensor, "utterance speaker"] | None:
        """The head of Eq. 4, on z or on the fused streams side by side."""
        if self.name is None:
            return None
        return self.name(z if self.settings.aux_input == "z" else joined)

    def oppose(self, calibrated: Features) -> Float[Tensor, "utterance speaker"] | None:
        """The adversary, on the modalities that FiLM calibrates."""
        if self.adversary is None:
            return None
        return self.adversary(torch.cat([calibrated[m] for m in self.film], -1))

    def calibration(
        self, speaker: Int[Tensor, "speaker"], modality: Modality
    ) -> tuple[Float[Tensor, "speaker feature"], Float[Tensor, "speaker feature"]]:
        """gamma and beta of Eq. 1 for these speakers.

        Raises ValueError where there is no FiLM.
        """
        if self.film is None or modality not in self.film:
            raise ValueError(f"this model has no FiLM on {modality}")
        return self.film[modality].scale_shift(self.speaker(speaker))

    def gate(
        self, speaker: Int[Tensor, "speaker"], modality: Modality
    ) -> Float[Tensor, "speaker feature"]:
        """g of Eq. 3 for these speakers, in (0, 1); raises ValueError where there is no gate.

        With `gate_input="speaker+context"` this is the gate at context 0.
        """
        if self.gates is None or modality not in self.modalities:
            raise ValueError(f"this model has no gate on {modality}")
        return self.gates.weights(self.speaker(speaker))[self.modalities.index(modality)]

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """L_total = L_ERC + lambda L_spk (Eq. 4), and L_spk.

        `speaker` is the true speaker, also where its identity was withheld from the input. An
        adversary adds its own loss with the same lambda.
        """
        parts = {}
        if output.speaker_logits is not None:
            parts["spk"] = speaker_loss(output.speaker_logits, speaker)
        if output.adversary_logits is not None:
            parts["adv"] = speaker_loss(output.adversary_logits, speaker)
        for part in parts.values():
            erc = erc + self.settings.lam * part
        return erc, parts
