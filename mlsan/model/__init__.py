"""Models by name: one module each, and one line here."""

from importlib import import_module

from mlsan.model.interface import EmotionModel, ModelSettings, Sizes

# A module is imported when its model is asked for: a run depends on its own model's code alone.
MODELS: dict[str, str] = {
    "BC-LSTM": "mlsan.model.baselines.bc_lstm:BCLSTM",
    "DialogueRNN": "mlsan.model.baselines.dialogue_rnn:DialogueRNNClassifier",
    "DialogueGCN": "mlsan.model.baselines.dialogue_gcn:DialogueGCN",
    "MMGCN": "mlsan.model.baselines.mmgcn:MMGCN",
    "MultiEMO": "mlsan.model.multiemo:MultiEMO",
    "ML-SAN": "mlsan.model.mlsan:MLSAN",
}


def model_class(name: str) -> type[EmotionModel]:
    """The class of a model, its settings class beside it. ValueError for an unknown name."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: choose from {', '.join(MODELS)}")
    module, _, model = MODELS[name].partition(":")
    return getattr(import_module(module), model)


def build_model(settings: ModelSettings, sizes: Sizes, seed: int) -> EmotionModel:
    """The model that the settings name, with initial weights drawn from `seed`."""
    return model_class(settings.name).from_seed(settings, sizes, seed)
