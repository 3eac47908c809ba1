"""How figures look: one colour per emotion, system and modality, at the paper's column widths."""

import seaborn as sns

from mlsan.vocabulary import EMOTIONS, Benchmark, Modality

SINGLE = 3.3  # inches, one column
DOUBLE = 7.0  # inches, both columns

# Okabe and Ito's colours, told apart under every common colour vision, and a grey that is too.
_JOY, _SADNESS, _ANGER, _NEUTRAL = "#E69F00", "#0072B2", "#D55E00", "#BBBBBB"
EMOTION: dict[str, str] = {
    "neutral": _NEUTRAL,
    "joy": _JOY,
    "happy": _JOY,
    "sadness": _SADNESS,
    "sad": _SADNESS,
    "anger": _ANGER,
    "angry": _ANGER,
    "surprise": "#56B4E9",
    "fear": "#CC79A7",
    "disgust": "#009E73",
    "excited": "#F0E442",
    "frustrated": "#000000",
}

# Paul Tol's muted and high-contrast sets, so that no system is taken for an emotion.
SYSTEM: dict[str, str] = {
    "MultiEMO": "#332288",
    "ML-SAN": "#CC6677",
    "w/o FiLM": "#88CCEE",
    "w/o Gate": "#DDCC77",
    "w/o Aux": "#117733",
    "BC-LSTM": "#999933",
    "DialogueRNN": "#882255",
    "DialogueGCN": "#44AA99",
    "MMGCN": "#AA4499",
}
MODALITY: dict[Modality, str] = {"text": "#004488", "audio": "#DDAA33", "visual": "#BB5566"}


def emotion_colours(benchmark: Benchmark) -> list[str]:
    """The benchmark's emotions' colours, in label order."""
    return [EMOTION[name] for name in EMOTIONS[benchmark]]


def use_style() -> None:
    """Set seaborn and matplotlib for figures that are read at column width: 8 pt, thin lines."""
    sizes = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 8)
    sizes |= dict.fromkeys(
        ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), 7
    )
    sns.set_theme(
        context="paper",
        style="ticks",
        rc=sizes
        | {
            "figure.figsize": (SINGLE, 2.4),
            "figure.dpi": 150,
            "figure.constrained_layout.use": True,
            "lines.linewidth": 1.2,
            "lines.markersize": 4,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "pdf.fonttype": 42,
        },
    )
