"""Read pickles from untrusted sources: plain values and numpy arrays, nothing else.

A separate process reads the file (`mlsan.corpus.inert`) under limits of memory and time and
answers with inert records. Only here do they become arrays: from a buffer that is exactly bytes,
an item type on a list, and a shape that fits both.
"""

import atexit
import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlsan.corpus import inert
from mlsan.corpus.errors import Place, shown
from mlsan.corpus.regular import open_regular, read_whole

# Kind and item size of a dtype: bool, int, unsigned, float, bytes, text, object.
_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5}|O8?)")
_DIMENSIONS, _EMPTY = 8, 1 << 16
_KEYS = (str, int, float, bytes, type(None), np.bool_, np.integer, np.floating)
_RESAVE = "Save it again as numbers, strings, lists, dicts and numpy arrays"
_AGAIN = f"Copy the file again. {_RESAVE}"
# The helper imports only its own module, and from this folder only after the standard library.
_HELPER = "import sys; sys.path.append(sys.argv[1]); import inert; inert.serve()"
# The reading process's own limit on computing time ends it much earlier, unless it has to wait.
_PATIENCE = 60


def load_pickles(files: Iterable[Path]) -> dict[Path, Any]:
    """The value in each pickle. The files are read at the same time, each by its own process.

    Pickles of Python 2 are read as latin1. Raises CorpusError for a file that is not a complete
    pickle or not a regular file, for a function that is not admitted, and for a file that would
    take more memory or time than its size allows.
    """
    with ExitStack() as stack:
        readings = [stack.enter_context(Reading(file)) for file in files]
        # The last first: what is large but simple is made while a complicated file is still read.
        return {reading.file: reading.value() for reading in reversed(readings)}


def load_pickle(file: Path) -> Any:
    """The value in one pickle, as `load_pickles` reads it."""
    return load_pickles([file])[file]


@cache
def helper() -> socket.socket:
    """The connection to a running `inert.serve`, which ends when this process does."""
    ours, theirs = socket.socketpair()
    folder = str(Path(inert.__file__).parent)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _HELPER, folder],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    atexit.register(_end, ours, process)
    return ours


def _end(connection: socket.socket, process: subprocess.Popen) -> None:
    connection.close()
    process.kill()
    process.wait()


class Reading:
    """A process that reads `file`, and the end of the pipe on which it answers."""

    def __init__(self, file: Path):
        self.file = file
        with open_regular(file) as stream:
            self.size = os.fstat(stream.fileno()).st_size
            try:
                self.pipe = ask(stream, self.size)
            except OSError as error:
                problem = f"no process could be started to read it ({error.strerror})"
                raise Place(file).error(problem, "Close other programs") from error

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *error: object) -> None:
        self.pipe.close()

    def value(self) -> Any:
        """What the process found. Raises CorpusError if it refused the file or came to an end."""
        place = Place(self.file)
        with open_regular(self.file) as stream:
            data = read_whole(self.file, stream)
        answer, _, code = self.answer().rpartition(b"\n")
        if code != b"0":
            raise place.error(f"{_ending(code)}; {self.size} bytes", _AGAIN)
        return value_of(answer, data, self.file)

    def answer(self) -> bytes:
        """All that comes through the pipe."""
        deadline = time.monotonic() + _PATIENCE + self.size // 1_000_000
        ready, parts = select.poll(), [b""]
        ready.register(self.pipe, select.POLLIN)
        while ready.poll(max(0, 1000 * (deadline - time.monotonic()))):
            parts.append(self.pipe.read(1 << 20))
            if not parts[-1]:
                return b"".join(parts)
        problem = f"reading it takes too long; {self.size} bytes"
        raise Place(self.file).error(problem, _AGAIN)


