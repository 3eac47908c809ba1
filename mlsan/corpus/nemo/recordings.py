"""The shipped features of nEMO: one row per clip."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

FOLDER = Path(__file__).parent / "data"
CLIPS = FOLDER / "clips"
FEATURES = FOLDER / "egemaps.npz"

URL = "https://github.com/amu-cai/nEMO"
COMMIT = "66de9999a8f2f605eb5f64841790aa5cb0877782"
OPENSMILE = "2.6.0"
# In label order.
EMOTIONS = ("happiness", "sadness", "neutral", "anger", "surprise", "fear")
# How file names call an emotion, where it differs.
_NAMED = {"surprised": "surprise"}


@dataclass(frozen=True)
class Recordings:
    """nEMO (Christop, LREC-COLING 2024): every actor says every sentence in every emotion.

    `features` are openSMILE's eGeMAPSv02 functionals (Eyben et al. 2016) in their own units, and
    `names` are theirs. `clip` is a file name without .wav, `blob` the git blob id of the file.
    """

    clip: Shaped[np.ndarray, "utterance"]
    speaker: Shaped[np.ndarray, "utterance"]
    gender: Shaped[np.ndarray, "utterance"]
    emotion: Shaped[np.ndarray, "utterance"]
    sentence: Int[np.ndarray, "utterance"]
    blob: Shaped[np.ndarray, "utterance"]
    names: Shaped[np.ndarray, "feature"]
    features: Float[np.ndarray, "utterance feature"]


@cache
def recordings() -> Recordings:
    """The 4,481 clips; some were not recorded, so not all of 9 × 6 × 90 are there."""
    with np.load(FEATURES, allow_pickle=False) as saved:
        arrays = dict(saved)
    arrays["emotion"] = np.array([_NAMED.get(name, name) for name in arrays["emotion"].tolist()])
    arrays["blob"] = np.array([row.tobytes().hex() for row in arrays["blob"]])
    return Recordings(**arrays)


def blobs() -> dict[str, str]:
    """The git blob id of each clip."""
    found = recordings()
    return dict(zip(found.clip.tolist(), found.blob.tolist(), strict=True))
