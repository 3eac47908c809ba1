"""Read pickles from untrusted sources: plain values and numpy arrays, nothing else.

A pickle is a program; the table `ADMITTED` lists everything that it may call. Every other global
is refused by name before it is looked up, so that nothing of it is imported or run. numpy's own
reconstruction is replaced as well, since a forged dtype or object array could make it read memory
that does not belong to it.
"""

import io
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mlsan.corpus.errors import CorpusError, Place

# Kind and item size of a dtype: bool, int, unsigned, float, complex, bytes, text, object.
_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,6}|O8?)")
_RESAVE = "Save it again as numbers, strings, lists, dicts and numpy arrays"


class _Call:
    """A function that a pickle may call but whose attributes it cannot set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise ValueError("a function has no state to set")


class _Dtype:
    """Replaces `numpy.dtype`: an item type whose fields, subarrays and flags cannot be forged."""

    def __init__(self, code: str, align: Any = False, copy: Any = True):
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise ValueError(f"arrays of type {code!r} are not admitted")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, *structure = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise ValueError("structured arrays are not admitted")
        self.numpy = self.numpy.newbyteorder(order)


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """An array from its bytes or, if its items are objects, from their list."""
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array names no item type")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"an array has the shape {shape!r}")
    if dtype.numpy.hasobject:
        if not isinstance(raw, list) or len(raw) != math.prod(shape):
            raise ValueError("an object array does not list its items")
        flat = np.empty(len(raw), dtype=object)
        for position, item in enumerate(raw):
            flat[position] = item
        return flat.reshape(shape, order=order)
    # Python 2 kept bytes as text; numpy reads them as latin1.
    raw = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    if len(raw) != math.prod(shape) * dtype.numpy.itemsize:
        raise ValueError(f"an array of shape {shape} holds {len(raw)} bytes")
    return np.frombuffer(raw, dtype.numpy).reshape(shape, order=order)


class _PendingArray(np.ndarray):
    """The empty array that numpy's pickles first create and then fill by `__setstate__`."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        array = _array(raw, dtype, shape, "F" if fortran else "C")
        super().__setstate__((1, array.shape, array.dtype, False, _payload(array)))


def _payload(array: np.ndarray) -> Any:
    return array.ravel().tolist() if array.dtype.hasobject else array.tobytes()


def _pending(subtype: Any, shape: Any, code: Any) -> np.ndarray:
    if shape != (0,):
        raise ValueError(f"an array starts with the shape {shape!r}")
    return np.empty(0, np.int8).view(_PendingArray)


def _scalar(dtype: Any, raw: Any) -> Any:
    if isinstance(dtype, _Dtype) and dtype.numpy.hasobject:
        raise ValueError("object scalars are not admitted")
    return _array(raw, dtype, (1,), "C")[0]


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return _array(raw, dtype, shape, "F" if order == "F" else "C")


def _encode(text: str, encoding: str = "") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"the codec {encoding!r} is not admitted")
    return text.encode("latin1")


def _mapping(*args: Any) -> dict[Any, Any]:
    """An OrderedDict or defaultdict as a plain dict."""
    return dict(args[0]) if args and not callable(args[0]) else {}


_CONTAINERS = {kind.__name__: kind for kind in (list, tuple, dict, set, frozenset, complex)}
ADMITTED: dict[str, Any] = {
    **{f"{m}.{name}": k for m in ("builtins", "__builtin__") for name, k in _CONTAINERS.items()},
    # Empty bytes, as protocol 2 writes them.
    **{f"{m}.bytes": _Call(lambda: b"") for m in ("builtins", "__builtin__")},
    "collections.OrderedDict": _Call(_mapping),
    "collections.defaultdict": _Call(_mapping),
    "_codecs.encode": _Call(_encode),
    "numpy.ndarray": "numpy.ndarray",  # only passed to _reconstruct, never called
    "numpy.dtype": _Call(_Dtype),
    **{
        f"numpy.{core}.{name}": _Call(function)
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", _pending),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, place: Place):
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._place = place

    def find_class(self, module: str, name: str) -> Any:
        if (found := ADMITTED.get(f"{module}.{name}")) is None:
            raise self._place.error(f"the pickle calls {module}.{name}, which is refused", _RESAVE)
        return found


def load_pickle(data: bytes, file: Path) -> Any:
    """The value pickled in `data`, the content of `file`.

    Pickles of Python 2 are read as latin1. Raises CorpusError for a refused global, a truncated
    file, and a file that is not a pickle.
    """
    place = Place(file)
    if data.startswith(b"version https://git-lfs"):
        raise place.error("a Git LFS pointer, not the file", "Download it with git lfs pull")
    try:
        return _Unpickler(data, place).load()
    except CorpusError:
        raise
    # A damaged pickle can fail in any way.
    except Exception as error:
        problem = f"not a complete pickle ({type(error).__name__}: {error}); {len(data)} bytes"
        raise place.error(problem, f"Copy the file again. {_RESAVE}") from error
