"""pytorch_model.bin: the same tensors as torch.load, none of its trust."""

import collections
import contextlib
import io
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch

from convert import CheckpointError
from convert.arrays import widen_bfloat16
from convert.formats import torch_bin


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
    }
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


class Evil:
    """Asks the reader to run something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def evil_pickles(marker):
    """Pickles that would create the file `marker`, or run code, if any of them were believed."""
    touch = f"open({str(marker)!r}, 'w').close()"
    nested = Evil(collections.OrderedDict, [["weight", Evil(eval, touch)]])
    return {
        "system": {"weight": Evil(os.system, f"touch {marker}")},
        "eval": {"weight": Evil(eval, touch)},
        "nested": {"outer": [nested]},
        "top": Evil(exec, touch),
        "key": {Evil(eval, touch): 1},
    }


KINDS = ("system", "eval", "nested", "top", "key")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, kind, protocol):
    marker, path = tmp_path / "was-run", tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(evil_pickles(marker)[kind], protocol))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: it asks for .*nothing was run"):
        torch_bin.index(path)
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_malicious_pickles_would_work_on_a_trusting_reader(tmp_path, kind):
    marker = tmp_path / "was-run"
    pickle.loads(pickle.dumps(evil_pickles(marker)[kind]))
    assert marker.exists()


def test_a_file_of_old_torch_is_refused_with_what_to_do(tmp_path):
    torch.save(tensors(), tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before 1\.6.*save it again"):
        torch_bin.index(tmp_path / "old.bin")


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
    with pytest.raises(CheckpointError, match="w is not a tensor"):
        torch_bin.index(gone)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="no zip file"):
        torch_bin.index(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        torch_bin.index(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}) * 1000)
    with pytest.raises(CheckpointError, match="compressed"):
        torch_bin.index(path)
    big_endian = rewritten(save(tmp_path / "y.bin", tensors()), lambda n, d: b"big" if n.endswith("byteorder") else d)
    with pytest.raises(CheckpointError, match="big-endian"):
        torch_bin.index(big_endian)


@pytest.mark.parametrize("value", [[torch.ones(2)], {"model": {"w": torch.ones(2)}}, {"step": 3}, {"w": None}])
def test_what_is_no_state_dict_is_refused(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"not a (state dict|tensor of a plain state dict)"):
        torch_bin.index(save(tmp_path / "x.bin", value))


def test_unknown_tensor_types_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"it asks for torch\.\w+"):
        torch_bin.index(save(tmp_path / "x.bin", {"w": torch.ones(2, dtype=torch.complex64)}))


def test_damage_anywhere_in_the_pickle_never_escapes_as_another_error(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.randn(2, 3), "b": torch.randn(3)})
    generator = np.random.default_rng(0)
    outcomes = collections.Counter()
    for _ in range(300):
        position, value = generator.random(), int(generator.integers(256))

        def flip(name, data, position=position, value=value):
            at = int(position * len(data))
            return data[:at] + bytes([value]) + data[at + 1 :] if name.endswith("data.pkl") else data

        try:
            for tensor in torch_bin.index(rewritten(path, flip))[0].values():
                tensor.read()
            outcomes["read"] += 1
        except CheckpointError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 100


def test_damage_anywhere_in_the_file_never_escapes_as_another_error(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.randn(2, 3), "b": torch.randn(3)})
    whole, generator = path.read_bytes(), np.random.default_rng(1)
    for _ in range(600):
        at = int(generator.integers(len(whole)))
        path.write_bytes(whole[:at] + bytes([int(generator.integers(256))]) + whole[at + 1 :])
        with contextlib.suppress(CheckpointError):
            for tensor in torch_bin.index(path)[0].values():
                tensor.read()


def test_records_are_found_whatever_the_archive_is_called(tmp_path):
    path = save(tmp_path / "first.bin", {"w": torch.arange(3.0)})
    shutil.move(path, tmp_path / "second.bin")
    found, _ = torch_bin.index(tmp_path / "second.bin")
    assert found["w"].read().tolist() == [0, 1, 2]
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3.0)}, buffer)
    (tmp_path / "third.bin").write_bytes(buffer.getvalue())
    assert torch_bin.index(tmp_path / "third.bin")[0]["w"].read().tolist() == [0, 1, 2]
