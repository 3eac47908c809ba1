"""The runs behind each table and figure: plans by name."""

from collections.abc import Callable, Sequence

from mlsan.corpus.nemo.protocols import PROTOCOLS
from mlsan.training.profiles import SCALES
from mlsan.training.settings import RunSettings
from mlsan.training.systems import AS_PRINTED, CELLS, TABLE_1, run_settings
from mlsan.vocabulary import Benchmark

# Table A11: each model, and the system that has it with ML-SAN's three parts.
WITH_SPEAKER: dict[str, str] = {
    **{base: f"{base} + speaker" for base in ("BC-LSTM", "DialogueRNN", "MMGCN", "SDT")},
    "MultiEMO": "ML-SAN",
}
# Fig. A10: the share of a dialogue's modalities that is absent in training.
MODALITY_DROPOUT = 0.2


def main_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Table 1: every model, MultiEMO's variants, and ML-SAN as printed beside ours; all seeds."""
    systems = [{"system": name} for name in TABLE_1]
    return _over(SCALES[profile].seeds, benchmark, profile, named, systems)


def ablation_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Table 2: all eight combinations of FiLM, gate and auxiliary loss."""
    systems = [{"system": name} for name in ("MultiEMO", *CELLS)]
    return _over(SCALES[profile].few, benchmark, profile, named, systems)


def control_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Table 2, controls: ML-SAN with identities, roles, shuffled speakers, or one speaker."""
    kinds = (("identity",) if named else ()) + ("role", "shuffled", "constant")
    systems = [{"system": "ML-SAN", "speaker": kind} for kind in kinds]
    return _over(SCALES[profile].few, benchmark, profile, named, systems)


def lambda_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Fig. 6: ML-SAN by lambda; without the auxiliary loss it stands for lambda 0."""
    swept = [{"system": "ML-SAN", "lam": lam} for lam in SCALES[profile].lambdas]
    return _over(SCALES[profile].few, benchmark, profile, named, [{"system": "w/o Aux"}, *swept])


def neutrality_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Fig. A9: MultiEMO, ML-SAN as printed, without and with an adversary, and ML-SAN."""
    systems = [{"system": name} for name in ("MultiEMO", AS_PRINTED, "ML-SAN")]
    systems.append({"system": AS_PRINTED, "adversary": True})
    return _over(SCALES[profile].few, benchmark, profile, named, systems)


def robustness_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Fig. A10: MultiEMO and ML-SAN, with and without modality dropout in training."""
    systems = [
        {"system": name, "modality_dropout": rate}
        for name in ("MultiEMO", "ML-SAN")
        for rate in (0.0, MODALITY_DROPOUT)
    ]
    return _over(SCALES[profile].few, benchmark, profile, named, systems)


def dev_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Table A10: dev dialogues of the training speakers, or of a session of their own.

    MELD and corpora without names have no sessions.
    """
    systems = [
        {"system": name, "dev": dev}
        for name in ("MultiEMO", "ML-SAN")
        for dev in ("official", "session")
        if benchmark == "IEMOCAP" and named
    ]
    return _over(SCALES[profile].few, benchmark, profile, named, systems)


def adapted_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Table A11: models without and with ML-SAN's three parts, with the seeds of Table 1."""
    systems = [{"system": name} for pair in WITH_SPEAKER.items() for name in pair]
    return _over(SCALES[profile].seeds, benchmark, profile, named, systems)


def voices_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Table A8, on nEMO's corpora alone: MultiEMO, and ML-SAN as printed and ours."""
    names = ("MultiEMO", AS_PRINTED, "ML-SAN") if benchmark in PROTOCOLS else ()
    systems = [{"system": name} for name in names]
    return _over(SCALES[profile].seeds, benchmark, profile, named, systems)


def dose_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Fig. A8: MultiEMO and ML-SAN, to be trained at each heterogeneity (not in `PLANS`)."""
    systems = [{"system": name} for name in ("MultiEMO", "ML-SAN")]
    return _over(SCALES[profile].few, benchmark, profile, named, systems)


def standardised_runs(benchmark: Benchmark, profile: str, named: bool) -> list[RunSettings]:
    """Tables 1 and A8: MultiEMO, to be trained on standardised features (not in `PLANS`)."""
    systems = [{"system": "MultiEMO"}]
    return _over(SCALES[profile].seeds, benchmark, profile, named, systems)


def _over(
    seeds: Sequence[int], benchmark: Benchmark, profile: str, named: bool, systems: list[dict]
) -> list[RunSettings]:
    return [
        run_settings(benchmark, profile, seed=seed, named=named, **system)
        for system in systems
        for seed in seeds
    ]


Plan = Callable[[Benchmark, str, bool], list[RunSettings]]
PLANS: dict[str, Plan] = {
    "main": main_runs,
    "ablation": ablation_runs,
    "controls": control_runs,
    "lambda": lambda_runs,
    "neutrality": neutrality_runs,
    "robustness": robustness_runs,
    "dev": dev_runs,
    "adapted": adapted_runs,
    "voices": voices_runs,
}
