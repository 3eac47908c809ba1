"""BC-LSTM (Poria et al., ACL 2017): context by a bidirectional LSTM, blind to who speaks."""

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor

from mlsan.config import Modality, ModelConfig
from mlsan.model.baselines.common import BiLSTM, JointModel, Turns


class BCLSTM(JointModel):
    """h = BiLSTM(x); z = ReLU(W h + b); softmax.

    Sizes: `d` a direction of the LSTM (100), `layers` of it (2), `classifier` for z (100),
    `dropout` between the LSTM's layers and after z (.25).
    """

    def __init__(
        self,
        config: ModelConfig,
        sizes: Mapping[Modality, int],
        parties: int,
        classes: int,
        speakers: int,
    ):
        super().__init__(config, sizes)
        self.context = BiLSTM(self.inputs, config.d, config.layers, config.dropout)
        self.add_head(2 * config.d, config.classifier, classes, config.dropout)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        party: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        return self.context(x, turns)
