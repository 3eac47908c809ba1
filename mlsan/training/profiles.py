"""The sizes of a study: what each profile changes in the published settings."""

from mlsan.corpus.nemo.protocols import PROTOCOLS, SEEN
from mlsan.vocabulary import Benchmark, Frozen


class Scale(Frozen):
    """What a profile changes in the published settings, and how many runs it has."""

    model: dict[str, int] = {}
    """Fields of the models' settings. Each model takes those that it has."""
    train: dict[Benchmark, dict[str, float]] = {}
    """Fields by benchmark, of the models' settings too; a corpus that is not here has IEMOCAP's."""
    systems: dict[str, dict[str, int]] = {}
    """Fields of single systems."""
    seeds: tuple[int, ...]
    """Seeds of the runs in Table 1."""
    few: tuple[int, ...]
    """Seeds of all other runs."""
    lambdas: tuple[float, ...]
    """Lambdas of Fig. 6."""
    doses: tuple[float, ...]
    """Heterogeneity of the simulated corpora in Fig. A8."""


_NARROW = {"d": 64, "feedforward": 128, "classifier": 64, "hidden": 64, "layers": 1}
_NARROW |= {"speaker_dim": 16}
_SHALLOW = {
    "MMGCN": {"layers": 4},
    "M2FNet": {"fusions": 2},
    "SDT": {"heads": 4},
    "Li et al.": {"d": 32, "heads": 4, "feedforward": 64, "depth": 1},
}
# nEMO has 88 features and about 3,000 training utterances: one size for profiles small and paper.
_VOICES = {"d": 64, "feedforward": 128, "classifier": 64, "layers": 1, "speaker_dim": 16}
# Sessions have no story that could be read backwards: on dev one direction is as good or better.
# Larger batches leave too few steps: 64 costs seen actors two points on dev, MultiEMO three.
_VOICES |= {"batch": 16, "epochs": 16, "lr": 2e-3, "bidirectional": False}
# Cross-entropy alone: Soft-HGR needs two modalities, and SWFC costs strangers two points on dev.
_VOICES |= {"swfc": 0.0, "hgr": 0.0, "ce": 1.0}
VOICES = dict.fromkeys(PROTOCOLS, _VOICES)
# For actors that training has, dev prefers the full rate (by 3.5 points) and the published size of
# e_s (by 3.4). For strangers it prefers the tenth, and the size makes no difference.
VOICES[SEEN] = {**_VOICES, "film_rate": 1.0, "speaker_dim": 64}
SCALES: dict[str, Scale] = {
    "smoke": Scale(
        model={**_NARROW, "d": 16},
        train={
            "MELD": {"batch": 8, "epochs": 2, "lr": 3e-3},
            "IEMOCAP": {"batch": 4, "epochs": 2, "lr": 3e-3},
            **{name: {**fields, "d": 16, "epochs": 2} for name, fields in VOICES.items()},
        },
        systems=_SHALLOW,
        seeds=(0, 1),
        few=(0, 1),
        lambdas=(0.02, 0.2, 0.5),
        doses=(0.0, 1.0),
    ),
    "small": Scale(
        model=_NARROW,
        train={
            "MELD": {"batch": 64, "epochs": 8, "lr": 3e-3},
            "IEMOCAP": {"batch": 32, "epochs": 16, "lr": 4e-3},
            **VOICES,
        },
        systems=_SHALLOW,
        seeds=(0, 1, 2, 3, 4),
        few=(0, 1, 2),
        lambdas=(0.02, 0.2, 0.5),
        doses=(0.0, 0.5, 1.0),
    ),
    "paper": Scale(
        train=VOICES,
        seeds=(0, 1, 2, 3, 4),
        few=(0, 1, 2, 3, 4),
        lambdas=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
        doses=(0.0, 0.25, 0.5, 0.75, 1.0),
    ),
}
