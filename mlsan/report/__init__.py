"""Reports: one module per notebook with its tables and figures, and how they are saved."""

from mlsan.report.artifacts import (
    ARTIFACTS,
    Provenance,
    read_manifest,
    runs_by_row,
    save_figure,
    save_table,
)
from mlsan.report.declaration import Artifact
from mlsan.report.review import Finding, Session, check, committed, compare
from mlsan.report.style import (
    DOUBLE,
    EMOTION,
    MODALITY,
    SINGLE,
    SYSTEM,
    emotion_colours,
    use_style,
)

__all__ = [
    "ARTIFACTS",
    "DOUBLE",
    "EMOTION",
    "MODALITY",
    "SINGLE",
    "SYSTEM",
    "Artifact",
    "Finding",
    "Provenance",
    "Session",
    "check",
    "committed",
    "compare",
    "emotion_colours",
    "read_manifest",
    "runs_by_row",
    "save_figure",
    "save_table",
    "use_style",
]
