"""The zip archive of torch.save since 1.6: uncompressed records, each beginning at a multiple of 64 bytes.

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 to 4.5. The directory is read here and not by `zipfile`, because the
tensors are read in place: it must agree with each record's own header, and no two records may share a byte.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import BinaryIO, NamedTuple

from convert.formats.blueprint import Blueprint, Patches

ALIGNMENT = 64
MAX_DIRECTORY = 1 << 24  # bytes: 200,000 records
WORD, HALF = 0xFFFFFFFF, 0xFFFF  # in a field of four or two bytes: the zip64 field has the number

# `x` stands for fields without a use here: versions, dates, disks.
LOCAL = Struct("<4s2x2H4x3I2H")  # signature, flags, method, crc32, size as stored, size, lengths of name and extra
ENTRY = Struct("<4s4x2H4x3I3H4x2I")  # the same, length of a comment, attributes, where the record's header begins
END = Struct("<4s4x2H2IH")  # signature, entries (twice), size and begin of the directory, length of a comment
END64 = Struct("<4sQ12x4Q")  # signature, size of what follows, and then as above
LOCATOR = Struct("<4s4xQI")  # signature, where the zip64 end begins, number of disks
ZIP64, PADDING = 1, int.from_bytes(b"FB", "little")  # the kinds of extra field that torch.save writes
ENCRYPTED, UTF8 = 0x2041, 0x0800  # flags
FOLDER = 0x10  # an attribute, and torch.load leaves the memory of such a record as it was


class ArchiveError(ValueError):
    """Not a zip archive as torch.save writes it."""


class Record(NamedTuple):
    """Where one file of the archive lies."""

    offset: int
    size: int


class Part(NamedTuple):
    """A record to write: its content, or the name of the tensor that it holds."""

    name: str
    content: bytes | str
    size: int


def records(file: BinaryIO, size: int) -> dict[str, Record]:
    """Name within the archive's one folder → where its bytes lie, in a file of `size` bytes.

    Raises ArchiveError for records that are compressed, encrypted, overlapping or not all inside the file.
    """
    entries, begin, end = _directory(file, size)
    found: dict[str, Record] = {}
    reached = 0
    try:
        for name, length, offset in sorted(_entries(_read(file, begin, end - begin), entries), key=lambda e: e[2]):
            if offset < reached:
                raise ArchiveError(f"record {name} overlaps the one before it")
            record = Record(_data(file, name, offset), length)
            reached = record.offset + length
            short = name.partition("/")[2]
            if short in found:
                raise ArchiveError(f"record {name} stands twice")
            found[short] = record
    except (struct.error, UnicodeDecodeError):
        raise ArchiveError("malformed zip archive: its directory, or a record's header, is cut off") from None
    if reached > begin:
        raise ArchiveError("truncated: a record runs into the directory, or past the end of the file")
    return found


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """How many entries the directory has, where it begins, and where it ends."""
    end = max(size - END.size, 0)
    tail = _read(file, end, END.size).ljust(END.size, b"\0")
    signature, _, entries, length, begin, comment = END.unpack(tail)
    if signature != b"PK\5\6" or comment:
        raise ArchiveError("truncated, or no zip archive: it does not end in a directory")
    locator = _read(file, max(end - LOCATOR.size, 0), LOCATOR.size).ljust(LOCATOR.size, b"\0")
    if locator.startswith(b"PK\6\7"):
        end -= LOCATOR.size + END64.size
        larger = _read(file, max(end, 0), END64.size).ljust(END64.size, b"\0")
        signature, _, _, entries, length, begin = END64.unpack(larger)
        if signature != b"PK\6\6" or LOCATOR.unpack(locator)[1] != end:
            raise ArchiveError("malformed zip archive: its zip64 end is not where it should be")
    if begin + length != end or length > MAX_DIRECTORY:
        raise ArchiveError(f"malformed zip archive: a directory of {length} bytes at {begin} of {size}")
    return entries, begin, end


def _entries(directory: bytes, count: int) -> Iterator[tuple[str, int, int]]:
    """Name, size and offset of each entry."""
    at = 0
    for _ in range(count):
        signature, flags, method, _, stored, size, *lengths, attributes, offset = ENTRY.unpack_from(directory, at)
        name_length, extra_length, comment = lengths
        at += ENTRY.size + name_length + extra_length
        name = directory[at - extra_length - name_length : at - extra_length].decode()
        size, stored, offset = _zip64(directory[at - extra_length : at], size, stored, offset)
        at += comment
        if signature != b"PK\1\2" or at > len(directory):
            raise ArchiveError("malformed zip archive: its directory is cut off")
        _check_plain(name, flags, method)
        if attributes & FOLDER:
            raise ArchiveError(f"record {name} is marked as a folder")
        if size != stored:
            raise ArchiveError(f"record {name} takes {stored} bytes, not the {size} of its content")
        yield name, size, offset
    if at != len(directory):
        raise ArchiveError("malformed zip archive: its directory has more entries than it says")


def _zip64(extra: bytes, *fields: int) -> Iterator[int]:
    """The fields, each taken from the zip64 extra field where it did not fit into four bytes."""
    wide = b""
    while extra:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == ZIP64:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    for field in fields:
        if field == WORD:
            (field,) = struct.unpack_from("<Q", wide)
            wide = wide[8:]
        yield field


def _data(file: BinaryIO, name: str, offset: int) -> int:
    """Where a record's bytes begin: behind its own header, which must agree with the directory."""
    signature, flags, method, *_, name_length, extra_length = LOCAL.unpack(_read(file, offset, LOCAL.size))
    if signature != b"PK\3\4" or _read(file, offset + LOCAL.size, name_length) != name.encode():
        raise ArchiveError(f"record {name} is not where the directory says")
    _check_plain(name, flags, method)
    return offset + LOCAL.size + name_length + extra_length


