"""Models by name: each is one module, and one line in `MODELS`."""

from importlib import import_module

from mlsan.model.interface import EmotionModel, ModelSettings, Sizes

# Imported only when needed, so that a run depends on its own model's code alone.
MODELS: dict[str, str] = {
    "BC-LSTM": "mlsan.model.baselines.bc_lstm:BCLSTM",
    "DialogueRNN": "mlsan.model.baselines.dialogue_rnn:DialogueRNNClassifier",
    "DialogueGCN": "mlsan.model.baselines.dialogue_gcn:DialogueGCN",
    "MMGCN": "mlsan.model.baselines.mmgcn:MMGCN",
    "SDT": "mlsan.model.baselines.sdt:SDT",
    "Li et al.": "mlsan.model.baselines.li:Li",
    "MultiEMO": "mlsan.model.multiemo:MultiEMO",
    "ML-SAN": "mlsan.model.mlsan:MLSAN",
}


def model_class(name: str) -> type[EmotionModel]:
    """The class of a model; its `Settings` is the settings class. ValueError for unknown names."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: choose from {', '.join(MODELS)}")
    module, _, model = MODELS[name].partition(":")
    return getattr(import_module(module), model)


def build_model(settings: ModelSettings, sizes: Sizes, seed: int) -> EmotionModel:
    """The model that the settings name, with initial weights drawn from `seed`."""
    return model_class(settings.name).from_seed(settings, sizes, seed)
