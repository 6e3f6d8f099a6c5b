"""A pickle machine that only knows data: it runs nothing, imports nothing, and leaves large bytes where they lie.

Where Python's unpickler would call a function, this one notes down that it is called: the reader of a format then
decides whether the note describes a tensor. A global name that the format does not know is refused the moment it is
read.
"""

import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

LONG_TEXT = 1 << 16  # text beyond this is data, and stays in the file


class PickleRefusedError(ValueError):
    """The pickle asks for something that a state dict does not need, or ends too early."""


class Global(NamedTuple):
    """A name that the pickle asks for: a class or a function, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Span(NamedTuple):
    """Bytes that were left in the file."""

    offset: int
    length: int


class Text(str):
    """Text that remembers where it stands in the file."""

    span: Span


@dataclass
class Call:
    """A call that the pickle asks for, noted down and not made; `state` is what it wants set on the result."""

    function: Global
    arguments: Any
    state: Any = None


class Persistent(NamedTuple):
    """A reference to something outside the pickle: in a torch archive, a storage."""

    reference: Any


DICTIONARY = Global("collections", "OrderedDict")


def parse(file: BinaryIO, size: int, allowed: Collection[Global]) -> Any:
    """What the pickle in `file`, of `size` bytes, describes: dicts, tuples, numbers, texts, Spans, Calls.

    Raises PickleRefusedError for any global outside `allowed` (OrderedDict is always known), for instructions that no
    state dict needs, and for a pickle that is cut off or malformed.
    """
    machine = _Machine(file, size, {*allowed, DICTIONARY})
    try:
        return machine.run()
    except PickleRefusedError:
        raise
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise PickleRefusedError(f"malformed pickle near byte {file.tell()} ({type(error).__name__})") from None


class _Machine:
    """The stack, the marks and the memo of one run."""

    def __init__(self, file: BinaryIO, size: int, allowed: Collection[Global]) -> None:
        self.file, self.size, self.allowed = file, size, allowed
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (code := self.take(1)) != b".":
            step = STEPS.get(code)
            if step is None:
                raise PickleRefusedError(
                    f"instruction {code!r} at byte {self.file.tell() - 1} is not one of a state dict"
                )
            step(self)
        return self.stack.pop()

    def take(self, length: int) -> bytes:
        data = self.file.read(length)
        if len(data) < length:
            raise PickleRefusedError("truncated: the pickle ends in the middle of an instruction")
        return data

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def skip(self, length: int) -> Span:
        start = self.file.tell()
        if length > self.size - start:
            raise PickleRefusedError(f"truncated: {length} bytes at {start} run past the end")
        self.file.seek(length, 1)
        return Span(start, length)

    def text(self, length: int) -> Text | Span:
        if length > LONG_TEXT:
            return self.skip(length)
        span = Span(self.file.tell(), length)
        text = Text(self.take(length), "utf-8", "surrogatepass")
        text.span = span
        return text

    def name(self, module: str, name: str) -> Global:
        found = Global(str(module), str(name))
        if found not in self.allowed:
            raise PickleRefusedError(f"it asks for {found}, which no state dict needs; nothing was run")
        return found

    def line(self) -> str:
        line = self.file.readline(1000)
        if not line.endswith(b"\n"):
            raise PickleRefusedError("truncated: the pickle ends in the middle of a name")
        return line[:-1].decode()

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global):
            raise PickleRefusedError("it calls something that is no global name; nothing was run")
        self.push({} if (function, arguments) == (DICTIONARY, ()) else Call(function, arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Call):
            target.state = state  # attributes of a dict (torch's _metadata) are of no interest

    def extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not all(isinstance(key, str) for key in items[::2]):
            raise PickleRefusedError("a dictionary with a key that is no text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(items)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]


def _pair(stack: list[Any]) -> list[Any]:
    value, key = stack.pop(), stack.pop()
    return [key, value]


STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),
    b"C": lambda m: m.push(m.skip(m.number("<B"))),
    b"B": lambda m: m.push(m.skip(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.skip(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.skip(m.number("<Q"))),  # BYTEARRAY8
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"(": lambda m: m.mark(),
    b"t": lambda m: m.push(tuple(m.to_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"s": lambda m: m.set_items(_pair(m.stack)),
    b"u": lambda m: m.set_items(m.to_mark()),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.to_mark()),
    b"c": lambda m: m.push(m.name(m.line(), m.line())),  # GLOBAL
    b"\x93": lambda m: m.push(m.name(*reversed((m.stack.pop(), m.stack.pop())))),  # STACK_GLOBAL
    b"R": lambda m: m.call(),  # REDUCE
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.push(Persistent(m.stack.pop())),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
}