def ask(file: BinaryIO, size: int) -> BinaryIO:
    """Have the helper read a file; returns the end of the pipe on which the answer comes."""
    reading, writing = os.pipe()
    try:
        message = [b"%*d" % (inert.MESSAGE, size)], [file.fileno(), writing]
        try:
            socket.send_fds(helper(), *message)
        except ConnectionError:  # it has been killed
            helper.cache_clear()
            socket.send_fds(helper(), *message)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return open(reading, "rb", buffering=0)


def value_of(answer: bytes, data: bytes, file: Path) -> Any:
    """The value in an answer of `inert.answer` about `data`, the content of `file`."""
    place = Place(file)
    head, _, text = answer.partition(b"\n")
    size, kind = head.decode().split()
    if int(size) != len(data):
        raise place.error("it changed while it was read", "Run the command again")
    if data.startswith(b"version https://git-lfs"):
        raise place.error("a Git LFS pointer, not the file", "Download it with git lfs pull")
    if kind == "forbidden":
        raise place.error(f"the pickle calls {text.decode()}, which is refused", _RESAVE)
    try:
        if kind == "refused":
            raise ValueError(text.decode())
        return json.loads(text, object_hook=Maker(data))
    # A forged record can fail in any way.
    except Exception as error:
        problem = f"not a complete pickle ({error}); {len(data)} bytes"
        raise place.error(problem, _AGAIN) from error


def _ending(code: bytes) -> str:
    """Why a process ended that gave no answer, by its exit status."""
    if code in (b"%d" % inert.NO_MEMORY, b"%d" % -signal.SIGKILL):
        return "reading it takes too much memory for its size"
    if code == b"%d" % -getattr(signal, "SIGXCPU", 0):
        return "reading it takes too much time for its size"
    return f"not a complete pickle (its reader ended with {code[:9].decode(errors='replace')})"


class Maker:
    """Makes the values of the records of a pickle whose content is `data`."""

    def __init__(self, data: bytes):
        self.data = data

    def __call__(self, record: dict[str, Any]) -> Any:
        [(tag, content)] = record.items()
        return getattr(self, f"make_{tag}")(content)

    def make_tuple(self, items: list[Any]) -> tuple[Any, ...]:
        return tuple(items)

    def make_set(self, items: list[Any]) -> set[Any]:
        return set(map(_key, items))

    def make_frozenset(self, items: list[Any]) -> frozenset[Any]:
        return frozenset(map(_key, items))

    def make_dict(self, items: list[Any]) -> dict[Any, Any]:
        """A dict from keys and values in turn."""
        table = dict(zip(map(_key, items[::2]), items[1::2], strict=True))
        if 2 * len(table) < len(items):
            raise ValueError("a dict has a key twice")
        return table

    def make_bytes(self, place: list[int]) -> bytes:
        start, count = place
        return self.data[start : start + count]

    def make_dtype(self, item: list[str]) -> np.dtype:
        return _dtype(*item)

    def make_array(self, parts: list[Any]) -> np.ndarray:
        start, count, code, order, fortran, shape = parts
        raw = self.data[start : start + count]
        return array(raw, _dtype(code, order), tuple(shape), "F" if fortran else "C")

    def make_global(self, name: str) -> "Name":
        return Name(name)

    def make_call(self, call: list[Any]) -> Any:
        """What an admitted function would return."""
        name, arguments, *state = call
        function = name.rpartition(".")[2]
        if function == "_reconstruct":
            return _reconstruct(*arguments, *state)
        if state:
            raise ValueError("a function has no state to set")
        if function not in _FUNCTIONS:
            raise ValueError(f"{name} is called")
        return _FUNCTIONS[function](*arguments)


@cache
def _dtype(code: str, order: str) -> np.dtype:
    """An item type that arrays may have."""
    if not _DTYPE.fullmatch(code):
        raise ValueError(f"arrays of type {shown(code)} are not admitted")
    return np.dtype(code) if order == "=" else np.dtype(code).newbyteorder(order)


@dataclass(frozen=True)
class Name:
    """The name of a function that the pickle passes on, e.g. the type of an array."""

    name: str


