"""The run store: one folder per run, named by the run's key."""

import io
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock

from mlsan.corpus.types import Corpus
from mlsan.files import (
    TornFileError,
    UnwritableError,
    read_sealed,
    sha256,
    write_atomically,
    write_sealed,
)
from mlsan.model.interface import EmotionModel
from mlsan.training.keys import run_key
from mlsan.training.loop import (
    SPLITS,
    TrainingState,
    begin,
    divided,
    enrolment_of,
    epochs,
    new_model,
)
from mlsan.training.settings import RunSettings

# Seconds between checkpoints. One after every short epoch would cost a tenth of a sweep.
CHECKPOINT_EVERY = 2.0


@dataclass(frozen=True)
class Result:
    """A finished run: its scores, and its files, which are read when asked for."""

    key: str
    folder: Path
    summary: dict

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: learning rate, losses and their parts, dev and test weighted F1."""
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per dev or test utterance: label, predictions at the best dev and test epoch."""
        return pd.read_csv(
            self.folder / "predictions.csv", dtype={"dialogue": str}, keep_default_na=False
        )

    def model(self, run: RunSettings, corpus: Corpus) -> EmotionModel:
        """The model at the best dev epoch, in evaluation mode on the CPU."""
        corpus = divided(run, corpus)
        model = new_model(run, corpus, enrolment_of(run, corpus).code.size)
        weights = io.BytesIO(read_sealed(self.folder / "model.pt"))
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model.eval()


def find_result(root: Path, key: str) -> Result | None:
    """The finished run, None if there is none. Raises TornFileError for damaged files."""
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
    run: RunSettings,
    corpus: Corpus,
    root: Path,
    on_epoch: Callable[[TrainingState], None] | None = None,
) -> Result:
    """Train a run, resume it where it was stopped, or return its result where it is finished.

    A second process that asks for the same run waits for the first and returns its result.
    Raises UnwritableError if the disk is full or the folder is read-only.
    """
    key = run_key(run, corpus)
    result = find_result(root, key)
    if result is not None:
        return result
    with _locked(root / key):
        result = find_result(root, key)  # another process may have finished it meanwhile
        if result is None:
            _train(run, divided(run, corpus), root / key, on_epoch)
    return result or find_result(root, key)


def _train(
    run: RunSettings,
    corpus: Corpus,
    folder: Path,
    on_epoch: Callable[[TrainingState], None] | None,
) -> None:
    for torn in folder.glob(".*.*-*"):  # a killed process was writing these
        torn.unlink()
    write_atomically(folder / "config.json", run.model_dump_json(indent=1))
    state = begin(run, corpus)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state.restore(_read_checkpoint(checkpoint))
    saved = -CHECKPOINT_EVERY
    for _ in epochs(run, corpus, state):
        if time.monotonic() - saved >= CHECKPOINT_EVERY:
            write_sealed(checkpoint, folder.name.encode() + state.to_bytes())
            saved = time.monotonic()
        write_atomically(folder / "metrics.csv", _metrics(state))
        if on_epoch is not None:
            on_epoch(state)
    _finish(corpus, state, folder)
    checkpoint.unlink(missing_ok=True)


def _locked(folder: Path) -> AbstractContextManager:
    """The sole right to write in `folder`, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire()
    except OSError as error:
        raise UnwritableError.of(folder, error) from error


def _read_checkpoint(path: Path) -> bytes:
    """The state in a checkpoint, which begins with the key of its run."""
    content, key = read_sealed(path), path.parent.name.encode()
    if not content.startswith(key):
        raise TornFileError(f"{path} belongs to another run: delete {path.parent} to train again")
    return content[len(key) :]


def _finish(corpus: Corpus, state: TrainingState, folder: Path) -> None:
    """Write the run's files, and last the result that vouches for them."""
    weights = io.BytesIO()
    torch.save(state.best_dev["weights"], weights)
    write_atomically(folder / "metrics.csv", _metrics(state))
    write_sealed(folder / "model.pt", weights.getvalue())
    write_atomically(folder / "predictions.csv", _predictions(corpus, state))
    names = ("config.json", "metrics.csv", "model.pt", "predictions.csv")
    files = {name: sha256((folder / name).read_bytes()) for name in names}
    summary = {
        "dev_wf1": state.best_dev["dev_wf1"],
        "test_wf1": state.best_dev["test_wf1"],
        "epoch": state.best_dev["epoch"],
        "best_test_wf1": state.best_test["test_wf1"],
        "best_test_epoch": state.best_test["epoch"],
        "seconds": state.seconds,
    }
    content = {"key": folder.name, "summary": summary, "files": files}
    write_atomically(folder / "result.json", json.dumps(content, indent=1))


def _metrics(state: TrainingState) -> str:
    return pd.DataFrame(state.history).to_csv(index=False)


def utterances(corpus: Corpus, split: str) -> pd.DataFrame:
    """One row per utterance of a split: split, dialogue, turn, speaker, label and seen.

    `speaker` is "" without a name; `seen` says whether the name occurs in training.
    """
    trained = {name for d in corpus.train for name in d.speaker or ()}
    rows = [
        (split, d.id, turn, d.speaker[turn] if d.speaker else "", int(d.label[turn]))
        for d in getattr(corpus, split)
        for turn in range(len(d))
    ]
    table = pd.DataFrame(rows, columns=["split", "dialogue", "turn", "speaker", "label"])
    return table.assign(seen=table["speaker"].isin(trained))


def _predictions(corpus: Corpus, state: TrainingState) -> str:
    """The table of predictions, as `predictions.csv` holds it."""
    tables = []
    for split in SPLITS:
        table = utterances(corpus, split)
        table["predicted"] = state.best_dev["predicted"][split].numpy()
        if split == "test":
            table["predicted_best_test"] = state.best_test["predicted"]["test"].numpy()
        tables.append(table)
    return pd.concat(tables).to_csv(index=False)
