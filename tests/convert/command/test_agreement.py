"""--check-forward: both sides are run, and what they compute decides."""

import contextlib
import io
import json
import pickle
import subprocess

import pytest

import align.__main__
from convert import open_checkpoint
from convert.__main__ import main
from convert.command import agreement
from tests.convert import published
from tests.convert.support import tiny, torch_state, write_folder

NAME = "ElectraForPreTraining"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    config = tiny("electra") | {"model_type": "electra", "architectures": [NAME]}
    return write_folder(tmp_path_factory.mktemp("electra") / "source", torch_state("electra", NAME), config)


def test_both_sides_agree_after_a_conversion(tmp_path, source, capsys):
    report = tmp_path / "report.json"
    assert (
        main([str(source), str(tmp_path / "out"), "--to", "paddlenlp", "--check-forward", "--json", str(report)]) == 0
    )
    assert "both sides on fake data: PARITY" in capsys.readouterr().out
    (entry,) = json.loads(report.read_text())["conversions"]
    assert entry["agreement"]["passed"]
    assert entry["agreement"]["comparisons"] > 100


@pytest.fixture
def in_this_process(monkeypatch):
    """The same command without the seconds that two new processes take."""

    def run(command, **options):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = align.__main__.main([str(part) for part in command[3:]] + ["--in-process"])
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.usefixtures("in_this_process")
def test_weights_that_changed_on_the_way_are_a_disagreement_and_exit_1(tmp_path, source, capsys, monkeypatch):
    def then_damage(transfer, given, part, destination):
        path = destination / "model_state.pdparams"
        state = pickle.loads(path.read_bytes())
        state["electra.encoder.layers.0.linear1.bias"][2] += 1e-6
        path.write_bytes(pickle.dumps(state, 4))
        return honest(transfer, given, part, destination)

    honest = agreement.compare
    monkeypatch.setattr("convert.command.job.compare", then_damage)
    assert main([str(source), str(tmp_path / "out"), "--to", "paddlenlp", "--check-forward"]) == 1
    output, error = capsys.readouterr()
    assert "wrote and verified" in output
    assert error.startswith("convert: NO PARITY: first divergence at electra.encoder.layer.0.intermediate.dense:out")


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("part", ["discriminator", "generator"])
def test_each_part_of_an_original_electra_is_what_it_was(tmp_path, capsys, part):
    names = published.trained(published.electra(61, 24, 128, 56, 2, 64, 36, positions=48))
    folder = published.write_bundle(tmp_path / "electra", published.arrays(names))
    command = [str(folder), str(tmp_path / part), "--to", "paddle", "--check-forward", "--part", part]
    assert main(command) == 0
    assert "electra, tf → paddle: wrote and verified" in (output := capsys.readouterr().out)
    assert "both sides on fake data: PARITY" in output
    assert f"which --part {'generator' if part == 'discriminator' else 'discriminator'} takes" in output


@pytest.mark.usefixtures("in_this_process")
def test_what_cannot_be_compared_is_written_all_the_same_and_exit_2(tmp_path, capsys):
    state = {
        "electra.encoder.layer.0.output.dense.bias": torch_state("electra", NAME)["electra.embeddings.LayerNorm.bias"]
    }
    folder = write_folder(tmp_path / "part", state, tiny("electra") | {"architectures": [NAME]})
    command = [str(folder), str(tmp_path / "out"), "--model", "electra", "--to", "paddle", "--check-forward"]
    assert main(command) == 2
    output, error = capsys.readouterr()
    assert "wrote and verified 1 tensors" in output
    assert "is written, but both sides could not be compared: " in error
    assert "missing: " in error
    assert len(error.splitlines()) == 1
    assert open_checkpoint(tmp_path / "out").names
