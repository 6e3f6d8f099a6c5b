"""The wire format of Protocol Buffers, as far as messages of numbers, texts and messages need it."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at byte `at`, seven bits to a byte, and where it ends. ValueError if it does not."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError(f"the number at byte {at} is cut off or too long")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) in order: bytes for texts and messages, an unsigned integer for the rest.

    ValueError for a message that is cut off, or of a kind that these formats do not have.
    """
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind, end = tag & 7, at
        value: int | bytes
        if kind == VARINT:
            value, end = varint(message, at)
        elif kind == BYTES:
            size, at = varint(message, at)
            end = at + size
            value = message[at:end]
        elif kind in (FIXED32, FIXED64):
            end = at + (4 if kind == FIXED32 else 8)
            value = int.from_bytes(message[at:end], "little")
        else:
            raise ValueError(f"field {tag >> 3} is of the unknown kind {kind}")
        if end > len(message):
            raise ValueError(f"field {tag >> 3} is cut off")
        at = end
        yield tag >> 3, value


def number(value: int) -> bytes:
    """`value`, not negative, in seven bits to a byte."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(index: int, value: int | bytes) -> bytes:
    """One field: a number, or a text or message by its length."""
    if isinstance(value, int):
        return number(index << 3 | VARINT) + number(value)
    return number(index << 3 | BYTES) + number(len(value)) + value


def fixed32(index: int, value: int) -> bytes:
    """One field of four bytes, whatever its value."""
    return number(index << 3 | FIXED32) + value.to_bytes(4, "little")
