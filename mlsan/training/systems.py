"""The systems by name, and the settings of their runs."""

import torch

from mlsan.corpus.nemo.protocols import PROTOCOLS, SEEN
from mlsan.model import MODELS, model_class
from mlsan.model.interface import ModelSettings
from mlsan.model.losses import LOSSES
from mlsan.model.wrapper import WrapperSettings
from mlsan.training.profiles import SCALES
from mlsan.training.settings import RunSettings, TrainSettings
from mlsan.vocabulary import Benchmark, Frozen

# Whose settings a corpus of another name has, without the weights of classes: small batches, many
# epochs and context in both directions, also for text, suit a corpus that is smaller than MELD.
OTHERS: Benchmark = "IEMOCAP"

# MultiEMO as published. The batch size is ML-SAN's (section 4.1).
MULTIEMO: dict[Benchmark, dict[str, object]] = {
    "MELD": {"layers": 2, "classifier": 512, "batch": 128, "epochs": 15}
    | {"swfc": 0.3, "hgr": 0.3, "ce": 0.4, "tau": 1.4, "gamma": 2.0, "alpha": 1.2},
    "IEMOCAP": {"layers": 6, "classifier": 256, "batch": 64, "epochs": 100}
    | {"bidirectional": True, "text_context": True}
    | {"swfc": 0.4, "hgr": 0.4, "ce": 0.2, "tau": 0.8, "gamma": 2.4, "alpha": 1.1},
}

# ML-SAN's lambda (section 4.5), for the model as printed.
LAMBDA: dict[Benchmark, float] = {"MELD": 0.5, "IEMOCAP": 0.2}

# Every model but MultiEMO and ML-SAN is a baseline. It knows at most the speaker's role.
BASELINES: dict[str, dict[str, object]] = {
    name: {"speaker": "role"} for name in MODELS if name not in ("MultiEMO", "ML-SAN")
}
# How baselines are trained by default: by cross-entropy, with a constant learning rate.
BASELINE_TRAINING: dict[str, object] = {"emotion": "cross-entropy", "plateau_patience": 1000}
# What their authors' scripts set instead; DialogueGCN has none for MELD. The scripts have no
# dev split and choose the epoch on test. Here it is the best on dev for every model.
_INVERSE = tuple(
    1 / share for share in (0.086747, 0.144406, 0.227883, 0.160585, 0.127711, 0.252668)
)
# MELD's training utterances: neutral, surprise, fear, sadness, joy, disgust, anger.
_INVERSE_MELD = tuple(9989 / count for count in (4710, 1205, 268, 683, 1743, 271, 1109))
PUBLISHED: dict[str, dict[Benchmark, dict[str, object]]] = {
    "BC-LSTM": dict.fromkeys(
        ("MELD", "IEMOCAP"),
        {"d": 100, "layers": 2, "hidden": 100, "dropout": 0.25}
        | {"lr": 1e-4, "weight_decay": 1e-5, "batch": 32, "epochs": 60},
    ),
    "DialogueRNN": {
        "MELD": {"d": 150, "hidden": 100, "dropout": 0.25}
        | {"lr": 5e-4, "weight_decay": 1e-5, "batch": 30, "epochs": 100},
        "IEMOCAP": {"d": 500, "hidden": 300, "dropout": 0.25, "class_weight": _INVERSE}
        | {"lr": 1e-4, "weight_decay": 1e-5, "batch": 30, "epochs": 60},
    },
    "DialogueGCN": {
        benchmark: {"d": 100, "hidden": 100, "dropout": 0.4, "class_weight": weight}
        | {"lr": 3e-4, "weight_decay": 0.0, "batch": 32, "epochs": 60}
        for benchmark, weight in (("MELD", ()), ("IEMOCAP", _INVERSE))
    },
    "MMGCN": {
        "MELD": {"d": 200, "layers": 64, "hidden": 100, "dropout": 0.4}
        | {"emotion": "focal", "gamma": 2.5}
        | {"lr": 1e-3, "weight_decay": 0.0, "batch": 16, "epochs": 60},
        "IEMOCAP": {"d": 200, "layers": 64, "hidden": 100, "dropout": 0.4}
        | {"class_weight": _INVERSE}
        | {"lr": 3e-4, "weight_decay": 3e-5, "batch": 16, "epochs": 20},
    },
    # The published script's defaults, for IEMOCAP; there is no published setting for MELD.
    "COGMEN": dict.fromkeys(
        ("MELD", "IEMOCAP"),
        {"hidden": 100, "layers": 2, "window": 5, "dropout": 0.5}
        | {"plateau_factor": 0.1, "plateau_patience": 10, "plateau_threshold": 1e-4}
        | {"lr": 1e-4, "weight_decay": 1e-8, "batch": 32, "epochs": 55},
    ),
    # Of two reimplementations for MELD, as the authors published no code. The weight decay is ours:
    # with the .01 of one of them, dev scores fall in profile small (by 1 on MELD, 2 on IEMOCAP).
    "M2FNet": dict.fromkeys(
        ("MELD", "IEMOCAP"),
        {"d": 512, "layers": 6, "hidden": 512, "dropout": 0.4}
        | {"lr": 5e-5, "weight_decay": 1e-5, "batch": 32, "epochs": 100},
    ),
    "SDT": {
        "MELD": {"d": 1024, "heads": 8, "dropout": 0.5, "temperature": 8.0, "trained_gates": False}
        | {"lr": 5e-6, "weight_decay": 1e-5, "batch": 8, "epochs": 50},
        "IEMOCAP": {"d": 1024, "heads": 8, "dropout": 0.5, "temperature": 1.0}
        | {"class_weight": _INVERSE}
        | {"lr": 1e-4, "weight_decay": 1e-5, "batch": 16, "epochs": 150},
    },
    # Released for MELD alone. A step has 32 utterances: about 4 dialogues of MELD, 1 of IEMOCAP.
    "Li et al.": {
        benchmark: {"hidden": 256, "depth": 3, "d": 256, "heads": 8, "layers": 3}
        | {"feedforward": 1024, "dropout": 0.15, "class_weight": weight}
        | {"lr": 1.5e-5, "weight_decay": 1e-4, "batch": batch, "epochs": 30}
        for benchmark, weight, batch in (("MELD", _INVERSE_MELD, 4), ("IEMOCAP", _INVERSE, 1))
    },
}

