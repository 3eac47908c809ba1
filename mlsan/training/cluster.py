"""A sweep's runs on a Dask cluster, by way of joblib's backend: `JOBS=tcp://scheduler:8786`.

Workers need the same checkout, packages and build folder as the caller, as a network file system
gives them: runs, checkpoints and progress pass through that folder alone. Start them with one
thread each, for a run seeds the random state of its whole process:
`dask worker tcp://scheduler:8786 --nthreads 1 --nworkers 8`.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from joblib import parallel_config

from mlsan.files import UnwritableError

PATIENCE = 5  # seconds for the scheduler to answer, and again for a first worker
NEEDED = "Workers need the same checkout, packages and build folder as this process"


def read_jobs(jobs: int | str | None) -> int | str | None:
    """A number of processes, a Dask scheduler's address, or None for every core.

    Raises ValueError for anything else, and for an address where Dask is not installed.
    """
    if jobs in (None, ""):
        return None
    text = str(jobs)
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if not _is_address(text):
        raise ValueError(
            f"JOBS={jobs!r} must be a positive number of processes, the address of a Dask "
            "scheduler such as tcp://host:8786, or left out"
        )
    if find_spec("distributed") is None:
        raise ValueError(
            f"JOBS={jobs!r} needs Dask, which is not installed: "
            "pip install --constraint requirements.lock '.[cluster]'"
        )
    return text


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("tcp", "tls")
            and bool(parts.hostname and parts.port)
            and not (parts.path or parts.query or parts.fragment or parts.username)
        )
    except ValueError:  # a port that is none
        return False


@contextmanager
def on_cluster(address: str, root: Path) -> Iterator[None]:
    """Within, joblib's `Parallel` runs on the cluster's workers, which must see `root`.

    Raises ConnectionError where no scheduler or worker answers or the scheduler goes away,
    ValueError for workers that cannot do it, and BrokenProcessPool, as joblib's own processes
    do, when Dask gives up a run because its workers were killed.
    """
    from dask.distributed import Client, KilledWorker  # optional, and slow to import

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # errors say it in one line
    try:
        client = Client(address, timeout=PATIENCE)
    except OSError as error:
        raise ConnectionError(
            f"JOBS={address}: no Dask scheduler answers there within {PATIENCE} s. Start one with "
            "`dask scheduler`, give the address that it prints, or leave JOBS out to train here"
        ) from error
    with client:
        _check_workers(client, address, root)
        try:
            with parallel_config(backend=_backend()(client=client)):
                yield
        except KilledWorker as error:
            raise BrokenProcessPool(str(error)) from error
        except CancelledError as error:
            raise ConnectionError(
                f"JOBS={address}: the Dask scheduler is gone; what was finished is kept, and the "
                "same call goes on from there"
            ) from error


def _check_workers(client, address: str, root: Path) -> None:
    """Raises ConnectionError where there is no worker, ValueError naming those of no use."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise ConnectionError(
            f"JOBS={address}: the scheduler has no workers. Start some with "
            f"`dask worker {address} --nthreads 1 --nworkers N`"
        ) from error
    many = [worker for worker, threads in client.nthreads().items() if threads > 1]
    if many:
        raise ValueError(
            f"JOBS={address}: worker {many[0]} has several threads, where a run needs a process. "
            f"Start it with `dask worker {address} --nthreads 1 --nworkers N`"
        )
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            probe = stack.enter_context(NamedTemporaryFile(dir=root, prefix=".seen-"))
        except OSError as error:
            raise UnwritableError.of(root, error) from error
        seen = client.run(_sees, root / Path(probe.name).name, on_error="return")
    blind = {worker: answer for worker, answer in seen.items() if answer is not True}
    if blind:
        worker, answer = next(iter(blind.items()))
        reason = f"fails with {answer!r}" if isinstance(answer, Exception) else "is without it"
        raise ValueError(f"JOBS={address}: worker {worker} {reason}: {root}. {NEEDED}")


def _sees(path: Path) -> bool:
    return path.exists()


def _backend() -> type:
    from joblib._dask import DaskDistributedBackend  # needs Dask

    class Backend(DaskDistributedBackend):
        """joblib's, which would wait for ever for a task that Dask itself has given up."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            """Two at least: joblib keeps the work of one job to its own process."""
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func, callback=None):
            """As joblib's, but a task that failed calls back, too."""
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: done.exception() and callback(done.exception()))
            return future

        def retrieve_result_callback(self, out):
            """The result, or raise what became of it."""
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend
