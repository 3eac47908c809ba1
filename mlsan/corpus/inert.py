"""Read pickles as inert data. A program of its own that `mlsan.corpus.unpickle` runs.

A pickle is a program for a stack machine. This module runs the opcodes that plain values and
arrays need, and makes nothing but numbers, text, lists and records: a call becomes a record of the
function's name and its arguments, and nothing is ever called, imported or hashed.

The result is JSON. Numbers, text, None and lists stand for themselves; everything else is an
object with one key:

- tuple, set, frozenset: the items;
- dict: keys and values in turn;
- bytes: offset and length in the file;
- dtype: the code and the byte order, e.g. ["f4", "<"];
- global: the name of a function that is passed on, not called;
- call: the name, the arguments and, if it was set, the state;
- array: a call that makes an array from bytes: their offset and length in the file, the code and
  the byte order of the items, whether they are in Fortran's order, and the shape.

Every loop ends with the file, and the limits below bound what shared parts can grow to.
"""

import codecs
import gc
import mmap
import os
import signal
import socket
import struct
import sys

LEVELS = 64  # lists and records in one another
DIGITS = 600  # of one number
# Lists and records: one per so many bytes of the file, and these besides.
BYTES_PER_CONTAINER, FREE_CONTAINERS = 4, 10_000
# What the file stands for with every shared part written out, in units of about 32 bytes of
# memory: so many per byte of the file, and these besides.
UNITS_PER_BYTE, FREE_UNITS = 4, 100_000
# Limits of the process, should any of the above be wrong.
MEMORY, MEMORY_PER_BYTE = 256 << 20, 256
SECONDS, BYTES_PER_SECOND = 5, 1_000_000
NO_MEMORY = 70  # exit status
MESSAGE = 16  # bytes