def _reconstruct(subtype: Any, shape: Any, code: Any, state: Any = None) -> np.ndarray:
    """An array as most versions of numpy pickle it: an empty one whose state is set."""
    if subtype != Name("numpy.ndarray") or shape != (0,):
        raise ValueError("an array is not made as numpy makes it")
    if state is None or len(state) not in (4, 5):
        raise ValueError("an array has no content")
    shape, dtype, fortran, raw = state[-4:]
    return array(raw, dtype, shape, "F" if fortran is True else "C")


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return array(raw, dtype, shape, "F" if order == "F" else "C")


def _scalar(dtype: Any, raw: Any) -> Any:
    if isinstance(dtype, np.dtype) and dtype.hasobject:
        raise ValueError("object scalars are not admitted")
    return array(raw, dtype, (1,), "C")[0]


def _encode(text: Any, encoding: Any = "") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("a codec other than latin1 is not admitted")
    return text.encode("latin1")


def _items(function: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    """`function` of nothing or of one list or tuple."""

    def make(items: Any = ()) -> Any:
        if not isinstance(items, list | tuple):
            raise ValueError("a list or set is not made from a list")
        return function(items)

    return make


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise ValueError("a complex number is not made from floats")
    return complex(real, imaginary)


def _nothing() -> bytes:
    """Empty bytes, as protocol 2 writes them."""
    return b""


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "list": _items(list),
    "tuple": _items(tuple),
    "dict": _items(lambda pairs: {_key(key): value for key, value in pairs}),
    "set": _items(lambda items: set(map(_key, items))),
    "frozenset": _items(lambda items: frozenset(map(_key, items))),
    "bytes": _nothing,
    "complex": _complex,
    "encode": _encode,
    "scalar": _scalar,
    "_frombuffer": _frombuffer,
}


def _key(key: Any) -> Any:
    """A key of a dict or set: what hashes in constant time, and rarely like another key."""
    if not isinstance(key, _KEYS) or (isinstance(key, int) and not -(2**63) <= key < 2**64):
        raise ValueError(f"a key of type {type(key).__name__} is not admitted")
    return key


def array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """An array from its bytes or, if its items are objects, from their list."""
    if not isinstance(dtype, np.dtype):
        raise ValueError("an array names no item type")
    whole = isinstance(shape, tuple) and set(map(type, shape)) <= {int}
    if not whole or min(shape, default=0) < 0:
        raise ValueError(f"an array has the shape {shown(shape)}")
    count = math.prod(shape)
    if len(shape) > _DIMENSIONS or (not count and math.prod(n or 1 for n in shape) > _EMPTY):
        raise ValueError(f"an array has the shape {shown(shape)}")
    if dtype.hasobject:
        if type(raw) is not list or len(raw) != count:
            raise ValueError("an object array does not list its items")
        flat = np.empty(len(raw), dtype=object)
        for position, item in enumerate(raw):
            flat[position] = item
        return flat.reshape(shape, order=order)
    # Python 2 kept bytes as text; numpy reads them as latin1.
    raw = raw.encode("latin1") if type(raw) is str else raw
    if type(raw) is not bytes or len(raw) != count * dtype.itemsize:
        raise ValueError(f"an array of shape {shown(shape)} does not hold as many bytes")
    _check_items(raw, dtype)
    made = np.ndarray(shape, dtype, buffer=raw, order=order)
    return made if dtype.isnative else made.astype(dtype.newbyteorder("="))


def _check_items(raw: bytes, dtype: np.dtype) -> None:
    """Raise ValueError for bytes that are no truth values or no characters."""
    if dtype.kind == "b" and raw.translate(None, b"\0\1"):
        raise ValueError("an array of truth values holds other values")
    if dtype.kind == "U":
        codes = np.frombuffer(raw, np.dtype("u4").newbyteorder(dtype.byteorder))
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise ValueError("an array of text holds what is no character")
