"""The writer of blueprints: the same bytes as the plain way, through short writes, and errors that are not lost."""

import errno
import fcntl
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


def bytes_past_the_cache(monkeypatch):
    """A list that grows by the bytes of each call that goes past the page cache."""

    def noted(file, pieces, offset):
        count = honest(file, pieces, offset)
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            found.append(count)
        return count

    found, honest = [], os.pwritev
    monkeypatch.setattr(os, "pwritev", noted)
    return found


def test_whole_pages_go_past_the_page_cache_wherever_tensors_lie(tmp_path, streams, plain, monkeypatch):
    try:
        os.close(os.open(tmp_path / "try", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system has no O_DIRECT")
    direct = bytes_past_the_cache(monkeypatch)
    written(tmp_path / "out", streams)
    assert same_files(tmp_path / "out", plain)
    large = sum(stream.nbytes for name, stream in streams.items() if name not in ("small", "none", "one"))
    assert sum(direct) > 0.95 * (large + streams["wide"].nbytes)  # "wide" is written twice


@pytest.mark.parametrize("refused", ["open", "write"])
def test_a_file_system_without_direct_writing_gets_the_same(tmp_path, streams, plain, monkeypatch, refused):
    def refuse_to_open(path, flags, *mode):
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return honest_open(path, flags, *mode)

    def refuse_to_write(file, pieces, offset):
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return honest_write(file, pieces, offset)

    honest_open, honest_write = os.open, os.pwritev
    replaced = {"open": ("open", refuse_to_open), "write": ("pwritev", refuse_to_write)}
    monkeypatch.setattr(os, *replaced[refused])
    written(tmp_path / "out", streams)
    assert same_files(tmp_path / "out", plain)


@pytest.mark.parametrize("call", ["pwritev", "fsync"])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_an_error_of_a_thread_is_raised(tmp_path, streams, monkeypatch, call, good):
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


def test_what_stops_one_thread_stops_all(tmp_path, streams):
    def stop(count):
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "out", streams, stop) as writer:
        writer.write(BLUEPRINTS[0])
    assert writer.written == []