ORDERS = ("<", ">", "|", "=")
_MULTIARRAY = [f"numpy.{core}.multiarray" for core in ("core", "_core")]
_RECONSTRUCT = [f"{module}._reconstruct" for module in _MULTIARRAY]
_MAPPINGS = ("collections.OrderedDict", "collections.defaultdict")
_CONTAINERS = ("list", "tuple", "dict", "set", "frozenset", "complex", "bytes")
# The functions that a pickle may name. What each one makes is decided in `mlsan.corpus.unpickle`.
ADMITTED = frozenset(
    [
        *(f"{m}.{name}" for m in ("builtins", "__builtin__") for name in _CONTAINERS),
        *_MAPPINGS,
        *("_codecs.encode", "numpy.ndarray", "numpy.dtype"),
        *(f"{module}.{name}" for module in _MULTIARRAY for name in ("_reconstruct", "scalar")),
        *("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
    ]
)
_CONSTANTS = {None: "null", True: "true", False: "false"}
_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\"} | {code: f"\\u{code:04x}" for code in range(32)}
_MEMOIZE, _BININT1, _BINGET, _STOP, _ROW = 0x94, 0x4B, 0x68, 0x2E, 128
_ABSENT = object()


class RefusedError(ValueError):
    """The pickle is not read. The message says why."""


class ForbiddenError(RefusedError):
    """The pickle names a function that is not admitted."""


def read(data: bytes | mmap.mmap) -> str:
    """The value pickled in `data` as JSON, as described at the top of this module.

    Raises RefusedError, or another ValueError, for everything else than a complete pickle of
    plain values and arrays.
    """
    return Writer(UNITS_PER_BYTE * len(data) + FREE_UNITS).text(Machine(data).run(), 0)


class Writer:
    """Writes JSON for values of at most so many units of memory."""

    def __init__(self, units: int):
        self.units = units

    def text(self, value: object, level: int) -> str:
        """The JSON of a value. What is shared is written, and counted, each time."""
        kind = type(value)
        if kind is list:
            return self.list_text(value, level)
        if kind is str:
            self.spend(len(value) // 8)
            return f'"{value if _is_plain(value) else value.translate(_ESCAPES)}"'
        if kind is dict:
            [(tag, content)] = value.items()
            if tag == "bytes":
                self.spend(content[1] // 8)
            if tag == "call" and (array := _array_text(content)):
                self.spend(20 + array[1] // 8)
                return array[0]
            return f'{{"{tag}":{self.text(content, level + 1)}}}'
        if kind is float:
            # JSON has no other name for what is no number, but Python reads these.
            return repr(value).replace("inf", "Infinity").replace("nan", "NaN")
        return str(value) if kind is int else _CONSTANTS[value]

    def list_text(self, items: list[object], level: int) -> str:
        """The JSON of a list. Most hold only numbers, rows of numbers or text: short cuts."""
        self.spend(4 + len(items))
        if level > LEVELS:
            raise RefusedError(f"it is nested more than {LEVELS} levels deep")
        kinds = set(map(type, items))
        if kinds == {int}:
            return str(items)
        if kinds == {list}:
            self.spend(4 * len(items) + sum(map(len, items)))
            if set().union(*[map(type, row) for row in items]) == {int}:
                return str(items)
        if kinds == {str} and _is_plain(joined := "".join(items)):
            self.spend(len(joined) // 8)
            return '["' + '","'.join(items) + '"]'
        return f"[{','.join([self.text(item, level + 1) for item in items])}]"

    def spend(self, units: int) -> None:
        self.units -= units
        if self.units < 0:
            raise RefusedError("shared parts make it too large when they are written out")


def _array_text(call: list[object]) -> tuple[str, int] | None:
    """The JSON of "array" and the array's size in bytes; None for any other call."""
    if len(call) < 3 or call[0] not in _RECONSTRUCT or (len(call[1]), len(call[2])) != (3, 5):
        return None
    subtype, empty, _ = call[1]
    _, shape, dtype, fortran, raw = call[2]
    shape, dtype, raw = _content(shape, "tuple"), _content(dtype, "dtype"), _content(raw, "bytes")
    if (
        (_content(subtype, "global"), _content(empty, "tuple")) == ("numpy.ndarray", [0])
        and (shape is not None and len(shape) <= 8 and set(map(type, shape)) <= {int})
        and (dtype is not None and len(dtype[0]) <= 8 and dtype[0].isalnum())
        and (type(fortran) is bool and raw is not None)
    ):
        item = f'"{dtype[0]}","{dtype[1]}",{_CONSTANTS[fortran]}'
        return f'{{"array":[{raw[0]},{raw[1]},{item},{shape}]}}', raw[1]
    return None


def _is_plain(text: str) -> bool:
    """Whether JSON writes the text as it is."""
    return text.isprintable() and '"' not in text and "\\" not in text


class Machine:
    """The stack machine: `position` is that of the next opcode in `data`."""

    def __init__(self, data: bytes | mmap.mmap):
        self.data = data
        self.position = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: list[object] = []
        self.room = len(data) // BYTES_PER_CONTAINER + FREE_CONTAINERS

    def run(self) -> object:
        """The value that is on the stack at the end."""
        data, size, stack, memo = self.data, len(self.data), self.stack, self.memo
        while (position := self.position) < size:
            code = data[position]
            # Three out of four opcodes are one of these: do them without a call.
            if code == _MEMOIZE and stack:
                memo.append(stack[-1])
                self.position = position + 1
                continue
            if code == _BININT1 and position + 1 < size:
                stack.append(data[position + 1])
                self.position = position + 2
                continue
            if code == _BINGET and position + 1 < size:
                self.get(data[position + 1])
                self.position = position + 2
                continue
            self.position = position + 1
            if code == _STOP:
                break
            if (opcode := OPCODES[code]) is None:
                raise RefusedError(f"opcode 0x{code:02x} at byte {position}")
            opcode(self)
        else:
            raise RefusedError("it has no end")
        if self.position < size:
            raise RefusedError(f"{size - self.position} bytes follow its end")
        value = self.pop()
        if self.stack or self.marks:
            raise RefusedError("values are left over at its end")
        return value

    def take(self, count: int) -> bytes:
        """The next bytes of the file."""
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise RefusedError("it ends in the middle of a value")
        return self.data[start : self.position]

    def number(self, format: str) -> int | float:
        """A number of fixed size, by the format of `struct`."""
        return struct.unpack(format, self.take(struct.calcsize(format)))[0]

    def line(self) -> bytes:
        """The bytes before the next line feed."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise RefusedError("it ends in the middle of a line")
        found, self.position = self.data[self.position : end], end + 1
        return found

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        """The value on top of the stack, above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise RefusedError("a value is missing")
        return self.stack.pop()

    def top(self) -> object:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise RefusedError("a mark is missing")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def container(self, tag: str, content: object) -> None:
        """Push a record, or a list if the tag is "list"."""
        self.room -= 1
        if self.room < 0:
            raise RefusedError("it has too many lists and arrays for its size")
        self.stack.append(content if tag == "list" else {tag: content})

    # -- opcodes --

    def proto(self) -> None:
        if self.take(1)[0] > 5:
            raise RefusedError("its protocol is unknown")

    def frame(self) -> None:
        self.take(8)

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def binint1(self) -> None:
        self.stack.append(self.take(1)[0])

    def int_line(self) -> None:
        line = self.line()
        self.push({b"01": True, b"00": False}.get(line, _int(line)))

    def long_line(self) -> None:
        self.push(_int(self.line().rstrip(b"L")))

    def long(self, format: str) -> None:
        count = self.number(format)
        if not 0 <= count <= DIGITS // 3:
            raise RefusedError(f"a number has {count} bytes")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def float_line(self) -> None:
        line = self.line()
        if len(line) > DIGITS:
            raise RefusedError(f"a number has {len(line)} digits")
        self.push(float(line))

    def short_text(self) -> None:
        start = self.position + 1
        end = start + self.take(1)[0]
        self.position = end
        if end > len(self.data):
            raise RefusedError("it ends in the middle of a value")
        value = self.data[start:end].decode()
        self.stack.append(value)
        if end < len(self.data) and self.data[end] == _MEMOIZE:
            self.memo.append(value)
            self.position = end + 1

    def text(self, format: str) -> None:
        self.push(self.take(self.number(format)).decode())

    def latin1(self, format: str) -> None:
        """Text or bytes of Python 2."""
        self.push(self.take(self.number(format)).decode("latin1"))

    def text_line(self) -> None:
        text = self.line().decode("raw-unicode-escape")
        text.encode()  # raises for half of a surrogate pair
        self.push(text)

    def latin1_line(self) -> None:
        line = self.line()
        if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
            raise RefusedError("a text has no quotes")
        self.push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))

    def raw(self, format: str) -> None:
        count = self.number(format)
        start = self.position
        if not 0 <= count <= len(self.data) - start:
            raise RefusedError("it ends in the middle of a value")
        self.position += count
        self.container("bytes", [start, count])

    def empty_list(self) -> None:
        items: list[object] = []
        self.container("list", items)
        # Most lists are memoized and filled with small numbers (a K and a byte each) up to an e:
        # do it without a step for each.
        start = self.position
        if self.data[start : start + 3] == b"\x94(K":
            end = self.data.find(b"e", start, start + _ROW)
            numbers = self.data[start + 2 : max(end, 0)]
            if numbers and 2 * numbers[::2].count(b"K") == len(numbers):
                items += numbers[1::2]
                self.memo.append(items)
                self.position = end + 1

    def extend_list(self, items: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise RefusedError("items are added to what is not a list")
        target.extend(items)

    def extend_set(self, items: list[object]) -> None:
        if (content := _content(self.top(), "set")) is None:
            raise RefusedError("items are added to what is not a set")
        content.extend(items)

    def extend_dict(self, items: list[object]) -> None:
        if (content := _content(self.top(), "dict")) is None:
            raise RefusedError("items are added to what is not a dict")
        if len(items) % 2:
            raise RefusedError("a key has no value")
        content.extend(items)

    def setitem(self) -> None:
        value = self.pop()
        self.extend_dict([self.pop(), value])

    def dict_of(self) -> None:
        items = self.pop_to_mark()
        self.container("dict", [])
        self.extend_dict(items)

    def tuple_of(self, count: int) -> None:
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise RefusedError("a value is missing")
        items = self.stack[start:]
        del self.stack[start:]
        self.container("tuple", items)

    def named(self, module: str, name: str) -> None:
        """Push a function's name, if it is admitted."""
        if f"{module}.{name}" not in ADMITTED:
            raise ForbiddenError(f"{module}.{name}")
        self.container("global", f"{module}.{name}")

    def global_line(self) -> None:
        module = self.line().decode()
        self.named(module, self.line().decode())

    def instance_line(self) -> None:
        self.global_line()
        raise RefusedError("it makes an instance")

    def stack_global(self) -> None:
        name = self.pop()
        module = self.pop()
        if type(name) is not str or type(module) is not str:
            raise RefusedError("a function's name is not text")
        self.named(module, name)

    def reduce(self) -> None:
        arguments = _content(self.pop(), "tuple")
        name = _content(self.pop(), "global")
        if arguments is None or name is None:
            raise RefusedError("what is called is not a function with arguments")
        if name == "numpy.dtype":
            if not arguments or type(arguments[0]) is not str:
                raise RefusedError("an array's type is not text")
            self.container("dtype", [arguments[0], "="])
        elif name in _MAPPINGS:
            self.container("dict", _pairs(arguments))
        else:
            self.container("call", [name, arguments])

    def build(self) -> None:
        """Set the state of a call, or the byte order of an item type."""
        state = _content(self.pop(), "tuple")
        target = self.top()
        if state is None:
            raise RefusedError("a state is not a tuple")
        if (dtype := _content(target, "dtype")) is not None:
            order, *structure = state[1:5] or [None]
            if order not in ORDERS or any(part is not None for part in structure):
                raise RefusedError("structured arrays are not admitted")
            dtype[1] = order
        elif (call := _content(target, "call")) is not None and len(call) == 2:
            call.append(state)
        else:
            raise RefusedError("a state is set where there is none")

    def memoize(self) -> None:
        if not self.stack:
            raise RefusedError("a value is missing")
        self.memo.append(self.stack[-1])

    def put(self, index: int) -> None:
        # The index is at most the position, so that the memo grows with the file.
        if not 0 <= index <= self.position:
            raise RefusedError(f"memo index {index} is too large for the file")
        self.memo.extend([_ABSENT] * (index + 1 - len(self.memo)))
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if not 0 <= index < len(self.memo) or (value := self.memo[index]) is _ABSENT:
            raise RefusedError(f"memo index {index} is empty")
        self.stack.append(value)


def _int(digits: bytes) -> int:
    if len(digits) > DIGITS:
        raise RefusedError(f"a number has {len(digits)} digits")
    return int(digits)


def _content(record: object, tag: str) -> object:
    """What a record holds, None if its tag is another."""
    return record.get(tag) if type(record) is dict else None


def _pairs(arguments: list[object]) -> list[object]:
    """The items of an OrderedDict or defaultdict, keys and values in turn."""
    if not arguments or type(arguments[0]) is not list:
        return []
    items: list[object] = []
    for pair in arguments[0]:
        both = pair if type(pair) is list else _content(pair, "tuple")
        if both is None or len(both) != 2:
            raise RefusedError("a dict is not made of pairs")
        items += both
    return items


OPCODES: list[object] = [None] * 256
for _code, _opcode in {
    b"\x80": Machine.proto,
    b"\x95": Machine.frame,
    b"(": Machine.mark,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": Machine.int_line,
    b"L": Machine.long_line,
    b"J": lambda m: m.push(m.number("<i")),
    b"K": Machine.binint1,
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"F": Machine.float_line,
    b"G": lambda m: m.push(m.number(">d")),
    b"S": Machine.latin1_line,
    b"T": lambda m: m.latin1("<I"),
    b"U": lambda m: m.latin1("<B"),
    b"V": Machine.text_line,
    b"\x8c": Machine.short_text,
    b"X": lambda m: m.text("<I"),
    b"\x8d": lambda m: m.text("<Q"),
    b"C": lambda m: m.raw("<B"),
    b"B": lambda m: m.raw("<I"),
    b"\x8e": lambda m: m.raw("<Q"),
    b"\x96": lambda m: m.raw("<Q"),  # a bytearray
    b"]": Machine.empty_list,
    b"l": lambda m: m.container("list", m.pop_to_mark()),
    b"a": lambda m: m.extend_list([m.pop()]),
    b"e": lambda m: m.extend_list(m.pop_to_mark()),
    b")": lambda m: m.container("tuple", []),
    b"t": lambda m: m.container("tuple", m.pop_to_mark()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"}": lambda m: m.container("dict", []),
    b"d": Machine.dict_of,
    b"s": Machine.setitem,
    b"u": lambda m: m.extend_dict(m.pop_to_mark()),
    b"\x8f": lambda m: m.container("set", []),
    b"\x90": lambda m: m.extend_set(m.pop_to_mark()),
    b"\x91": lambda m: m.container("frozenset", m.pop_to_mark()),
    b"c": Machine.global_line,
    b"i": Machine.instance_line,
    b"\x93": Machine.stack_global,
    b"R": Machine.reduce,
    b"b": Machine.build,
    b"\x94": Machine.memoize,
    b"p": lambda m: m.put(_int(m.line())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"g": lambda m: m.get(_int(m.line())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
}.items():
    OPCODES[_code[0]] = _opcode


def answer(data: bytes | mmap.mmap) -> bytes:
    """The length of the data, then one line: "value", "forbidden" or "refused", then the rest."""
    try:
        kind, text = "value", read(data)
    except ForbiddenError as error:
        kind, text = "forbidden", str(error)[:200]
    except ValueError as error:
        kind, text = "refused", str(error)[:200]
    return f"{len(data)} {kind}\n{text}".encode()


def limit(size: int) -> None:
    """Bound this process by the size of its file; where the system has no limits, do nothing."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (
        (resource.RLIMIT_AS, MEMORY + MEMORY_PER_BYTE * size),
        (resource.RLIMIT_CPU, SECONDS + size // BYTES_PER_SECOND),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        try:
            resource.setrlimit(what, (most, hard) if hard < 0 else (min(most, hard), hard))
        except (ValueError, OSError):  # macOS does not bound memory
            continue


def main(size: int, file: int, pipe: int) -> int:
    """Answer on `pipe` for the pickle in `file`, of `size` bytes; returns the exit status."""
    limit(size)
    try:
        # Mapped, so that the content of arrays, which is most of a file, is not even read here.
        data = mmap.mmap(file, size, access=mmap.ACCESS_READ) if size else b""
        found = answer(data)
    except MemoryError:
        return NO_MEMORY
    with open(pipe, "wb", closefd=False) as stream:
        stream.write(found)
    return 0


def keep(size: int, file: int, pipe: int) -> None:
    """Run `main` in a process of its own; a line with its exit status follows its answer."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(pipe, b"\n%d" % code)
        return
    code = 1
    try:
        code = main(size, file, pipe)
    finally:
        os._exit(code)


def serve() -> None:
    """Read a file for each message on standard input, a socket, until its other end is closed.

    A message is the size of a file, and brings its descriptor and that of a pipe for the answer.
    Reading processes start from this one within a millisecond, because it is small.
    """
    gc.disable()  # nothing that it could free is made before a process ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that have ended then disappear
    with socket.socket(fileno=sys.stdin.fileno()) as messages:
        while True:
            size, descriptors, *_ = socket.recv_fds(messages, MESSAGE, 2)
            if not size:
                return
            try:
                child = os.fork()
            except OSError:
                child = -1  # the pipe stays empty
            if child == 0:
                try:
                    keep(int(size), *descriptors)
                finally:
                    os._exit(0)
            for each in descriptors:
                os.close(each)
