"""ML-SAN (section 3): MultiEMO with the speaker as a control signal at three levels.

Input level: `FiLM` (Eq. 1-2). Interaction level: `SpeakerGate` (Eq. 3). Output level:
`speaker_loss` and `MLSAN.total_loss` (Eq. 4). `MLSAN` puts them on the backbone. The same model
as plain loops: `mlsan.model.reference.mlsan`.
"""

from collections.abc import Mapping
from dataclasses import astuple, fields
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mlsan.corpus.style import Population
from mlsan.model.adversary import Adversary
from mlsan.model.fast.packing import Packing
from mlsan.model.fast.stacked import StackedLinear
from mlsan.model.interface import Features, ModelSettings, Output, Sizes, Styles, check_order
from mlsan.model.multiemo import MultiEMO, MultiEMOSettings
from mlsan.vocabulary import UNKNOWN, Modality

OPEN = 3.0  # the open gate's b: sigmoid(3) = .95


class SpeakerParts(ModelSettings):
    """Which of the three parts are on, and how they start."""

    film: bool = Field(True, description="input level, Eq. 1-2")
    gate: bool = Field(True, description="interaction level, Eq. 3")
    aux: bool = Field(True, description="output level, Eq. 4")
    lam: float = Field(0.02, ge=0, description="lambda of Eq. 4; the paper: .5 MELD, .2 IEMOCAP")
    speaker_dim: int = Field(64, gt=0, description="size of the speaker embedding e_s")
    film_start: Literal["statistics", "zero", "printed"] = Field(
        "statistics", description="where gamma and beta start, see FiLM"
    )
    film_rate: float = Field(
        0.1, ge=0, description="learning rate of Eq. 1's W and b, relative to the other parameters'"
    )
    film_modalities: tuple[Modality, ...] = ("audio", "visual")
    gate_start: Literal["open", "random"] = Field("open", description="see SpeakerGate")

    @property
    def styled(self) -> tuple[Modality, ...]:
        """The modalities whose FiLM starts at the speaker's statistics."""
        started = self.film and self.film_start == "statistics"
        return self.film_modalities if started else ()

    @model_validator(mode="after")
    def _film_modalities_in_order(self) -> "SpeakerParts":
        check_order("film_modalities", self.film_modalities)
        return self


class MLSANSettings(SpeakerParts, MultiEMOSettings):
    """MultiEMO's, the parts', and the other choices that the paper leaves open."""

    name: str = "ML-SAN"
    film_site: Literal["raw", "projected"] = Field("raw", description="what FiLM calibrates")
    gate_input: Literal["speaker", "speaker+context"] = Field(
        "speaker", description="see SpeakerGate"
    )
    aux_input: Literal["z", "fused"] = Field("z", description="what the speaker head reads")
    adversary: bool = Field(
        False, description="a speaker head with reversed gradient on the calibrated features"
    )

    @model_validator(mode="after")
    def _film_is_possible(self) -> "MLSANSettings":
        if self.styled and self.film_site != "raw":
            raise ValueError(
                f"film_site={self.film_site} has no statistics to start from: set film_site=raw, "
                "or film_start to zero or printed"
            )
        return self


class FiLM(nn.Module):
    """Input level: scale and shift each feature by speaker.

        gamma = gamma_0 + W_gamma e_s + b_gamma,  beta = beta_0 + W_beta e_s + b_beta      (Eq. 1)
        x~ = gamma * x + beta                                                             (Eq. 2)

    The paper calls this a conditional normalisation and leaves open where it starts.

    - start="statistics": gamma_0 = sigma_0 / sigma_s and beta_0 = mu_0 - gamma_0 mu_s take the
      speaker's mean mu_s and standard deviation sigma_s, the speaker's style, to the population's.
      W and b start at zero and learn the departure from there.
    - start="zero": gamma_0 = 1 and beta_0 = 0, the identity; W and b start at zero.
    - start="printed": gamma_0 = beta_0 = 0, Eq. 1 as printed. With W and b at zero it would erase
      its input, so they start at random, as those of any linear layer.

    A style comes with the batch, from any number of unlabelled utterances of the speaker
    (`mlsan.corpus.enrolment`). Without one, "statistics" starts as "zero" does.
    """

    def __init__(self, speaker_dim: int, features: int, start: str):
        super().__init__()
        self.start = start
        self.project = nn.Linear(speaker_dim, 2 * features)
        if start != "printed":
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)
        if start == "statistics":
            self.register_buffer("population", torch.zeros(len(fields(Population)), features))

    def start_from(self, population: Population) -> None:
        """Keep what training speakers show of the features, mu_0 and sigma_0 among it."""
        values = [torch.as_tensor(x) for x in astuple(population)]
        self.population.copy_(torch.stack(values))

    def scale_shift(
        self,
        e: Float[Tensor, "row speaker_dim"],
        style: Float[Tensor, "row 2 feature"] | None = None,
    ) -> tuple[Float[Tensor, "row feature"], Float[Tensor, "row feature"]]:
        """gamma and beta of Eq. 1; `style` holds mu_s and sigma_s."""
        gamma, beta = self.project(e).chunk(2, -1)
        if self.start == "printed":
            return gamma, beta
        if self.start == "zero" or style is None:
            return 1 + gamma, beta
        mu_0, sigma_0 = self.population[0], torch.exp(self.population[3] / 2)
        mu, sigma = style.unbind(1)
        gamma_0 = sigma_0 / sigma
        return gamma_0 + gamma, mu_0 - gamma_0 * mu + beta

    def forward(
        self,
        x: Float[Tensor, "row feature"],
        e: Float[Tensor, "row speaker_dim"],
        style: Float[Tensor, "row 2 feature"] | None = None,
    ) -> Float[Tensor, "row feature"]:
        gamma, beta = self.scale_shift(e, style)
        return torch.addcmul(beta, gamma, x)


