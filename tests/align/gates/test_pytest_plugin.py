"""The pytest plugin, in projects of their own: what passes, fails, is skipped, and what the failure shows."""

import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

HEAD = """
import pytest
"""
PROJECT = """
from tests.align.toy import PaddleNet, TorchNet, batch
from tests.pairs import copy_weights, randomise

def toys(eps):
    reference = randomise(TorchNet())
    port = copy_weights(reference, PaddleNet())
    port.block.norm._epsilon = eps
    return reference, port, batch()

@pytest.mark.parity("electra", task="masked_lm", stages=("step1", "loss", "metric"), seed=3)
def test_model():
    pass

@pytest.mark.parity("electra", task="backbone", stages="loss")
def test_not_applicable():
    pass

@pytest.mark.parity("electra", variant="smal")
def test_unknown_variant():
    pass

@pytest.mark.parity("electra")
def test_own_assertion(parity_report):
    assert parity_report.passed
    assert parity_report.stages[0].stage == "loss"

@pytest.mark.parity(stages=("forward", "backward"))
def test_live(assert_parity):
    assert assert_parity(*toys(1e-12)).passed

def test_live_wrong(assert_parity):
    assert_parity(*toys(1e-5))
"""
SETTINGS = '[[models.electra.skip]]\nstage = "metric"\nreason = "scored elsewhere"\n'


def run(folder, source, *arguments):
    """pytest on one test file in a project of its own; its output, and what became of each test."""
    (folder / "test_it.py").write_text(HEAD + source)
    installed = metadata.entry_points(group="pytest11", name="plumbline")
    plugin = [] if installed else ["-p", "pytest_plumbline"]
    command = [sys.executable, "-m", "pytest", *plugin, "--rootdir", str(folder), "-c", os.devnull, "-q"]
    command += ["-p", "no:cacheprovider", "--junit-xml", str(folder / "junit.xml"), *arguments, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if not (folder / "junit.xml").is_file():
        return done, {}, {}
    cases = {case.get("name"): case for case in ET.parse(folder / "junit.xml").iter("testcase")}
    outcomes = {
        name: next((child.tag for child in case if child.tag != "properties" and "system" not in child.tag), "passed")
        for name, case in cases.items()
    }
    return done, outcomes, cases


def test_what_becomes_of_tests(tmp_path):
    (tmp_path / "plumbline.toml").write_text(SETTINGS)
    done, outcomes, cases = run(tmp_path, PROJECT, "--parity-in-process")
    assert done.returncode == 1
    assert outcomes == {
        "test_model[forward]": "passed",
        "test_model[loss]": "passed",
        "test_model[metric]": "skipped",
        "test_not_applicable[loss]": "skipped",
        "test_unknown_variant[forward]": "failure",
        "test_own_assertion[forward]": "failure",
        "test_live[forward]": "passed",
        "test_live[backward]": "passed",
        "test_live_wrong": "failure",
    }, done.stdout
    assert "scored elsewhere" in cases["test_model[metric]"].find("skipped").get("message")
    assert "the model returns no loss" in cases["test_not_applicable[loss]"].find("skipped").get("message")
    message = cases["test_unknown_variant[forward]"].find("failure").get("message")
    assert "could not compare: unknown variant of electra 'smal': did you mean 'small'?" in message
    assert "assert 'forward' == 'loss'" in cases["test_own_assertion[forward]"].find("failure").text
    verdict = "NO PARITY: first divergence at block.norm:out, blamed on block.norm"
    assert cases["test_live_wrong"].find("failure").get("message") == f"Failed: {verdict}"
    shown = done.stdout.partition("- parity report -")[2]
    assert "eps is 1e-05 instead of 1e-12" in shown.partition("=====")[0]
    properties = {case: p.get("value") for case, found in cases.items() for p in found.iter("property")}
    assert re.match(r"PARITY: \d+ comparisons agree", properties["test_model[forward]"])
    assert "Traceback" not in done.stdout


def test_stages_are_chosen_and_xdist_runs_them_in_workers(tmp_path):
    source = '@pytest.mark.parity("electra", stages=("forward", "init", "loss"))\ndef test_model():\n    pass\n'
    done, outcomes, _ = run(tmp_path, source, "--parity-stages", "forward,step3,backward", "-n", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes == {"test_model[forward]": "passed", "test_model[loss]": "passed"}


MISTAKES = {
    '@pytest.mark.parity("electra", stage="loss")': "no option 'stage'",
    '@pytest.mark.parity("electra", stages="los")': "no stage 'los' (did you mean 'loss'?)",
    "@pytest.mark.parity": "name a model, or take the fixture assert_parity",
    '@pytest.mark.parity(task="x")': "task needs a model",
    "@pytest.mark.parity(1, 2, 3)": "too many positional arguments",
}


def test_mistakes_are_said_when_tests_are_collected(tmp_path):
    for number, marker in enumerate(MISTAKES):
        (tmp_path / f"test_{number}.py").write_text(f"{HEAD}\n{marker}\ndef test_mistake():\n    pass\n")
    done, _, _ = run(tmp_path, "")
    assert done.returncode == 2
    for said in MISTAKES.values():
        assert said in done.stdout
    assert "Traceback" not in done.stdout
    done, _, _ = run(tmp_path, "", "--parity-stages", "los")
    assert done.returncode == 4
    assert "--parity-stages: no stage 'los' (did you mean 'loss'?)" in done.stderr


def test_the_plugin_is_installed_with_the_package_and_costs_nothing_until_used(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"plumbline": "pytest_plumbline"}
    code = "import pytest_plumbline, sys; print(sorted({'align', 'numpy', 'torch', 'paddle'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
