"""Opening a checkpoint: what is found, what is guessed, what is refused in one line."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from convert import CheckpointError, open_checkpoint
from convert.arrays import contiguous, first_nonfinite, same_bits
from tests.convert.support import read_all, write_folder

CONFIG = {"model_type": "electra", "architectures": ["ElectraModel"]}


def state():
    return {"embeddings_project.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "x": np.arange(5.0)}


def test_config_names_shapes_and_types_are_known_before_anything_is_read(tmp_path):
    checkpoint = open_checkpoint(write_folder(tmp_path / "a", state(), CONFIG))
    checkpoint.weights.unlink()
    assert checkpoint.config == CONFIG
    assert set(checkpoint.names) == set(state())
    assert checkpoint.shapes["embeddings_project.weight"] == (2, 3)
    assert checkpoint.dtypes["x"] == "float64"


def shard(folder, **change):
    """A folder with two shards and their index."""
    write_folder(folder, state(), CONFIG)
    (folder / "model.safetensors").unlink()
    places = {}
    for number, (name, array) in enumerate(state().items(), 1):
        places[name] = f"model-0000{number}-of-00002.safetensors"
        safetensors.torch.save_file({name: torch.from_numpy(array)}, folder / places[name], {"format": "pt"})
    index = {"metadata": {"total_size": 64}, "weight_map": places | change}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_shards_are_one_checkpoint(tmp_path):
    checkpoint = open_checkpoint(shard(tmp_path))
    assert checkpoint.layout == "transformers"
    found = read_all(checkpoint)
    assert all((found[name] == array).all() for name, array in state().items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x": "model-00003-of-00002.safetensors"}, "shard model-00003-of-00002.safetensors is not in the folder"),
        ({"x": "../model-00002-of-00002.safetensors"}, "is not in the folder"),
        ({"y": "model-00002-of-00002.safetensors"}, "disagree on y"),
        ({"x": "model-00001-of-00002.safetensors"}, "disagree on x"),
        ({"x": 3}, "no weight_map"),
    ],
)
def test_an_index_that_its_shards_belie_is_refused(tmp_path, change, told):
    with pytest.raises(CheckpointError, match=told):
        open_checkpoint(shard(tmp_path, **change))


@pytest.mark.parametrize(
    ("metadata", "config", "layout"),
    [
        ({"format": "pt"}, {}, "transformers"),
        ({"format": "np"}, {}, "paddlenlp"),
        ({"other": "x"}, {"transformers_version": "4.57.6"}, "transformers"),
        ({"other": "x"}, {"paddlenlp_version": None}, "paddlenlp"),
        ({"format": "pt", "plumbline_layout": "torch"}, {}, "torch"),
        ({"format": "np", "plumbline_layout": "paddle"}, {}, "paddle"),
    ],
)
def test_the_layout_is_guessed_from_the_mark_the_writer_and_the_configuration(tmp_path, metadata, config, layout):
    assert open_checkpoint(write_folder(tmp_path, state(), config, metadata)).layout == layout


def test_an_unknown_layout_must_be_named_and_a_marked_one_cannot_be_overruled(tmp_path):
    folder = write_folder(tmp_path / "a", state(), {}, {"other": "x"})
    with pytest.raises(CheckpointError, match="name it with --from"):
        open_checkpoint(folder)
    assert open_checkpoint(folder, "paddle").layout == "paddle"
    folder = write_folder(tmp_path / "b", state(), {}, {"plumbline_layout": "torch"})
    with pytest.raises(CheckpointError, match="marked as layout torch, not paddle"):
        open_checkpoint(folder, "paddle")


def test_half_precision_is_widened_exactly_and_on_request(tmp_path):
    values = {"b": torch.randn(7, 3).bfloat16(), "h": torch.randn(5).half(), "f": torch.randn(4), "i": torch.arange(3)}
    write_folder(tmp_path, state(), CONFIG)
    safetensors.torch.save_file(values, tmp_path / "model.safetensors", {"format": "pt"})
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.dtypes == {"b": "bfloat16", "h": "float16", "f": "float32", "i": "int64"}
    for name in "bhf":
        array = checkpoint.read(name, dtype="float32")
        assert array.dtype == np.float32
        assert (array == values[name].float().numpy()).all()
    assert (checkpoint.read("b") == values["b"].float().numpy()).all()
    assert checkpoint.read("h").dtype == np.float16
    assert (checkpoint.words("b") == values["b"].view(torch.uint16).numpy()).all()


def test_a_change_of_type_that_loses_something_is_refused(tmp_path):
    checkpoint = open_checkpoint(write_folder(tmp_path, state(), CONFIG))
    with pytest.raises(CheckpointError, match="x is float64, which float32 cannot hold exactly"):
        checkpoint.read("x", dtype="float32")


def test_every_tensor_with_an_infinity_or_nan_is_named(tmp_path):
    values = {"good": np.ones((3, 2), np.float32), "nan": np.zeros((4, 3), np.float32), "inf": np.zeros(5, np.float16)}
    values["nan"][2, 1] = values["nan"][3, 0] = np.nan
    values["inf"][4] = -np.inf
    checkpoint = open_checkpoint(write_folder(tmp_path / "a", values, CONFIG))
    with pytest.raises(CheckpointError, match=r"infinity or NaN in .*nan at \[2, 1\]") as caught:
        checkpoint.check_finite()
    assert "inf at [4]" in str(caught.value)
    assert "good" not in str(caught.value)
    bfloat16 = torch.tensor([1.0, float("nan")]).bfloat16()
    safetensors.torch.save_file({"w": bfloat16}, tmp_path / "a/model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"w at \[1\]"):
        open_checkpoint(tmp_path / "a").check_finite()
    large = write_folder(tmp_path / "b", {"w": np.full(9, 3e38, np.float32), "i": np.arange(3)}, CONFIG)
    open_checkpoint(large).check_finite()


def test_sums_that_overflow_are_no_infinities():
    assert first_nonfinite(np.full(9, 1.7e308)) is None


def refused(folder, told):
    with pytest.raises(CheckpointError, match=told) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_said_in_one_line(tmp_path):
    refused(tmp_path / "nowhere", "nowhere does not exist")
    folder = write_folder(tmp_path / "a", state(), CONFIG)
    refused(folder / "config.json", "is a file; give the folder")
    (folder / "model.safetensors").unlink()
    refused(
        folder, r"has none of model\.safetensors, .*model_state\.pdparams.*, and no TensorFlow bundle \(\*\.index\)$"
    )
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    refused(folder, r"pytorch_model\.bin\.index\.json: no weight_map")
    (folder / "config.json").unlink()
    refused(folder, r"has no config\.json")


@pytest.mark.parametrize(("text", "told"), [("{", "bad JSON"), ("[1]", "not a JSON object"), ("\ufeff{}", "bad JSON")])
def test_a_bad_configuration_is_refused(tmp_path, text, told):
    folder = write_folder(tmp_path, state(), CONFIG)
    (folder / "config.json").write_text(text, encoding="utf-8")
    refused(folder, told)


def test_an_older_configuration_needs_its_class(tmp_path):
    folder = write_folder(tmp_path, state(), CONFIG)
    shutil.move(folder / "config.json", folder / "model_config.json")
    refused(folder, "no init_class")


def test_a_checkpoint_without_a_tensor_is_refused(tmp_path):
    refused(write_folder(tmp_path, {}, CONFIG), "holds no tensor")


def test_the_panelled_transpose_is_the_transpose():
    generator = np.random.default_rng(0)
    for rows, columns in ((1, 1), (3, 17), (8, 8), (16, 5), (33, 7), (0, 4)):
        array = generator.standard_normal((rows, columns))
        copy = contiguous(array.T)
        assert copy.flags.c_contiguous
        assert copy.shape == (columns, rows)
        assert (copy == array.T).all()
    permuted = contiguous(np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1))
    assert permuted.flags.c_contiguous
    assert (permuted == np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)).all()


def test_equality_of_bits_is_stricter_than_equality():
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    assert same_bits(np.array([np.nan]), np.array([np.nan]))
    assert not same_bits(np.array([1.0]), np.array([1.0], np.float32))
    assert not same_bits(np.zeros((2, 3)), np.zeros((3, 2)))