def _check_plain(name: str, flags: int, method: int) -> None:
    if flags & ENCRYPTED:
        raise ArchiveError(f"record {name} is encrypted")
    if method:
        raise ArchiveError(f"record {name} is compressed, which torch.save does not do")


def draw(file_name: str, folder: str, parts: Sequence[Part]) -> Blueprint:
    """An archive of `parts` in one `folder`, as torch.save writes it."""
    pieces: list[bytes | str] = []
    entries: list[bytes] = []
    places: dict[str, tuple[int, int]] = {}  # tensor → where its crc32 stands in the record's header and the directory
    position = length = 0
    for part in parts:
        name, known = f"{folder}/{part.name}".encode(), 0
        if isinstance(part.content, str):
            places[part.content] = position + 14, length + 16
        else:
            known = zlib.crc32(part.content)
        header = _header(name, known, part.size, position)
        entries.append(_entry(name, known, part.size, position))
        pieces += [header, part.content]
        position += len(header) + part.size
        length += len(entries[-1])
    places = {tensor: (record, position + entry) for tensor, (record, entry) in places.items()}
    pieces.append(b"".join(entries) + _end(len(parts), length, position))
    return Blueprint(file_name, tuple(pieces), "crc32", partial(_checksums, places))


def _checksums(places: Mapping[str, tuple[int, int]], checksums: Mapping[str, int]) -> Patches:
    return {at: checksums[name].to_bytes(4, "little") for name, both in places.items() for at in both}


def _header(name: bytes, checksum: int, size: int, position: int) -> bytes:
    """A record's own header, padded so that its data begins at a multiple of ALIGNMENT."""
    extra = struct.pack("<2H2Q", ZIP64, 16, size, size) if size >= WORD else b""
    padding = -(position + LOCAL.size + len(name) + len(extra) + 4) % ALIGNMENT
    extra += struct.pack("<2H", PADDING, padding) + b"Z" * padding
    narrow = min(size, WORD)
    return LOCAL.pack(b"PK\3\4", UTF8, 0, checksum, narrow, narrow, len(name), len(extra)) + name + extra


def _entry(name: bytes, checksum: int, size: int, position: int) -> bytes:
    """The directory's entry for a record."""
    wide = [size, size] * (size >= WORD) + [position] * (position >= WORD)
    extra = struct.pack(f"<2H{len(wide)}Q", ZIP64, 8 * len(wide), *wide) if wide else b""
    narrow = min(size, WORD), min(size, WORD), len(name), len(extra), 0, 0, min(position, WORD)
    return ENTRY.pack(b"PK\1\2", UTF8, 0, checksum, *narrow) + name + extra


def _end(count: int, length: int, begin: int) -> bytes:
    """What stands behind the directory; torch.save writes the zip64 form whatever the size, and so do we."""
    larger = END64.pack(b"PK\6\6", END64.size - 12, count, count, length, begin)
    locator = LOCATOR.pack(b"PK\6\7", begin + length, 1)
    few = min(count, HALF)
    return larger + locator + END.pack(b"PK\5\6", few, few, min(length, WORD), min(begin, WORD), 0)
