"""Files that want to run code or take all memory: refused in one line that names what they ask for, nothing run."""

import pickle
import subprocess
import sys
import time

import pytest
import torch

from convert import CheckpointError
from convert.formats import npy, pdparams, torch_bin
from tests.convert import evil

CARRIERS = {
    "zip": (evil.zipped, torch_bin.index, "pytorch_model.bin"),
    "legacy": (evil.legacy, torch_bin.index, "pytorch_model.bin"),
    "pdparams": (evil.plain, pdparams.index, "model_state.pdparams"),
    "npy": (evil.npy, npy.read, "forward_torch.npy"),
}
carriers = pytest.mark.parametrize("carrier", CARRIERS)


def refused(tmp_path, carrier, data, told):
    """The carrier's reader refuses the pickle in one line, at once."""
    write, index, name = CARRIERS[carrier]
    write(tmp_path / name, data)
    started = time.process_time()
    with pytest.raises(CheckpointError, match=told) as caught:
        index(tmp_path / name)
    assert time.process_time() - started < 20
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 300


@carriers
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", evil.objects(""))
def test_a_malicious_object_is_named_and_not_run(tmp_path, carrier, protocol, kind):
    value, asked = evil.objects(tmp_path / "was-run")[kind]
    refused(tmp_path, carrier, pickle.dumps(value, protocol), rf"it asks for {asked}, .*nothing was run")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("kind", [kind for kind in evil.objects("") if kind != "getattr"])
def test_the_malicious_objects_would_work_on_a_trusting_reader(tmp_path, kind):
    value, _ = evil.objects(tmp_path / "was-run")[kind]
    loaded = pickle.loads(pickle.dumps(value))
    assert (tmp_path / "was-run").exists()
    if kind == "open":
        loaded["weight"].close()


@carriers
@pytest.mark.parametrize("kind", evil.CRAFTED)
def test_crafted_instructions_are_named_and_not_run(tmp_path, carrier, kind):
    data, asked = evil.CRAFTED[kind]
    marker = str(tmp_path / "was-run").encode()
    data = data.replace(b"\x0c\0\0\0touch MARKER", (6 + len(marker)).to_bytes(4, "little") + b"touch " + marker)
    refused(tmp_path, carrier, b"\x80\x04" + data + b".", asked)
    assert not (tmp_path / "was-run").exists()


def test_a_reference_to_outside_is_refused_where_there_is_none(tmp_path):
    refused(tmp_path, "pdparams", b"\x80\x02" + evil.text("os.system") + b"Q.", "outside the file")


@pytest.mark.parametrize("carrier", ["zip", "legacy"])
@pytest.mark.parametrize(
    "reference",
    [
        evil.text("module") + evil.KNOWN + b"NN\x86\x86",
        b"(" + evil.text("module") + b"ctorch\nFloatStorage\n" + evil.text("0") + evil.text("cpu") + b"K\x04t",
        b"(" + evil.text("storage") + evil.TWICE + evil.text("0") + evil.text("cpu") + b"K\x04t",
        b"(" + evil.text("storage") + b"ctorch\nFloatStorage\n" + evil.TWICE + evil.text("cpu") + b"K\x04t",
        evil.text("os.system"),
        b"N",
    ],
)
def test_a_reference_to_other_than_a_storage_is_refused(tmp_path, carrier, reference):
    view = b"(" + reference + b"QK\x00K\x04\x85K\x01\x85\x89" + evil.KNOWN + b")Rt"
    data = b"\x80\x02}" + evil.text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + view + b"Rs."
    refused(tmp_path, carrier, data, "w is not a tensor of a plain state dict")


def test_the_tensor_that_these_references_spoil_is_read_when_they_are_right(tmp_path):
    storage = b"(" + evil.text("storage") + b"ctorch\nFloatStorage\n" + evil.text("0") + evil.text("cpu") + b"K\x00Nt"
    view = b"(" + storage + b"QK\x00K\x00\x85K\x01\x85\x89" + evil.KNOWN + b")Rt"
    path = tmp_path / "x.bin"
    start = b"".join(pickle.dumps(part, 2) for part in evil.OLD_START)
    data = b"\x80\x02}" + evil.text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + view + b"Rs."
    path.write_bytes(start + data + pickle.dumps(["0"], 2) + bytes(8))
    assert torch_bin.index(path)[0]["w"].read().shape == (0,)
    assert torch.load(path, weights_only=True)["w"].shape == (0,)


BOUND = """
import resource, sys
from pathlib import Path
from convert import CheckpointError
from convert.formats import pdparams
from tests.convert import evil
path = Path(sys.argv[1])
for kind, data in evil.BOMBS.items():
    path.write_bytes(b"\\x80\\x04" + data + b".")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        pdparams.index(path)
    except CheckpointError as error:
        assert "more than any state dict holds" in str(error), error
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300, kind
        print(kind)
"""


def test_a_bomb_is_refused_before_it_has_taken_much_memory(tmp_path):
    done = subprocess.run([sys.executable, "-c", BOUND, tmp_path / "x"], capture_output=True, text=True)
    assert done.stdout.splitlines() == list(evil.BOMBS), done.stderr


def test_a_large_index_in_the_memo_takes_no_memory(tmp_path):
    (tmp_path / "x").write_bytes(b"\x80\x04}r\xff\xff\xff\xff.")
    assert pdparams.index(tmp_path / "x") == ({}, {})
