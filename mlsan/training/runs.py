"""The run store: one folder per run, named by the run's key.

Nothing in the store is believed unless its digest fits. Whatever else is there is set aside as
KEY.damaged-N, and the run is trained again.
"""

import io
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock
from jaxtyping import Int
from torch import Tensor

from mlsan.corpus.types import Corpus
from mlsan.files import (
    TornFileError,
    UnwritableError,
    read_record,
    read_regular,
    read_sealed,
    sha256,
    write_atomically,
    write_record,
    write_sealed,
)
from mlsan.model.interface import EmotionModel
from mlsan.training.keys import run_key
from mlsan.training.loop import (
    TrainingState,
    begin,
    divided,
    enrolment_of,
    epochs,
    final_test,
    new_model,
)
from mlsan.training.settings import RunSettings

# Seconds between checkpoints. One after every short epoch would cost a tenth of a sweep.
CHECKPOINT_EVERY = 2.0
FILES = ("config.json", "metrics.csv", "model.pt", "predictions.csv")
SCORES = ("dev_wf1", "test_wf1", "epoch", "seconds")
RESULT, CHECKPOINT, LOCK = "result.json", "checkpoint.pt", ".lock"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A finished run: its scores, and its files, which are read when asked for."""

    key: str
    folder: Path
    summary: dict

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: learning rate, losses and their parts, dev weighted F1.

        With a test curve also the loss and the weighted F1 of test.
        """
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per dev or test utterance: label, and prediction at the best dev epoch.

        With a test curve also that at the best test epoch, for the utterances of test.
        """
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
    folder = root / key
    path = folder / RESULT
    try:
        content = read_record(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        if root.is_dir():
            raise TornFileError(f"{folder} is not a folder") from error
        return None
    if content.get("key") != key:
        raise TornFileError(f"{path} belongs to run {content.get('key')}, not {key}")
    files, summary = content.get("files"), content.get("summary")
    if not (isinstance(files, dict) and isinstance(summary, dict) and {*SCORES} <= {*summary}):
        raise TornFileError(f"{path} lacks scores or digests")
    for name in FILES:
        try:
            whole = sha256(read_regular(folder / name)) == files.get(name)
        except FileNotFoundError:
            whole = False
        if not whole:
            raise TornFileError(f"{folder / name} is missing, torn or altered")
    return Result(key, folder, summary)


def is_finished(root: Path, key: str) -> bool:
    """Whether there is an undamaged result."""
    try:
        return find_result(root, key) is not None
    except TornFileError:
        return False


def train_run(
    run: RunSettings,
    corpus: Corpus,
    root: Path,
    on_epoch: Callable[[TrainingState], None] | None = None,
) -> Result:
    """Train a run, resume it where it was stopped, or return its result where it is finished.

    Damaged files are set aside and the run is trained again. A second process that asks for the
    same run waits for the first and returns its result. Raises UnwritableError if the disk is
    full or the folder is read-only.
    """
    key = run_key(run, corpus)
    if not is_finished(root, key):
        with _locked(root / key):
            if not _is_finished_or_set_aside(root, key):
                _train(run, divided(run, corpus), root / key, on_epoch)
    return find_result(root, key)


def _is_finished_or_set_aside(root: Path, key: str) -> bool:
    """Whether the run is finished; what keeps it from being trained is then out of the way."""
    folder = root / key
    try:
        if find_result(root, key) is not None:
            return True
        for path in folder.iterdir():
            if path.name != LOCK and (path.is_symlink() or not path.is_file()):
                raise TornFileError(f"{path} is not a regular file")
    except TornFileError as error:
        _set_aside(folder, error)
    return False


def _train(
    run: RunSettings,
    corpus: Corpus,
    folder: Path,
    on_epoch: Callable[[TrainingState], None] | None,
) -> None:
    for torn in folder.glob(".*.*-*"):  # a killed process was writing these
        torn.unlink()
    state = _begin_or_resume(run, corpus, folder)
    write_atomically(folder / "config.json", run.model_dump_json(indent=1))
    checkpoint = folder / CHECKPOINT
    saved = -CHECKPOINT_EVERY
    for _ in epochs(run, corpus, state):
        if time.monotonic() - saved >= CHECKPOINT_EVERY:
            write_sealed(checkpoint, folder.name.encode() + state.to_bytes())
            saved = time.monotonic()
        write_atomically(folder / "metrics.csv", _metrics(state))
        if on_epoch is not None:
            on_epoch(state)
    _finish(run, corpus, state, folder)
    checkpoint.unlink(missing_ok=True)


def _begin_or_resume(run: RunSettings, corpus: Corpus, folder: Path) -> TrainingState:
    """The state to train from: the checkpoint's if there is a sound one."""
    checkpoint = folder / CHECKPOINT
    state = begin(run, corpus)
    if not checkpoint.exists():
        return state
    try:
        state.restore(_read_checkpoint(checkpoint))
        if [row["epoch"] for row in state.history] == list(range(1, len(state.history) + 1)):
            return state
        problem = "its epochs are not in order"
    except (OSError, MemoryError):
        raise
    except TornFileError as error:
        problem = str(error)
    except Exception as error:  # a foreign file may break torch's reader in many ways
        problem = type(error).__name__
    _set_aside(folder, TornFileError(f"{checkpoint} holds no state of this run ({problem})"))
    return begin(run, corpus)


