"""Damaged files of every format: refused, or read as the reference reads them; never another error, never a hang."""

import collections
import io
import json
import pickle
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convert import CheckpointError
from convert.formats import pdparams, safetensors_file, torch_bin

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(4, dtype=np.int64),
    "c": np.ones((), np.float16),
}
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()} | {"d": torch.arange(8.0).reshape(2, 4).T}


def torch_bytes(**options):
    buffer = io.BytesIO()
    torch.save(TENSORS, buffer, **options)
    return buffer.getvalue()


class Known(pickle.Unpickler):
    """numpy's own reconstruction and nothing else."""

    def find_class(self, module, name):
        if name in ("_reconstruct", "ndarray", "dtype", "_frombuffer", "OrderedDict", "encode", "bytes"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(name)


def by_numpy(path):
    return {name: np.asarray(value) for name, value in Known(io.BytesIO(path.read_bytes())).load().items()}


def by_torch(path):
    return {name: tensor.numpy() for name, tensor in torch.load(path, weights_only=True).items()}


# A whole file, our reader, and the one to agree with.
FILES = {
    "safetensors": (safetensors.numpy.save(ARRAYS), safetensors_file.index, safetensors.numpy.load_file),
    "zip": (torch_bytes(), torch_bin.index, by_torch),
    "legacy": (torch_bytes(_use_new_zipfile_serialization=False), torch_bin.index, by_torch),
    "pdparams-2": (pickle.dumps(ARRAYS, 2), pdparams.index, by_numpy),
    "pdparams-4": (pickle.dumps(ARRAYS, 4), pdparams.index, by_numpy),
    "pdparams-5": (pickle.dumps(ARRAYS, 5), pdparams.index, by_numpy),
}
kinds = pytest.mark.parametrize("kind", FILES)


def outcome(path, kind, data):
    """Read a damaged file: "refused", or "read", and if the reference reads it too, to the same bits."""
    _, index, reference = FILES[kind]
    path.write_bytes(data)
    started = time.process_time()
    tracemalloc.start()
    try:
        found = {name: tensor.read() for name, tensor in index(path)[0].items()}
    except CheckpointError:
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20
        assert time.process_time() - started < 5
    try:
        theirs = reference(path)
    except Exception:  # the reference may refuse what we read, each with errors of its own
        return "read alone"
    assert set(found) == set(theirs)
    for name, array in theirs.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name
    return "read"


@kinds
def test_the_whole_file_is_read(tmp_path, kind):
    assert outcome(tmp_path / "x", kind, FILES[kind][0]) == "read"


@kinds
def test_a_wrong_byte_anywhere(tmp_path, kind):
    data = FILES[kind][0]
    places = [at for at, byte in enumerate(data) if byte != ord("Z")]  # an archive is padded with it
    places = places[:: 1 + len(data) // 1000]
    wrong = [data[:at] + bytes([data[at] ^ (1, 0xFF)[at % 2]]) + data[at + 1 :] for at in places]
    outcomes = collections.Counter(outcome(tmp_path / "x", kind, damaged) for damaged in wrong)
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 10
    assert outcomes["read alone"] < len(wrong) / 5


@kinds
def test_a_file_cut_off_anywhere(tmp_path, kind):
    data = FILES[kind][0]
    for length in range(0, len(data), 3):
        assert outcome(tmp_path / "x", kind, data[:length]) == "refused", length


PLACE = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(st.tuples(PLACE, PLACE, st.integers(0, 24), st.binary(max_size=4)), min_size=1, max_size=4)


def edited(data, edits):
    """`data` with stretches of it moved over others, and bytes put in between."""
    for source, target, length, new in edits:
        start, end = int(source * len(data)), int(target * len(data))
        data = data[:end] + data[start : start + length] + new + data[end + length :]
    return data


@kinds
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(edits=EDITS)
def test_stretches_moved_and_bytes_put_in(kind, edits):
    with tempfile.TemporaryDirectory() as folder:
        outcome(Path(folder) / "x", kind, edited(FILES[kind][0], edits))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(edits=EDITS)
def test_a_damaged_index_of_shards(edits):
    arrays = [{"a": np.ones((2, 3), np.float32)}, {"b": np.zeros(2, np.int64)}]
    with tempfile.TemporaryDirectory() as folder:
        places = {}
        for number, shard in enumerate(arrays, 1):
            file = f"model-0000{number}-of-00002.safetensors"
            safetensors.numpy.save_file(shard, Path(folder) / file)
            places |= dict.fromkeys(shard, file)
        text = json.dumps({"metadata": {"total_size": 40}, "weight_map": places}).encode()
        path = Path(folder) / "model.safetensors.index.json"
        path.write_bytes(edited(text, edits))
        try:
            found, _ = safetensors_file.index_shards(path)
        except CheckpointError:
            return
        for name, array in (arrays[0] | arrays[1]).items():
            assert name not in found or (found[name].read() == array).all()
