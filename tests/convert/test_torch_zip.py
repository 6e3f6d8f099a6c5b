"""The zip archive under pytorch_model.bin: what is compressed, encrypted, overlapping or out of bounds is refused."""

import io
import struct
import zipfile

import pytest
import torch

from convert.formats import torch_zip
from convert.formats.torch_zip import ArchiveError, Part
from tests.convert.drawn import write_drawn

GIB = 1 << 30


def archive(method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("top/data.pkl", b"a" * 100)
        file.writestr("top/data/0", b"b" * 50)
    return buffer.getvalue()


def records(data):
    return torch_zip.records(io.BytesIO(data), len(data))


def test_records_lie_where_zipfile_finds_them():
    data = archive()
    assert {name: data[at : at + size] for name, (at, size) in records(data).items()} == {
        "data.pkl": b"a" * 100,
        "data/0": b"b" * 50,
    }


def changed(data, at, value):
    """`data` with the bytes at `at` replaced; a negative `at` counts from the directory's second entry."""
    return data[:at] + value + data[at + len(value) :]


SECOND = archive().index(b"PK\3\4", 1)
ENTRIES = archive().index(b"PK\1\2")
ENTRY = archive().index(b"PK\1\2", ENTRIES + 1)
END = archive().index(b"PK\5\6")
short, word = (lambda number: struct.pack("<H", number)), (lambda number: struct.pack("<I", number))

FAULTS = {
    "encrypted in the directory": (ENTRY + 8, short(1), "record top/data/0 is encrypted"),
    "encrypted in the record": (SECOND + 6, short(1), "record top/data/0 is encrypted"),
    "compressed in the directory": (ENTRY + 10, short(8), "record top/data/0 is compressed"),
    "compressed in the record": (SECOND + 8, short(8), "record top/data/0 is compressed"),
    "a folder": (ENTRY + 38, b"\x10", "record top/data/0 is marked as a folder"),
    "overlap": (ENTRY + 42, word(0), "top/data/0 (overlaps|is not where)"),
    "a size beyond the file": (ENTRY + 20, word(1000) * 2, "truncated: a record runs into the directory"),
    "a size beyond the next": (ENTRIES + 20, word(150) * 2, "record top/data/0 overlaps"),
    "two sizes": (ENTRY + 20, word(49), "takes 49 bytes, not the 50"),
    "an offset in the middle": (ENTRY + 42, word(SECOND + 1), "not where the directory says"),
    "an offset beyond the file": (ENTRY + 42, word(5000), "cut off"),
    "an offset in a missing zip64 field": (ENTRY + 42, word(0xFFFFFFFF), "cut off"),
    "another name": (ENTRY + 46, b"tip"[:3], "not where the directory says"),
    "a name that is no text": (ENTRY + 46, b"\xff", "malformed"),
    "a name longer than the directory": (ENTRY + 28, short(60000), "cut off"),
    "a comment longer than the directory": (ENTRY + 32, short(9), "cut off"),
    "a signature": (ENTRY, b"PK\1\3", "cut off"),
    "more entries than there are": (END + 8, short(3) * 2, "cut off"),
    "fewer entries than there are": (END + 8, short(1) * 2, "more entries than it says"),
    "a directory elsewhere": (END + 16, word(ENTRIES - 1), "a directory of"),
    "a directory beyond the file": (END + 16, word(1 << 31), "a directory of"),
    "a comment": (END + 20, short(1), "does not end in a directory"),
    "a far zip64 field": (END - 20, b"PK\6\7" + bytes(16), "zip64 end is not where"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(fault):
    at, value, told = FAULTS[fault]
    with pytest.raises(ArchiveError, match=told):
        records(changed(archive(), at, value))


def test_compressed_archives_and_names_that_stand_twice_are_refused():
    with pytest.raises(ArchiveError, match="compressed"):
        records(archive(zipfile.ZIP_DEFLATED))
    with pytest.raises(ArchiveError, match="other/data/0 stands twice"):
        buffer = io.BytesIO(archive())
        with zipfile.ZipFile(buffer, "a") as file:
            file.writestr("other/data/0", b"c")
        records(buffer.getvalue())


def test_every_truncation_is_refused():
    data = archive()
    for length in range(len(data)):
        with pytest.raises(ArchiveError):
            records(data[:length])


def test_a_large_directory_is_refused_unread():
    data = archive()
    claim = struct.pack("<4s4x2H2IH", b"PK\5\6", 9, 9, torch_zip.MAX_DIRECTORY + 1, 0, 0)
    size = torch_zip.MAX_DIRECTORY + 1 + len(claim)

    class Sparse(io.BytesIO):
        def seek(self, offset, whence=0):
            return super().seek(max(0, offset - size + len(data) + len(claim)), whence)

    with pytest.raises(ArchiveError, match="a directory of 16777217 bytes"):
        torch_zip.records(Sparse(data + claim), size)


def sparse(path, blueprint, sizes):
    """Write a blueprint with holes for its tensors; returns where each begins."""
    starts = {}
    with path.open("wb") as file:
        for piece in blueprint.pieces:
            if isinstance(piece, str):
                starts[piece] = file.tell()
                file.seek(sizes[piece], 1)
            else:
                file.write(piece)
    return starts


def test_records_beyond_4_gib_are_drawn_and_found(tmp_path):
    """Sparse: the tensors' bytes are never written, and the checksums, which no reader asks for, are left zero."""
    from convert.formats import torch_bin

    tensors = {"small": ("float32", (3,)), "large": ("uint8", (5 * GIB,)), "after": ("float32", (2, 5))}
    sizes = {"small": 12, "large": 5 * GIB, "after": 40}
    (blueprint,) = torch_bin.draw([tensors], {})
    path = tmp_path / "x.bin"
    starts = sparse(path, blueprint, sizes)
    with path.open("r+b") as file:
        file.seek(starts["large"] + 5 * GIB - 1)
        file.write(b"\x07")
        file.seek(starts["after"])
        file.write(struct.pack("<10f", *range(10)))
    found, _ = torch_bin.index(path)
    assert {name: tensor.offset for name, tensor in found.items()} == starts
    assert found["after"].read().tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    loaded = torch.load(path, weights_only=True, mmap=True)
    assert loaded["large"][-1] == 7
    assert loaded["after"].tolist() == found["after"].read().tolist()
    with zipfile.ZipFile(path) as file:
        assert [(entry.file_size, file.open(entry).name) for entry in file.infolist()][4][0] == 5 * GIB


def test_more_records_than_two_bytes_count(tmp_path):
    parts = [Part(f"data/{number}", b"x", 1) for number in range(66_000)]
    write_drawn(tmp_path, [torch_zip.draw("x.zip", "x", parts)], {})
    data = (tmp_path / "x.zip").read_bytes()
    assert len(records(data)) == 66_000
    assert len(zipfile.ZipFile(tmp_path / "x.zip").infolist()) == 66_000
