"""Checkpoints that transformers wrote, read straight by `align --checkpoint`; and every way in which one can be bad."""

import json
import shutil

import numpy as np
import pytest

from align.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "plumb", "line", "hangs", "true", "##s", "wall", "."]


@pytest.fixture(scope="module")
def electra(tmp_path_factory):
    """A small ELECTRA discriminator, as transformers saves it, with a vocabulary."""
    import torch
    from transformers import ElectraConfig, ElectraForPreTraining

    folder = tmp_path_factory.mktemp("electra")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "embedding_size": 16, "num_attention_heads": 3, "intermediate_size": 40}
    config = ElectraConfig(vocab_size=len(WORDS), num_hidden_layers=2, max_position_embeddings=32, **sizes)
    model = ElectraForPreTraining(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture(scope="module")
def funnel(tmp_path_factory):
    """A small Funnel masked language model, saved as `pytorch_model.bin`."""
    import torch
    from transformers import FunnelConfig, FunnelForMaskedLM

    folder = tmp_path_factory.mktemp("funnel")
    torch.manual_seed(0)
    sizes = {"d_model": 20, "n_head": 3, "d_head": 6, "d_inner": 28}
    model = FunnelForMaskedLM(FunnelConfig(vocab_size=37, block_sizes=[1, 2], **sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder, safe_serialization=False)
    assert (folder / "pytorch_model.bin").is_file()
    return folder


@pytest.fixture
def broken(electra, tmp_path):
    """A copy to break."""
    shutil.copytree(electra, tmp_path / "broken")
    return tmp_path / "broken"


def step1(checkpoint, *more):
    model = "funnel" if "funnel" in str(checkpoint) else "electra"
    return main(["step1", "--model", model, "--checkpoint", str(checkpoint), "--in-process", "--quiet", *more])


def refused(capsys, checkpoint, *more):
    assert step1(checkpoint, *more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


def rewrite(folder, change):
    """Change the tensors of a checkpoint's safetensors file in place."""
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_the_task_is_the_one_the_checkpoint_names(electra, capsys, tmp_path):
    assert step1(electra, "--json", str(tmp_path / "r.json")) == 0
    case = json.loads((tmp_path / "r.json").read_text())["case"]
    assert (case["task"], case["variant"], case["checkpoint"]) == ("replaced_token", "checkpoint", str(electra))
    assert capsys.readouterr().out.startswith("PARITY")


def test_a_pytorch_bin_is_read_without_its_pickle_being_trusted(funnel, capsys):
    assert step1(funnel) == 0
    assert capsys.readouterr().out.startswith("PARITY")


def test_text_is_tokenised_with_the_checkpoints_vocabulary(electra, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("The plumb lines hangs true.\nThe wall.\tThe line hangs.\n")
    assert step1(electra, "--text", str(tmp_path / "text.txt")) == 0
    assert capsys.readouterr().out.startswith("PARITY")


def test_a_users_batch_is_compared(electra, tmp_path, capsys):
    ids = np.random.default_rng(0).integers(0, len(WORDS), (2, 9))
    np.savez(tmp_path / "b.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=ids % 2)
    assert step1(electra, "--batch", str(tmp_path / "b.npz")) == 0
    assert capsys.readouterr().out.startswith("PARITY")


def test_missing_unexpected_and_misshapen_keys_are_all_listed(broken, capsys):
    def change(tensors):
        del tensors["electra.encoder.layer.1.output.dense.bias"]
        del tensors["electra.embeddings.LayerNorm.weight"]
        tensors["electra.encoder.layer.0.output.dense.bias"] = np.zeros(23, np.float32)
        tensors["electra.encoder.layer.7.output.dense.bias"] = np.zeros(24, np.float32)

    rewrite(broken, change)
    said = refused(capsys, broken)
    for name in ("layer.1.output.dense.bias", "embeddings.LayerNorm.weight", "layer.0.output.dense.bias", "layer.7"):
        assert name in said
    assert "(23,)" in said


def test_a_checkpoint_of_another_head_is_refused(electra, capsys):
    said = refused(capsys, electra, "--task", "masked_lm")
    assert "generator_lm_head" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(broken, capsys, value):
    def change(tensors):
        tensors["electra.encoder.layer.1.output.dense.weight"][3, 5] = value

    rewrite(broken, change)
    said = refused(capsys, broken)
    assert "electra.encoder.layer.1.output.dense.weight" in said


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_file_is_refused(broken, capsys, keep):
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors" in refused(capsys, broken)


def test_a_truncated_bin_is_refused(funnel, tmp_path, capsys):
    shutil.copytree(funnel, tmp_path / "funnel")
    path = tmp_path / "funnel" / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-100])
    assert "pytorch_model.bin" in refused(capsys, tmp_path / "funnel")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling"),
        ({"hidden_act": "swiglu"}, "hidden_act"),
    ],
)
def test_a_configuration_that_matters_and_is_not_known_is_refused(broken, capsys, change, said):
    config = json.loads((broken / "config.json").read_text()) | change
    (broken / "config.json").write_text(json.dumps(config))
    assert said in refused(capsys, broken)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(broken, capsys, name):
    (broken / name).unlink()
    assert name in refused(capsys, broken)


def test_broken_json_is_refused(broken, capsys):
    (broken / "config.json").write_text("{")
    assert "config.json" in refused(capsys, broken)


def test_ids_beyond_the_checkpoints_vocabulary_are_refused(electra, tmp_path, capsys):
    ids = np.full((2, 9), len(WORDS))
    np.savez(tmp_path / "b.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=ids * 0)
    assert "input_ids" in refused(capsys, electra, "--batch", str(tmp_path / "b.npz"))


def converted(source, destination):
    """The same checkpoint for PaddleNLP."""
    from convert.__main__ import main as convert

    assert convert([str(source), str(destination), "--to", "paddlenlp"]) == 0
    return destination


def test_the_paddle_side_may_take_the_checkpoint_from_another_layout(electra, tmp_path, capsys):
    other = converted(electra, tmp_path / "paddlenlp")
    capsys.readouterr()
    assert step1(electra, "--paddle-checkpoint", str(other), "--json", str(tmp_path / "r.json")) == 0
    assert json.loads((tmp_path / "r.json").read_text())["case"]["paddle_checkpoint"] == str(other)
    assert capsys.readouterr().out.startswith("PARITY")


def test_a_paddle_checkpoint_with_other_weights_is_found_out(electra, broken, tmp_path, capsys):
    def change(tensors):
        tensors["electra.encoder.layer.0.output.dense.bias"][3] += 1e-5

    rewrite(broken, change)
    mixed = ["--paddle-checkpoint", str(converted(broken, tmp_path / "paddlenlp"))]
    assert step1(electra, *mixed) == 1
    assert "blamed on electra.encoder.layer.0.output.dense" in capsys.readouterr().out
    recording = str(tmp_path / "torch.rec")
    assert step1(electra, *mixed, "--framework", "torch", "--record", recording) == 0
    assert "RECORDED" in capsys.readouterr().out
    assert step1(electra, *mixed, "--against", recording) == 1
    assert "blamed on electra.encoder.layer.0.output.dense" in capsys.readouterr().out
    assert "for --paddle-checkpoint use --against" in refused(
        capsys, electra, *mixed, "--framework", "paddle", "--record", recording
    )


def test_a_paddle_checkpoint_with_another_configuration_is_found_out(electra, tmp_path, capsys):
    other = converted(electra, tmp_path / "paddlenlp")
    config = json.loads((other / "config.json").read_text()) | {"layer_norm_eps": 1e-5}
    (other / "config.json").write_text(json.dumps(config))
    assert step1(electra, "--paddle-checkpoint", str(other)) == 1


def test_a_layout_that_no_file_tells_can_be_named(broken, capsys):
    from safetensors.numpy import load_file, save_file

    save_file(load_file(broken / "model.safetensors"), broken / "model.safetensors")
    config = json.loads((broken / "config.json").read_text())
    del config["transformers_version"]
    (broken / "config.json").write_text(json.dumps(config))
    assert "nothing tells its layout" in refused(capsys, broken)
    assert step1(broken, "--layout", "transformers") == 0


def test_a_paddle_checkpoint_alone_is_compared_with_nothing(electra, capsys):
    assert main(["step1", "--model", "electra", "--paddle-checkpoint", str(electra)]) == 2
    assert "name that one with --checkpoint" in capsys.readouterr().err
