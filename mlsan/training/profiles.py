"""Which runs there are: the published settings, three profiles of size, and named systems."""

from typing import Literal, get_args

import torch

from mlsan.config import Benchmark, Frozen, LossConfig, ModelConfig, RunConfig, TrainConfig

Profile = Literal["smoke", "small", "paper"]
PROFILES: tuple[str, ...] = get_args(Profile)

# ML-SAN section 4.1 for the batch and section 4.5 for lambda; all else as MultiEMO publishes it.
PAPER: dict[Benchmark, RunConfig] = {
    "MELD": RunConfig(
        benchmark="MELD",
        model=ModelConfig(layers=2, classifier=512),
        loss=LossConfig(swfc=0.3, hgr=0.3, ce=0.4, tau=1.4, gamma=2.0, alpha=1.2, lam=0.5),
        train=TrainConfig(batch=128, epochs=15),
    ),
    "IEMOCAP": RunConfig(
        benchmark="IEMOCAP",
        model=ModelConfig(layers=6, classifier=256, bidirectional=True, text_context=True),
        loss=LossConfig(swfc=0.4, hgr=0.4, ce=0.2, tau=0.8, gamma=2.4, alpha=1.1, lam=0.2),
        train=TrainConfig(batch=64, epochs=100),
    ),
}


# The other models of Table 1 as their authors run them; DialogueGCN has no MELD setting of its own.
_RARE = tuple(1 / share for share in (0.086747, 0.144406, 0.227883, 0.160585, 0.127711, 0.252668))
_ALONE = {"emotion": "cross-entropy", "plateau_patience": 1000}  # their rate is never cut
PUBLISHED: dict[str, dict[Benchmark, dict[str, object]]] = {
    "BC-LSTM": dict.fromkeys(
        ("MELD", "IEMOCAP"),
        {**_ALONE, "d": 100, "layers": 2, "classifier": 100, "dropout": 0.25}
        | {"lr": 1e-4, "weight_decay": 1e-5, "batch": 32, "epochs": 60},
    ),
    "DialogueRNN": {
        "MELD": {**_ALONE, "d": 150, "classifier": 100, "dropout": 0.25}
        | {"lr": 5e-4, "weight_decay": 1e-5, "batch": 30, "epochs": 100},
        "IEMOCAP": {**_ALONE, "d": 500, "classifier": 300, "dropout": 0.25}
        | {"lr": 1e-4, "weight_decay": 1e-5, "batch": 30, "epochs": 60, "class_weight": _RARE},
    },
    "DialogueGCN": {
        benchmark: {**_ALONE, "d": 100, "classifier": 100, "dropout": 0.4, "class_weight": weight}
        | {"lr": 3e-4, "weight_decay": 0.0, "batch": 32, "epochs": 60}
        for benchmark, weight in (("MELD", ()), ("IEMOCAP", _RARE))
    },
    "MMGCN": {
        "MELD": {**_ALONE, "d": 200, "layers": 64, "classifier": 100, "dropout": 0.4}
        | {"emotion": "focal", "gamma": 2.5}
        | {"lr": 1e-3, "weight_decay": 3e-5, "batch": 16, "epochs": 60},
        "IEMOCAP": {**_ALONE, "d": 200, "layers": 64, "classifier": 100, "dropout": 0.4}
        | {"lr": 3e-4, "weight_decay": 3e-5, "batch": 16, "epochs": 20, "class_weight": _RARE},
    },
}


class Scale(Frozen):
    """What a profile changes of the published settings so that two cores suffice."""

    model: dict[str, int] = {}
    train: dict[Benchmark, dict[str, float]] = {}
    systems: dict[str, dict[str, int]] = {}
    seeds: tuple[int, ...]
    few: tuple[int, ...]
    """The seeds of all that is not in Table 1."""
    lambdas: tuple[float, ...]
    residual: bool = True
    """Whether Table 5 also has the network that corrects the closed form."""
    doses: tuple[float, ...]
    """Heterogeneity of the simulated corpora in Fig. 8."""


_NARROW = {"d": 64, "feedforward": 128, "classifier": 64, "layers": 2, "speaker_dim": 16}
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
        residual=False,
        doses=(0.0, 0.5, 1.0),
    ),
    "paper": Scale(
        seeds=(0, 1, 2, 3, 4),
        few=(0, 1, 2, 3, 4),
        lambdas=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0),
        doses=(0.0, 0.25, 0.5, 0.75, 1.0),
    ),
}

