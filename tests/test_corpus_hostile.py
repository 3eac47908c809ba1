"""Files from strangers: one clear error each, at a bounded price, and nothing else happens."""

import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from corpus_files import iemocap, meld, write

from mlsan.corpus import CorpusError, inert, open_corpora, read_corpus, unpickle
from mlsan.corpus.errors import Place, shown
from mlsan.corpus.simulate import simulation
from mlsan.corpus.simulate.folder import write as write_simulated
from mlsan.corpus.unpickle import load_pickle, value_of

LONGEST = 1000  # characters of a message


def opened_at(index, change):
    """A Speakers.pkl with one changed entry."""
    entries = list(meld()["Speakers.pkl"])
    entries[index] = change(entries[index])
    return tuple(entries)


def labelled(opcodes: bytes) -> bytes:
    """A Speakers.pkl whose first dialogue has one label, made by these opcodes."""
    table = b"}K\x00]" + opcodes + b"as"
    return b"\x80\x04(}}" + table + b"}}}}]K\x00a]K\x01at."


def reconstruct(shape: bytes, dtype: bytes, raw: bytes) -> bytes:
    """A numpy array by its opcodes, memoized as 9."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n" + dtype + b"\x89\x88\x87R"
        b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + raw + b"tb"
    )


FLOATS = reconstruct(b"K\x02K\x01\x86", b"\x8c\x02f8", b"C\x10" + bytes(16))
BUILT_TWICE = FLOATS + b"(K\x01K\x01K\x01\x86NN\x89C\x00tb"
ADDRESSES = reconstruct(b"K\x02\x85", b"\x8c\x02f8", b"cbuiltins\nbytes\n" + FLOATS + b"\x85R")
SHARED = b")" + b"q\x00h\x00\x86" * 300  # twice the tuple before, 300 times
DEEP = b"]" * 60_000 + b"a" * 59_999
NO_CHARACTER = reconstruct(b"K\x01\x85", b"\x8c\x02U1", b"C\x04\xff\xff\xff\xff")
WIDE = b")q\x00" + (b"(" + b"h\x00" * 9 + b"tq\x00") * 10  # ten levels of nine times the same
LISTS = b"((" + b"N" * 160_000 + b"lq\x00" + b"cbuiltins\nlist\nh\x00\x85R" * 4_000 + b"l"

# What a Speakers.pkl may hold: opcodes or a value, and a pattern of the message.
PICKLES = {
    "an array built twice": (labelled(BUILT_TWICE), "a state is set where there is none"),
    "heap addresses": (labelled(ADDRESSES), "not a complete pickle"),
    "deep key": (b"\x80\x04})" + b"\x85" * 200_000 + b"K\x00s.", "too many lists|nested"),
    "deep key that fits": (b"\x80\x04})" + b"\x85" * 9_000 + b"K\x00s.", "nested more than 64"),
    "tuple key": (labelled(b"})K\x00s"), "a key of type tuple is not admitted"),
    "memo index": (b"\x80\x04Nr\x00\x00\x00\x40.", "memo index 1073741824 is too large"),
    "memo index as text": (b"Np999999999999\n.", "memo index 999999999999 is too large"),
    "shared tuples": (labelled(SHARED), "nested|shared parts make it too large"),
    "shared wide": (labelled(b"(" + WIDE + b"t"), "shared parts make it too large"),
    "shared key": (labelled(b"}" + SHARED + b"K\x00s"), "nested|shared parts make it too large"),
    "a list that holds itself": (labelled(b"]q\x00h\x00a"), "nested more than 64"),
    "4,000 lists of one": (labelled(LISTS), "shared parts make it too large"),
    "shared text": (
        labelled(b"X\x40\x42\x0f\x00" + b"a" * 1_000_000 + b"q\x00" + b"h\x00\x86" * 100_000),
        "shared parts|too many lists|nested",
    ),
    "shared array": (
        labelled(b"(" + FLOATS + b"q\x00" + b"h\x00" * 500_000 + b"l"),
        "shared parts make it too large",
    ),
    "shared feature row": (labelled(SHARED), "nested|shared parts"),
    "no rows of endless arrays": (
        labelled(reconstruct(b"J\xff\xff\xff\x7fK\x00\x86", b"\x8c\x02f8", b"C\x00")),
        "an array has the shape",
    ),
    "items without size": (
        labelled(reconstruct(b"J\xff\xff\xff\x7f\x85", b"\x8c\x02S0", b"C\x00")),
        "arrays of type 'S0' are not admitted",
    ),
    "keys that collide": (
        labelled(
            b"}("
            + b"".join(
                b"\x8a\x0a" + (i * (2**61 - 1) + 2**70).to_bytes(10, "little") + b"N"
                for i in range(1000)
            )
            + b"u"
        ),
        "a key of type int is not admitted",
    ),
    "deep label": (labelled(DEEP), "too many lists|nested more than 64"),
    "no character": (labelled(NO_CHARACTER), "no character"),
    "no truth value": (
        labelled(reconstruct(b"K\x01\x85", b"\x8c\x02b1", b"C\x01\x02")),
        "truth values holds other values",
    ),
    "long number": (b"I" + b"9" * 5_000 + b"\n.", "a number has 5000 digits"),
    "long binary number": (b"\x8b\x00\x10\x00\x00" + b"\x01" * 4096 + b".", "a number has 4096 by"),
    "no text": (b"\x8c\x02\xff\xfe.", "can't decode byte 0xff"),
    "half a character": (b"V\\ud800\n.", "surrogates not allowed"),
    "bytes after the end": (pickle.dumps(meld()["Speakers.pkl"]) + b"x", "1 bytes follow its end"),
    "a value is dropped": (b"NN0.", "opcode 0x30"),
    "a dialogue twice": (b"\x80\x04}K\x00NsK\x00Ns.", "a dict has a key twice"),
    "persistent id": (b"Px\n.", "opcode 0x50"),
    "extension": (b"\x82\x01.", "opcode 0x82"),
    "object": (b"(cbuiltins\nlist\no.", "opcode 0x6f"),
    "new object": (b"cbuiltins\nlist\n)\x81.", "opcode 0x81"),
    "another protocol": (b"\x80\x06N.", "its protocol is unknown"),
    "mixed ids": (opened_at(7, lambda _: {0, "1"}), "train ids mix numbers and text"),
    "one-hot of text and None": (
        opened_at(1, lambda t: {**t, 0: [["1", None, *"0000000"]] * 2}),
        "dialogue 0, utterance 0: speaker row .* is not one-hot",
    ),
    "ragged one-hot": (
        opened_at(1, lambda t: {**t, 0: [[1, [0]], [1]]}),
        r"Speakers\.pkl, dialogue 0, utterance 0: speaker row .* is not one-hot",
    ),
    "one-hot of arrays": (
        opened_at(1, lambda t: {**t, 0: [[np.zeros(2)] * 9, [1]]}),
        "utterance 0: speaker row .* is not one-hot",
    ),
    "nested label": (
        opened_at(2, lambda t: {**t, 0: [[[[1]]], 0]}),
        r"label \[\[\[\.\.\.\]\]\] is n",
    ),
    "huge label": (opened_at(2, lambda t: {**t, 0: [10**400, 0]}), r"label 1000.*\.\.\..*000 is n"),
    "infinite label": (opened_at(2, lambda t: {**t, 0: [np.float64("inf"), 0]}), "label .*inf"),
    "control characters": (
        opened_at(2, lambda t: {**t, "\x1b[31m\n\u202e": [0]}),
        r"1 dialogues .*\(\\x1b\[31m\\n\\u202e\)",
    ),
    "a long id": (
        opened_at(2, lambda t: {**t, "x" * 10**6: [9]}),
        r"dialogue x+ … x+, utterance 0",
    ),
    "one training dialogue": (
        opened_at(7, lambda _: [0]),
        r"Speakers\.pkl: the train split has 1 d",
    ),
    "a dialogue in train again and again": (
        opened_at(7, lambda _: [0] * 200_000),
        "train lists dialogue 0 twice",
    ),
}


def refused(folder: Path, message: str) -> None:
    """Reading the folder is refused quickly with one printable line that names a file in it."""
    started = time.monotonic()
    with pytest.raises(CorpusError, match=message) as raised:
        read_corpus(folder, "MELD", "tiny")
    text = str(raised.value)
    assert time.monotonic() - started < 5
    assert text.isprintable()
    assert len(text) < LONGEST
    assert text.startswith(f"{folder}/")


@pytest.mark.parametrize("case", PICKLES)
def test_a_hostile_speakers_file_is_refused(tmp_path, case):
    content, message = PICKLES[case]
    refused(write(tmp_path, meld() | {"Speakers.pkl": content}), message)


@pytest.mark.parametrize("case", [case for case in PICKLES if isinstance(PICKLES[case][0], bytes)])
def test_a_hostile_feature_file_is_refused(tmp_path, case):
    refused(write(tmp_path, meld() | {"TextFeatures.pkl": PICKLES[case][0]}), "TextFeatures")


FEATURES = {
    "texts": ([["a" * 10_000, *"b" * 10_000]] * 2, "features have type str"),
    "nested": ([[[1.0]], [[2.0]]], "the feature row is ragged or nested"),
    "objects": (np.array([[1.0, None]] * 2, dtype=object), "features have type object"),
    "long numbers": ([[10**400], [1]], "features have type object"),
    "numbers": ([1.0, 2.0], r"a feature row has shape \(\)"),
    "no columns": (np.zeros((2, 0)), r"a feature row has shape \(0,\)"),
    "a cube": (np.zeros((2, 2, 2)), r"a feature row has shape \(2, 2\)"),
    "many rows": (np.zeros((100_000, 1), dtype=np.int8), "100000 feature rows for 2 labels"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_rows_that_are_no_features_are_refused(tmp_path, case):
    rows, message = FEATURES[case]
    files = meld()
    files["TextFeatures.pkl"] = {**files["TextFeatures.pkl"], 0: rows}
    refused(write(tmp_path, files), rf"TextFeatures\.pkl, dialogue 0.*{message}")


SETTINGS = simulation("MELD", "smoke", train=6, dev=2, test=2, text=4, audio=3, visual=2)
JSON = {
    "deep": ("identities.json", "[" * 100_000, "nested too deep"),
    "long number": ("dev.json", "[" + "9" * 5_000 + "]", "the file is not JSON"),
    "no text": ("identities.json", b"\xff\xff", "the file is not JSON"),
    "key twice": ("identities.json", '{"0": [], "0": []}', "the key '0' is there twice"),
    "no dev": ("dev.json", "null", "dev ids have type NoneType"),
    "garbage": ("provenance.json", "{no", "the file is not JSON"),
    "empty": ("simulation.json", "", "the file is not JSON"),
    "no settings": ("simulation.json", "{}", r"not the settings .*benchmark: Field required"),
    "null": ("simulation.json", "null", "not the settings of a simulated corpus"),
    "another benchmark": (
        "simulation.json",
        SETTINGS.model_copy(update={"benchmark": "IEMOCAP"}).model_dump_json(),
        "benchmark is IEMOCAP, but the corpus has MELD",
    ),
    "another corpus": (
        "simulation.json",
        SETTINGS.model_copy(update={"text": 5}).model_dump_json(),
        "text is 5, but the corpus has 4",
    ),
    "misspelt": (
        "simulation.json",
        json.dumps(SETTINGS.model_dump() | {"sede": 1}),
        "sede: Extra inputs are not permitted",
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_json_that_cannot_be_used_is_refused(tmp_path, case):
    name, content, message = JSON[case]
    content = content if isinstance(content, bytes) else content.encode()
    refused(write(tmp_path, meld() | {name: content}), rf"{name}: .*{message}")


@pytest.mark.parametrize(
    "name", ["Speakers.pkl", "TextFeatures.pkl", "corpus.json", "dev.json", "simulation.json"]
)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "it is a pipe, not a file.*Put a regular file there"),
        (os.mkdir, "it is a folder, not a file"),
        (lambda path: os.symlink("/dev/zero", path), "it is a device, not a file"),
        (lambda path: os.symlink("nowhere", path), "No such file"),
        (lambda path: os.symlink(path, path), "symbolic links"),
    ],
)
def test_only_regular_files_are_opened(tmp_path, name, make, message):
    folder = write(tmp_path, meld())
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    refused(folder, rf"{name}: cannot be read \(.*{message}")


def test_a_link_to_a_regular_file_is_followed(tmp_path):
    folder = write(tmp_path, meld())
    (folder / "Speakers.pkl").rename(tmp_path / "elsewhere")
    (folder / "Speakers.pkl").symlink_to(tmp_path / "elsewhere")
    assert len(read_corpus(folder, "MELD", "tiny").train) == 6


def test_a_file_larger_than_any_corpus_is_refused(tmp_path):
    folder = write(tmp_path, meld())
    with open(folder / "TextFeatures.pkl", "wb") as file:
        file.truncate(1 << 40)
    refused(folder, r"TextFeatures\.pkl: its 1099511627776 bytes are more than")


def test_a_path_with_a_null_character_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"a\\x00b: cannot be read as a folder \(embedded null"):
        read_corpus(tmp_path / "a\0b", "MELD", "tiny")
    with pytest.raises(CorpusError, match="no such folder"):
        open_corpora("multiemo", "small", tmp_path / "a\0b", tmp_path)


def test_values_in_messages_are_cut_before_they_are_formatted():
    shared = ()
    for _ in range(100):
        shared = (shared, shared)
    for value in (shared, [shared] * 9, {0: shared}, "x" * 10**7, 10**4000, np.zeros((99, 99))):
        assert len(shown(value)) < 200
    error = Place(Path("a\nb"), "\x07" * 10**6).error("x" * 10**6, "Fix it")
    assert str(error).isprintable()
    assert len(str(error)) < LONGEST


# -- the process that reads --


def test_the_reading_process_imports_neither_numpy_nor_the_package():
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", "import sys; sys.path.append("
         f"{str(Path(inert.__file__).parent)!r}); import inert; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "inert" in found
    assert not {"numpy", "mlsan", "pickle", "_pickle", "json", "re", "typing"} & set(found)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("bytes(1 << 40)", "takes too much memory for its size"),
        ("[0] * (1 << 29)", "takes too much memory for its size"),
        ("exec('while True: pass')", "takes too much time for its size"),
        ("__import__('os').abort()", "its reader ended with -6"),
        ("open('written', 'w', 1).write('x\\n')", "its reader ended with 1"),
    ],
)
def test_whatever_ends_the_reading_process_is_an_error(tmp_path, monkeypatch, code, message):
    # Stand-ins for flaws in the reader: the limits of its process hold all the same.
    source = Path(inert.__file__).read_text()
    for old, new in (
        ("found = answer(", f"{code}; found = answer("),
        ("BYTES_PER_SECOND = 5,", "BYTES_PER_SECOND = 1,"),
    ):
        assert old in source
        source = source.replace(old, new)
    module = tmp_path / "inert.py"
    module.write_text(source)
    monkeypatch.setattr(inert, "__file__", str(module))
    monkeypatch.setattr(unpickle, "helper", cache(unpickle.helper.__wrapped__))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "Some.pkl"
    file.write_bytes(pickle.dumps(1))
    with pytest.raises(CorpusError, match=rf"Some\.pkl: .*{message}.*Copy the file again"):
        load_pickle(file)
    assert not list(tmp_path.glob("written")) or not (tmp_path / "written").read_text()


WORST = {
    "empty lists": b"(" + b"]" * 250_000 + b"l",
    "empty tuples": b"(" + b")" * 250_000 + b"l",
    "dicts": b"(" + b"}" * 250_000 + b"l",
    "numbers": b"(" + b"K\x00" * 500_000 + b"l",
    "large numbers": b"(" + b"M\xff\xff" * 300_000 + b"l",
    "floats": b"(" + b"G?\xf0\x00\x00\x00\x00\x00\x01" * 110_000 + b"l",
    "texts": b"(" + b"\x8c\x02ab" * 250_000 + b"l",
    "memo": b"N" + b"\x94" * 1_000_000,
    "marks": b"(" * 1_000_000,
    "None": b"(" + b"N" * 1_000_000 + b"l",
    "shared": b"(]q\x00" + b"h\x00" * 500_000 + b"l",
    "scalars": b"(cnumpy.core.multiarray\nscalar\nq\x00cnumpy\ndtype\n\x8c\x02i8\x85R\x94"
    + b"h\x00h\x01C\x08aaaaaaaa\x86R" * 60_000
    + b"l",
}


MEASURE = """
import resource, sys, time
from pathlib import Path
from mlsan.corpus import CorpusError
from mlsan.corpus.unpickle import load_pickle
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sys.argv[1:]:
    started = time.process_time()
    try:
        load_pickle(Path(file))
    except CorpusError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(time.process_time() - started, peak)
