"""pytorch_model.bin: the same tensors as torch.load, none of its trust."""

import io
import json
import pickle
import shutil
import zipfile

import pytest
import torch

from convert import CheckpointError
from convert.arrays import widen_bfloat16
from convert.formats import torch_bin
from convert.formats.stored import WORDS
from tests.convert.drawn import write_drawn


def tensors():
    """Views of all kinds: permuted, strided, offset, expanded, shared, scalar, empty, of every type."""
    base = torch.arange(120.0).reshape(4, 5, 6)
    found = {
        "plain": torch.randn(3, 7),
        "transposed": torch.randn(5, 3).T,
        "permuted": base.permute(2, 0, 1),
        "strided": torch.arange(40.0)[3::4],
        "offset": base[1:, 2:, 1::2],
        "same.storage": base,
        "same.storage.again": base[2],
        "expanded": torch.arange(3.0).expand(4, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 3)),
        "frozen": torch.nn.Parameter(torch.randn(2), requires_grad=False),
        "attribute": torch.nn.Parameter(torch.randn(4)),
    }
    found["attribute"].note = "of no interest"
    for dtype in (
        torch.float64,
        torch.float16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ):
        found[f"type.{dtype}"] = torch.arange(6).reshape(2, 3).to(dtype)
    return found


def save(path, state):
    torch.save(state, path)
    return path


def test_every_kind_of_view_reads_as_torch_load_reads_it(tmp_path):
    path = save(tmp_path / "pytorch_model.bin", tensors())
    found, metadata = torch_bin.index(path)
    expected = torch.load(path, weights_only=True)
    assert metadata == {}
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        array, wanted = found[name].read(), tensor.detach().numpy()
        assert array.dtype == wanted.dtype, name
        assert array.flags.c_contiguous, name
        assert array.shape == wanted.shape, name
        assert (array == wanted).all(), name


def test_bfloat16_comes_as_its_bits_and_widens_exactly(tmp_path):
    tensor = torch.randn(9, 4).bfloat16()
    found, _ = torch_bin.index(save(tmp_path / "x.bin", {"w": tensor}))
    assert found["w"].dtype == "bfloat16"
    assert (widen_bfloat16(found["w"].read()) == tensor.float().numpy()).all()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_module_s_state_dict_with_its_metadata_is_read(tmp_path, protocol):
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    assert hasattr(state, "_metadata")
    torch.save(state, tmp_path / "x.bin", pickle_protocol=protocol)
    found, _ = torch_bin.index(tmp_path / "x.bin")
    assert {name: tensor.shape for name, tensor in found.items()} == {name: tuple(t.shape) for name, t in state.items()}
    assert (found["0.weight"].read() == state["0.weight"].numpy()).all()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = save(tmp_path / "x.bin", tensors())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"x\.bin: "):
        torch_bin.index(path)


def rewritten(path, change):
    """The same archive with `change` applied to each (name, bytes); None leaves a record out."""
    other = path.with_name("changed.bin")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return other


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.randn(5, 7)})
    short = rewritten(path, lambda name, data: data[:-8] if "/data/" in name else data)
    with pytest.raises(CheckpointError, match=r"w: shape \(5, 7\) at 0 does not fit"):
        torch_bin.index(short)
    longer = rewritten(path, lambda name, data: data.replace(b"K\x05K\x07", b"K\x05K\x08") if "pkl" in name else data)
    with pytest.raises(CheckpointError, match=r"w: shape \(5, 8\) at 0 does not fit"):
        torch_bin.index(longer)
    gone = rewritten(path, lambda name, data: None if "/data/" in name else data)
    with pytest.raises(CheckpointError, match="w: its storage 0 is not in the file"):
        torch_bin.index(gone)


def test_one_element_that_unfolds_to_more_than_memory_is_refused(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.zeros(1).expand(1 << 32, 1 << 9)})
    with pytest.raises(
        CheckpointError, match=r"w: shape \(4294967296, 512\) at 0 does not fit its storage of 1 element"
    ):
        torch_bin.index(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.bin"
    for data in (b"version https://git-lfs.github.com/spec/v1\n", b"", b"PK", pickle.dumps({"w": 1}), b"\x80\x02N."):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"x\.bin: (not a file of torch\.save|truncated, or no zip archive)"):
            torch_bin.index(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        torch_bin.index(path)
    big_endian = rewritten(save(tmp_path / "y.bin", tensors()), lambda n, d: b"big" if n.endswith("byteorder") else d)
    with pytest.raises(CheckpointError, match="big-endian"):
        torch_bin.index(big_endian)


@pytest.mark.parametrize("value", [[torch.ones(2)], {"model": {"w": torch.ones(2)}}, {"step": 3}, {"w": None}])
def test_what_is_no_state_dict_is_refused(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"not a (state dict|tensor of a plain state dict)"):
        torch_bin.index(save(tmp_path / "x.bin", value))


def test_values_that_torch_would_change_on_reading_are_refused(tmp_path):
    negated = torch._neg_view(torch.ones(2))
    assert torch.load(save(tmp_path / "x.bin", {"w": negated}), weights_only=True)["w"].tolist() == [-1, -1]
    with pytest.raises(CheckpointError, match="w is not a tensor of a plain state dict"):
        torch_bin.index(tmp_path / "x.bin")


def test_unknown_tensor_types_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"it asks for torch\.\w+"):
        torch_bin.index(save(tmp_path / "x.bin", {"w": torch.ones(2, dtype=torch.complex64)}))


