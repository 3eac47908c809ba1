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


class Scale(Frozen):
    """What a profile changes of the published settings so that two cores suffice."""

    model: dict[str, int] = {}
    train: dict[Benchmark, dict[str, float]] = {}
    seeds: tuple[int, ...]
    lambdas: tuple[float, ...]


_NARROW = {"d": 64, "feedforward": 128, "classifier": 64, "layers": 2, "speaker_dim": 16}
SCALES: dict[str, Scale] = {
    "smoke": Scale(
        model={**_NARROW, "d": 16, "layers": 1},
        train={
            "MELD": {"batch": 8, "epochs": 2, "lr": 3e-3},
            "IEMOCAP": {"batch": 4, "epochs": 2, "lr": 3e-3},
        },
        seeds=(0, 1),
        lambdas=(0.2, 0.5),
    ),
    "small": Scale(
        model=_NARROW,
        train={
            "MELD": {"batch": 16, "epochs": 16, "lr": 1e-3},
            "IEMOCAP": {"batch": 8, "epochs": 40, "lr": 1e-3},
        },
        seeds=(0, 1, 2),
        lambdas=(0.1, 0.2, 0.5, 1.0),
    ),
    "paper": Scale(seeds=(0, 1, 2, 3, 4), lambdas=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)),
}

# Each system as the parts of ML-SAN that are on.
SYSTEMS: dict[str, dict[str, bool]] = {
    "MultiEMO": {"film": False, "gate": False, "aux": False},
    "ML-SAN": {"film": True, "gate": True, "aux": True},
    "w/o FiLM": {"film": False, "gate": True, "aux": True},
    "w/o Gate": {"film": True, "gate": False, "aux": True},
    "w/o Aux": {"film": True, "gate": True, "aux": False},
}


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
    model = {**scale.model, **parts, "speaker": "identity" if named else "role"}
    train = {**scale.train.get(benchmark, {}), "device": default_device(profile)}
    groups = {"model": model, "loss": {}, "train": train}
    for name, value in changes.items():
        owner = [g for g in groups if name in type(getattr(base, g)).model_fields]
        if not owner:
            fields = [f for g in groups for f in type(getattr(base, g)).model_fields]
            raise ValueError(f"unknown setting {name!r}; the settings are {', '.join(fields)}")
        groups[owner[0]][name] = value
    if not {**model, **groups["model"]}["aux"]:
        groups["loss"]["lam"] = 0.0  # without the head lambda weighs nothing: one run, one key
    settings = base.model_dump()
    for group, values in groups.items():
        settings[group] |= values
    return RunConfig.model_validate({**settings, "seed": seed})


def default_device(profile: str) -> str:
    """The GPU for profile paper where there is one; the small models are quicker on a CPU."""
    return "cuda" if profile == "paper" and torch.cuda.is_available() else "cpu"


def choose(value: str, allowed: dict, what: str):
    """`allowed[value]`. Raises ValueError that lists what is allowed."""
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(allowed)}")
    return allowed[value]


def system_of(model: ModelConfig) -> str:
    """The name of the system that a model's switches make."""
    parts = {"film": model.film, "gate": model.gate, "aux": model.aux}
    names = {tuple(sorted(switches.items())): name for name, switches in SYSTEMS.items()}
    on = "+".join(part for part, is_on in parts.items() if is_on)
    return names.get(tuple(sorted(parts.items())), f"only {on}")


def describe(run: RunConfig) -> str:
    """A run in a few words, for people."""
    return f"{system_of(run.model)} {run.benchmark} lam={run.loss.lam:g} seed={run.seed}"


def main_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunConfig]:
    """Table 1: MultiEMO and ML-SAN over all seeds."""
    return _over_seeds(benchmark, profile, ("MultiEMO", "ML-SAN"), named)


def ablation_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunConfig]:
    """Table 2: ML-SAN and each of its parts left out, over all seeds."""
    systems = tuple(name for name in SYSTEMS if name != "MultiEMO")
    return _over_seeds(benchmark, profile, systems, named)


def lambda_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunConfig]:
    """Fig. 6: ML-SAN over lambda and all seeds; without the auxiliary loss stands for 0."""
    seeds = SCALES[profile].seeds
    swept = [
        run_config(benchmark, profile, "ML-SAN", seed, named=named, lam=lam)
        for lam in SCALES[profile].lambdas
        for seed in seeds
    ]
    return _over_seeds(benchmark, profile, ("w/o Aux",), named) + swept


def _over_seeds(
    benchmark: Benchmark, profile: str, systems: tuple[str, ...], named: bool
) -> list[RunConfig]:
    return [
        run_config(benchmark, profile, system, seed, named=named)
        for system in systems
        for seed in SCALES[profile].seeds
    ]
