"""The progress of a sweep: a live bar on a terminal, plain lines in notebooks and elsewhere."""

import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mlsan.files import TornFileError, read_regular
from mlsan.training.settings import RunSettings
from mlsan.training.systems import describe

LOOK_EVERY = 0.5  # seconds between two looks at the run folders
SAY_EVERY = 15.0  # seconds between two lines where a live bar is not possible


class Progress:
    """Watches the folders of runs, so that workers need no connection to this process.

    An epoch is done when the run's metrics.csv has its row. Use it as a context manager.
    """

    def __init__(self, folders: dict[RunSettings, Path]):
        self.folders = folders
        self.at_start = {run: self._done(run) for run in folders}
        self.outcome: dict[RunSettings, str] = {}
        # rich takes a notebook for a terminal, but a live bar there would need widgets.
        dumb = False if Console().is_jupyter else None
        self.console = Console(stderr=True, force_jupyter=False, force_terminal=dumb)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.first: tuple[float, int] | None = None
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, time left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=self._total())
        self.stop = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self.bar.start()
        self.watcher.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        self.stop.set()
        self.watcher.join()
        self.bar.stop()
        if not self.live and error is None:
            self.console.print(self._line(), soft_wrap=True)

    def finished(self, run: RunSettings, status: str) -> None:
        """Note that a run ended as "trained", "reused" or "failed"."""
        self.outcome[run] = status

    def _watch(self) -> None:
        said = 0.0
        while not self.stop.wait(LOOK_EVERY):
            self.bar.update(self.task, completed=self._epochs_done(), description=self._state())
            if not self.live and time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                self.console.print(self._line(), soft_wrap=True)

    def _total(self) -> int:
        return sum(run.train.epochs for run in self.folders)

    def _done(self, run: RunSettings) -> int:
        """Finished epochs of a run: the rows of its metrics.csv."""
        try:
            return max(0, read_regular(self.folders[run] / "metrics.csv").count(b"\n") - 1)
        except (OSError, TornFileError):
            return 0

    def _epochs_done(self) -> int:
        return sum(
            run.train.epochs if run in self.outcome else self._done(run) for run in self.folders
        )

    def _running(self) -> list[str]:
        return [
            f"{describe(run)} epoch {done}/{run.train.epochs}"
            for run in self.folders
            if run not in self.outcome and (done := self._done(run)) > self.at_start[run]
        ]

    def _state(self) -> str:
        failed = sum(status == "failed" for status in self.outcome.values())
        running = self._running()
        left = len(self.folders) - len(self.outcome) - len(running)
        counts = f"runs: {len(self.outcome) - failed} done, {len(running)} running, "
        return counts + f"{failed} failed, {left} left" + "".join(f" | {run}" for run in running)

    def _line(self) -> str:
        now, done = time.monotonic(), self._epochs_done()
        if self.first is None and done > sum(self.at_start.values()):
            # The pace is measured from here on, when the workers have started.
            self.first = now, done
        if self.first is None or done == self.first[1]:
            return self._state()
        pace = (now - self.first[0]) / (done - self.first[1])
        return f"{self._state()} | {(self._total() - done) * pace / 60:.1f} min left"
