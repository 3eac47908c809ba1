"""The unpickler admits plain values and numpy arrays, and runs nothing else."""

import collections
import datetime
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from mlsan.corpus.errors import CorpusError
from mlsan.corpus.inert import answer
from mlsan.corpus.unpickle import value_of

FILE = Path("Some.pkl")


def load(data):
    """What `load_pickle` does with a file, without the other process."""
    return value_of(answer(data), data, FILE)


PLAIN = {
    "numbers": [1, -(2**80), 2.5, True, None, 1 + 2j],
    "strings": ("text", b"bytes", b""),
    "containers": [{1, 2}, frozenset({3}), (4,), {"a": {}}],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back(protocol):
    assert load(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">i4")[::2],
        np.array([True, False]),
        np.array(["M", "F"]),
        np.array([b"M", b"F"]),
        np.array([["a", None], [1, 2.5]], dtype=object),
        np.zeros((0, 3)),
        np.float64(2.5),
        np.int64(7),
        np.str_("name"),
    ],
    ids=lambda a: f"{a.dtype}-{a.shape}",
)
def test_arrays_and_scalars_come_back(array, protocol):
    loaded = load(pickle.dumps({"a": [array]}, protocol))["a"][0]
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


def test_both_spellings_of_numpys_modules_are_known():
    data = pickle.dumps(np.arange(3.0), protocol=2)
    old = data.replace(b"numpy._core", b"numpy.core")
    assert old != data
    np.testing.assert_array_equal(load(old), np.arange(3.0))


def test_a_python_2_array_is_read_as_latin1():
    raw = struct.pack("<2f", -1.5, 300.25)
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + raw + b"tb."
    )
    np.testing.assert_array_equal(load(data), np.array([-1.5, 300.25], np.float32))


def test_ordered_and_default_dicts_become_dicts():
    ordered = collections.OrderedDict(b=1, a=2)
    default = collections.defaultdict(list, {"x": [1]})
    loaded = load(pickle.dumps([ordered, default]))
    assert loaded == [{"b": 1, "a": 2}, {"x": [1]}]
    assert all(type(value) is dict for value in loaded)


class Attack:
    """Pickles as a call that creates a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_another_global_is_refused_by_name_and_not_run(tmp_path, protocol):
    made = tmp_path / "made"
    with pytest.raises(CorpusError, match=r"Some\.pkl.*(posix|nt)\.mkdir.*refused.*Save it again"):
        load(pickle.dumps([1, Attack(made)], protocol))
    assert not made.exists()


def test_an_object_array_is_no_back_door(tmp_path):
    made = tmp_path / "made"
    with pytest.raises(CorpusError, match=r"mkdir"):
        load(pickle.dumps(np.array([Attack(made)], dtype=object)))
    assert not made.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"(S'x'\nios\nsystem\n.",
        b"cmlsan.corpus.inert\nADMITTED\n.",
        pickle.dumps(datetime.date(2020, 1, 1)),
    ],
)
def test_globals_that_are_close_to_admitted_ones_are_refused(data):
    with pytest.raises(CorpusError, match="refused"):
        load(data)


def array_pickle(dtype: bytes, state: bytes, shape: bytes, raw: bytes) -> bytes:
    """A pickled array whose dtype, dtype state, shape and content are given as opcodes."""
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n" + dtype + b"\x89\x88\x87R" + state + b"\x89" + raw
    ) + b"tb."


PLAIN_STATE = b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


@pytest.mark.parametrize(
    ("dtype", "state", "shape", "raw"),
    [
        # Bytes in place of objects would be taken for pointers.
        (b"\x8c\x02O8", b"", b"K\x01\x85", b"C\x08AAAAAAAA"),
        (b"\x8c\x02O8", PLAIN_STATE, b"K\x01\x85", b"C\x08AAAAAAAA"),
        # Fewer items or bytes than the shape says.
        (b"\x8c\x02O8", b"", b"K\x05\x85", b"]N\x61"),
        (b"\x8c\x02f8", PLAIN_STATE, b"J\x00\x00\x00\x7f\x85", b"C\x08AAAAAAAA"),
        # A structure with its own offsets.
        (b"\x8c\x02f8", b"(K\x03\x8c\x01<N\x8c\x01a\x85}K\x08K\x08K\x00tb", b"K\x01\x85", b"C\x00"),
        (b"\x8c\x02V8", b"", b"K\x01\x85", b"C\x08AAAAAAAA"),
        (b"\x8c\x02M8", b"", b"K\x01\x85", b"C\x08AAAAAAAA"),
    ],
)
def test_forged_arrays_are_refused(dtype, state, shape, raw):
    with pytest.raises(CorpusError, match="not a complete pickle"):
        load(array_pickle(dtype, state, shape, raw))


def test_the_hand_made_array_is_read_where_nothing_is_forged():
    data = array_pickle(b"\x8c\x02f8", PLAIN_STATE, b"K\x01\x85", b"C\x08" + struct.pack("<d", 2.5))
    assert load(data).tolist() == [2.5]


@pytest.mark.parametrize(
    "data",
    [
        b"c_codecs\nencode\n(S'x'\nS'zlib'\ntR.",  # another codec
        b"cbuiltins\nbytes\n(J\x00\x00\x00\x7ftR.",  # two gigabytes of zeros
        b"cnumpy\nndarray\n(K\x01\x85tR.",  # a bare array of whatever lies in memory
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nJ\x00\x00\x00\x7f\x85U\x01btR.",
        b"cnumpy\ndtype\n}S'__call__'\nK\x01sb.",  # state for a function
        b"\x96\x00\x00\x00\x00\x00\x00\x00\x7f.",  # a bytearray longer than any memory
    ],
)
def test_admitted_calls_take_nothing_else(data):
    with pytest.raises(CorpusError, match="not a complete pickle"):
        load(data)


@pytest.mark.parametrize("kept", [0, 1, 10, 200, -1])
def test_a_truncated_file_is_named(kept):
    data = pickle.dumps({"a": np.arange(100.0)})
    with pytest.raises(CorpusError, match=r"Some\.pkl: not a complete pickle.*Copy the file again"):
        load(data[:kept])


@pytest.mark.parametrize("data", [b"<html>no such file</html>", b"\x89HDF\r\n", b"PK\x03\x04"])
def test_a_file_that_is_no_pickle_is_named(data):
    with pytest.raises(CorpusError, match=r"Some\.pkl: not a complete pickle"):
        load(data)


def test_a_git_lfs_pointer_is_recognised():
    with pytest.raises(CorpusError, match="git lfs pull"):
        load(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
