"""The writer of blueprints: the same bytes as the plain way, through short writes, and errors that are not lost."""

import errno
import os

import numpy as np
import pytest

from convert.checksums import file_checksum
from convert.formats.blueprint import Blueprint
from convert.formats.stored import StoredTensor
from convert.rules import Linear
from convert.transfer.stream import Stream
from convert.transfer.write import Writer
from tests.convert.drawn import write_drawn

SHAPES = {
    "small": (3, 5),
    "wide": (40, 30_000),
    "turned": (700, 500),
    "also turned": (300, 900),
    "none": (0, 4),
    "one": (),
}


@pytest.fixture
def arrays():
    generator = np.random.default_rng(2)
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def streams(tmp_path, arrays):
    """Streams whose sources hold the turned ones the other way round."""
    found = {}
    for name, array in arrays.items():
        turned = name.endswith("turned")
        path = tmp_path / f"source {name}"
        path.write_bytes((array.T if turned else array).tobytes())
        stored = StoredTensor(path, 0, "float32", array.shape[::-1] if turned else array.shape)
        found[name] = Stream(stored, Linear()) if turned else Stream(stored)
    return found


def patches(checksums):
    return {2: b"AB", 12: checksums["small"].to_bytes(4, "little"), 16: checksums["turned"].to_bytes(4, "little")}


PIECES = (
    b"0123456789",
    b"",
    b"abcdefghijkl",
    "small",
    "wide",
    b"-",
    "none",
    "turned",
    b"",
    "one",
    "also turned",
    b"end",
)
BLUEPRINTS = [
    Blueprint("plain", ("wide", "small")),
    Blueprint("patched", PIECES, "crc32", patches),
    Blueprint("empty", ()),
]


def written(folder, streams, blueprints=BLUEPRINTS):
    folder.mkdir()
    with Writer(folder, streams) as writer:
        for blueprint in blueprints:
            writer.write(blueprint)
        writer.wait()
    return writer


def same_files(folder, plain, blueprints=BLUEPRINTS):
    return all((folder / b.name).read_bytes() == (plain / b.name).read_bytes() for b in blueprints)


@pytest.fixture
def plain(tmp_path, arrays):
    (tmp_path / "plain").mkdir()
    write_drawn(tmp_path / "plain", BLUEPRINTS, arrays)
    return tmp_path / "plain"


def test_files_are_what_the_blueprints_say(tmp_path, streams, plain):
    written(tmp_path / "out", streams)
    assert same_files(tmp_path / "out", plain)


def test_the_record_of_a_file_is_true(tmp_path, streams):
    told = []
    (tmp_path / "out").mkdir()
    with Writer(tmp_path / "out", streams, told.append) as writer:
        for blueprint in BLUEPRINTS:
            writer.write(blueprint)
        writer.wait()
    assert [record.name for record in writer.written] == ["plain", "patched", "empty"]
    for record, blueprint in zip(writer.written, BLUEPRINTS, strict=True):
        path = tmp_path / "out" / record.name
        assert record.nbytes == path.stat().st_size
        assert record.checksum == file_checksum(path, blueprint.checksum)
        assert record.seconds > 0
        assert not record.kept
    assert sum(told) == sum(streams[name].nbytes for blueprint in BLUEPRINTS for name in blueprint.tensors)


def test_a_disk_that_takes_only_a_part_at_a_time_gets_all(tmp_path, streams, plain, monkeypatch):
    def reluctant(file, pieces, offset):
        first = pieces[0]
        return honest(file, [first[: max(1, len(first) // 3)]], offset)

    honest = os.pwritev
    monkeypatch.setattr(os, "pwritev", reluctant)
    written(tmp_path / "out", streams)
    assert same_files(tmp_path / "out", plain)


@pytest.mark.parametrize("call", ["pwritev", "fsync"])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_an_error_of_the_second_thread_is_raised(tmp_path, streams, monkeypatch, call, good):
    def full(*arguments):
        nonlocal good
        good -= 1
        if good < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return honest(*arguments)

    honest = getattr(os, call)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path / "out", streams)


def test_what_the_first_thread_is_stopped_by_ends_the_second(tmp_path, streams):
    def stop(count):
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "out", streams, stop) as writer:
        writer.write(BLUEPRINTS[0])
    assert writer.written == []
