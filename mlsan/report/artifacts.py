"""Every table and figure: which there are, how one is saved, and where each came from.

An artifact is declared beside the code that makes it, in the module of its notebook. It is a few
files and an entry in its folder's `manifest.json`. The same content gives the same bytes: no file
says when it was made.
"""

import io
import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure
from matplotlib.text import Text

from mlsan.files import sha256, write_atomically
from mlsan.report import (
    nb00_from_scratch,
    nb01_data,
    nb02_baseline,
    nb03_mlsan,
    nb04_ablations,
    nb05_sensitivity,
    nb06_qualitative,
    nb07_beyond,
    nb08_audit,
    nb09_voices,
)
from mlsan.report.declaration import Artifact, Kind
from mlsan.report.style import SMALL, rounded
from mlsan.vocabulary import BENCHMARKS

MANIFEST = "manifest.json"
PACKAGES = ("mlsan", "torch", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "seaborn")
MODULES = (
    nb00_from_scratch,
    nb01_data,
    nb02_baseline,
    nb03_mlsan,
    nb04_ablations,
    nb05_sensitivity,
    nb06_qualitative,
    nb07_beyond,
    nb08_audit,
    nb09_voices,
)
# A benchmark's name where it does not stand for the paper's own numbers.
_BENCHMARK = re.compile(rf"\b(?:{'|'.join(BENCHMARKS)})\b(?! paper)")
ARTIFACTS: dict[str, Artifact] = {
    declared.name: declared
    for module in MODULES
    for declared in vars(module).values()
    if isinstance(declared, Artifact)
}


@dataclass(frozen=True)
class Provenance:
    """Where an artifact comes from: all but the package versions, which are looked up.

    `fingerprints` are the corpora's by benchmark and `names` what readers are shown for each (the
    benchmark itself where there is none); `runs` the keys of the runs that went in, `code`
    the digest of the code that shaped them, and `rows` the keys of the runs behind each row
    ("MELD / ML-SAN"), where rows come from runs.
    """

    notebook: str
    profile: str
    corpus: str
    simulated: bool
    fingerprints: dict[str, str]
    runs: tuple[str, ...]
    code: str
    rows: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def runs_by_row(runs: pd.DataFrame, by: Sequence[str]) -> dict[str, list[str]]:
    """The keys of the runs behind each row of a table, named by the columns `by`.

    `runs` has one row per run, its key in the column `run`. A name leaves empty columns out.
    """
    rows: dict[str, list[str]] = {}
    for *name, key in runs[[*by, "run"]].to_numpy(dtype=object):
        rows.setdefault(" / ".join(str(part) for part in name if part != ""), []).append(key)
    return rows


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

    `frame` holds the numbers, with one header row; its index is left out. `display` is the table
    for reading, where it differs: it goes into Markdown and LaTeX, and may have grouped columns.
    `note` is added to the caption. Raises ValueError for an artifact that is not declared, and for
    one on simulated conversations that gives a benchmark's name for theirs.
    """
    artifact = _declared(name, "table", provenance)
    shown = _readable(frame if display is None else display)
    caption = _caption(artifact, provenance, note)
    _check_names(artifact, provenance, [caption, _markdown(shown), _csv(frame).decode()])
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

    The data are `rounded` to what can be seen. If they are simulated, a line below the picture says
    so. Raises ValueError as `save_table` does.
    """
    artifact = _declared(name, "figure", provenance)
    caption = _caption(artifact, provenance, note)
    data = _csv(rounded(frame))
    if provenance.simulated and not figure.findobj(lambda a: a.get_gid() == "simulated"):
        below = {"ha": "right", "va": "top", "fontsize": SMALL, "color": "0.4", "gid": "simulated"}
        figure.text(1, -0.01, "simulated data", **below)
    pictures = (_picture(figure, "png"), _picture(figure, "pdf"))
    _check_names(artifact, provenance, [caption, data.decode(), *words(figure)])
    _save(artifact, folder, provenance, caption, (data, *pictures))
    return f"**{artifact.title}.** {caption}"


def words(figure: Figure) -> list[str]:
    """Every text of a figure that has been drawn, which names its ticks."""
    texts = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text.get_text() for text in texts if text.get_text()]


def _check_names(artifact: Artifact, provenance: Provenance, texts: Iterable[str]) -> None:
    if not provenance.simulated or artifact.origin is not None:
        return
    found = next((text for text in texts if _BENCHMARK.search(text)), None)
    if found is not None:
        name = _BENCHMARK.search(found)[0]
        raise ValueError(
            f"{artifact.name} says {name}, but its conversations are simulated: give it "
            f"{provenance.names.get(name, 'their own name')}, with Study.labelled"
        )


def read_manifest(folder: Path) -> dict[str, dict]:
    """Entries by artifact name; empty without a manifest. Raises ValueError if it is damaged."""
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
        raise ValueError(f"no artifact {name!r} is declared; choose from {', '.join(ARTIFACTS)}")
    artifact = ARTIFACTS[name]
    if artifact.kind != kind:
        raise ValueError(f"{name} is a {artifact.kind}: use save_{artifact.kind}")
    if provenance.notebook != artifact.notebook:
        raise ValueError(
            f"{name} is declared to come from {artifact.notebook}, not {provenance.notebook}"
        )
    return artifact


def _caption(artifact: Artifact, provenance: Provenance, note: str) -> str:
    *most, last = (provenance.names.get(name, name) for name in provenance.fingerprints)
    corpora = f"{', '.join(most)} and {last}" if most else last
    origin = (
        f"Simulated conversations ({corpora}), profile {provenance.profile}."
        if provenance.simulated
        else f"On {corpora}, profile {provenance.profile}."
    )
    if artifact.origin is not None:
        origin = artifact.origin
    parts = (artifact.caption, note.strip(), origin)
    return " ".join(part for part in parts if part)


def _save(
    artifact: Artifact,
    folder: Path,
    provenance: Provenance,
    caption: str,
    contents: tuple[bytes, ...],
) -> None:
    """Write the files, then the entry: an interrupted save leaves files that do not match it."""
    files = dict(zip(artifact.files, contents, strict=True))
    for name, content in files.items():
        write_atomically(folder / name, content)
    entry = asdict(provenance) | {
        "caption": caption,
        "versions": versions(),
        "files": {name: sha256(content) for name, content in files.items()},
    }
    # Notebooks may run at the same time, each with its own artifacts.
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


# What LaTeX treats specially in captions, and the signs that its text fonts lack.
_ESCAPES = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$"}
_SIGNS = {
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "λ": r"$\lambda$",
    "∞": r"$\infty$",
    "−": "$-$",
    "–": "--",
    "†": r"\dag{}",
}
# A link in Markdown, of which LaTeX gets the text alone.
_LINK = re.compile(r"\[([^\[\]]+)\]\([^()]+\)")


def _latex(shown: pd.DataFrame, caption: str, name: str) -> str:
    text = shown.map(lambda cell: _LINK.sub(r"\1", cell)).to_latex(
        index=False,
        escape=True,
        caption=caption.translate(str.maketrans(_ESCAPES)),
        label=f"tab:{name}",
        multicolumn_format="c",
        position="t",
    )
    return text.translate(str.maketrans(_SIGNS))
