"""What the literature reports on MELD and IEMOCAP: the systems, their inputs and their scores.

Scores are weighted F1 in points. Each number stands in the text that `source` names; where no text
that we could read gives one, there is none. Those of the ML-SAN paper's Table 1 are in `paper`.
How an epoch was chosen is known from the authors' public code or paper, where it is named.
"""

from dataclasses import dataclass, field
from typing import Literal

from mlsan.report import paper
from mlsan.vocabulary import Benchmark

TABLE1 = "ML-SAN, Table 1"
PWC = "Papers with Code"
PRC_EMO = "PRC-Emo (arXiv 2511.07061), Table 2"
NONE_FOUND = "no weighted F1 found"
FOUR = "IEMOCAP, 4 emotions"  # "IEMOCAP" has six, as the published features do


@dataclass(frozen=True)
class Reported:
    """A published system; an empty text means that we do not know."""

    name: str
    year: int
    inputs: str
    """Modalities, with their encoders where known."""
    source: str = ""
    """The text in which the scores stand, or why there are none."""
    scores: dict[str, float] = field(default_factory=dict)
    """By `Benchmark`, or `FOUR`; empty if they are those of `paper.TABLE1`."""
    chosen_on: Literal["test", "dev", "folds", ""] = ""
    """The split on which the reported epoch was chosen."""
    how: str = ""
    """By which criterion it was chosen."""
    system: str = ""
    """Its name among this project's systems, if it has one."""
    why_not: str = ""
    """Why this project does not measure it."""

    @property
    def reported(self) -> dict[str, float]:
        """Its scores, from the paper's Table 1 if that is the source."""
        return self.scores or {name: x.mean for name, x in self.in_table1.items()}

    @property
    def in_table1(self) -> dict[Benchmark, paper.Printed]:
        """Its row of the ML-SAN paper's Table 1, MultiEMO's original one; empty without."""
        original = f"{self.name} (original)"
        return paper.TABLE1.get(original, paper.TABLE1.get(self.name, {}))


RAW_TEXT = "a language model on raw text, not a model of utterance features"
ENCODER = "an encoder: its output can be plugged in as audio features"
NOT_IMPLEMENTED = "not implemented here"

SYSTEMS: tuple[Reported, ...] = (
    Reported(
        "BC-LSTM",
        2017,
        "text",
        source=TABLE1,
        chosen_on="test",
        how="lowest loss",
        system="BC-LSTM",
    ),
    Reported(
        "DialogueRNN",
        2019,
        "text; on MELD also audio",
        source=PRC_EMO,
        scores={"MELD": 57.03, "IEMOCAP": 62.75},
        chosen_on="test",
        how="lowest loss (IEMOCAP), best F1 (MELD)",
        system="DialogueRNN",
    ),
    Reported(
        "DialogueGCN",
        2019,
        "text",
        source=PRC_EMO,
        scores={"MELD": 58.10, "IEMOCAP": 64.18},
        chosen_on="test",
        how="best F1",
        system="DialogueGCN",
    ),
    Reported(
        "MMGCN",
        2021,
        "text, audio, visual",
        source=f"{TABLE1}; {PRC_EMO}",
        chosen_on="test",
        how="best F1",
        system="MMGCN",
    ),
    Reported(
        "COGMEN",
        2022,
        "text (SBERT), audio, visual",
        source="wizwand.com; 4 emotions also SOTAVerified",
        scores={"IEMOCAP": 67.63, FOUR: 84.5},
        chosen_on="dev",
        how="best F1",
        system="COGMEN",
    ),
    Reported(
        "M2FNet",
        2022,
        "text, audio and visual from its own extractors (triplet loss)",
        source="EmoEUS (arXiv 2607.18336), Table 1",
        scores={"MELD": 66.71, "IEMOCAP": 69.86},
        system="M2FNet",
    ),
    Reported(
        "UniMSE",
        2022,
        "raw text (T5), audio, visual",
        source=f"{TABLE1}; {PWC}",
        why_not=RAW_TEXT,
    ),
    Reported(
        "Speaker normalisation (Gat et al.)",
        2022,
        "audio (self-supervised)",
        source=f"reports accuracy ({PWC})",
        system="MultiEMO + speaker normalisation",
    ),
    Reported(
        "MultiEMO",
        2023,
        "text (EmoBERTa), audio (openSMILE), visual (ResNet)",
        source=TABLE1,
        chosen_on="test",
        how="best F1",
        system="MultiEMO",
    ),
    Reported(
        "SDT",
        2023,
        "text (1,024 features), audio (openSMILE IS10), visual (DenseFace)",
        source=PWC,
        scores={"MELD": 66.60, "IEMOCAP": 74.08},
        chosen_on="test",
        how="best F1",
        system="SDT",
    ),
    Reported("emotion2vec", 2023, "audio (its own)", source=NONE_FOUND, why_not=ENCODER),
    Reported(
        "Cross-modal fusion and contrastive learning (Shi et al.)",
        2024,
        "text (RoBERTa), audio",
        source=NONE_FOUND,
        why_not=NOT_IMPLEMENTED,
    ),
    Reported(
        "CGGM",
        2024,
        "text, audio, visual",
        source="its code reports accuracy on 4 emotions",
        chosen_on="dev",
        how="best accuracy",
        system="MultiEMO + CGGM",
    ),
    Reported(
        "DeepMSI-MER",
        2025,
        "text (BERT), audio (Wav2Vec), visual (Swin)",
        source=NONE_FOUND,
        chosen_on="folds",
        how="best F1 of each of ten folds",
        why_not="compresses raw video",
    ),
    Reported(
        "LSDGNN + ICL",
        2025,
        "text (RoBERTa), with further features",
        source=PRC_EMO,
        scores={"MELD": 64.07, "IEMOCAP": 70.24},
        chosen_on="test",
        how="best F1",
        why_not=NOT_IMPLEMENTED,
    ),
    Reported(
        "EmoQ",
        2025,
        "audio, raw text (language model)",
        source=NONE_FOUND,
        why_not=RAW_TEXT,
    ),
    Reported(
        "PRC-Emo",
        2025,
        "raw text (Qwen2.5-7B, Qwen3-8B)",
        source=PRC_EMO,
        scores={"MELD": 70.44, "IEMOCAP": 71.95},
        chosen_on="dev",
        how="best F1",
        why_not=RAW_TEXT,
    ),
    Reported(
        "Li et al.",
        2025,
        "text (RoBERTa), audio (Wav2Vec 2.0), visual (TimeSformer)",
        source="its abstract (arXiv 2511.13731)",
        scores={"MELD": 67.75, "IEMOCAP": 72.44},
        system="Li et al.",
    ),
    Reported(
        "ML-SAN",
        2026,
        "MultiEMO's features",
        source=TABLE1,
        system="ML-SAN",
    ),
)
