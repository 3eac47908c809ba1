"""Speaker normalisation (Gat et al., ICASSP 2022): encoded features that hide the speaker.

Where ML-SAN uses the speaker, this hides them: a speaker head reads the encoded features, and its
gradient is reversed on the way back, so that the encoders learn features that do not show who
speaks. At test time neither enrolment nor identity is needed.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from mlsan.corpus.types import Batch
from mlsan.model.adversary import Adversary
from mlsan.model.interface import Output, Sizes
from mlsan.model.mlsan import speaker_loss
from mlsan.model.multiemo import MultiEMOSettings
from mlsan.model.wrapper import Wrapper, WrapperSettings


class SpeakerNormalisedSettings(WrapperSettings):
    """The weight of what hides the speaker."""

    name: str = "+ speaker normalisation"
    lam: float = Field(0.02, ge=0, description="weight of the speaker head's loss")

    @model_validator(mode="after")
    def _base_is_multiemo(self) -> "SpeakerNormalisedSettings":
        if type(self.base) is not MultiEMOSettings:
            raise ValueError(f"base={self.base.name!r} is not possible here: take MultiEMO")
        return self


class SpeakerNormalised(Wrapper):
    """MultiEMO with `Adversary` on the features of all modalities that fusion reads.

        L = L_ERC + lambda L_spk(head(reverse(h)))

    h holds every modality as fusion reads it: projected, audio and visual also in context.

    Departures: Gat et al. adapt a self-supervised encoder of speech, which starts from the sound;
    the encoders here start from utterance features, of text too. The linear head and lambda are
    those of ML-SAN's adversary.
    """

    Settings = SpeakerNormalisedSettings

    def __init__(self, settings: SpeakerNormalisedSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        self.adversary = Adversary(settings.base.d * len(self.modalities), sizes.speakers)

    def forward(self, batch: Batch) -> Output:
        output = self.base(batch)
        encoded = torch.cat(list(output.stages["context"].values()), -1)
        return replace(output, adversary_logits=self.adversary(encoded))

    def total_loss(
        self, erc: Float[Tensor, ""], output: Output, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """L_ERC + lambda L_spk; the reversed gradient makes the features lose what the head gains.

        `speaker` is the true speaker; unknown speakers do not count.
        """
        adv = speaker_loss(output.adversary_logits, speaker)
        return erc + self.settings.lam * adv, {"adv": adv}
