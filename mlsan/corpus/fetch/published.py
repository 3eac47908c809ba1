"""The published files that `make data` downloads: MultiEMO's features and MELD's transcripts.

Features come from TaoShi1998/MultiEMO-ACL2023 and transcripts from declare-lab/MELD. This project
has no copy of either.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.progress import Progress

from mlsan.corpus.fetch.download import DownloadError, download
from mlsan.corpus.reader import IDENTITIES
from mlsan.corpus.transcripts import (
    FILES,
    SHA256,
    TRANSCRIPTS,
    holds_transcripts,
    identities,
    read_transcripts,
)
from mlsan.files import write_atomically

COMMIT = "e96458b870a338890aba4c0549381dec610a7f10"
FEATURES_URL = f"https://raw.githubusercontent.com/TaoShi1998/MultiEMO-ACL2023/{COMMIT}/Data/"
TRANSCRIPTS_URL = "https://raw.githubusercontent.com/declare-lab/MELD/master/data/MELD/"
BLOBS = {
    "IEMOCAP/AudioFeatures.pkl": "git-blob:3940cd53ec7478925284fe7644234b33bab41ea9",
    "IEMOCAP/Speakers.pkl": "git-blob:a21501009647eb0774a638ccd123aba6668768cc",
    "IEMOCAP/TextFeatures.pkl": "git-blob:dae1ed5cc0241c3f01308107a7ac94d749077f9b",
    "IEMOCAP/VisualFeatures.pkl": "git-blob:129a9c9428088d62fc625e8538a96ce43e2acd3c",
    "MELD/AudioFeatures.pkl": "git-blob:d00862d3f7cf2168898c61f8df29ce352ad97256",
    "MELD/Speakers.pkl": "git-blob:55873a76e17fa3e054bcc5afc534cd1dde2eb2d8",
    "MELD/TextFeatures.pkl": "git-blob:a0763059fcc8be7ba8236ef38236b099e5d072a1",
    "MELD/VisualFeatures.pkl": "git-blob:278dab61854faf0376ea1c45b95c0193c70163c6",
}


def fetch_features(
    folder: Path, url: str = FEATURES_URL, bars: Progress | None = None
) -> list[str]:
    """Download MultiEMO's eight feature files to `folder`; returns those that were missing."""
    return download(url, folder, BLOBS, bars)


def fetch_transcripts(
    folder: Path, url: str = TRANSCRIPTS_URL, digests: Mapping[str, str] = SHA256
) -> Path:
    """Download MELD's transcripts to folder/transcripts; returns that folder."""
    target = folder / TRANSCRIPTS
    known = {file: f"sha256:{digests[split]}" for split, file in FILES.items()}
    try:
        download(url, target, known)
    except DownloadError as error:
        raise DownloadError(
            f"{error} Or put MELD's three transcript files into {target}, or into any folder and "
            "set DATA to it."
        ) from error
    return target


def add_identities(
    folder: Path, url: str = TRANSCRIPTS_URL, digests: Mapping[str, str] = SHA256
) -> None:
    """Write MELD's speaker names beside its features, from the transcripts in `folder`.

    The transcripts are downloaded if missing.
    """
    if not holds_transcripts(folder / TRANSCRIPTS):
        fetch_transcripts(folder, url, digests)
    names = identities(read_transcripts(folder / TRANSCRIPTS, digests))
    write_atomically(folder / "MELD" / IDENTITIES, json.dumps(names))
