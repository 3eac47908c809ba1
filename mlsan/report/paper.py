"""The numbers that the ML-SAN paper (arXiv 2604.25383) prints, for comparison with ours.

Scores are weighted F1 in points, means and standard deviations over the paper's three runs. The
keys are this project's names of the systems.
"""

from typing import NamedTuple

from mlsan.vocabulary import Benchmark

RUNS = 3


class Printed(NamedTuple):
    """A printed mean and its standard deviation; None where the paper gives none."""

    mean: float
    sd: float | None = None


# Table 1. "MultiEMO" is the authors' reproduction, "(original)" the score of MultiEMO's own paper.
TABLE1: dict[str, dict[Benchmark, Printed]] = {
    "BC-LSTM": {"MELD": Printed(55.90), "IEMOCAP": Printed(54.95)},
    "DialogueRNN": {"MELD": Printed(58.73), "IEMOCAP": Printed(62.75)},
    "DialogueGCN": {"MELD": Printed(57.52), "IEMOCAP": Printed(63.16)},
    "MMGCN": {"MELD": Printed(58.65), "IEMOCAP": Printed(66.22)},
    "UniMSE": {"MELD": Printed(65.51), "IEMOCAP": Printed(70.66)},
    "MultiEMO (original)": {"MELD": Printed(66.74), "IEMOCAP": Printed(72.84)},
    "MultiEMO": {"MELD": Printed(66.34, 0.04), "IEMOCAP": Printed(72.02, 0.07)},
    "ML-SAN": {"MELD": Printed(67.73, 0.07), "IEMOCAP": Printed(73.28, 0.13)},
}

# Table 2.
TABLE2: dict[str, dict[Benchmark, Printed]] = {
    "ML-SAN": {"MELD": Printed(67.73, 0.07), "IEMOCAP": Printed(73.28, 0.13)},
    "w/o FiLM": {"MELD": Printed(67.22, 0.07), "IEMOCAP": Printed(71.75, 0.07)},
    "w/o Gate": {"MELD": Printed(67.41, 0.03), "IEMOCAP": Printed(71.67, 0.06)},
    "w/o Aux": {"MELD": Printed(67.46, 0.05), "IEMOCAP": Printed(71.35, 0.06)},
}
# Table 2's column of differences, as printed.
TABLE2_DELTA: dict[str, dict[Benchmark, float]] = {
    "w/o FiLM": {"MELD": -0.51, "IEMOCAP": -1.53},
    "w/o Gate": {"MELD": -0.32, "IEMOCAP": -1.61},
    "w/o Aux": {"MELD": -0.27, "IEMOCAP": -1.93},
}

# Section 4.5: where weighted F1 peaks over lambda.
LAMBDA_OPTIMUM: dict[Benchmark, float] = {"MELD": 0.5, "IEMOCAP": 0.2}

# Section 4.6, Fig. 3: weights in the case study of one fearful utterance.
FIG3_WEIGHTS = {"audio": 0.22, "visual": 0.78}

# Section 4.7, Fig. 4: percent of MELD's emotion recognised, by MultiEMO and by ML-SAN.
FIG4_RECOGNISED: dict[str, tuple[float, float]] = {"fear": (12, 18), "anger": (55, 57)}
