"""A pickle machine that only knows data: it runs nothing, imports nothing, and leaves large bytes where they lie.

Where Python's unpickler would call a function, this one notes down that it is called: the reader of a format then
decides whether the note describes a tensor. A global name that the format does not know is refused the moment it is
read, and so is every instruction that a state dict does not need. Time and memory are bounded whatever the file says.
"""

import pickle
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

LONG_TEXT = 1 << 12  # text beyond this is data, and stays in the file
MEMORY = 1 << 28  # bytes that what one pickle describes may take; a state dict of 80,000 tensors takes as many
INSTRUCTION = 128  # bytes that one instruction takes at most: the object that it makes, and its place in a table
TEXT = 384  # and those of one text, beside its characters


class PickleRefusedError(ValueError):
    """The pickle asks for something that a state dict does not need, or ends too early."""


@dataclass(frozen=True, slots=True)
class Global:
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

    __slots__ = ("span",)
    span: Span


@dataclass(slots=True, eq=False)
class Call:
    """A call that the pickle asks for, noted down and not made; `state` is what it wants set on the result."""

    function: Global
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(slots=True, eq=False)
class Persistent:
    """A reference to something outside the pickle: in a file of torch.save, a storage."""

    reference: Any


DICTIONARY = Global("collections", "OrderedDict")


def parse(file: BinaryIO, size: int, allowed: Collection[Global], *, persistent: bool = False) -> Any:
    """What the next pickle in `file`, which ends at byte `size`, describes: dicts, tuples, numbers, texts, Calls …

    Bytes come as Spans. Raises PickleRefusedError for any global outside `allowed` (OrderedDict is always known), for
    references to outside the pickle unless `persistent`, for instructions that no state dict needs, for more than
    MEMORY holds, and for a pickle that is cut off or malformed.
    """
    machine = _Machine(file, size, {*allowed, DICTIONARY}, persistent)
    try:
        result = machine.run()
    except PickleRefusedError:
        raise
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise PickleRefusedError(f"malformed pickle near byte {file.tell()} ({type(error).__name__})") from None
    if file.tell() > size:
        raise PickleRefusedError("truncated: the pickle runs past its end")
    return result


def instructions(value: Any) -> bytes:
    """The instructions that put one small value (a text, a number, a tuple, a dict) on the machine's stack."""
    return pickle.dumps(value, protocol=2)[2:-1]  # between PROTO and STOP


class _Machine:
    """The stack, the marks and the memo of one run."""

    def __init__(self, file: BinaryIO, size: int, allowed: Collection[Global], persistent: bool) -> None:
        self.file, self.size, self.allowed, self.persistent = file, size, allowed, persistent
        self.left = MEMORY
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (code := self.take(1)) != b".":
            self.spend(INSTRUCTION)
            step = STEPS.get(code)
            if step is None:
                self.refuse_instruction(code)
            else:
                step(self)
        if self.marks or len(self.stack) != 1:
            raise PickleRefusedError("malformed pickle: it ends with something half built")
        return self.stack.pop()

    def spend(self, memory: int) -> None:
        self.left -= memory
        if self.left < 0:
            raise PickleRefusedError(f"it describes more than any state dict holds, as of byte {self.file.tell()}")

    def refuse_instruction(self, code: bytes) -> None:
        from pickletools import opcodes  # slow to import, and needed for a bad file only

        known = {known.code.encode("latin1"): known.name for known in opcodes}
        name = known.get(code, f"0x{code.hex()}")
        raise PickleRefusedError(
            f"instruction {name} at byte {self.file.tell() - 1}, which no state dict needs; nothing was run"
        )

    def take(self, length: int) -> bytes:
        data = self.file.read(length)
        if len(data) < length:
            raise PickleRefusedError("truncated: the pickle ends in the middle of an instruction")
        return data

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def protocol(self) -> None:
        if not 2 <= (protocol := self.number("<B")) <= 5:
            raise PickleRefusedError(f"pickle protocol {protocol}, not 2 to 5")

    def to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def skip(self, length: int) -> Span:
        start = self.file.tell()
        if not 0 <= length <= self.size - start:
            raise PickleRefusedError(f"truncated: {length} bytes at {start} run past the end")
        self.file.seek(length, 1)
        return Span(start, length)

    def text(self, length: int) -> Text | Span:
        if not 0 <= length <= LONG_TEXT:
            return self.skip(length)
        self.spend(TEXT + 4 * length)
        span = Span(self.file.tell(), length)
        text = Text(self.take(length), "utf-8", "surrogatepass")
        text.span = span
        return text

    def name(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefusedError("it asks for a global whose name is no text; nothing was run")
        found = Global(str(module), str(name))
        if found not in self.allowed:
            raise PickleRefusedError(f"it asks for {str(found)[:100]}, which no state dict needs; nothing was run")
        return found

    def line(self) -> str:
        line = self.file.readline(1000)
        if not line.endswith(b"\n"):
            raise PickleRefusedError("truncated: the pickle ends in the middle of a name")
        return line[:-1].decode()

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push(self.name(module, name))

    def instance(self) -> None:
        self.name(self.line(), self.line())
        self.refuse_instruction(b"i")

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleRefusedError("it calls something that is no global name; nothing was run")
        self.push(self.dictionary(*arguments) if function == DICTIONARY else Call(function, arguments))

    def dictionary(self, pairs: Any = ()) -> dict[str, Any]:
        """An OrderedDict, which Python 2 pickled with its items as an argument."""
        self.spend(INSTRUCTION * len(pairs))  # a list that is recalled from the memo costs each time
        found: dict[str, Any] = {}
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise PickleRefusedError("an OrderedDict of something other than pairs")
            _fill(found, list(pair))
        return found

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, dict):  # attributes of a dict (torch's _metadata) are of no interest
            raise PickleRefusedError(f"it sets attributes on a {type(target).__name__}; nothing was run")

    def refer(self) -> None:
        if not self.persistent:
            raise PickleRefusedError("it refers to something outside the file; nothing was run")
        self.push(Persistent(self.stack.pop()))

    def extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        _fill(self.stack[-1], items)

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise IndexError("stack")
        del self.stack[-count:]
        self.push(items)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]


def _fill(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or not all(isinstance(key, str) for key in items[::2]):
        raise PickleRefusedError("a dictionary with a key that is no text")
    size = len(target)
    target.update(zip(items[::2], items[1::2], strict=True))
    if len(target) < size + len(items) // 2:
        raise PickleRefusedError("a name stands twice")


def _pair(stack: list[Any]) -> list[Any]:
    value, key = stack.pop(), stack.pop()
    return [key, value]


STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.protocol(),
    b"\x95": lambda m: m.take(8),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"U": lambda m: m.push(m.text(m.number("<B"))),  # text of Python 2
    b"T": lambda m: m.push(m.text(m.number("<i"))),
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
    b"i": lambda m: m.instance(),  # INST
    b"\x93": lambda m: m.stack_global(),
    b"R": lambda m: m.call(),  # REDUCE
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.refer(),  # BINPERSID
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
}
