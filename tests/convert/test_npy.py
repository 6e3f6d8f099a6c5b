"""Arrays as numpy.save writes them: read without unpickling, whatever numpy and pickle wrote them."""

import pickle

import numpy as np
import pytest

from convert import CheckpointError
from convert.formats import npy
from tests.convert import evil

ARRAYS = {
    "logits": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
    "half": np.ones(2, np.float16),
    "ids": np.arange(5),
    "words": np.arange(3, dtype=np.uint16),
    "bytes": np.array([-1, 2], np.int8),
    "flag": np.array(True),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 3)),
    "number": np.float32(2),
}


def saved(path, content, protocol):
    """A file as a numpy with this pickle protocol would have written it."""
    evil.npy(path, pickle.dumps(np.array(content, dtype=object), protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_dictionary_of_arrays_comes_back_bit_for_bit(tmp_path, protocol):
    path = saved(tmp_path / "a.npy", {**ARRAYS, "plain": 0.5, "inner": {"deep": {"x": ARRAYS["ids"]}}}, protocol)
    found = npy.read(path)
    expected = {name: np.asarray(value) for name, value in ARRAYS.items()}
    expected |= {"plain": np.array(0.5), "inner/deep/x": ARRAYS["ids"]}
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_an_array_alone_comes_back_too(tmp_path):
    np.save(tmp_path / "a.npy", ARRAYS["logits"])
    np.testing.assert_array_equal(npy.read(tmp_path / "a.npy")[npy.ALONE], ARRAYS["logits"], strict=True)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = saved(tmp_path / "a.npy", ARRAYS, 4).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.npy").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            npy.read(tmp_path / "cut.npy")
