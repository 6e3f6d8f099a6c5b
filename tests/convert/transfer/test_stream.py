"""A tensor on its way: however it is stored and whatever is done to it, the bytes are those of numpy."""

import dataclasses

import numpy as np
import pytest

from convert import CheckpointError, Keep, Linear
from convert.arrays import widen
from convert.formats.stored import WORDS, StoredTensor
from convert.transfer.stream import BLOCK, Stream, same_tensor

SHAPES = [(3, 5), (1, 1), (16, 16), (17, 300), (2, 70_000), (70_000, 2), (601, 403)]


def values(shape, dtype="float32"):
    """Finite words of every pattern of bits that has a small exponent."""
    generator = np.random.default_rng(7)
    words = generator.integers(0, 1 << 6, shape).astype(WORDS[dtype])
    return (
        words
        if dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
        else generator.standard_normal(shape).astype(words.dtype)
    )


def c_order(path, array, dtype):
    path.write_bytes(b"head!" + array.tobytes())
    return StoredTensor(path, 5, dtype, array.shape)


def named_strides(path, array, dtype):
    path.write_bytes(array.tobytes())
    return StoredTensor(path, 0, dtype, array.shape, tuple(step // array.itemsize for step in array.strides))


def fortran(path, array, dtype):
    path.write_bytes(b"odd" + array.tobytes("F"))
    return StoredTensor(path, 3, dtype, array.shape, (1, array.shape[0]))


def hidden_text(path, array, dtype):
    text = array.tobytes().decode("latin1").encode()
    path.write_bytes(text)
    return StoredTensor(path, 0, dtype, array.shape, None, len(text))


def strided(path, array, dtype):
    """Every third column of what is stored."""
    wide = np.repeat(array, 3, axis=1)
    wide[:, 1::3] = 0
    path.write_bytes(wide.tobytes())
    return StoredTensor(path, 0, dtype, array.shape, (wide.shape[1], 3))


@dataclasses.dataclass(frozen=True)
class Halves(StoredTensor):
    """A tensor that only its own `read` can put together, as a partitioned variable is."""

    @property
    def in_order(self):
        return False

    def read(self):
        whole = StoredTensor(self.path, self.offset, self.dtype, self.shape).read()
        middle = len(whole) // 2
        return np.concatenate([whole[:middle], whole[middle:]])


def partitioned(path, array, dtype):
    return Halves(**vars(c_order(path, array, dtype)))


STORAGES = [c_order, named_strides, fortran, hidden_text, strided, partitioned]


def streamed(stream):
    """The bytes of a stream, whose one buffer is spoilt as soon as a block is consumed."""
    buffer, found = np.empty(max(BLOCK, stream.largest), np.uint8), []
    for block in stream.blocks(lambda count: buffer[:count]):
        found.append(block.tobytes())
        buffer[:] = 0xAA
    return b"".join(found)


@pytest.mark.parametrize("op", [Keep(), Linear()], ids=["keep", "linear"])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_storage_is_streamed_as_numpy_would_write_it(tmp_path, storage, shape, op):
    array = values(shape)
    stream = Stream(storage(tmp_path / "x", array, "float32"), op)
    assert streamed(stream) == np.ascontiguousarray(op.view(array)).tobytes()
    assert stream.nonfinite is None
    assert stream.shape == op.view(array).shape


@pytest.mark.parametrize("op", [Keep(), Linear()], ids=["keep", "linear"])
@pytest.mark.parametrize("dtype", WORDS)
def test_every_type_is_streamed(tmp_path, dtype, op):
    array = values((37, 53), dtype)
    assert streamed(Stream(c_order(tmp_path / "x", array, dtype), op)) == op.view(array).tobytes()


@pytest.mark.parametrize("op", [Keep(), Linear()], ids=["keep", "linear"])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_small_types_are_widened_on_the_way(tmp_path, storage, dtype, op):
    array = values((300, 1000), dtype)
    stream = Stream(storage(tmp_path / "x", array, dtype), op, "float32")
    assert streamed(stream) == np.ascontiguousarray(op.view(widen(array, dtype))).tobytes()


def test_a_scalar_and_an_empty_tensor_pass(tmp_path):
    assert streamed(Stream(c_order(tmp_path / "a", np.array(2.5, np.float32), "float32"))) == np.float32(2.5).tobytes()
    for op in (Keep(), Linear()):
        assert streamed(Stream(c_order(tmp_path / "b", np.empty((0, 4), np.float32), "float32"), op)) == b""


@pytest.mark.parametrize("op", [Keep(), Linear()], ids=["keep", "linear"])
@pytest.mark.parametrize("storage", STORAGES)
def test_where_an_infinity_or_nan_comes_to_stand_is_told(tmp_path, storage, op):
    for place, value in (((0, 0), np.inf), ((410, 399), -np.inf), ((200, 5), np.nan), ((410, 0), np.nan)):
        array = values((411, 400))
        array[place] = value
        stream = Stream(storage(tmp_path / "x", array, "float32"), op)
        streamed(stream)
        target = place if op == Keep() else place[::-1]
        assert stream.nonfinite == target


@pytest.mark.parametrize(
    ("dtype", "word"),
    [("float64", np.nan), ("float16", np.inf), ("bfloat16", 0xFF80), ("float8_e4m3fn", 0xFF), ("float8_e5m2", 0x7D)],
)
def test_every_floating_type_has_its_infinities_found(tmp_path, dtype, word):
    array = values((4, 6), dtype)
    array[2, 3] = word
    stream = Stream(c_order(tmp_path / "x", array, dtype))
    streamed(stream)
    assert stream.nonfinite == (2, 3)


def test_integers_of_any_bits_are_no_infinities(tmp_path):
    stream = Stream(c_order(tmp_path / "x", np.full((3, 4), 0x7F80_0000, np.int32), "int32"))
    streamed(stream)
    assert stream.nonfinite is None


def test_only_what_is_transposed_needs_room_for_the_whole(tmp_path):
    array = values((1000, 1200))
    assert Stream(c_order(tmp_path / "x", array, "float32")).largest == BLOCK
    assert Stream(c_order(tmp_path / "x", array, "float32"), Linear()).largest == array.nbytes
    assert Stream(fortran(tmp_path / "x", array, "float32"), Linear()).largest == BLOCK
    assert Stream(fortran(tmp_path / "x", array, "float32")).largest == array.nbytes


def test_a_source_that_is_gone_or_cut_off_is_told(tmp_path):
    stored = c_order(tmp_path / "x", values((700, 900)), "float32")
    for op in (Keep(), Linear()):
        with (tmp_path / "x").open("r+b") as file:
            file.truncate(1_000_000)
        with pytest.raises(CheckpointError, match="x: has become shorter"):
            streamed(Stream(stored, op))
    (tmp_path / "x").unlink()
    with pytest.raises(CheckpointError, match="x: cannot be read"):
        streamed(Stream(stored))


@pytest.mark.parametrize("storage", STORAGES)
def test_tied_tensors_are_compared_bit_by_bit(tmp_path, storage):
    array = values((500, 600))
    other = array.copy()
    first = c_order(tmp_path / "a", array, "float32")
    assert same_tensor(first, first)
    assert same_tensor(first, storage(tmp_path / "b", array, "float32"))
    other[499, 599] = np.nextafter(other[499, 599], np.float32(9))
    assert not same_tensor(first, storage(tmp_path / "b", other, "float32"))
    assert not same_tensor(first, storage(tmp_path / "b", array.reshape(600, 500), "float32"))
