"""Snappy, the compression of older LevelDB tables: a length, then literal bytes and copies of what came before."""

from convert.formats.protobuf import varint

LITERAL, NEAR = 0, 1  # kinds of an element, in the low two bits of its tag
WIDTHS = {NEAR: 1, 2: 2, 3: 4}  # bytes that tell how far back a copy begins


def decode(data: bytes, limit: int) -> bytes:
    """The bytes that `data` stands for. ValueError if they are more than `limit`, or other than announced."""
    length, at = varint(data, 0)
    if length > limit:
        raise ValueError(f"unfolds to {length} bytes, more than {limit}")
    out = bytearray()
    while at < len(data) and len(out) <= length:
        tag, at = data[at], at + 1
        kind, rest = tag & 3, tag >> 2
        if kind == LITERAL:
            size, at = _size(data, rest, at)
            out += data[at : at + size]
            at += size
            continue
        back, at = int.from_bytes(data[at : at + WIDTHS[kind]], "little"), at + WIDTHS[kind]
        if kind == NEAR:  # the tag has three more bits of the distance
            _repeat(out, tag >> 5 << 8 | back, 4 + (rest & 7))
        else:
            _repeat(out, back, 1 + rest)
    if len(out) != length:
        raise ValueError(f"unfolds to other than the {length} bytes announced")
    return bytes(out)


def _size(data: bytes, code: int, at: int) -> tuple[int, int]:
    """The length of a literal, in its tag or in the one to four bytes after it, and where the literal begins."""
    wide = max(0, code - 59)
    return (int.from_bytes(data[at : at + wide], "little") if wide else code) + 1, at + wide


def _repeat(out: bytearray, back: int, size: int) -> None:
    """Append `size` bytes that begin `back` bytes before the end; they may run on into what is being appended."""
    if not 0 < back <= len(out):
        raise ValueError(f"copies from {back} bytes back, where there are {len(out)}")
    pattern = bytes(out[len(out) - back :])
    out += (pattern * (size // back + 1))[:size]
