"""model_state.pdparams: what paddle.save writes and paddle.load reads, without paddle and without unpickling."""

import json
import pickle

import numpy as np
import paddle
import pytest

from convert import CheckpointError
from convert.formats import pdparams
from tests.convert.drawn import write_drawn


def arrays():
    generator = np.random.default_rng(3)
    return {
        "weight": generator.standard_normal((7, 5)).astype(np.float32),
        "fortran": np.asfortranarray(generator.standard_normal((4, 3, 6))),
        "long": np.arange(70_000, dtype=np.float32).reshape(7, -1),
        "scalar": np.array(2.5, np.float32),
        "名前": np.arange(6, dtype=np.int64).reshape(2, 3),
        "half": generator.standard_normal(3).astype(np.float16),
        "flag": np.array([True, False, True]),
        "byte": np.arange(4, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }


def read_all(path):
    return {name: tensor.read() for name, tensor in pdparams.index(path)[0].items()}


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert found[name].flags.c_contiguous, name
        assert (found[name] == array).all(), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_arrays_are_read_in_every_protocol(tmp_path, protocol):
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps(arrays() | {pdparams.NAME_TABLE: {"weight": "linear_0.w_0"}}, protocol))
    assert_equal(read_all(path), arrays())


@pytest.mark.parametrize("old", [b"numpy._core.", b"numpy.core."])
def test_both_homes_of_numpy_s_functions_are_known(tmp_path, old):
    path = tmp_path / "x.pdparams"
    data = pickle.dumps(arrays(), 2)
    assert b"numpy._core." in data
    path.write_bytes(data.replace(b"numpy._core.", old))
    assert_equal(read_all(path), arrays())


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_paddle_saves_is_read(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Linear(5, 3), paddle.nn.LayerNorm(3))
    path = str(tmp_path / "model_state.pdparams")
    paddle.save(layer.state_dict(), path, protocol=protocol)
    found = read_all(tmp_path / "model_state.pdparams")
    assert_equal(found, {name: value.numpy() for name, value in layer.state_dict().items()})
    assert found["0.weight"].shape == (5, 3)


def described(state):
    return {name: (array.dtype.name, array.shape) for name, array in state.items()}


def write(folder, state):
    write_drawn(folder, pdparams.draw([described(state)], {}), state)
    return folder / "model_state.pdparams"


def test_what_we_write_paddle_and_pickle_and_we_read(tmp_path):
    state = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays().items()}
    path = write(tmp_path, state)
    assert_equal(read_all(path), state)
    assert_equal({k: v.numpy() for k, v in paddle.load(str(path)).items()}, state)
    loaded = pickle.loads(path.read_bytes())
    assert loaded.pop(pdparams.NAME_TABLE) == {name: name for name in state}
    assert_equal(loaded, state)


def test_shards_and_their_index_are_one_checkpoint(tmp_path):
    state = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays().items()}
    names = list(state)
    parts = [{name: state[name] for name in names[:2]}, {name: state[name] for name in names[2:]}]
    write_drawn(tmp_path, pdparams.draw([described(part) for part in parts], {}), state)
    for number, part in enumerate(parts, 1):
        shard = tmp_path / f"model_state-0000{number}-of-00002.pdparams"
        assert_equal({name: value.numpy() for name, value in paddle.load(str(shard)).items()}, part)
    index = tmp_path / "model_state.pdparams.index.json"
    assert json.loads(index.read_text())["metadata"] == {"total_size": sum(array.nbytes for array in state.values())}
    found = {name: tensor.read() for name, tensor in pdparams.index_shards(index)[0].items()}
    assert_equal({name: found[name] for name in state}, state)


def test_types_that_the_format_cannot_mark_are_refused_both_ways(tmp_path):
    path = tmp_path / "x.pdparams"
    for array, first in ((np.zeros(3, np.uint16), "bfloat16"), (np.zeros(3, np.int8), "int8")):
        path.write_bytes(pickle.dumps({"w": array}))
        with pytest.raises(
            CheckpointError, match=f"w: {array.dtype} may stand for another type.* say --stored-as {first} or"
        ):
            pdparams.index(path)
    with pytest.raises(CheckpointError, match=r"cannot mark the type of w \(bfloat16\); use --dtype float32"):
        pdparams.draw([{"w": ("bfloat16", (3,))}], {})


def test_code_inside_a_known_call_is_refused(tmp_path):
    """Only known names, but put together so that numpy would look one of them up and call it."""
    path = tmp_path / "x.pdparams"
    path.write_bytes(b"\x80\x02}(X\x01\x00\x00\x00wc_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86Rtu.")
    with pytest.raises(CheckpointError, match=r"x\.pdparams: "):
        pdparams.index(path)


@pytest.mark.parametrize(
    "value",
    [
        np.array([None, "text"], dtype=object),
        np.zeros(3, dtype=[("a", "f4")]),
        np.zeros(3, dtype=">f4"),
        np.array(["text"]),
        np.zeros(3, dtype=np.complex64),
        3,
        None,
        {"inner": np.zeros(2)},
    ],
)
def test_what_is_no_plain_array_is_refused(tmp_path, value):
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"w": value}))
    with pytest.raises(CheckpointError, match=r"w is (not a plain|stored as)"):
        pdparams.index(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_truncation_is_refused(tmp_path, protocol):
    path = tmp_path / "x.pdparams"
    data = pickle.dumps({"w": np.ones((40, 30), np.float32)}, protocol)
    for length in range(0, len(data), 61):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"x\.pdparams: (truncated|malformed)"):
            pdparams.index(path)


DEEP = b")" + b"\x85" * 300_000  # a tuple in a tuple in a tuple …: to hash or to print it would overflow the C stack
NAMED = b"\x80\x02}(X\x01\x00\x00\x00w"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "data",
    [
        NAMED + DEEP + b"u.",
        b"\x80\x02}(" + DEEP + b"K\x01u.",
        NAMED + DEEP + b")Ru.",
        NAMED + RECONSTRUCT + DEEP + b"\x85Ru.",
        NAMED
        + RECONSTRUCT
        + b"cnumpy\nndarray\n\x85R(K\x01)cnumpy\ndtype\n"
        + DEEP
        + b"R(K\x03X\x01\x00\x00\x00<NNNtb\x89Ntbu.",
        DEEP + b".",
    ],
)
def test_deep_nesting_is_refused_without_a_crash(tmp_path, data):
    path = tmp_path / "x.pdparams"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.pdparams: "):
        pdparams.index(path)


def test_a_wrong_number_of_bytes_is_refused(tmp_path):
    path = tmp_path / "x.pdparams"
    data = pickle.dumps({"w": np.ones((5, 7), np.float32)}, 4)
    path.write_bytes(data.replace(b"K\x05K\x07", b"K\x05K\x08"))
    with pytest.raises(CheckpointError, match=r"w: 140 bytes, but shape \(5, 8\) of float32 takes 160"):
        pdparams.index(path)
