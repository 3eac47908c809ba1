"""Every table and figure: which there are, how one is saved, and where each came from.

An artifact is a few files (`FILES`) and an entry in its folder's `manifest.json`. The same content
gives the same bytes: nothing in a file tells when it was made.
"""

import io
import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure

from mlsan.files import sha256, write_atomically

Kind = Literal["table", "figure"]
FILES: dict[Kind, tuple[str, ...]] = {
    "table": (".csv", ".md", ".tex"),
    "figure": (".csv", ".png", ".pdf"),
}
MANIFEST = "manifest.json"
PACKAGES = ("mlsan", "torch", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "seaborn")


@dataclass(frozen=True)
class Artifact:
    """A declared table or figure and the notebooks that may write it."""

    name: str
    notebooks: tuple[str, ...]
    title: str
    caption: str
    needs: Literal["", "simulation", "names"] = ""
    """What the corpora must have for it to be made: a known truth, or named speakers."""

    @property
    def kind(self) -> Kind:
        """table or figure, as the name begins."""
        return "table" if self.name.startswith("table") else "figure"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files; the first is the CSV."""
        return tuple(self.name + suffix for suffix in FILES[self.kind])


_DECLARED = (
    Artifact(
        "table0_corpora",
        ("01_data",),
        "Table 0",
        "The corpora: dialogues, utterances, speakers, test speakers unseen in training, labels.",
    ),
    Artifact(
        "fig1_heterogeneity",
        ("01_data",),
        "Fig. 1",
        "The same emotions of two speakers, before and after calibration.",
    ),
    Artifact("fig2_architecture", ("03_mlsan",), "Fig. 2", "The architecture of ML-SAN."),
    Artifact(
        "table1_main",
        ("02_baseline", "03_mlsan"),
        "Table 1",
        "Weighted F1 (points) of each system, mean ± sd over seeds, at the best dev epoch and at "
        "the best test epoch, beside the numbers that the paper prints. UniMSE is quoted: it "
        "generates from raw text and is no model of utterance features.",
    ),
    Artifact(
        "table2_ablation",
        ("04_ablations",),
        "Table 2",
        "ML-SAN and each of its parts left out: weighted F1 (points), mean ± sd over seeds, and "
        "the difference to the full model, beside the numbers that the paper prints.",
    ),
    Artifact(
        "table2_factorial",
        ("04_ablations",),
        "Table 2, all cells",
        "Every combination of FiLM, gate and auxiliary loss, main effects and interactions, and "
        "ML-SAN told the speaker in other ways: weighted F1 (points), mean ± sd over seeds, with "
        "95 % intervals of the differences.",
    ),
    Artifact(
        "table3_significance",
        ("03_mlsan",),
        "Table 3",
        "Each system against MultiEMO: mean difference in weighted F1 (points) with its 95 % "
        "interval from a paired bootstrap over seeds and test dialogues, the paired t-test over "
        "seeds, a permutation test over dialogues, and both corrected after Holm.",
    ),
    Artifact(
        "table4_classes",
        ("03_mlsan",),
        "Table 4",
        "Each emotion, rare ones first: test utterances, and F1 and recall (%) of MultiEMO and "
        "ML-SAN with 95 % intervals.",
    ),
    Artifact(
        "table5_speakers",
        ("07_beyond",),
        "Table 5",
        "Ways to tell ML-SAN who speaks: weighted F1 (points), mean ± sd over seeds, on all, seen "
        "and unseen test speakers, and differences with 95 % intervals.",
    ),
    Artifact(
        "table6_seen",
        ("03_mlsan",),
        "Table 6",
        "Each system on test speakers that training has and on those that it has not: weighted "
        "F1 (points) and difference to MultiEMO, with 95 % intervals.",
        needs="names",
    ),
    Artifact(
        "table7_recovery",
        ("06_qualitative",),
        "Table 7",
        "How near calibrated features come to features without any style: squared correlation, "
        'mean over features and seeds, training utterances. "by speaker" standardises each '
        'speaker\'s features, "best" is the bound of Eq. 2.',
        needs="simulation",
    ),
    Artifact(
        "fig3_gate",
        ("06_qualitative",),
        "Fig. 3",
        "Gate and FiLM weights by speaker and modality, and one dialogue as a case study.",
    ),
    Artifact(
        "fig4_confusion",
        ("06_qualitative",),
        "Fig. 4",
        "Confusion matrices of MultiEMO and ML-SAN, each row as shares of the true emotion, with "
        "counts.",
    ),
    Artifact(
        "fig5_features",
        ("06_qualitative",),
        "Fig. 5",
        "The feature z of MultiEMO and ML-SAN in two dimensions, by emotion and by speaker.",
    ),
    Artifact(
        "fig6_lambda",
        ("05_sensitivity",),
        "Fig. 6",
        "Weighted F1 (points) against λ with intervals over seeds; the paper's optima are marked.",
    ),
    Artifact(
        "fig7_selection",
        ("03_mlsan",),
        "Fig. 7",
        "What it is worth to report the best test epoch instead of the best dev epoch: weighted "
        "F1 (points) of each system, with intervals over seeds.",
    ),
    Artifact(
        "fig8_dose",
        ("05_sensitivity",),
        "Fig. 8",
        "ML-SAN minus MultiEMO in weighted F1 (points) against how much speakers differ, with "
        "intervals over seeds; 0 is the negative control.",
        needs="simulation",
    ),
    Artifact(
        "fig9_probes",
        ("06_qualitative",),
        "Fig. 9",
        "What a linear probe reads of the speaker and of the emotion at each stage of the model: "
        "weighted F1 (%), mean over seeds.",
    ),
    Artifact(
        "fig10_robustness",
        ("07_beyond",),
        "Fig. 10",
        "Weighted F1 (points) with a modality absent or with noise at test time, trained with and "
        "without modality dropout.",
    ),
)
ARTIFACTS: dict[str, Artifact] = {artifact.name: artifact for artifact in _DECLARED}


@dataclass(frozen=True)
class Provenance:
    """Where an artifact comes from: all but the package versions, which are looked up.

    `fingerprints` are the corpora's by benchmark, `runs` the keys of the runs that went in, and
    `code` the digest of the code that shaped them.
    """

    notebook: str
    profile: str
    corpus: str
    simulated: bool
    fingerprints: dict[str, str]
    runs: tuple[str, ...]
    code: str


def save_table(
    frame: pd.DataFrame,
    name: str,
    folder: Path,
    provenance: Provenance,
    *,
    display: pd.DataFrame | None = None,
    note: str = "",
) -> str:
    """Save a table as CSV, Markdown and LaTeX (booktabs); return the Markdown.

    `frame` holds the numbers, one header row, its index left out. `display` is the same for the
    eye, where they differ: it alone goes into Markdown and LaTeX, and may have grouped columns.
    `note` is added to the caption. Raises ValueError for an artifact that is not declared.
    """
    artifact = _declared(name, "table", provenance)
    shown = _readable(frame if display is None else display)
    caption = _caption(artifact, provenance, note)
    markdown = f"**{artifact.title}.** {caption}\n\n{_markdown(shown)}\n"
    latex = _latex(shown, caption, name)
    _save(artifact, folder, provenance, caption, (_csv(frame), markdown.encode(), latex.encode()))
    return markdown


def save_figure(
    figure: Figure,
    frame: pd.DataFrame,
    name: str,
    folder: Path,
    provenance: Provenance,
    *,
    note: str = "",
) -> str:
    """Save a figure as PNG and PDF with its plotted data as CSV; return the caption in Markdown.

    A simulated corpus is named below the picture. Raises ValueError for an artifact that is not
    declared.
    """
    artifact = _declared(name, "figure", provenance)
    caption = _caption(artifact, provenance, note)
    if provenance.simulated and not figure.findobj(lambda a: a.get_gid() == "simulated"):
        below = {"ha": "right", "va": "top", "fontsize": 5, "color": "0.4", "gid": "simulated"}
        figure.text(1, -0.01, "simulated data", **below)
    pictures = (_picture(figure, "png"), _picture(figure, "pdf"))
    _save(artifact, folder, provenance, caption, (_csv(frame), *pictures))
    return f"**{artifact.title}.** {caption}"


def read_manifest(folder: Path) -> dict[str, dict]:
    """Entries by artifact name; empty where there is none. Raises ValueError if it is damaged."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))["artifacts"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: delete it and run `make paper` again") from error


