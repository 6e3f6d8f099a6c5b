"""Records: exact, aligned, whole or refused."""

import numpy as np
import pytest

from align.errors import CannotCompareError
from align.record import Record, RecordWriter, write_record

ARRAYS = {
    "a:in0": np.arange(6, dtype=np.int64).reshape(2, 3),
    "a:out": np.array([[1.5, -0.0], [np.nan, np.inf]]),
    "scalar": np.array(2.5, dtype=np.float32),
    "strided": np.arange(24.0).reshape(4, 6)[::2, ::3],
    "empty": np.empty((0, 5), dtype=np.float32),
    "mask": np.array([True, False]),
}


def test_values_come_back_bit_for_bit(tmp_path):
    record = Record(write_record(tmp_path / "r.rec", ARRAYS))
    assert list(record) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert record[name].dtype == array.dtype
        assert record[name].shape == array.shape
        assert record[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_arrays_are_aligned_and_read_only(tmp_path):
    record = Record(write_record(tmp_path / "r.rec", ARRAYS))
    assert all(record.entry(name).offset % 64 == 0 for name in record)
    with pytest.raises(ValueError, match="read-only"):
        record["a:out"][0, 0] = 1.0


def test_facts_stand_beside_the_values(tmp_path):
    with RecordWriter(tmp_path / "r.rec") as writer:
        writer.add("x", np.zeros(2), differentiable=True, caller="encoder")
    assert Record(tmp_path / "r.rec").entry("x").facts == {"differentiable": True, "caller": "encoder"}


def test_a_name_is_recorded_once(tmp_path):
    with RecordWriter(tmp_path / "r.rec") as writer:
        writer.add("x", np.zeros(2))
        with pytest.raises(ValueError, match="already"):
            writer.add("x", np.ones(2))


@pytest.mark.parametrize("keep", [0, 7, -1, -20])
def test_a_record_cut_short_is_refused(tmp_path, keep):
    path = write_record(tmp_path / "r.rec", ARRAYS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CannotCompareError, match="cut short"):
        Record(path)


def test_a_recording_that_failed_leaves_no_whole_record(tmp_path):
    writer = RecordWriter(tmp_path / "r.rec")
    writer.add("x", np.zeros(2))
    writer.__exit__(RuntimeError, RuntimeError(), None)
    with pytest.raises(CannotCompareError):
        Record(tmp_path / "r.rec")
