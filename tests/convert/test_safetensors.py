"""safetensors: what the reference package writes and reads, and every malformed header refused."""

import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from convert import CheckpointError
from convert.formats import safetensors_file
from tests.convert.drawn import write_drawn


def state():
    generator = np.random.default_rng(5)
    return {
        "b.flag": np.array([True, False, True]),
        "a.weight": generator.standard_normal((7, 5)).astype(np.float32),
        "c.double": generator.standard_normal((2, 3, 4)),
        "d.half": generator.standard_normal(5).astype(np.float16),
        "e.ids": np.arange(6).reshape(2, 3),
        "f.scalar": np.array(1.5, np.float32),
        "g.byte": np.arange(3, dtype=np.uint8),
        "名前": np.zeros((0, 4), np.float32),
    }


def write(folder, arrays, metadata=None):
    described = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    write_drawn(folder, safetensors_file.draw([described], metadata or {}), arrays)
    return folder / "model.safetensors"


def read_all(path):
    return {name: tensor.read() for name, tensor in safetensors_file.index(path)[0].items()}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert (found[name] == array).all(), name


def test_the_reference_s_files_are_read(tmp_path):
    safetensors.numpy.save_file(state(), tmp_path / "x.safetensors", {"format": "np"})
    assert_equal(read_all(tmp_path / "x.safetensors"), state())
    assert safetensors_file.index(tmp_path / "x.safetensors")[1] == {"format": "np"}


def test_our_files_are_read_by_the_reference_and_by_us(tmp_path):
    path = write(tmp_path, state(), {"format": "pt"})
    assert_equal(safetensors.numpy.load_file(path), state())
    assert_equal(read_all(path), state())
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_every_tensor_is_aligned_to_its_type(tmp_path):
    path = write(tmp_path, state())
    for tensor in safetensors_file.index(path)[0].values():
        assert tensor.offset % safetensors_file.WORDS[tensor.dtype].itemsize == 0


def test_bfloat16_keeps_its_bits(tmp_path):
    tensor = torch.randn(4, 3).bfloat16()
    safetensors.torch.save_file({"w": tensor}, tmp_path / "x.safetensors")
    found, _ = safetensors_file.index(tmp_path / "x.safetensors")
    words = found["w"].read()
    assert (words == tensor.view(torch.uint16).numpy()).all()
    write_drawn(tmp_path, safetensors_file.draw([{"w": ("bfloat16", (4, 3))}], {}), {"w": words})
    assert torch.equal(safetensors.torch.load_file(tmp_path / "model.safetensors")["w"], tensor)


def crafted(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


MALFORMED = {
    "header beyond the file": ({"a": entry(0, 8)}, b"", 10_000, "a header of 10000 bytes"),
    "oversized header": ({"a": entry(0, 8)}, b"", 1 << 62, "truncated, or no safetensors"),
    "no JSON": (b"{nope", b"", None, "bad safetensors header"),
    "no object": (b"[1, 2]", b"", None, "not a JSON object"),
    "deep": (b"[" * 100_000, b"", None, "bad safetensors header"),
    "not text": (b"\xff\xfe{}", b"", None, "bad safetensors header"),
    "name twice": (b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}', b"", None, "a name stands twice"),
    "unknown type": ({"a": entry(0, 8, dtype="C64")}, b"8" * 8, None, "a: dtype C64 is not supported"),
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, b"8" * 12, None, "b at byte 4 overlaps"),
    "same bytes": ({"a": entry(0, 8), "b": entry(0, 8)}, b"8" * 8, None, "b at byte 0 overlaps"),
    "gap": ({"a": entry(0, 8), "b": entry(12, 20)}, b"8" * 20, None, "b at byte 12 leaves a gap"),
    "truncated": (
        {"a": entry(0, 8)},
        b"8" * 7,
        None,
        "truncated: the header describes 8 bytes of data, the file has 7",
    ),
    "trailing": ({"a": entry(0, 8)}, b"8" * 9, None, "trailing bytes"),
    "wrong size": ({"a": entry(0, 8, (3,))}, b"8" * 8, None, r"a: 8 bytes, but shape \(3,\) of F32 takes 12"),
    "negative": ({"a": entry(-8, 0)}, b"", None, "a: bad header entry"),
    "backwards": ({"a": entry(8, 0)}, b"8" * 8, None, "a: -8 bytes"),
    "no numbers": ({"a": entry(0, 8, ("2",))}, b"8" * 8, None, "a: bad header entry"),
    "truth": ({"a": entry(0, 8, (True, 2))}, b"8" * 8, None, "a: bad header entry"),
    "no entry": ({"a": 3}, b"", None, "a: bad header entry"),
    "no dtype": ({"a": {"shape": [], "data_offsets": [0, 4]}}, b"8" * 4, None, "a: bad header entry"),
    "shape a text": ({"a": {"dtype": "F32", "shape": "", "data_offsets": [0, 4]}}, b"8" * 4, None, "a: bad header"),
    "many dimensions": ({"a": entry(0, 8, (1,) * 65)}, b"8" * 8, None, "a: bad header entry"),
    "huge": ({"a": entry(0, 8, (1 << 47,) * 60)}, b"8" * 8, None, "a: 8 bytes, but shape"),
    "beyond all disks": ({"a": entry(0, 8, (1 << 63,))}, b"8" * 8, None, "a: bad header entry"),
    "fractions": ({"a": entry(0.0, 8.0)}, b"8" * 8, None, "a: bad header entry"),
    "three offsets": ({"a": entry(0, 8) | {"data_offsets": [0, 4, 8]}}, b"8" * 8, None, "a: bad header entry"),
    "type a list": ({"a": entry(0, 8, dtype=["F32"])}, b"8" * 8, None, "a: bad header entry"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", b"", None, "bad safetensors header"),
    "a line break in a name": ({"a\nb": 3}, b"", None, r"a\\nb: bad header entry"),
    "metadata": ({"__metadata__": {"format": 1}}, b"", None, "__metadata__"),
    "metadata a text": ({"__metadata__": "pt"}, b"", None, "__metadata__"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_files_are_refused_in_one_line(tmp_path, kind):
    header, data, length, told = MALFORMED[kind]
    path = crafted(tmp_path / "x.safetensors", header, data, length)
    with pytest.raises(CheckpointError, match=told) as caught:
        safetensors_file.index(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_header_that_would_take_much_memory_is_refused_unread(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((80 << 20).to_bytes(8, "little"))
        file.truncate(100 << 20)
    with pytest.raises(CheckpointError, match="a header of 83886080 bytes in a file of 104857600"):
        safetensors_file.index(path)


@pytest.mark.parametrize("length", [0, 3, 8, 20])
def test_a_file_cut_off_early_is_refused(tmp_path, length):
    path = write(tmp_path, state())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="truncated"):
        safetensors_file.index(path)


def test_a_file_that_shrinks_after_it_was_opened_is_noticed(tmp_path):
    path = write(tmp_path, {"w": np.ones((5, 7), np.float32)})
    found, _ = safetensors_file.index(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="has become shorter: 4 bytes are missing at"):
        found["w"].read()