"""
MEASURE_READER = """
import os, sys
sys.path.append(sys.argv[1])
import inert
for file in sys.argv[2:]:
    with open(file, "rb") as pickle, open(os.devnull, "wb") as pipe:
        if (child := os.fork()) == 0:
            inert.main(os.stat(file).st_size, pickle.fileno(), pipe.fileno())
            os._exit(0)
    used = os.wait4(child, 0)[2]
    print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sizes are in KiB on Linux only")
def test_a_megabyte_costs_at_most_what_is_promised(tmp_path):
    """The dearest files of 1 MB, in fresh processes whose memory is measured."""
    files = []
    for name, opcodes in WORST.items():
        files.append(tmp_path / f"{name}.pkl")
        files[-1].write_bytes(b"\x80\x04" + opcodes + b".")

    def lines(*arguments):
        command = [sys.executable, "-c", *arguments, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return done.splitlines()

    readers = lines(MEASURE_READER, Path(inert.__file__).parent)
    for file, line, reader in zip(files, lines(MEASURE), readers, strict=True):
        # A computer that does other things at the same time takes longer, but computes no more.
        (seconds, peak), (more, peak_of_reader) = (
            map(float, part.split()) for part in (line, reader)
        )
        assert seconds + more < 5, file
        # The first peak is that of all files so far, which have about the same size.
        assert max(peak, peak_of_reader) * 1024 < inert.MEMORY + inert.MEMORY_PER_BYTE * 10**6, file
    assert len(set(readers)) > 3


def test_a_helper_that_was_killed_is_replaced(tmp_path, monkeypatch):
    started = []

    def start(*arguments, started_process=subprocess.Popen, **settings):
        started.append(started_process(*arguments, **settings))
        return started[-1]

    monkeypatch.setattr(unpickle, "helper", cache(unpickle.helper.__wrapped__))
    monkeypatch.setattr(subprocess, "Popen", start)
    folder = write(tmp_path, meld())
    read_corpus(folder, "MELD", "tiny")
    started[0].kill()
    started[0].wait()
    read_corpus(folder, "MELD", "tiny")
    read_corpus(folder, "MELD", "tiny")
    assert len(started) == 2


# -- fuzzing --


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    """Real pickles: generated corpora, and both layouts and plain values in every protocol."""
    values = [*meld().values(), *iemocap().values()]
    values += [
        {"a": [np.float32(1), np.str_("b"), np.array(["x", None], dtype=object), b"raw", 1 + 2j]},
        [{1, 2}, frozenset("a"), (1, (2, [3, {}])), -(2**80), 1e300, None, True, "é"],
    ]
    found = [pickle.dumps(value, protocol) for value in values for protocol in range(6)]
    for benchmark in ("MELD", "IEMOCAP"):
        folder = tmp_path_factory.mktemp(benchmark)
        small = {"train": 6, "dev": 2, "test": 2, "text": 4, "audio": 3, "visual": 2}
        write_simulated(simulation(benchmark, "smoke", **small), folder)
        found += 6 * [file.read_bytes() for file in sorted(folder.glob("*.pkl"))]
    return found


def mutated(data: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """The pickle with one to eight changes: bytes, cuts, repeats, opcodes, parts of others."""
    work = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 3, 8])):
        at = dice.randrange(len(work) + 1)
        to = min(len(work), at + dice.choice([1, 2, 4, 30]))
        kind = dice.randrange(7)
        if kind == 0 and at < len(work):
            work[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            work[at:to] = b""
        elif kind == 2:
            work[at:at] = work[at:to] * dice.choice([1, 2, 200])
        elif kind == 3:
            work[at:at] = bytes(
                [dice.choice(b"().]}abcdeghijlqrstu0RN\x81\x85\x86\x87\x8f\x90\x91\x93\x94")]
            )
        elif kind == 4:
            work[at:to] = struct.pack("<I", dice.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1]))
        elif kind == 5:
            other = dice.choice(others)
            start = dice.randrange(len(other))
            work[at:to] = other[start : start + dice.randrange(1, 60)]
        elif kind == 6:
            del work[at:]
    return bytes(work)


