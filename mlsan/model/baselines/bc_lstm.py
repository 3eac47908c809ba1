"""BC-LSTM (Poria et al., ACL 2017): context from a bidirectional LSTM; speakers are ignored.

With the same weights, the outputs are those of the published code (declare-lab/conv-emotion,
bc-LSTM-pytorch without its optional attention) for each dialogue alone, to rounding. In a batch
they differ: the published code runs its LSTM over padding, so that a prediction depends on the rest
of the batch (by up to 0.03 in log-probability in the tests). Here dialogues are packed, and it does
not.
"""

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mlsan.model.baselines.common import BiLSTM, JointModel, Turns
from mlsan.model.interface import ModelSettings, Sizes


class BCLSTMSettings(ModelSettings):
    """BC-LSTM's sizes, as published."""

    name: str = "BC-LSTM"
    d: int = Field(100, gt=0, description="width of one direction of the LSTM")
    layers: int = Field(2, gt=0, description="layers of the LSTM")
    hidden: int = Field(100, gt=0, description="width of z")
    dropout: float = Field(0.25, ge=0, lt=1, description="between the LSTM's layers and after z")


class BCLSTM(JointModel):
    """h = BiLSTM(x), z = ReLU(W h + b), then a linear layer and softmax."""

    Settings = BCLSTMSettings

    def __init__(self, settings: BCLSTMSettings, sizes: Sizes):
        super().__init__(settings, sizes)
        self.context = BiLSTM(self.inputs, settings.d, settings.layers, settings.dropout)
        self.add_head(2 * settings.d, settings.hidden, sizes.classes, settings.dropout)

    def encode(
        self,
        x: Float[Tensor, "dialogue turn inputs"],
        role: Int[Tensor, "dialogue turn"],
        turns: Turns,
    ) -> Float[Tensor, "dialogue turn outputs"]:
        return self.context(x, turns)
