"""Models by name, and the losses they are trained with."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from mlsan.config import Modality, ModelConfig
from mlsan.model.baselines import BCLSTM, MMGCN, DialogueGCN, DialogueRNNClassifier
from mlsan.model.layout import pack
from mlsan.model.losses import class_weights, soft_hgr, swfc, total_loss
from mlsan.model.network import MLSAN, MultiEMO, Output
from mlsan.model.speaker import drop_identities

__all__ = [
    "MLSAN",
    "MODELS",
    "MultiEMO",
    "Output",
    "build_model",
    "class_weights",
    "drop_identities",
    "pack",
    "soft_hgr",
    "swfc",
    "total_loss",
]

# name -> (config, sizes, parties, classes, speakers) -> model(batch) -> Output
MODELS: dict[str, Callable[..., nn.Module]] = {
    "ml-san": MLSAN,
    "bc-lstm": BCLSTM,
    "dialogue-rnn": DialogueRNNClassifier,
    "dialogue-gcn": DialogueGCN,
    "mmgcn": MMGCN,
}


def build_model(
    config: ModelConfig,
    sizes: Mapping[Modality, int],
    parties: int,
    classes: int,
    speakers: int,
    seed: int,
) -> nn.Module:
    """A model with initial weights drawn from `seed`; the global random state is left alone."""
    if config.name not in MODELS:
        raise ValueError(f"unknown model {config.name!r}: choose from {sorted(MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MODELS[config.name](config, sizes, parties, classes, speakers)