def outcome(read) -> str:
    """ "" if `read` succeeds, else its CorpusError, within 5 seconds; other errors are raised."""
    started, message = time.monotonic(), ""
    try:
        read()
    except CorpusError as error:
        message = str(error)
        assert message
    assert time.monotonic() - started < 5
    assert message.isprintable()
    assert len(message) < LONGEST
    return message


def test_mutated_pickles_are_read_or_refused(originals):
    """In this process, whose memory is measured: whatever is not a CorpusError fails the test."""
    dice = random.Random(13)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = Counter()
    for _ in range(3000):
        data = mutated(dice.choice(originals), dice, originals)
        counts[outcome(lambda data=data: load(data)) == ""] += 1
    assert min(counts[True], counts[False]) > 100, counts
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_mutated_files_are_read_or_refused(tmp_path, originals):
    """Each by a process of its own, whose limits end what would hang."""
    dice, counts = random.Random(29), Counter()
    file, foreign = tmp_path / "Some.pkl", tmp_path / "precious.txt"
    foreign.write_text("mine")
    for _ in range(2000):
        data = mutated(dice.choice(originals), dice, originals)
        file.write_bytes(data)
        message = outcome(lambda: shown(load_pickle(file)))
        assert "its reader ended" not in message
        assert file.read_bytes() == data
        counts[message == ""] += 1
    assert min(counts[True], counts[False]) > 100, counts
    assert foreign.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"Some.pkl", "precious.txt"}


def load(data: bytes) -> None:
    shown(value_of(inert.answer(data), data, Path("Some.pkl")))


@pytest.mark.parametrize(("benchmark", "make"), [("MELD", meld), ("IEMOCAP", iemocap)])
def test_mutated_folders_are_read_or_refused(tmp_path, benchmark, make):
    """As a user reads them, with real processes; nothing but the folder's own files is there."""
    dice, files = random.Random(7), make()
    originals = [pickle.dumps(value, 4) for value in files.values()]
    foreign = tmp_path / "precious.txt"
    foreign.write_text("mine")
    counts = Counter()
    for _ in range(60):
        name = dice.choice(list(files))
        data = mutated(pickle.dumps(files[name], dice.randrange(6)), dice, originals)
        folder = write(tmp_path / "corpus", files | {name: data})
        message = outcome(lambda folder=folder: read_corpus(folder, benchmark, "tiny"))
        assert message.startswith(f"{folder}/" if message else "")
        counts[message == ""] += 1
        assert (folder / name).read_bytes() == data
    assert counts[False] > 10, counts
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert [path.name for path in tmp_path.iterdir() if path != folder] == ["precious.txt"]
    assert foreign.read_text() == "mine"
