"""The command line as programs and people use it: exit codes, one clear line, JSON, nothing half-written."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import align.reports.json
import align.stages
from align.__main__ import main
from align.errors import CannotCompareError
from tests.align.commands import refused
from tests.align.reports import samples

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    """One command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "align", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def test_step1_is_green_in_two_workers(tmp_path):
    path = tmp_path / "report.json"
    files = {kind: tmp_path / f"report.{kind}" for kind in ("html", "junit", "markdown")}
    others = [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    done = run("step1", "--model", "funnel", "--json", str(path), *others)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PARITY" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr  # no colours, and no progress, where nobody watches
    assert [file.read_text()[:14] for file in files.values()] == ["<!DOCTYPE html", "<?xml version=", "### ✅ PARITY: "]
    report = json.loads(path.read_text())
    assert report["schema"] == 1
    jsonschema.validate(report, align.reports.json.schema())
    assert report["passed"] is True
    assert report["command"][:6] == ["python", "-m", "align", "step1", "--model", "funnel"]
    assert report["modules"]["funnel.encoder"] == {"torch": "FunnelEncoder", "paddle": "FunnelEncoder"}
    assert report["case"] == {"model": "funnel", "task": "masked_lm", "variant": "tiny", "seed": 0}
    stage = report["stages"][0]
    assert (stage["stage"], stage["passed"], stage["first_divergence"], stage["blame"]) == ("forward", True, None, [])
    assert {d["probe"] for d in stage["diffs"]} == {"default", "saturated"}
    keys = "name kind status shape dtype mean_abs max_abs rms noise ratio limit worst_at max_ulp"
    for row in stage["diffs"]:
        assert set(keys.split()) <= set(row)
        assert row["status"] == "ok"
        assert row["ratio"] <= 0.1
    assert any(row["name"] == "<root>:out.logits" for row in stage["float32_end_to_end"])


def test_forward_is_another_name_for_step1_and_quiet_is_one_line(capsys):
    assert main(["forward", "--model", "electra", "--in-process", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert len(out.strip().splitlines()) == 1
    assert out.startswith("PARITY")


def test_out_writes_the_report_and_reprod_log_its_files(tmp_path, capsys):
    folders = ["--out", str(tmp_path / "new"), "--reprod-log", str(tmp_path / "logs")]
    assert main(["step1", "--model", "electra", "--in-process", *folders]) == 0
    names = ["forward_diff.log", "forward_paddle.npy", "forward_torch.npy"]
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == names
    assert json.loads((tmp_path / "new" / "report.json").read_text())["passed"]
    assert "PARITY" in (tmp_path / "new" / "report.txt").read_text()
    assert "Parity</h1>" in (tmp_path / "new" / "report.html").read_text()
    assert "PARITY" in capsys.readouterr().out


def test_list_shows_every_model_task_and_variant(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for word in ("electra", "funnel", "question_answering", "xlarge-base", "zh-small", "tiny"):
        assert word in out


@pytest.mark.parametrize("arguments", [["--help"], ["step1", "--help"]])
def test_help_teaches_with_examples_and_imports_nothing_heavy(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "exit code: 0 parity" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["step1", "--model", "funel"], "unknown model 'funel': did you mean 'funnel'?"),
        (["step1", "--model", "electra", "--task", "masked_ml"], "did you mean 'masked_lm'?"),
        (["step1", "--model", "electra", "--variant", "smal"], "did you mean 'small'?"),
        (["step1", "--model", "electra", "--variant", "qqqq"], "choose from tiny, small"),
        (["step1"], "--model"),
        (["step9", "--model", "electra"], "step9"),
        (["step1", "--model", "electra", "--batch-size", "0"], "not a positive number"),
        (["step1", "--model", "electra", "--checkpoint", "/nowhere"], "/nowhere"),
        (["step1", "--model", "electra", "--batch", "/nowhere.npz"], "/nowhere.npz"),
        (["step1", "--model", "electra", "--text", "a.txt"], "--text needs --checkpoint"),
        (["step1", "--model", "electra", "--text", "a", "--batch", "b"], "leave one out"),
        (["step1", "--model", "electra", "--checkpoint", "a", "--variant", "small"], "leave one out"),
        (["step1", "--model", "electra", "--json", "/nowhere/report.json"], "make it first"),
        (["step1", "--model", "electra", "--junit", "/nowhere/report.xml"], "--junit /nowhere/report.xml"),
        (["step1", "--model", "electra", "--html", "/tmp"], "--html /tmp: this is a folder, name a file"),
        (["step1", "--model", "electra", "--torch-python", "/nowhere/python"], "/nowhere/python"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_2(capsys, arguments, said):
    assert said in refused(capsys, *arguments, *(["--in-process"] if "--torch-python" not in arguments else []))


def test_a_missing_framework_gives_one_line(capsys, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "paddle" else found(name, *a))
    said = refused(capsys, "step1", "--model", "electra", "--in-process")
    assert "PaddlePaddle is not installed" in said
    assert "pip install paddlepaddle" in said


def test_a_worker_whose_interpreter_lacks_everything_gives_one_line(capsys, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} -S -E "$@"\n')
    python.chmod(0o755)
    said = refused(capsys, "step1", "--model", "electra", "--paddle-python", str(python))
    assert "paddle" in said


def test_a_batch_beyond_the_vocabulary_is_refused(capsys, tmp_path):
    ids = np.full((2, 6), 10**6)
    np.savez(tmp_path / "b.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
    said = refused(capsys, "step1", "--model", "electra", "--in-process", "--batch", str(tmp_path / "b.npz"))
    assert "input_ids" in said
    assert "1000000" in said


def stages_come_to(monkeypatch, **outcomes):
    """Have the stages of `all` come to these ends without running; those that are not named agree."""

    def run(name, subject):
        if isinstance(outcomes.get(name), Exception):
            raise outcomes[name]
        return replace(samples.forward([f"{samples.FAULTY}:out"] if outcomes.get(name) == "red" else ()), stage=name)

    monkeypatch.setattr(align.stages, "_run", run)


def test_all_stops_at_the_first_red_and_says_what_it_makes_meaningless(capsys, monkeypatch):
    stages_come_to(monkeypatch, loss="red")
    assert main(["all", "--model", "electra", "--in-process"]) == 1
    out = capsys.readouterr().out
    assert "✓ init" in out
    assert "✗ loss" in out
    assert "– backward  not run: it stands on loss, which is not green, so it would prove nothing" in out
    assert "– data  not run: loss is not green; it does not stand on that" in out
    assert main(["all", "--model", "electra", "--in-process", "--keep-going"]) == 1
    out = capsys.readouterr().out
    assert "not run" not in out
    assert out.count("This proves nothing yet: it stands on loss, to be mended first.") == 2


def test_all_that_could_not_compare_a_stage_exits_with_2_and_still_writes_its_report(capsys, monkeypatch, tmp_path):
    stages_come_to(monkeypatch, init=CannotCompareError("no kernel"))
    file = tmp_path / "report.json"
    assert main(["all", "--model", "electra", "--in-process", "--quiet", "--json", str(file)]) == 2
    assert capsys.readouterr().out == "UNFINISHED: the init stage could not compare: no kernel\n"
    assert json.loads(file.read_text())["omitted"][0] == {
        "stage": "init",
        "status": "not compared",
        "reason": "no kernel",
    }
    stages_come_to(monkeypatch, init=CannotCompareError("no kernel"), backward="red")
    assert main(["all", "--model", "electra", "--in-process", "--quiet", "--keep-going"]) == 1


@pytest.mark.parametrize("command", [["align", "list"], ["convert", "--help"]])
def test_a_terminal_that_lacks_our_signs_shows_others(command):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "electra" in done.stdout


def test_an_exit_code_does_not_depend_on_who_reads_the_verdict(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    command = [sys.executable, "-m", "align", "diff", *[str(tmp_path / "a.npz")] * 2]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def full(path):
    """As `files.whole` on a disk that is full."""
    raise OSError(28, "No space left on device", str(path.with_name(f".{path.name}.1")))
    yield


@pytest.mark.parametrize(("option", "name"), [("--html", "r.html"), ("--json", "r.json"), ("--out", "folder")])
def test_a_report_that_cannot_be_written_does_not_cost_the_verdict(capsys, monkeypatch, tmp_path, option, name):
    stages_come_to(monkeypatch)
    monkeypatch.setattr("align.files.whole", full)
    path = tmp_path / name
    assert main(["step1", "--model", "electra", "--in-process", "--quiet", option, str(path)]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("PARITY: ")
    assert err == f"align: {option} {path}: cannot be written: No space left on device, choose another place\n"


def test_an_error_of_the_system_that_nobody_has_expected_is_one_line(capsys, monkeypatch):
    def run(options):
        raise OSError(5, "Input/output error", "[/odd]")

    monkeypatch.setattr("align.recording.command.run", run)
    assert "Input/output error: '[/odd]'" in refused(capsys, "diff", "a", "b")
