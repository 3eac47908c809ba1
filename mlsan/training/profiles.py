"""How large a study is: what each profile changes of the published settings."""

from mlsan.vocabulary import Benchmark, Frozen


class Scale(Frozen):
    """What a profile changes of the published settings so that two cores suffice."""

    model: dict[str, int] = {}
    train: dict[Benchmark, dict[str, float]] = {}
    systems: dict[str, dict[str, int]] = {}
    seeds: tuple[int, ...]
    few: tuple[int, ...]
    """The seeds of all that is not in Table 1."""
    lambdas: tuple[float, ...]
    doses: tuple[float, ...]
    """Heterogeneity of the simulated corpora in Fig. 8."""


# Each model takes the fields that it has.
_NARROW = {"d": 64, "feedforward": 128, "classifier": 64, "hidden": 64, "layers": 2}
_NARROW |= {"speaker_dim": 16}
_SHALLOW = {"MMGCN": {"layers": 4}}
SCALES: dict[str, Scale] = {
    "smoke": Scale(
        model={**_NARROW, "d": 16, "layers": 1},
        train={
            "MELD": {"batch": 8, "epochs": 2, "lr": 3e-3},
            "IEMOCAP": {"batch": 4, "epochs": 2, "lr": 3e-3},
        },
        systems=_SHALLOW,
        seeds=(0, 1),
        few=(0, 1),
        lambdas=(0.2, 0.5),
        doses=(0.0, 1.0),
    ),
    "small": Scale(
        model=_NARROW,
        train={
            "MELD": {"batch": 16, "epochs": 13, "lr": 1e-3},
            "IEMOCAP": {"batch": 8, "epochs": 32, "lr": 1e-3},
        },
        systems=_SHALLOW,
        seeds=(0, 1, 2, 3, 4),
        few=(0, 1, 2),
        lambdas=(0.2, 0.5, 1.0, 5.0),
        doses=(0.0, 0.5, 1.0),
    ),
    "paper": Scale(
        seeds=(0, 1, 2, 3, 4),
        few=(0, 1, 2, 3, 4),
        lambdas=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0),
        doses=(0.0, 0.25, 0.5, 0.75, 1.0),
    ),
}
