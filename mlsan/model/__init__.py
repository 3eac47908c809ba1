"""Models by name: each is one module, and one line in `MODELS`, or in `WRAPPERS`."""

from importlib import import_module

from mlsan.model.interface import EmotionModel, ModelSettings, Sizes

# Imported only when needed, so that a run depends on its own model's code alone.
MODELS: dict[str, str] = {
    "BC-LSTM": "mlsan.model.baselines.bc_lstm:BCLSTM",
    "DialogueRNN": "mlsan.model.baselines.dialogue_rnn:DialogueRNNClassifier",
    "DialogueGCN": "mlsan.model.baselines.dialogue_gcn:DialogueGCN",
    "MMGCN": "mlsan.model.baselines.mmgcn:MMGCN",
    "COGMEN": "mlsan.model.baselines.cogmen:COGMEN",
    "M2FNet": "mlsan.model.baselines.m2fnet:M2FNet",
    "SDT": "mlsan.model.baselines.sdt:SDT",
    "Li et al.": "mlsan.model.baselines.li:Li",
    "MultiEMO": "mlsan.model.multiemo:MultiEMO",
    "ML-SAN": "mlsan.model.mlsan:MLSAN",
}
# What can be put around a model: their settings hold those of the model, as `base`.
WRAPPERS: dict[str, str] = {
    "+ speaker": "mlsan.model.adapted:Adapted",
    "+ CGGM": "mlsan.model.cggm:CGGM",
    "+ speaker normalisation": "mlsan.model.normalised:SpeakerNormalised",
}


def model_class(name: str) -> type[EmotionModel]:
    """The class of a model; its `Settings` is the settings class. ValueError for unknown names."""
    known = MODELS | WRAPPERS
    if name not in known:
        raise ValueError(f"unknown model {name!r}: choose from {', '.join(known)}")
    module, _, model = known[name].partition(":")
    return getattr(import_module(module), model)


def build_model(settings: ModelSettings, sizes: Sizes, seed: int) -> EmotionModel:
    """The model that the settings name, with initial weights drawn from `seed`."""
    return model_class(settings.name).from_seed(settings, sizes, seed)
