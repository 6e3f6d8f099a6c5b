"""Checksums of parts, joined, are those of the whole."""

import zlib

import crc32c
import numpy as np
import pytest

from convert.checksums import file_checksum, joined, named

FUNCTIONS = {"crc32": zlib.crc32, "crc32c": crc32c.crc32c}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_checksums_of_two_stretches_join(kind):
    generator, function = np.random.default_rng(0), FUNCTIONS[kind]
    for lengths in ((0, 0), (5, 0), (0, 7), (1, 1), (1000, 3), (3, 100_000), (12_345, 65_536)):
        first, second = (generator.bytes(length) for length in lengths)
        assert joined(kind, function(first), function(second), len(second)) == function(first + second)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_file_s_checksum_is_its_bytes(tmp_path, kind):
    data = np.random.default_rng(1).bytes(600_001)
    (tmp_path / "x").write_bytes(data)
    assert file_checksum(tmp_path / "x", kind) == f"{kind}:{FUNCTIONS[kind](data):08x}"
    (tmp_path / "x").write_bytes(b"")
    assert file_checksum(tmp_path / "x", kind) == f"{kind}:00000000"


def test_the_checksum_that_the_standard_gives():
    """RFC 3720, appendix B.4: the CRC-32C of 32 zero bytes."""
    assert named("crc32c", crc32c.crc32c(bytes(32))) == "crc32c:8a9136aa"