def versions() -> dict[str, str]:
    """Python and the packages that shape numbers and pictures."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _declared(name: str, kind: Kind, provenance: Provenance) -> Artifact:
    if name not in ARTIFACTS:
        raise ValueError(f"no artifact {name!r} is declared; there are {', '.join(ARTIFACTS)}")
    artifact = ARTIFACTS[name]
    if artifact.kind != kind:
        raise ValueError(f"{name} is a {artifact.kind}: use save_{artifact.kind}")
    if provenance.notebook not in artifact.notebooks:
        makers = " and ".join(artifact.notebooks)
        raise ValueError(f"{name} is declared to come from {makers}, not {provenance.notebook}")
    return artifact


def _caption(artifact: Artifact, provenance: Provenance, note: str) -> str:
    corpora = " and ".join(provenance.fingerprints)
    origin = (
        f"Simulated conversations in the manner of {corpora}, profile {provenance.profile}."
        if provenance.simulated
        else f"On {corpora}, profile {provenance.profile}."
    )
    return " ".join(part for part in (artifact.caption, note.strip(), origin) if part)


def _save(
    artifact: Artifact,
    folder: Path,
    provenance: Provenance,
    caption: str,
    contents: tuple[bytes, ...],
) -> None:
    """Write the files, then the entry: a save cut short leaves files that the manifest disowns."""
    files = dict(zip(artifact.files, contents, strict=True))
    for name, content in files.items():
        write_atomically(folder / name, content)
    entry = asdict(provenance) | {
        "caption": caption,
        "versions": versions(),
        "files": {name: sha256(content) for name, content in files.items()},
    }
    # Notebooks may run side by side, each with artifacts of its own.
    with FileLock(folder / ".manifest.lock"):
        entries = read_manifest(folder) | {artifact.name: entry}
        ordered = {name: entries[name] for name in ARTIFACTS if name in entries}
        text = json.dumps({"artifacts": ordered}, indent=1, ensure_ascii=False)
        write_atomically(folder / MANIFEST, text + "\n")


def _csv(frame: pd.DataFrame) -> bytes:
    if frame.columns.nlevels > 1:
        raise ValueError("the CSV has one header row: give grouped columns as `display`")
    return frame.to_csv(index=False, float_format="%.10g", lineterminator="\n").encode()


def _picture(figure: Figure, form: str) -> bytes:
    silent = {"png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}[form]
    content = io.BytesIO()
    figure.savefig(
        content,
        format=form,
        dpi=200,
        bbox_inches="tight",
        pad_inches=0.02,
        metadata=dict.fromkeys(silent),
    )
    return content.getvalue()


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text: two decimals for floats, a dash for what is missing."""

    def text(cell: object) -> str:
        if pd.isna(cell):
            return "–"
        return f"{cell:.2f}" if isinstance(cell, float) else str(cell)

    return frame.astype(object).map(text)


def _markdown(shown: pd.DataFrame) -> str:
    flat = shown.copy()
    if flat.columns.nlevels > 1:
        flat.columns = [" ".join(str(part) for part in label if part) for label in flat.columns]
    return flat.to_markdown(index=False, disable_numparse=True)


# What LaTeX reads otherwise, in captions, and the signs that its text fonts lack.
_ESCAPES = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$"}
_SIGNS = {"±": r"$\pm$", "Δ": r"$\Delta$", "λ": r"$\lambda$", "−": "$-$", "–": "--", "†": r"\dag{}"}


def _latex(shown: pd.DataFrame, caption: str, name: str) -> str:
    text = shown.to_latex(
        index=False,
        escape=True,
        caption=caption.translate(str.maketrans(_ESCAPES)),
        label=f"tab:{name}",
        multicolumn_format="c",
        position="t",
    )
    return text.translate(str.maketrans(_SIGNS))
