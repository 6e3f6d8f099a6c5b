"""LevelDB's sorted table, the format of a TF bundle's `.index`: keys and values, in order, in checksummed blocks.

A block is entries (of each key only what differs from the key before it), restart points where a key stands in full,
then one byte for the compression and a masked CRC-32C. The footer points to the block of the blocks' places, and to a
"meta" block of whatever else is to be said (table_format.md in LevelDB's documentation).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from crc32c import crc32c

from convert.formats import snappy
from convert.formats.protobuf import number, varint

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48  # bytes: two handles, padding, the magic number
TRAILER = 5  # bytes behind each block: the compression and the checksum
PLAIN, SNAPPY = 0, 1
BLOCK = 1 << 16  # bytes, about, in a block that we write
INTERVAL = 16  # entries between two restart points
MAX_BLOCK = 1 << 26  # bytes that a compressed block may unfold to

Entries = Sequence[tuple[bytes, bytes]]  # (key, value), in order


def mask(checksum: int) -> int:
    """A CRC-32C as LevelDB stores it, since it may be part of data that is checksummed in turn."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def unmask(stored: int) -> int:
    """The CRC-32C that was stored masked."""
    turned = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return (turned >> 17 | turned << 15) & 0xFFFFFFFF


def read(table: bytes) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The keys and values of a table, and those of its meta block.

    ValueError for a table that is cut off, does not match its checksums, or has its keys out of order.
    """
    if len(table) < FOOTER or not table.endswith(MAGIC):
        raise ValueError("truncated, or no LevelDB table: its magic number is missing")
    meta, at = _handle(table, len(table) - FOOTER)
    places, _ = _handle(table, at)
    entries: dict[bytes, bytes] = {}
    last = None
    for key, value in (entry for _, place in _block(table, *places) for entry in _block(table, *_handle(place, 0)[0])):
        if last is not None and key <= last:
            raise ValueError(f"keys are not in order: {key!r} stands after {last!r}")
        entries[key] = value
        last = key
    return entries, dict(_block(table, *meta))


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """(offset, size) of a block, and where the handle ends."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = offset + size
    if end + TRAILER > len(table) - FOOTER:
        raise ValueError(f"the block at byte {offset} runs past the end")
    if crc32c(table[offset : end + 1]) != unmask(int.from_bytes(table[end + 1 : end + TRAILER], "little")):
        raise ValueError(f"the block at byte {offset} does not match its checksum")
    kind = table[end]
    if kind not in (PLAIN, SNAPPY):
        raise ValueError(f"the block at byte {offset} is compressed in the unknown way {kind}")
    return _entries(snappy.decode(table[offset:end], MAX_BLOCK) if kind == SNAPPY else table[offset:end])


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError("a block has more restart points than bytes")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + own + size > end:
            raise ValueError("an entry runs past the end of its block")
        key = key[:shared] + block[at : at + own]
        at += own + size
        yield key, block[at - size : at]


def write(entries: Mapping[bytes, bytes], meta: Mapping[bytes, bytes]) -> bytes:
    """A table of these keys and values; `meta` is what its meta block says."""
    out = bytearray()
    places = [(keys[-1][0], _append(out, keys)) for keys in _split(sorted(entries.items()))]
    handles = _append(out, sorted(meta.items())) + _append(out, places)
    return bytes(out + handles.ljust(FOOTER - len(MAGIC), b"\0") + MAGIC)


def _split(entries: Entries) -> Iterator[Entries]:
    """The entries of each block."""
    start, size = 0, 0
    for at, (key, value) in enumerate(entries, 1):
        size += len(key) + len(value)
        if size >= BLOCK or at == len(entries):
            yield entries[start:at]
            start, size = at, 0


def _append(out: bytearray, entries: Entries) -> bytes:
    """Append a block, and return its handle."""
    body = bytearray()
    restarts = []
    last = b""
    for at, (key, value) in enumerate(entries):
        shared = 0
        if at % INTERVAL == 0:
            restarts.append(len(body))
        else:
            shared = _common(last, key)
        body += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        last = key
    for position in (*(restarts or [0]), len(restarts or [0])):
        body += position.to_bytes(4, "little")
    handle = number(len(out)) + number(len(body))
    body.append(PLAIN)
    out += body + mask(crc32c(body)).to_bytes(4, "little")
    return handle


def _common(a: Iterable[int], b: Iterable[int]) -> int:
    """How many bytes two keys have in common at their start."""
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count
