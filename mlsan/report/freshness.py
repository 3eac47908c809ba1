"""Which notebooks are up to date: nothing that they were made from has changed since.

After a notebook has run, `record` writes a digest of its inputs and the digests of its outputs.
`is_fresh` compares them with what is there now.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from mlsan.files import TornFileError, read_record, sha256, write_record

PACKAGE = Path(__file__).parents[1]


def inputs(
    sources: Sequence[Path],
    parameters: Mapping[str, object],
    fingerprints: Mapping[str, str],
    runs: Iterable[str],
    data: Path | None = None,
) -> dict[Path, str]:
    """For each notebook the digest of all that its outputs follow from.

    These are its source and parameters, the package's code and data, the installed versions, the
    corpora (`fingerprints`), the keys of the finished `runs` and the files in the folder `data`,
    by size and time of change: a notebook may read words there that no fingerprint covers.
    """
    package = [path for path in sorted(PACKAGE.rglob("*")) if path.is_file()]
    shared = {
        "parameters": {name: str(value) for name, value in parameters.items()},
        "package": {
            str(path.relative_to(PACKAGE)): sha256(path.read_bytes())
            for path in package
            if path.suffix != ".pyc"
        },
        "versions": sorted(f"{found.name}=={found.version}" for found in distributions()),
        "fingerprints": dict(fingerprints),
        "runs": sorted(runs),
        "data": sorted(_listed(data)) if data else [],
    }
    same = json.dumps(shared, sort_keys=True).encode()
    return {source: sha256(same + source.read_bytes()) for source in sources}


def record(stamp: Path, digest: str, outputs: Iterable[Path], entries: Mapping[str, dict]) -> None:
    """Write that `outputs`, with these entries in the manifest, come from inputs of this digest."""
    made = {os.path.relpath(path, stamp.parent): sha256(path.read_bytes()) for path in outputs}
    write_record(stamp, {"inputs": digest, "outputs": made, "manifest": entries})


def is_fresh(stamp: Path, digest: str, entries: Mapping[str, dict]) -> bool:
    """Whether inputs and manifest are what they were and every output is there as written."""
    try:
        found = read_record(stamp)
        return (found["inputs"], found["manifest"]) == (digest, entries) and all(
            sha256((stamp.parent / name).read_bytes()) == was
            for name, was in found["outputs"].items()
        )
    except (OSError, TornFileError):
        return False


def _listed(folder: Path) -> Iterable[tuple[str, int, int]]:
    for path in folder.rglob("*"):
        if path.is_file():
            found = path.stat()
            yield str(path.relative_to(folder)), found.st_size, found.st_mtime_ns