def test_records_are_found_whatever_the_archive_is_called(tmp_path):
    path = save(tmp_path / "first.bin", {"w": torch.arange(3.0)})
    shutil.move(path, tmp_path / "second.bin")
    found, _ = torch_bin.index(tmp_path / "second.bin")
    assert found["w"].read().tolist() == [0, 1, 2]
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3.0)}, buffer)
    (tmp_path / "third.bin").write_bytes(buffer.getvalue())
    assert torch_bin.index(tmp_path / "third.bin")[0]["w"].read().tolist() == [0, 1, 2]


def drawable():
    """Tensors in C order of every type, each with its stored words."""
    generator = torch.Generator().manual_seed(0)
    found = {"weight": torch.randn(3, 7, generator=generator), "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}
    for dtype in WORDS:
        values = torch.randint(0, 2, (2, 5), generator=generator)
        found[f"type.{dtype}"] = values.to(getattr(torch, dtype))
    words = {}
    for name, tensor in found.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        flat = torch.frombuffer(bytearray(tensor.untyped_storage().tolist() or b"x"), dtype=torch.uint8).numpy()
        words[name] = flat[: tensor.nbytes].view(WORDS[dtype]).reshape(tensor.shape)
    return found, words


def described(found):
    return {name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in found.items()}


def test_what_we_draw_torch_and_zipfile_and_we_read(tmp_path):
    found, words = drawable()
    write_drawn(tmp_path, torch_bin.draw([described(found)], {"format": "pt", "名": "前"}), words)
    path = tmp_path / "pytorch_model.bin"
    assert zipfile.ZipFile(path).testzip() is None
    loaded = torch.load(path, weights_only=True)
    assert list(loaded) == list(found)
    for name, tensor in found.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].stride() == tensor.stride()
        assert torch.equal(loaded[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), name
    tensors, metadata = torch_bin.index(path)
    assert metadata == {"format": "pt", "名": "前"}
    for name, tensor in tensors.items():
        assert tensor.offset % 64 == 0
        assert tensor.in_order
        assert (tensor.dtype, tensor.shape) == described(found)[name]
        assert (tensor.read() == words[name]).all()
    torch.save(found, tmp_path / "theirs.bin")
    for name, tensor in torch_bin.index(tmp_path / "theirs.bin")[0].items():
        assert (tensor.dtype, tensor.shape) == described(found)[name]
        assert (tensor.read() == words[name]).all()


def test_shards_and_their_index_are_named_as_transformers_names_them(tmp_path):
    found, words = drawable()
    halves = [dict(list(found.items())[:4]), dict(list(found.items())[4:])]
    drawn = torch_bin.draw([described(half) for half in halves], {})
    assert [blueprint.name for blueprint in drawn] == [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
    ]
    write_drawn(tmp_path, drawn, words)
    index = json.loads((tmp_path / drawn[-1].name).read_text())
    assert index["metadata"] == {"total_size": sum(tensor.nbytes for tensor in found.values())}
    for blueprint, half in zip(drawn, halves, strict=False):
        assert set(torch.load(tmp_path / blueprint.name, weights_only=True)) == set(half)
        assert all(index["weight_map"][name] == blueprint.name for name in half)
    tensors, _ = torch_bin.index_shards(tmp_path / drawn[-1].name)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} == described(found)
    assert all((tensor.read() == words[name]).all() for name, tensor in tensors.items())


@pytest.mark.parametrize("metadata", [b"[]", b'{"a": 1}', b"{", b"[" * 100_000])
def test_metadata_of_another_form_is_refused(tmp_path, metadata):
    write_drawn(tmp_path, torch_bin.draw([{}], {}), {})
    bad = rewritten(tmp_path / "pytorch_model.bin", lambda name, data: metadata if name.endswith("json") else data)
    with pytest.raises(CheckpointError, match=r"metadata\.json"):
        torch_bin.index(bad)