# The share of a dialogue's speakers whom ML-SAN trains as strangers. nEMO's dev prefers fewer where
# testing has none.
STRANGERS = 0.5
FEW_STRANGERS: dict[Benchmark, float] = {SEEN: 0.05}

# ML-SAN with some or all of its parts. With none of them it is MultiEMO.
CELLS: dict[str, dict[str, bool]] = {
    "only FiLM": {"film": True, "gate": False, "aux": False},
    "only Gate": {"film": False, "gate": True, "aux": False},
    "only Aux": {"film": False, "gate": False, "aux": True},
    "w/o FiLM": {"film": False, "gate": True, "aux": True},
    "w/o Gate": {"film": True, "gate": False, "aux": True},
    "w/o Aux": {"film": True, "gate": True, "aux": False},
    "ML-SAN": {"film": True, "gate": True, "aux": True},
}
# How ML-SAN is trained: with any amount of enrolment, and half of the speakers as strangers.
ENROLLING: dict[str, object] = {"enrolment": "random", "unknown_rate": STRANGERS}
# ML-SAN with what the paper prints and nothing of ours: no statistics, no open gate, its lambda.
AS_PRINTED = "ML-SAN as printed"
# The settings that make each system.
SYSTEMS: dict[str, dict[str, object]] = {
    **{name: {"name": name, **fields} for name, fields in BASELINES.items()},
    "MultiEMO": {"name": "MultiEMO"},
    AS_PRINTED: {
        "name": "ML-SAN",
        **CELLS["ML-SAN"],
        "film_start": "printed",
        "gate_start": "random",
        "film_rate": 1.0,
        "unknown_rate": 0.1,
    },
    **{cell: {"name": "ML-SAN", **ENROLLING, **parts} for cell, parts in CELLS.items()},
}
# MultiEMO trained in other ways: rows of Table 1, one line each.
VARIANTS: dict[str, dict[str, object]] = {
    "MultiEMO + CGGM": {"name": "+ CGGM", "base": "MultiEMO"},
    "MultiEMO + speaker normalisation": {"name": "+ speaker normalisation", "base": "MultiEMO"},
}
# ML-SAN's three parts around every other model, trained as ML-SAN is: "DialogueRNN + speaker".
ADAPTED: dict[str, dict[str, object]] = {
    f"{base} + speaker": {"name": "+ speaker", "base": base, **ENROLLING}
    for base in (*BASELINES, "MultiEMO")
}
SYSTEMS |= VARIANTS | ADAPTED
# Table 1's rows.
TABLE_1 = (*BASELINES, "MultiEMO", *VARIANTS, AS_PRINTED, "ML-SAN")


def run_settings(
    benchmark: Benchmark, profile: str, system: str, seed: int, *, named: bool = True, **changes
) -> RunSettings:
    """The settings of a run; `named` says whether the corpus names its speakers.

    A benchmark other than MELD and IEMOCAP has IEMOCAP's settings, without weights of classes.
    `changes` are fields of the model's settings, of the loss or of `TrainSettings`, for example
    `lam=0.2`, or `speaker`. A row of Table 1 has a test curve unless something changes. Raises
    ValueError for an unknown profile, system or field, with the allowed ones.
    """
    usual = {
        "speaker": "identity" if named else "role",
        **_default_fields(benchmark, profile, system),
    }
    run = _build(benchmark, system, seed, usual, changes)
    is_row = system in TABLE_1 and benchmark not in PROTOCOLS and "test_curve" not in changes
    if is_row and run == _build(benchmark, system, seed, usual, {}):
        return _trained(run, test_curve=True)
    return run


