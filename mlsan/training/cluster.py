"""Run tasks on a Dask cluster: `JOBS=tcp://scheduler:8786`.

Workers need the same checkout, packages and build folder as the caller, for example on a network
file system, because runs, checkpoints and progress are exchanged only through that folder. Start
them with one thread each, because a run seeds the random state of its whole process:
`dask worker tcp://scheduler:8786 --nthreads 1 --nworkers 8`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from mlsan.files import UnwritableError

if TYPE_CHECKING:
    from dask.distributed import Client

Item = TypeVar("Item")
Answer = TypeVar("Answer")
PATIENCE = 5  # seconds to wait for the scheduler, and then for the first worker
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
    except ValueError:  # the port is not a number
        return False


def on_cluster(
    address: str, root: Path, task: Callable[[Item], Answer], items: Iterable[Item]
) -> Iterator[Answer]:
    """Yield `task(item)` of each item as the cluster's workers, which must see `root`, finish it.

    Raises what a task raises; ConnectionError if no scheduler or worker answers or the scheduler
    disappears; ValueError for unsuitable workers; and BrokenProcessPool, as local processes do, if
    Dask gives up on a task because its workers were killed.
    """
    from dask.distributed import KilledWorker, as_completed  # optional, and slow to import

    with _connect(address) as client:
        _check_workers(client, address, root)
        # Not pure: an item that is submitted again is to be computed again.
        tasks = [client.submit(task, item, pure=False) for item in items]
        try:
            for done in as_completed(tasks):
                yield done.result()
        except KilledWorker as error:
            raise BrokenProcessPool(str(error)) from error
        except CancelledError as error:
            raise ConnectionError(
                f"JOBS={address}: the Dask scheduler is gone; finished runs are kept, and the same "
                "command resumes the others"
            ) from error


def _connect(address: str) -> "Client":
    """A client of the scheduler. Raises ConnectionError if none answers."""
    from dask.distributed import Client

    # The errors below say in one line what the client would log over many.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has a running loop
            thread.submit(asyncio.run, _greet(address)).result()
        return Client(address, timeout=PATIENCE)
    except Exception as error:  # what is no scheduler may answer anything
        raise ConnectionError(
            f"JOBS={address}: no Dask scheduler answers there within {PATIENCE} s. Start one with "
            "`dask scheduler`, give the address that it prints, or leave JOBS out to train here"
        ) from error


async def _greet(address: str) -> None:
    """Ask for the scheduler's identity; raises some error if none answers.

    A client would wait for ever for something that accepts the connection and then is silent.
    """
    from dask.distributed import Security, rpc

    async def ask() -> None:
        async with rpc(address, connection_args=Security().get_connection_args("client")) as other:
            if (await other.identity())["type"] != "Scheduler":
                raise ConnectionError("not a scheduler")

    await asyncio.wait_for(ask(), PATIENCE)


def _check_workers(client: "Client", address: str, root: Path) -> None:
    """Raises ConnectionError if there is no worker, ValueError naming an unsuitable one."""
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
            f"JOBS={address}: worker {many[0]} has several threads, but each run needs a process "
            f"of its own. Start it with `dask worker {address} --nthreads 1 --nworkers N`"
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
        reason = f"fails with {answer!r}" if isinstance(answer, Exception) else "does not see it"
        raise ValueError(f"JOBS={address}: worker {worker} {reason}: {root}. {NEEDED}")


def _sees(path: Path) -> bool:
    return path.exists()