def _locked(folder: Path) -> AbstractContextManager:
    """The sole right to write in `folder`, which is made if it is missing."""
    lock = folder / LOCK
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            _set_aside(folder, TornFileError(f"{folder} is not a folder"))
        folder.mkdir(parents=True, exist_ok=True)
        if lock.is_symlink() or (lock.exists() and not lock.is_file()):
            _set_aside(folder, TornFileError(f"{lock} is not a regular file"), lock=True)
        return FileLock(lock).acquire()
    except OSError as error:
        raise UnwritableError.of(folder, error) from error


def _set_aside(folder: Path, error: TornFileError, lock: bool = False) -> None:
    """Move what is in a run's folder to KEY.damaged-N beside it, and log why.

    The lock stays, unless it is the problem: others may be waiting for it.
    """
    try:
        for number in count(1):
            target = folder.with_name(f"{folder.name}.damaged-{number}")
            if not os.path.lexists(target):
                break
        if not folder.is_dir():
            os.rename(folder, target)
        else:
            target.mkdir()
            # The result vouches for the others, so it is the first to go.
            for path in sorted(folder.iterdir(), key=lambda path: path.name != RESULT):
                if lock or path.name != LOCK:
                    os.rename(path, target / path.name)
    except OSError as problem:
        raise UnwritableError.of(folder, problem) from problem
    log.warning("%s: set aside as %s, and the run is trained again", error, target)


def _read_checkpoint(path: Path) -> bytes:
    """The state in a checkpoint, which begins with the key of its run."""
    content, key = read_sealed(path), path.parent.name.encode()
    if not content.startswith(key):
        raise TornFileError("it belongs to another run")
    return content[len(key) :]


def _finish(run: RunSettings, corpus: Corpus, state: TrainingState, folder: Path) -> None:
    """Write the run's files, and last the result that vouches for them."""
    started = time.monotonic()
    predicted, score = final_test(run, corpus, state)
    best = state.best_dev
    summary = {"dev_wf1": best["dev_wf1"], "test_wf1": score, "epoch": best["epoch"]}
    if state.best_test:
        summary["best_test_wf1"] = state.best_test["test_wf1"]
        summary["best_test_epoch"] = state.best_test["epoch"]
    weights = io.BytesIO()
    torch.save(best["weights"], weights)
    write_atomically(folder / "metrics.csv", _metrics(state))
    write_sealed(folder / "model.pt", weights.getvalue())
    write_atomically(folder / "predictions.csv", _predictions(corpus, state, predicted))
    files = {name: sha256((folder / name).read_bytes()) for name in FILES}
    summary["seconds"] = state.seconds + time.monotonic() - started
    write_record(folder / RESULT, {"key": folder.name, "summary": summary, "files": files})


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


def _predictions(corpus: Corpus, state: TrainingState, test: Int[Tensor, "utterance"]) -> str:
    """The table of predictions, as `predictions.csv` holds it."""
    tables = [utterances(corpus, split) for split in ("dev", "test")]
    for table, predicted in zip(tables, (state.best_dev["predicted"], test), strict=True):
        table["predicted"] = predicted.numpy()
    if state.best_test:
        tables[1]["predicted_best_test"] = state.best_test["predicted"].numpy()
    return pd.concat(tables).to_csv(index=False)
