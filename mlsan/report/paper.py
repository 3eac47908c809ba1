"""What the ML-SAN paper (arXiv 2604.25383) prints, to stand beside what we measure.

Scores are weighted F1 in points, means and standard deviations over the paper's three runs.
"""

from dataclasses import dataclass
from typing import NamedTuple

from mlsan.config import Benchmark

RUNS = 3


class Printed(NamedTuple):
    """A printed mean and its standard deviation, None where the paper gives none."""

    mean: float
    sd: float | None = None


@dataclass(frozen=True)
class Line:
    """One row of a printed table; `measured_as` is our name of the system, None if we lack it."""

    system: str
    wf1: dict[Benchmark, Printed]
    measured_as: str | None = None


def _line(system: str, meld: Printed, iemocap: Printed, measured_as: str | None = None) -> Line:
    return Line(system, {"MELD": meld, "IEMOCAP": iemocap}, measured_as)


_FULL = _line("ML-SAN", Printed(67.73, 0.07), Printed(73.28, 0.13), "ML-SAN")

# Table 1. The authors reproduced MultiEMO; its original numbers are from its own paper.
TABLE1: tuple[Line, ...] = (
    _line("BC-LSTM", Printed(55.90), Printed(54.95), "BC-LSTM"),
    _line("DialogueRNN", Printed(58.73), Printed(62.75), "DialogueRNN"),
    _line("DialogueGCN", Printed(57.52), Printed(63.16), "DialogueGCN"),
    _line("MMGCN", Printed(58.65), Printed(66.22), "MMGCN"),
    _line("UniMSE", Printed(65.51), Printed(70.66)),
    _line("MultiEMO (original)", Printed(66.74), Printed(72.84)),
    _line("MultiEMO", Printed(66.34, 0.04), Printed(72.02, 0.07), "MultiEMO"),
    _FULL,
)

# Table 2, and its columns of differences as printed.
TABLE2: tuple[Line, ...] = (
    _FULL,
    _line("w/o FiLM", Printed(67.22, 0.07), Printed(71.75, 0.07), "w/o FiLM"),
    _line("w/o Gate", Printed(67.41, 0.03), Printed(71.67, 0.06), "w/o Gate"),
    _line("w/o Aux Loss", Printed(67.46, 0.05), Printed(71.35, 0.06), "w/o Aux"),
)
TABLE2_DELTA: dict[str, dict[Benchmark, float]] = {
    "w/o FiLM": {"MELD": -0.51, "IEMOCAP": -1.53},
    "w/o Gate": {"MELD": -0.32, "IEMOCAP": -1.61},
    "w/o Aux Loss": {"MELD": -0.27, "IEMOCAP": -1.93},
}

# Section 4.5: where weighted F1 peaks over lambda.
LAMBDA: dict[Benchmark, float] = {"MELD": 0.5, "IEMOCAP": 0.2}

# Section 4.6, Fig. 3: weights in the case study of one fearful utterance.
FIG3_WEIGHTS = {"audio": 0.22, "visual": 0.78}

# Section 4.7, Fig. 4: per cent of MELD's emotion recognised, by MultiEMO and by ML-SAN.
FIG4_RECOGNISED: dict[str, tuple[float, float]] = {"fear": (12, 18), "anger": (55, 57)}
