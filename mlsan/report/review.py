"""Checks of a folder of artifacts: each is there and up to date, and what has changed."""

import math
import re
import subprocess
from csv import reader
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from mlsan.files import sha256
from mlsan.report.artifacts import ARTIFACTS, read_manifest
from mlsan.report.declaration import Artifact, Need

# Seconds by which a file's time may be coarser than the clock's.
CLOCK = 2.0
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Session:
    """One call of `make paper`, to which every artifact in the folder must belong.

    `started` is in seconds since the epoch; `runs` are the keys of all runs of the call, `offers`
    is what its corpora have (`Artifact.needs`) and `fresh` names the notebooks that were up to
    date, so that the call left what they had written.
    """

    profile: str
    corpus: str
    offers: frozenset[Need]
    fingerprints: dict[str, str]
    runs: frozenset[str]
    code: str
    started: float
    fresh: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Finding:
    """A missing or stale artifact, and why."""

    artifact: str
    problem: Literal["missing", "stale"]
    detail: str

    def __str__(self) -> str:
        return f"{self.artifact} is {self.problem}: {self.detail}"


def check(folder: Path, session: Session) -> list[Finding]:
    """What is missing or stale, in the order of declaration; empty if everything is in order.

    An artifact is not expected where the corpora do not offer what it needs.
    """
    entries = read_manifest(folder)
    expected = [a for a in ARTIFACTS.values() if a.fits(session.offers)]
    findings = (_finding(a, folder, entries.get(a.name), session) for a in expected)
    return [finding for finding in findings if finding is not None]


def _finding(
    artifact: Artifact, folder: Path, entry: dict | None, session: Session
) -> Finding | None:
    maker = artifact.notebook
    absent = [name for name in artifact.files if not (folder / name).exists()]
    if absent:
        return Finding(artifact.name, "missing", f"{maker} did not write {', '.join(absent)}")
    if entry is None:
        return Finding(artifact.name, "missing", f"{maker} did not enter it in the manifest")
    reason = _stale(artifact, folder, entry, session)
    return Finding(artifact.name, "stale", reason) if reason else None


def _stale(artifact: Artifact, folder: Path, entry: dict, session: Session) -> str | None:
    for field in ("profile", "corpus", "fingerprints", "code"):
        here = getattr(session, field)
        if entry.get(field) != here:
            return f"its {field} is {entry.get(field)!r}, this call's is {here!r}"
    foreign = set(entry.get("runs", ())) - session.runs
    if foreign:
        return f"it uses runs that are not of this call: {', '.join(sorted(foreign))}"
    old = 0.0 if entry.get("notebook") in session.fresh else session.started - CLOCK
    for name in artifact.files:
        path = folder / name
        if entry.get("files", {}).get(name) != sha256(path.read_bytes()):
            return f"{name} is not the file that the manifest describes"
        if path.stat().st_mtime < old:
            return f"{name} was not written by this call"
    return None


def committed(folder: Path) -> dict[str, str]:
    """Each artifact's CSV as in git's HEAD, else as on disk; absent ones are left out.

    Call it before the notebooks run: they overwrite the files.
    """
    found = {name: _committed(folder / artifact.files[0]) for name, artifact in ARTIFACTS.items()}
    return {name: text for name, text in found.items() if text is not None}


def _committed(path: Path) -> str | None:
    path = path.resolve()
    top = next(parent for parent in path.parents if parent.exists())
    blob = f"HEAD:./{path.relative_to(top).as_posix()}"
    try:
        shown = subprocess.run(["git", "-C", str(top), "show", blob], capture_output=True)
        if shown.returncode == 0:
            return shown.stdout.decode("utf-8")
    except OSError:
        pass  # no git on this machine
    return path.read_text(encoding="utf-8") if path.exists() else None


def compare(folder: Path, before: dict[str, str]) -> pd.DataFrame:
    """How the CSVs in `folder` differ from those `before`: one row per artifact.

    Columns: `artifact`; `change` (same, numbers, text, shape, new, gone); `cells` that changed;
    `largest` absolute difference of a number; `where` it is. The format of a number does not
    count; numbers within text, such as "67.73 ± 0.07", do.
    """
    rows = []
    for name, artifact in ARTIFACTS.items():
        path = folder / artifact.files[0]
        now = path.read_text(encoding="utf-8") if path.exists() else None
        if now is not None or name in before:
            rows.append((name, *_difference(before.get(name), now)))
    return pd.DataFrame(rows, columns=["artifact", "change", "cells", "largest", "where"])


def _difference(old: str | None, new: str | None) -> tuple[str, int, float, str]:
    if old is None or new is None:
        return ("new" if old is None else "gone"), 0, 0.0, ""
    before, after = (list(reader(text.splitlines())) or [[]] for text in (old, new))
    was, header = before[0], after[0]
    if was != header:
        return "shape", 0, 0.0, f"columns {was} became {header}"
    if len(before) != len(after):
        return "shape", 0, 0.0, f"{len(before) - 1} rows became {len(after) - 1}"
    gaps = {
        f"{column}, row {row}": _gap(*cells)
        for row, (left, right) in enumerate(zip(before[1:], after[1:], strict=True), start=1)
        for column, *cells in zip(header, left, right, strict=True)
    }
    changed = {where: gap for where, gap in gaps.items() if gap}
    if not changed:
        return "same", 0, 0.0, ""
    numbers = {where: gap for where, gap in changed.items() if math.isfinite(gap)}
    where = max(numbers, key=numbers.get) if numbers else next(iter(changed))
    change = "numbers" if len(numbers) == len(changed) else "text"
    return change, len(changed), numbers.get(where, 0.0), where


def _gap(old: str, new: str) -> float:
    """Largest difference of two cells' numbers: 0 if they say the same, inf if words differ."""
    old, new = (_plain(cell) for cell in (old, new))
    if NUMBER.split(old) != NUMBER.split(new):
        return math.inf
    pairs = zip(*([float(n) for n in NUMBER.findall(cell)] for cell in (old, new)), strict=True)
    gaps = [abs(a - b) for a, b in pairs if not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)]
    return max(gaps, default=0.0)


def _plain(cell: str) -> str:
    cell = cell.strip().replace("−", "-")
    return "" if cell.lower() in ("nan", "none", "na", "–") else cell
