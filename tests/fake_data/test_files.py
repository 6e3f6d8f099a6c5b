"""Batches from .npz files: good ones come back as they were, bad ones give one clear error and nothing is unpickled."""

import contextlib
import zipfile

import numpy as np
import pytest

import fake_data
from fake_data import BatchError
from tests.fake_data.cases import CASES, CONFIGS, digest, probe


def load(path, model="electra", task="masked_lm"):
    return fake_data.load_batch(path, model, task, CONFIGS[model])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(("model", "task"), CASES)
def test_round_trip(model, task, save, tmp_path):
    batch = probe(model, task)
    save(tmp_path / "batch.npz", **batch)
    loaded = load(tmp_path / "batch.npz", model, task)
    assert digest(loaded) == digest(batch)


def test_violations_name_the_file(tmp_path):
    path = tmp_path / "batch.npz"
    batch = probe("electra", "masked_lm")
    batch["input_ids"] += 100
    batch["attention_mask"] += 1
    np.savez(path, **batch)
    with pytest.raises(BatchError) as error:
        load(path)
    lines = str(error.value).split("\n")
    assert [line.startswith(f"{path}: ") for line in lines] == [True, True]
    assert "input_ids: " in lines[0]
    assert "attention_mask: 2 at (0, 0)" in lines[1]


def test_objects_are_refused_unread(tmp_path):
    path = tmp_path / "batch.npz"
    np.savez(path, input_ids=np.array([Bomb()], dtype=object))
    with pytest.raises(BatchError, match=r"cannot be read .*allow_pickle"):
        load(path)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_files_that_are_no_batch(tmp_path):
    with pytest.raises(BatchError, match=r"none\.npz: no such file: save the batch"):
        load(tmp_path / "none.npz")
    with pytest.raises(BatchError, match="is a directory"):
        load(tmp_path)
    for name, content in {"empty.npz": b"", "text.npz": b"input_ids: 1 2 3"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BatchError, match=rf"{name}: not an \.npz archive, or cut short"):
            load(tmp_path / name)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(BatchError, match=r"not an \.npz archive"):
        load(tmp_path / "one.npy")
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("input_ids.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': (".ljust(118))
    with pytest.raises(BatchError, match=r"header\.npz: cannot be read"):
        load(tmp_path / "header.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_cut_short_or_damaged_never_passes_for_a_batch(save, tmp_path):
    path, batch = tmp_path / "batch.npz", probe("electra", "masked_lm")
    save(path, **batch)
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:end])
        with pytest.raises(BatchError):
            load(path)
    for place in range(0, len(whole), 61):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(BatchError):  # unless the byte says nothing about the arrays
            assert digest(load(path)) == digest(batch)
