"""Whole transfers: every output, shards, what a second run keeps, what is refused, and how much memory it takes."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import paddle
import pytest
import torch
import transformers

from convert import CheckpointError, ConvertError, MappingError, convert_state, open_checkpoint
from convert.checksums import file_checksum
from convert.formats import safetensors_file
from convert.transfer import OUTPUTS, VerificationError, plan_transfer, size_of, staging
from tests.convert.support import assert_same, read_all, torch_state, write_folder

CONFIG = {"model_type": "electra", "architectures": ["ElectraForMaskedLM"], "vocab_size": 211}
ROUTES = [
    (target, form)
    for target, forms in OUTPUTS.items()
    if target in ("torch", "paddle", "transformers", "paddlenlp")
    for form in forms
]


@pytest.fixture(scope="module")
def state():
    return torch_state("electra", "ElectraForMaskedLM")


@pytest.fixture
def source(tmp_path, state):
    return write_folder(tmp_path / "source", state, CONFIG)


def planned(source, target="paddle", **options):
    return plan_transfer(open_checkpoint(source), "electra", target, **options)


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [None, "20KB"])
@pytest.mark.parametrize(("target", "form"), ROUTES)
def test_every_output_is_read_back_with_the_right_bits(tmp_path, source, state, target, form, size):
    told = []
    transfer = planned(source, target, form=form, max_shard_size=size)
    written = transfer.run(tmp_path / "out", progress=told.append)
    found = open_checkpoint(tmp_path / "out", target)
    assert (found.layout, found.weights.name.endswith(".index.json")) == (target, size is not None)
    assert_same(read_all(found), convert_state(state, "electra", "transformers", target, CONFIG))
    assert sum(told) == transfer.nbytes == sum(tensor.nbytes for tensor in found.tensors.values())
    assert [file.name for file in written][-1] == "config.json"
    assert sorted(file.name for file in written) == listed(tmp_path / "out")
    for file in written:
        path = tmp_path / "out" / file.name
        assert file.checksum == file_checksum(path, file.checksum.partition(":")[0])
        assert file.nbytes == path.stat().st_size


def test_shards_hold_as_much_as_they_may_in_order(tmp_path, source):
    transfer = planned(source, max_shard_size="20KB")
    transfer.run(tmp_path / "out")
    shards = [b for b in transfer.blueprints if b.tensors]
    sizes = [[open_checkpoint(tmp_path / "out").tensors[name].nbytes for name in shard.tensors] for shard in shards]
    assert len(shards) > 3
    assert all(sum(part) <= 20_000 or len(part) == 1 for part in sizes)
    assert any(sum(part) > 20_000 for part in sizes), "a tensor that is larger than a shard stays alone"
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": transfer.nbytes}
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_transformers_loads_our_shards(tmp_path, form):
    config = transformers.ElectraConfig(
        vocab_size=61,
        embedding_size=12,
        hidden_size=20,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=28,
    )
    model = transformers.ElectraForPreTraining(config)
    model.save_pretrained(tmp_path / "hf")
    planned(tmp_path / "hf", "paddle").run(tmp_path / "paddle")
    planned(tmp_path / "paddle", "transformers", form=form, max_shard_size="10KB").run(tmp_path / "back")
    assert len(listed(tmp_path / "back")) > 4
    loaded, report = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_paddle_loads_our_shards(tmp_path, source, state):
    planned(source, "paddlenlp", max_shard_size="20KB").run(tmp_path / "out")
    found = {}
    for path in (tmp_path / "out").glob("model_state-*.pdparams"):
        found |= {name: value.numpy() for name, value in paddle.load(str(path)).items()}
    assert_same(found, convert_state(state, "electra", "transformers", "paddlenlp", CONFIG))


def test_small_files_go_along(tmp_path, source):
    seen = []

    def beside(written):
        seen.extend(file.name for file in written)
        return {"notes.txt": b"made of " + written[0].checksum.encode()}

    written = planned(source).run(tmp_path / "out", beside=beside)
    assert seen == ["model.safetensors"]
    assert listed(tmp_path / "out") == ["config.json", "model.safetensors", "notes.txt"]
    assert (tmp_path / "out/notes.txt").read_text() == f"made of {written[0].checksum}"


class DiedError(Exception):
    pass


def die_before_placing(tmp_path, source, monkeypatch, **options):
    """A run that has finished all shards, and left its folder as a kill would."""

    def vanish(*arguments, **more):
        raise DiedError

    transfer = planned(source, max_shard_size="20KB", **options)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *arguments, **more: None)
        patch.setattr(staging.Staging, "put_in_place", vanish)
        with pytest.raises(DiedError):
            transfer.run(tmp_path / "out")
    return len([b for b in transfer.blueprints if b.tensors])


def kept(tmp_path, source, **options):
    written = planned(source, max_shard_size="20KB", **options).run(tmp_path / "out", resume=True)
    assert staging.FOLDER not in listed(tmp_path / "out")
    open_checkpoint(tmp_path / "out")
    return sum(file.kept for file in written)


def test_finished_shards_are_kept_if_all_is_as_it_was(tmp_path, source, monkeypatch):
    count = die_before_placing(tmp_path, source, monkeypatch)
    assert kept(tmp_path, source) == count


def test_a_damaged_shard_is_written_again(tmp_path, source, monkeypatch):
    count = die_before_placing(tmp_path, source, monkeypatch)
    path = next((tmp_path / "out" / staging.FOLDER).glob("*00002-of*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert kept(tmp_path, source) == count - 1


@pytest.mark.parametrize("change", ["source", "work", "journal"])
def test_nothing_is_kept_of_other_work(tmp_path, source, state, monkeypatch, change):
    die_before_placing(tmp_path, source, monkeypatch)
    if change == "source":
        write_folder(source, {name: array + 1 for name, array in state.items()}, CONFIG)
    if change == "journal":
        (tmp_path / "out" / staging.FOLDER / staging.JOURNAL).write_bytes(b'{"work": "x')
    assert kept(tmp_path, source, **({"target": "torch"} if change == "work" else {})) == 0


def test_without_resume_what_a_killed_run_left_is_cleared_away(tmp_path, source, monkeypatch):
    die_before_placing(tmp_path, source, monkeypatch)
    written = planned(source).run(tmp_path / "out")
    assert not any(file.kept for file in written)
    assert listed(tmp_path / "out") == ["config.json", "model.safetensors"]


def test_an_infinity_is_found_though_its_shard_was_finished(tmp_path, state, monkeypatch):
    bad = state | {"generator_lm_head.bias": np.full_like(state["generator_lm_head.bias"], np.inf)}
    source = write_folder(tmp_path / "bad", bad, CONFIG)
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"infinity or NaN in what becomes generator_lm_head\.bias at \[0\]"):
            planned(source, max_shard_size="20KB").run(tmp_path / "out", resume=resume)
        assert not (tmp_path / "out").exists()


def test_one_process_at_a_time_writes_to_a_folder(tmp_path, source):
    folder = tmp_path / "out" / staging.FOLDER
    folder.mkdir(parents=True)
    with (folder / staging.LOCK).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="out: another conversion is writing to it"):
            planned(source).run(tmp_path / "out")
    planned(source).run(tmp_path / "out")
    assert listed(tmp_path / "out") == ["config.json", "model.safetensors"]


def test_no_checkpoint_is_put_beside_another(tmp_path, source):
    planned(source, max_shard_size="20KB").run(tmp_path / "out")
    before = listed(tmp_path / "out")
    for options in ({}, {"max_shard_size": "30KB"}, {"target": "paddlenlp"}):
        with pytest.raises(CheckpointError, match=r"out: already holds .*; remove it or name another folder"):
            planned(source, **options).run(tmp_path / "out")
        assert listed(tmp_path / "out") == before


def test_too_little_room_is_told_before_the_work(tmp_path, source, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 9, 1))
    with pytest.raises(CheckpointError, match="out: needs 0 MB, but 0 MB are free"):
        planned(source).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tied_weights_that_differ_are_refused_before_anything_is_written(tmp_path, state):
    other = state | {"generator_lm_head.weight": state["electra.embeddings.word_embeddings.weight"] + 1}
    with pytest.raises(MappingError, match="are one tensor in this model, but their values differ"):
        planned(write_folder(tmp_path / "a", other, CONFIG)).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reader_that_finds_something_else_is_a_failed_verification(tmp_path, source, monkeypatch):
    def wrong(path):
        tensors, metadata = honest(path)
        return dict(list(tensors.items())[1:]), metadata

    from convert import transfer as module

    honest = safetensors_file.index
    monkeypatch.setitem(module.READERS, "model.safetensors", wrong)
    transfer = planned(source, "torch")
    with pytest.raises(VerificationError, match="other names, types or shapes"):
        transfer.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500 * 10**6), ("2GB", 2 * 10**9), ("1.5 gib", 3 << 29), ("10kb", 10_000), (7, 7)]
)
def test_sizes_as_people_write_them(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2TBB", "0", "nan", "2 G B"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConvertError, match="is no size; write 500MB, 2GB or 2GiB"):
        size_of(text)


def test_a_format_that_a_layout_is_not_written_in_is_refused(source):
    with pytest.raises(ConvertError, match=r"layout paddle is written as .*, not as bin"):
        planned(source, form="bin")


MEASURE = """
import sys
from pathlib import Path
from convert.checkpoint import open_checkpoint
from convert.transfer import plan_transfer

plan_transfer(open_checkpoint(sys.argv[1]), "electra", "paddle").run(Path(sys.argv[2]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def test_memory_does_not_grow_with_the_model(tmp_path):
    """A file of 170 MB whose largest transposed tensor has 12 MB."""
    state = {f"encoder.layer.{n}.intermediate.dense.weight": np.ones((1500, 2000), np.float32) for n in range(6)}
    state["embeddings.word_embeddings.weight"] = np.ones((50_000, 500), np.float32)
    source = write_folder(tmp_path / "source", state, CONFIG | {"architectures": ["ElectraModel"]})
    command = [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 100_000_000 + 2 * 12_000_000
