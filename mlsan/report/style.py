"""How figures look: one colour per emotion, system and modality, at the paper's column widths."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsan.vocabulary import Modality

SINGLE = 3.2  # inches, half the width of a page
DOUBLE = 6.5  # inches, the width of a page
TEXT, SMALL = 8, 7  # points: labels and titles, and the smallest text
QUIET = "0.8"  # what stands behind what matters
DODGE = 0.14  # between systems at the same place, the distance of two places being 1

# Okabe and Ito's colours and a grey, distinct under every common colour vision.
_JOY, _SADNESS, _ANGER, _NEUTRAL = "#E69F00", "#0072B2", "#D55E00", "#BBBBBB"
EMOTION: dict[str, str] = {
    "neutral": _NEUTRAL,
    "joy": _JOY,
    "happy": _JOY,
    "happiness": _JOY,
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

# Paul Tol's muted and high-contrast sets, so that no system looks like an emotion.
SYSTEM: dict[str, str] = {
    "MultiEMO": "#332288",
    "ML-SAN": "#CC6677",
    "ML-SAN as printed": "#661100",
    "w/o FiLM": "#88CCEE",
    "w/o Gate": "#DDCC77",
    "w/o Aux": "#117733",
    "BC-LSTM": "#999933",
    "DialogueRNN": "#882255",
    "DialogueGCN": "#44AA99",
    "MMGCN": "#AA4499",
}
MARKER = {"MultiEMO": "s", "ML-SAN": "o", "ML-SAN as printed": "^", "w/o Aux": "v"}
MODALITY: dict[Modality, str] = {"text": "#004488", "audio": "#DDAA33", "visual": "#BB5566"}


def emotion_colours(emotions: Sequence[str]) -> dict[str, str]:
    """A colour of its own for each of a corpus's emotions, given in label order.

    Emotions that are in EMOTION have theirs; the others take what is left of it, then hues from
    around the circle.
    """
    colours: dict[str, str] = {}
    for name in emotions:
        if EMOTION.get(name) not in (None, *colours.values()):
            colours[name] = EMOTION[name]
    others = [name for name in emotions if name not in colours]
    hues = sns.husl_palette(len(others)).as_hex()
    spare = (c for c in dict.fromkeys((*EMOTION.values(), *hues)) if c not in colours.values())
    return {name: colours.get(name) or next(spare) for name in emotions}


def use_style() -> None:
    """Set seaborn and matplotlib for figures at column width: 8 pt, 7 at least, thin lines."""
    sizes = dict.fromkeys(
        ("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize"), TEXT
    )
    sizes |= dict.fromkeys(
        ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), SMALL
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


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its floats rounded to what a figure shows: about 1 % of a column's range.

    Processors differ in the order in which they add numbers. What they disagree about is less
    than the width of a mark, and so it is not in a figure's data.
    """
    found = frame.copy()
    for name, column in frame.select_dtypes("float").items():
        finite = column[np.isfinite(column)]
        span = np.ptp(finite) if len(finite) else 0.0
        span = span or (finite.abs().max() if len(finite) else 0.0)
        if span:
            decimals = max(0, -int(np.floor(np.log10(span / 100))))
            found[name] = column.astype(np.float64).round(decimals) + 0.0  # no "-0"
    return found


def look_of(system: str, hollow: bool = False) -> dict[str, str]:
    """A system's colour and mark; hollow marks go with dashed lines."""
    look = {"color": SYSTEM.get(system, "0.4"), "marker": MARKER.get(system, "o")}
    return look | ({"markerfacecolor": "white", "linestyle": "--"} if hollow else {})


def dodge(names: Sequence, name: object) -> float:
    """How far to move a system sideways, so that marks at the same place do not overlap."""
    return DODGE * (names.index(name) - (len(names) - 1) / 2)


def points(axis: Axes, x: np.ndarray, table: pd.DataFrame, value: str, **look) -> None:
    """Draw a table's column `value` with the intervals of its columns low and high."""
    y = table[value].to_numpy(float)
    # A percentile interval need not contain the mean, and matplotlib rejects negative lengths.
    away = np.nan_to_num([y - table["low"], table["high"] - y]).clip(min=0)
    look = {"marker": "o", "markersize": 4, "linestyle": "-"} | look
    axis.errorbar(x, y, away, elinewidth=0.8, capsize=1.5, **look)


def legend_below(figure: Figure, axis: Axes, columns: int) -> None:
    """One axis's legend for the whole figure."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