# Each system as the settings that make it: the parts of ML-SAN that are on, or another model.
CELLS: dict[str, dict[str, bool]] = {
    "MultiEMO": {"film": False, "gate": False, "aux": False},
    "only FiLM": {"film": True, "gate": False, "aux": False},
    "only Gate": {"film": False, "gate": True, "aux": False},
    "only Aux": {"film": False, "gate": False, "aux": True},
    "w/o FiLM": {"film": False, "gate": True, "aux": True},
    "w/o Gate": {"film": True, "gate": False, "aux": True},
    "w/o Aux": {"film": True, "gate": True, "aux": False},
    "ML-SAN": {"film": True, "gate": True, "aux": True},
}
# These know the speaker by the role in the dialogue alone, if at all.
_OTHER = {**CELLS["MultiEMO"], "speaker": "role", "unknown_rate": 0.0}
BASELINES: dict[str, dict[str, object]] = {
    "BC-LSTM": {"name": "bc-lstm", **_OTHER},
    "DialogueRNN": {"name": "dialogue-rnn", **_OTHER},
    "DialogueGCN": {"name": "dialogue-gcn", **_OTHER},
    "MMGCN": {"name": "mmgcn", **_OTHER},
}
SYSTEMS: dict[str, dict[str, object]] = {**BASELINES, **CELLS}


def run_config(
    benchmark: Benchmark, profile: str, system: str, seed: int, *, named: bool = True, **changes
) -> RunConfig:
    """The run of one system; `named` says whether the corpus names its speakers.

    `changes` are fields of ModelConfig, LossConfig or TrainConfig by name, such as `lam=0.2`.
    Raises ValueError naming the allowed values for an unknown profile, system or field.
    """
    scale = choose(profile, SCALES, "profile")
    parts = choose(system, SYSTEMS, "system")
    base = choose(benchmark, PAPER, "benchmark")
    fields = {
        **PUBLISHED.get(system, {}).get(benchmark, {}),
        **scale.model,
        **scale.train.get(benchmark, {}),
        **scale.systems.get(system, {}),
        "speaker": "identity" if named else "role",
        "device": default_device(profile),
        **parts,
        **changes,
    }
    if not fields["aux"] and not fields.get("adversary"):
        fields["lam"] = 0.0  # without a head lambda weighs nothing: one run, one key
    settings = base.model_dump()
    groups = {name: settings[name] for name in ("model", "loss", "train")}
    for name, value in fields.items():
        owner = next((group for group in groups.values() if name in group), None)
        if owner is None:
            known = ", ".join(field for group in groups.values() for field in group)
            raise ValueError(f"unknown setting {name!r}; the settings are {known}")
        owner[name] = value
    return RunConfig.model_validate({**settings, "seed": seed})


# What `make paper DEVICE=...` asks for instead of `default_device`.
DEVICES: dict[str, dict[str, str]] = {
    "cpu": {"device": "cpu", "precision": "float32"},
    "cuda": {"device": "cuda", "precision": "float32"},
    "cuda-bfloat16": {"device": "cuda", "precision": "bfloat16"},
}


def check_device(device: str) -> dict[str, str]:
    """The settings of one of `DEVICES`. Raises ValueError for an unknown and an absent one."""
    wanted = choose(device, DEVICES, "DEVICE")
    if wanted["device"] == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"DEVICE={device}: PyTorch finds no CUDA here; leave DEVICE out")
    return wanted


def on_device(run: RunConfig, device: str) -> RunConfig:
    """The run on one of `DEVICES`, whatever its profile would choose."""
    return run.model_copy(update={"train": run.train.model_copy(update=check_device(device))})


def default_device(profile: str) -> str:
    """The GPU for profile paper where there is one; the small models are quicker on a CPU."""
    return "cuda" if profile == "paper" and torch.cuda.is_available() else "cpu"


def choose(value: str, allowed: dict, what: str):
    """`allowed[value]`. Raises ValueError that lists what is allowed."""
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(allowed)}")
    return allowed[value]


def system_of(model: ModelConfig) -> str:
    """The name of the system that a model's settings make."""
    for system, parts in SYSTEMS.items():
        made = {"name": "ml-san", **parts}
        if all(getattr(model, field) == made[field] for field in ("name", "film", "gate", "aux")):
            return system
    return model.name


def describe(run: RunConfig) -> str:
    """A run in a few words, for people."""
    plain = ModelConfig()
    changed = [
        f"{field}={getattr(run.model, field)}"
        for field in ("speaker", "infer_from", "infer_residual", "adversary")
        if getattr(run.model, field) != getattr(plain, field)
    ]
    if run.train.modality_dropout:
        changed.append(f"modality_dropout={run.train.modality_dropout:g}")
    words = [system_of(run.model), run.benchmark, f"lam={run.loss.lam:g}", f"seed={run.seed}"]
    return " ".join(words + changed)
