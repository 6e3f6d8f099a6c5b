"""The form of torch.save before 1.6: the same tensors as torch.load, and every departure from it refused."""

import io
import pickle

import pytest
import torch

from convert import CheckpointError
from convert.formats import torch_bin
from convert.formats.stored import WORDS
from tests.convert.test_torch_bin import drawable, tensors


def save(path, state, protocol=2):
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_kind_of_view_reads_as_torch_load_reads_it(tmp_path, protocol):
    path = save(tmp_path / "pytorch_model.bin", tensors(), protocol)
    found, metadata = torch_bin.index(path)
    assert metadata == {}
    assert list(found) == list(tensors())
    expected = torch.load(path, weights_only=True) if protocol == 2 else torch.load(path, weights_only=False)
    for name, tensor in expected.items():
        array, wanted = found[name].read(), tensor.detach().numpy()
        assert array.dtype == wanted.dtype, name
        assert array.flags.c_contiguous, name
        assert array.shape == wanted.shape, name
        assert (array == wanted).all(), name


def test_every_type_comes_bit_for_bit(tmp_path):
    state, words = drawable()
    found, _ = torch_bin.index(save(tmp_path / "x.bin", state))
    assert {tensor.dtype for tensor in found.values()} == set(WORDS)
    for name, tensor in found.items():
        assert (tensor.read() == words[name]).all(), name


def test_a_module_s_state_dict_with_its_metadata_is_read(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    found, _ = torch_bin.index(save(tmp_path / "x.bin", state))
    assert {name: tensor.shape for name, tensor in found.items()} == {name: tuple(t.shape) for name, t in state.items()}
    assert (found["0.weight"].read() == state["0.weight"].numpy()).all()


def parts(path):
    """The five pickles of a file, as bytes, and what follows them."""
    from pickletools import genops

    file, found = io.BytesIO(path.read_bytes()), []
    for _ in range(5):
        start = file.tell()
        for _ in genops(file):
            pass
        found.append(file.getvalue()[start : file.tell()])
    return found, file.read()


def joined(path, pickles, storages):
    path.write_bytes(b"".join(pickles) + storages)
    return path


def with_state(path, change):
    """The same file with the bytes of the state dict's pickle changed."""
    pickles, storages = parts(path)
    pickles[3] = change(pickles[3])
    return joined(path, pickles, storages)


def test_a_file_of_python_2_and_a_gpu_is_read(tmp_path):
    """str is pickled as such by Python 2, an OrderedDict with its items; storages on a GPU have a type of their own."""
    path = save(tmp_path / "x.bin", {"w": torch.arange(6.0).reshape(2, 3)})
    (magic, version, machine, _, _), _ = parts(path)
    storage = b"(U\x07storagectorch.cuda\nFloatStorage\nU\x0294U\x06cuda:0K\x06NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86tR"
    state = b"\x80\x02ccollections\nOrderedDict\n(](](T\x01\0\0\0w" + tensor + b"eetR."
    storages = (6).to_bytes(8, "little") + torch.arange(6.0).numpy().tobytes()
    joined(path, [magic, version, machine, state, b"\x80\x02](U\x0294e."], storages)
    assert torch_bin.index(path)[0]["w"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_storage_that_is_a_part_of_another_begins_where_it_says(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.arange(10.0)[:4]})
    before = b"K\nNtq\x07Q"
    with_state(path, lambda data: data.replace(before, b"K\n(X\x01\0\0\0vK\x03K\x05ttq\x07Q"))
    assert torch_bin.index(path)[0]["w"].read().tolist() == [3, 4, 5, 6]
    assert torch.load(path, weights_only=True)["w"].tolist() == [3, 4, 5, 6]
    with_state(path, lambda data: data.replace(b"vK\x03", b"vK\x07"))
    with pytest.raises(CheckpointError, match=r"w: shape \(4,\) at 7 does not fit its storage of 10 elements"):
        torch_bin.index(path)


def pickled(*values):
    return [pickle.dumps(value, 2) for value in values]


FAULTS = {
    "another magic number": (lambda p, s: (pickled(1) + p[1:], s), "not a file of torch.save"),
    "another version": (lambda p, s: (p[:1] + pickled(1002) + p[2:], s), "a version of torch.save's older form"),
    "a big-endian machine": (
        lambda p, s: (p[:2] + pickled({"little_endian": False}) + p[3:], s),
        "written on a big-endian machine",
    ),
    "no facts": (lambda p, s: (p[:2] + pickled(None) + p[3:], s), "written on a big-endian machine"),
    "no state dict": (lambda p, s: (p[:3] + pickled([1]) + p[4:], s), "holds a list, not a state dict"),
    "no keys": (lambda p, s: (p[:4] + pickled({}), s), "no list of storages"),
    "keys that are numbers": (lambda p, s: (p[:4] + pickled([0]), s), "no list of storages"),
    "a foreign key": (lambda p, s: (p[:4] + pickled(["7"]), s), "storage 7 belongs to no tensor"),
    "no key": (lambda p, s: (p[:4] + pickled([]), b""), "w: its storage .* is not in the file"),
    "trailing bytes": (lambda p, s: (p, s + b"\0"), "trailing bytes"),
    "another count": (lambda p, s: (p, b"\x05" + s[1:]), "has 5 elements, not 6"),
    "a huge count": (lambda p, s: (p, b"\xff" * 8 + s[8:]), "has 18446744073709551615 elements"),
    "a storage cut off": (lambda p, s: (p, s[:-1]), "truncated, or malformed: storage"),
    "no storage": (lambda p, s: (p, b""), "truncated, or malformed: storage"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(tmp_path, fault):
    change, told = FAULTS[fault]
    path = save(tmp_path / "x.bin", {"w": torch.arange(6.0)})
    joined(path, *change(*parts(path)))
    with pytest.raises(CheckpointError, match=rf"x\.bin: .*{told}"):
        torch_bin.index(path)


def test_a_storage_that_stands_twice_is_refused(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.arange(6.0)})
    pickles, storages = parts(path)
    joined(path, pickles[:4] + pickled(pickle.loads(pickles[4]) * 2), storages * 2)
    with pytest.raises(CheckpointError, match="stands twice"):
        torch_bin.index(path)


def test_every_truncation_is_refused(tmp_path):
    path = save(tmp_path / "x.bin", {"w": torch.arange(6.0), "b": torch.ones(3).half()})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            torch_bin.index(path)