class SpeakerGate(nn.Module):
    """Interaction level: weight each context feature by speaker, for all modalities at once.

        g_m = sigmoid(W_m e_s + b_m),  h'_m = g_m * h_m      (Eq. 3)

    With start="open" W starts at zero and b at 3, so that every speaker's gate starts at .95 and
    lets all features pass. With "random" both start as any linear layer does: the gate then
    starts as noise that differs by speaker.

    With `context`, g_m = sigmoid(W_m e_s + b_m + V_m h_m), so that the gate can differ between
    utterances of one speaker, which Eq. 3 as printed cannot. V starts at zero.
    """

    def __init__(self, modalities: int, speaker_dim: int, d: int, context: bool, start: str):
        super().__init__()
        self.by_speaker = StackedLinear(modalities, speaker_dim, d)
        if start == "open":
            nn.init.zeros_(self.by_speaker.weight)
            nn.init.constant_(self.by_speaker.bias, OPEN)
        self.by_context = nn.Parameter(torch.zeros(modalities, d, d)) if context else None

    def weights(
        self,
        e: Float[Tensor, "row speaker_dim"],
        h: Float[Tensor, "modality row feature"] | None = None,
    ) -> Float[Tensor, "modality row feature"]:
        """g of Eq. 3; without `h`, the speaker's part alone."""
        g = self.by_speaker(e.expand(len(self.by_speaker.weight), -1, -1))
        if h is not None and self.by_context is not None:
            g = torch.baddbmm(g, h, self.by_context.transpose(1, 2))
        return torch.sigmoid(g)

    def forward(
        self, h: Float[Tensor, "modality row feature"], e: Float[Tensor, "row speaker_dim"]
    ) -> Float[Tensor, "modality row feature"]:
        return self.weights(e, h) * h


def speaker_loss(
    logits: Float[Tensor, "utterance speaker"], speaker: Int[Tensor, "utterance"]
) -> Float[Tensor, ""]:
    """Output level, L_spk of Eq. 4: cross-entropy, averaged over known speakers' utterances.

    It is 0 if every speaker is unknown.
    """
    total = nn.functional.cross_entropy(logits, speaker, ignore_index=UNKNOWN, reduction="sum")
    return total / (speaker != UNKNOWN).sum().clamp_min(1)


