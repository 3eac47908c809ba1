"""Reports: tables and figures with their provenance, how they look, and the paper's numbers."""

from mlsan.report.artifacts import (
    ARTIFACTS,
    Artifact,
    Provenance,
    read_manifest,
    save_figure,
    save_table,
    versions,
)
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
    "save_figure",
    "save_table",
    "use_style",
    "versions",
]
