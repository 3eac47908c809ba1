"""eGeMAPS features of clips, computed with openSMILE on all cores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed

from mlsan.corpus.errors import CorpusError
from mlsan.corpus.nemo.recordings import OPENSMILE, recordings
from mlsan.corpus.nemo.sound import read_clip

# How far a feature may be from the shipped one, in its standard deviations over all clips. On the
# machine that made the shipped features, and on others of its kind, they are equal bit for bit.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Extracted:
    """Features by clip, and what is wrong with the clips that have none."""

    features: dict[str, Float[np.ndarray, "_feature"]]
    refused: dict[str, str]


def check_installed() -> None:
    """Raise CorpusError if opensmile is missing or of another version."""
    try:
        found = version("opensmile")
    except PackageNotFoundError:
        found = None
    if found != OPENSMILE:
        has = "is not installed" if found is None else f"has version {found}, not {OPENSMILE}"
        raise CorpusError(
            f"the package opensmile {has}. Run `make data CORPUS=nemo`, or "
            "`pip install 'mlsan[voices]'`."
        )


def extract(
    files: Sequence[Path], jobs: int = -1, arrived: Callable[[], object] = lambda: None
) -> Extracted:
    """The features of clips, by file name without .wav; `arrived` is called after each.

    A clip that cannot be used is refused with the reason and does not affect the others. Raises
    CorpusError if opensmile is not installed.
    """
    check_installed()
    found = Extracted({}, {})
    pool = Parallel(jobs, return_as="generator", batch_size="auto")
    for file, result in zip(files, pool(delayed(_features)(file) for file in files), strict=True):
        kept = found.refused if isinstance(result, str) else found.features
        kept[file.stem] = result
        arrived()
    return found


def _features(file: Path) -> np.ndarray | str:
    try:
        samples, rate = read_clip(file)
        return _smile().process_signal(samples, rate).to_numpy()[0]
    except Exception as error:  # one clip must not stop the others
        return str(error) if isinstance(error, CorpusError) else f"{file}: {error}"


@cache
def _smile():
    import opensmile  # optional

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    if smile.feature_names != recordings().names.tolist():
        raise CorpusError("opensmile computes other features than the shipped ones")
    return smile


def deviations(features: dict[str, Float[np.ndarray, "_feature"]]) -> dict[str, float]:
    """How far each clip's features are from the shipped ones, at most.

    In standard deviations of each feature over all shipped clips; 0 if they are equal.
    """
    shipped = recordings()
    row = {clip: i for i, clip in enumerate(shipped.clip.tolist())}
    sd = shipped.features.std(axis=0, dtype=float)
    return {
        clip: float(np.max(np.abs(x.astype(float) - shipped.features[row[clip]]) / sd))
        for clip, x in features.items()
    }