def _build(
    benchmark: Benchmark, system: str, seed: int, usual: dict, changes: dict[str, object]
) -> RunSettings:
    """The settings of a run from a system's usual fields and the changes to them."""
    fields = {**usual, **changes}
    groups = {
        "model": model_class(fields["name"]).Settings,
        "loss": LOSSES[fields.get("emotion", "multiemo")],
        "train": TrainSettings,
    }
    known = {field for group in groups.values() for field in group.model_fields} | {"speaker"}
    if "base" in fields:
        inside = SYSTEMS[fields["base"]]
        base = model_class(inside["name"]).Settings
        known |= set(base.model_fields)
        fields["base"] = _chosen(base, fields | inside)
    for field in changes:
        if field not in known:
            raise ValueError(
                f"unknown setting {field!r}; the settings of {system} are "
                f"{', '.join(sorted(known))}"
            )
    chosen = {name: _chosen(group, fields) for name, group in groups.items()}
    return RunSettings(benchmark=benchmark, speaker=fields["speaker"], seed=seed, **chosen)


def _chosen(group: type[Frozen], fields: dict[str, object]) -> Frozen:
    """Settings of this class: defaults are for all, and each class takes the fields it has."""
    return group(**{field: fields[field] for field in group.model_fields if field in fields})


def _default_fields(benchmark: Benchmark, profile: str, system: str) -> dict[str, object]:
    """Published settings, as the profile scales them, with what makes the system."""
    scale = choose(profile, SCALES, "profile")
    parts = choose(system, SYSTEMS, "system")
    model = parts.get("base", system)  # whose published settings the system has
    usual = benchmark if benchmark in MULTIEMO else OTHERS
    published = BASELINE_TRAINING | PUBLISHED.get(model, {}).get(usual, {})
    if usual != benchmark:
        published.pop("class_weight", None)
    enrolling = "enrolment" in parts and benchmark in FEW_STRANGERS
    few = {"unknown_rate": FEW_STRANGERS[benchmark]} if enrolling else {}
    return {
        **(published if model in BASELINES else MULTIEMO[usual]),
        **scale.model,
        **scale.train.get(benchmark, scale.train.get(usual, {})),
        **scale.systems.get(model, {}),
        "device": default_device(profile),
        **parts,
        **({"lam": LAMBDA[usual]} if system == AS_PRINTED else {}),
        **few,
    }


# The choices of `make paper DEVICE=...`, which replace `default_device`.
DEVICES: dict[str, dict[str, str]] = {
    "cpu": {"device": "cpu", "precision": "float32"},
    "cuda": {"device": "cuda", "precision": "float32"},
    "cuda-bfloat16": {"device": "cuda", "precision": "bfloat16"},
}


def check_device(device: str) -> dict[str, str]:
    """The settings of one of `DEVICES`. Raises ValueError if it is unknown or absent."""
    wanted = choose(device, DEVICES, "DEVICE")
    if wanted["device"] == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"DEVICE={device}: PyTorch finds no CUDA here; leave DEVICE out")
    return wanted


def on_device(run: RunSettings, device: str) -> RunSettings:
    """The run on one of `DEVICES`, whatever its profile would choose."""
    return _trained(run, **check_device(device))


def _trained(run: RunSettings, **fields) -> RunSettings:
    """The run with other settings of training, which are not validated."""
    return run.model_copy(update={"train": run.train.model_copy(update=fields)})


def default_device(profile: str) -> str:
    """The GPU for profile paper if there is one; the small models are faster on a CPU."""
    return "cuda" if profile == "paper" and torch.cuda.is_available() else "cpu"


def choose(value: str, allowed: dict, what: str):
    """`allowed[value]`. Raises ValueError with the allowed values if there is none."""
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(allowed)}")
    return allowed[value]


def system_of(model: ModelSettings) -> str:
    """The name of the system that a model's settings make."""
    if isinstance(model, WrapperSettings):
        return f"{system_of(model.base)} {model.name}"
    for system, parts in SYSTEMS.items():
        made = {field: value for field, value in parts.items() if field in type(model).model_fields}
        if all(getattr(model, field) == value for field, value in made.items()):
            return system
    return model.name


def describe(run: RunSettings) -> str:
    """A run in a few words, for progress lines."""
    words = [system_of(run.model), run.benchmark]
    if getattr(run.model, "aux", False):
        words.append(f"lam={run.model.lam:g}")
    words.append(f"seed={run.seed}")
    if run.speaker != "identity":
        words.append(f"speaker={run.speaker}")
    if getattr(run.model, "adversary", False):
        words.append("adversary")
    if run.train.dev != "official":
        words.append(f"dev={run.train.dev}")
    if run.train.modality_dropout:
        words.append(f"modality_dropout={run.train.modality_dropout:g}")
    return " ".join(words)