class MLSAN(MultiEMO):
    """MultiEMO with FiLM, speaker gate and speaker head, each on or off.

    `sizes.speakers` counts the speaker table's entries, the unknown speaker (0) included. The
    backbone is created first: one seed gives it the same weights whichever parts are on.
    """

    Settings = MLSANSettings

    def __init__(self, settings: MLSANSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        d, e_s = settings.d, settings.speaker_dim
        calibrated = [m for m in settings.film_modalities if m in self.modalities]
        width = {m: sizes.features[m] if settings.film_site == "raw" else d for m in calibrated}
        self.embedding = self.film = self.gate = self.speaker_head = self.adversary = None
        if settings.gate or settings.film:
            self.embedding = nn.Embedding(sizes.speakers, e_s)
        if settings.film:
            start = settings.film_start
            self.film = nn.ModuleDict({m: FiLM(e_s, n, start) for m, n in width.items()})
        if settings.gate:
            context = settings.gate_input == "speaker+context"
            self.gate = SpeakerGate(len(self.modalities), e_s, d, context, settings.gate_start)
        if settings.aux:
            inputs = d if settings.aux_input == "z" else d * len(self.modalities)
            self.speaker_head = nn.Linear(inputs, sizes.speakers)
        if settings.adversary and self.film:
            self.adversary = Adversary(sum(width.values()), sizes.speakers)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """FiLM learns more slowly, so that what it calibrates stays near its start."""
        if self.film is None:
            return super().parameter_groups(lr)
        film = set(self.film.parameters())
        others = [parameter for parameter in self.parameters() if parameter not in film]
        return [
            {"params": others, "lr": lr},
            {"params": list(self.film.parameters()), "lr": lr * self.settings.film_rate},
        ]

    def start_from(self, population: Mapping[Modality, Population]) -> None:
        """Start each FiLM from what the training speakers show of its modality."""
        for modality, values in population.items():
            self.film[modality].start_from(values)

    def project_features(
        self, raw: Features, speaker: Int[Tensor, "row"], style: Styles, packing: Packing
    ) -> tuple[Features, Features]:
        """Eq. 1-2 before or after the projection. Padding is not calibrated."""

        own = {m: style[m] for m in self.settings.styled if m in style}

        def calibrate(x: Features) -> Features:
            e = self.embedding(speaker)
            changed = {
                m: packing.keep_padding(x[m], film(x[m], e, own.get(m)))
                for m, film in self.film.items()
            }
            return x | changed

        if self.film is None:
            return super().project_features(raw, speaker, style, packing)
        if self.settings.film_site == "raw":
            calibrated = calibrate(raw)
            return super().project_features(calibrated, speaker, style, packing)[0], calibrated
        calibrated = calibrate(super().project_features(raw, speaker, style, packing)[0])
        return calibrated, calibrated

    def gate_context(
        self, h: Float[Tensor, "modality row feature"], speaker: Int[Tensor, "row"]
    ) -> Float[Tensor, "modality row feature"]:
        """Eq. 3, on every modality."""
        return h if self.gate is None else self.gate(h, self.embedding(speaker))

    def speaker_heads(
        self,
        z: Float[Tensor, "utterance feature"],
        joined: Float[Tensor, "utterance features"],
        calibrated: Features,
    ) -> dict[str, Float[Tensor, "utterance speaker"]]:
        """The head of Eq. 4 on z (or the fused streams); the adversary on what FiLM calibrates."""
        logits = {}
        if self.speaker_head is not None:
            x = z if self.settings.aux_input == "z" else joined
            logits["speaker_logits"] = self.speaker_head(x)
        if self.adversary is not None:
            x = torch.cat([calibrated[m] for m in self.film], -1)
            logits["adversary_logits"] = self.adversary(x)
        return logits

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """L_total = L_ERC + lambda L_spk (Eq. 4), and L_spk.

        `speaker` is the true speaker, even where the input hides the identity. An adversary's
        loss is added with the same lambda.
        """
        parts = {}
        if output.speaker_logits is not None:
            parts["spk"] = speaker_loss(output.speaker_logits, speaker)
        if output.adversary_logits is not None:
            parts["adv"] = speaker_loss(output.adversary_logits, speaker)
        for part in parts.values():
            erc = erc + self.settings.lam * part
        return erc, parts

    def film_parameters(
        self,
        speaker: Int[Tensor, "speaker"],
        modality: Modality,
        style: Float[Tensor, "speaker 2 feature"] | None = None,
    ) -> tuple[Float[Tensor, "speaker feature"], Float[Tensor, "speaker feature"]]:
        """gamma and beta of Eq. 1 for these speakers; ValueError if the modality has no FiLM.

        Without styles they are what the model learned on top of an average speaker's start.
        """
        if self.film is None or modality not in self.film:
            raise ValueError(f"this model has no FiLM on {modality}")
        return self.film[modality].scale_shift(self.embedding(speaker), style)

    def gate_weights(
        self, speaker: Int[Tensor, "speaker"], modality: Modality
    ) -> Float[Tensor, "speaker feature"]:
        """g of Eq. 3 for these speakers, in (0, 1); ValueError if the modality has no gate.

        With `gate_input="speaker+context"` this is the gate at h = 0.
        """
        if self.gate is None or modality not in self.modalities:
            raise ValueError(f"this model has no gate on {modality}")
        return self.gate.weights(self.embedding(speaker))[self.modalities.index(modality)]
