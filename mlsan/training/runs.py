"""Where runs live: one folder a run, named by a digest of all that decides its numbers."""

import ast
import io
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock
from torch import nn

from mlsan.corpus.types import Corpus
from mlsan.files import (
    TornFileError,
    UnwritableError,
    read_sealed,
    sha256,
    write_atomically,
    write_sealed,
)
from mlsan.training.loop import SPLITS, Fit, begin, divided, epochs, new_model, speaker_code
from mlsan.training.settings import RunSettings

PACKAGE = Path(__file__).parents[1]
# Seconds between checkpoints; one at each of a short epoch would cost a tenth of a sweep.
CHECKPOINT_EVERY = 2.0
# The code that decides a run's numbers. Progress display, tables and figures do not.
SHAPING = ("corpus/batch.py", "corpus/speakers.py", "model", "training/loop.py")


@dataclass(frozen=True)
class Result:
    """A finished run: its scores, and its files read on demand."""

    key: str
    folder: Path
    summary: dict

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: rate, losses and their parts, dev and test weighted F1."""
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a dev or test utterance: label, prediction at the best dev and test epoch."""
        return pd.read_csv(
            self.folder / "predictions.csv", dtype={"dialogue": str}, keep_default_na=False
        )

    def model(self, run: RunSettings, corpus: Corpus) -> nn.Module:
        """The model at the best dev epoch, in evaluation mode on the CPU."""
        corpus = divided(run, corpus)
        model = new_model(run, corpus, speaker_code(run, corpus).size)
        weights = io.BytesIO(read_sealed(self.folder / "model.pt"))
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model.eval()


def run_key(run: RunSettings, corpus: Corpus) -> str:
    """Digest of config, corpus bytes and the code that shapes the run: 16 hex digits."""
    content = [run.model_dump(mode="json"), corpus.fingerprint, code_digest()]
    return sha256(json.dumps(content, sort_keys=True).encode())[:16]


@cache
def code_digest() -> str:
    """Digest of the code that shapes a run, blind to comments, docstrings and layout."""
    paths = []
    for name in SHAPING:
        path = PACKAGE / name
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    code = [f"{path.relative_to(PACKAGE)}\n{_meaning(path.read_text())}" for path in paths]
    return sha256("\n".join([torch.__version__, *code]).encode())


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def find_result(root: Path, key: str) -> Result | None:
    """The finished run, None where there is none. Raises TornFileError on damaged files."""
    path = root / key / "result.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        summary, files = content["summary"], content["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise TornFileError(f"{path} is torn: delete {path.parent} to train again") from error
    if content.get("key") != key:
        raise TornFileError(
            f"{path} belongs to run {content.get('key')}, not {key}: delete {path.parent}"
        )
    for name, digest in files.items():
        file = path.parent / name
        if not file.exists() or sha256(file.read_bytes()) != digest:
            raise TornFileError(
                f"{file} is missing, torn or altered: delete {path.parent} to train again"
            )
    return Result(key, path.parent, summary)


def train_run(
    run: RunSettings, corpus: Corpus, root: Path, on_epoch: Callable[[Fit], None] | None = None
) -> Result:
    """Train a run, go on with a stopped one, or reuse a finished one.

    A second process that asks for the same run waits for the first and takes its result.
    Raises UnwritableError on a full disk or a read-only folder.
    """
    key = run_key(run, corpus)
    corpus = divided(run, corpus)
    folder = root / key
    result = find_result(root, key)
    if result is not None:
        return result
    with _locked(folder):
        result = find_result(root, key)  # another process may have been faster
        if result is not None:
            return result
        for torn in folder.glob(".*.*-*"):  # a killed process was writing these
            torn.unlink()
        write_atomically(folder / "config.json", run.model_dump_json(indent=1))
        state = begin(run, corpus)
        checkpoint = folder / "checkpoint.pt"
        if checkpoint.exists():
            state.restore(_read_checkpoint(checkpoint, key))
        saved = -CHECKPOINT_EVERY
        for _ in epochs(run, corpus, state):
            if time.monotonic() - saved >= CHECKPOINT_EVERY:
                write_sealed(checkpoint, key.encode() + state.to_bytes())
                saved = time.monotonic()
            write_atomically(folder / "metrics.csv", _history(state))
            if on_epoch is not None:
                on_epoch(state)
        _finish(run, corpus, state, folder, key)
        checkpoint.unlink(missing_ok=True)
    return find_result(root, key)


def _locked(folder: Path) -> AbstractContextManager:
    """The sole right to write in `folder`, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire()
    except OSError as error:
        raise UnwritableError.of(folder, error) from error


def _read_checkpoint(path: Path, key: str) -> bytes:
    content = read_sealed(path)
    if content[: len(key)] != key.encode():
        raise TornFileError(f"{path} belongs to another run: delete {path.parent} to train again")
    return content[len(key) :]


def _history(state: Fit) -> str:
    return pd.DataFrame(state.history).to_csv(index=False)


def _finish(run: RunSettings, corpus: Corpus, state: Fit, folder: Path, key: str) -> None:
    write_atomically(folder / "metrics.csv", _history(state))
    weights = io.BytesIO()
    torch.save(state.selected["weights"], weights)
    write_sealed(folder / "model.pt", weights.getvalue())
    write_atomically(folder / "predictions.csv", _predictions(run, corpus, state))
    names = ("config.json", "metrics.csv", "model.pt", "predictions.csv")
    summary = {
        "dev_wf1": state.selected["dev_wf1"],
        "test_wf1": state.selected["test_wf1"],
        "epoch": state.selected["epoch"],
        "best_test_wf1": state.flattering["test_wf1"],
        "best_test_epoch": state.flattering["epoch"],
        "seconds": state.seconds,
    }
    files = {name: sha256((folder / name).read_bytes()) for name in names}
    content = {"key": key, "summary": summary, "files": files}
    write_atomically(folder / "result.json", json.dumps(content, indent=1))


def _predictions(run: RunSettings, corpus: Corpus, state: Fit) -> str:
    """The predictions table; `seen` says whether the speaker's name occurs in training."""
    trained = {name for d in corpus.train if d.speaker for name in d.speaker}
    tables = []
    for split in SPLITS:
        rows = [
            (split, d.id, turn, d.speaker[turn] if d.speaker else "", int(d.label[turn]))
            for d in getattr(corpus, split)
            for turn in range(len(d))
        ]
        table = pd.DataFrame(rows, columns=["split", "dialogue", "turn", "speaker", "label"])
        table["seen"] = table["speaker"].isin(trained)
        table["predicted"] = state.selected["predicted"][split].numpy()
        if split == "test":
            table["predicted_best_test"] = state.flattering["predicted"]["test"].numpy()
        tables.append(table)
    return pd.concat(tables).to_csv(index=False)
