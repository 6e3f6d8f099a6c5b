"""`--reprod-log`: every stage's file is what the real reprod_log loads, and agrees where the models do."""

import numpy as np
import pytest

from align.__main__ import main
from align.case import resolve
from align.client import InProcessClient
from align.compare import Interpreters, compare_case, judge_case
from align.progress import Steps
from align.stages import Options
from tests.align.sabotage import Bug, SabotagedPaddle, change

STAGES = {"forward": "forward", "loss": "loss", "metric": "metric", "backward": "bp_align", "training": "train_align"}


def their_report(folder, name):
    """What reprod_log makes of one pair of files: whether it passes, and the largest mean difference."""
    reprod_log = pytest.importorskip("reprod_log")
    helper = reprod_log.ReprodDiffHelper()
    torch, paddle = (helper.load_info(str(folder / f"{name}_{side}.npy")) for side in ("torch", "paddle"))
    assert torch, f"nothing in {name}"
    helper.compare_info(torch, paddle)
    passed = reprod_log.utils.check_print_diff(helper.diff_dict, print_func=lambda line: None)
    return passed, max(found["mean"] for found in helper.diff_dict.values())


@pytest.mark.filterwarnings("ignore")
def test_every_stage_writes_what_reprod_log_reads(tmp_path, capsys):
    case = resolve("electra", "sequence_classification")
    report = compare_case(case, Interpreters(True), None, tmp_path, tuple(STAGES), Options(steps=2))
    assert report.passed
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == sorted(
        f"{name}_{side}.npy" for name in STAGES.values() for side in ("torch", "paddle")
    )
    for name in STAGES.values():
        passed, mean = their_report(tmp_path, name)
        assert passed, (name, mean)
        assert (tmp_path / f"{name}_diff.log").read_text().endswith("diff check passed\n")
        assert main(["diff", *(str(tmp_path / f"{name}_{side}.npy") for side in ("torch", "paddle"))]) == 0
    assert "<root>:out.loss" in np.load(tmp_path / "loss_torch.npy", allow_pickle=True).item()
    assert "loss_1" in np.load(tmp_path / "train_align_torch.npy", allow_pickle=True).item()


@pytest.mark.filterwarnings("ignore")
def test_a_bug_shows_in_the_files(tmp_path):
    weight = "electra.encoder.layer.1.output.dense.weight"
    case = resolve("electra", "sequence_classification")
    bug = Bug("CV", "scaled", case.task, "", weights=change(weight, lambda w: w * 1.5))
    judge_case(case, InProcessClient("torch"), SabotagedPaddle(bug), Steps(), tmp_path, ("backward",))
    passed, mean = their_report(tmp_path, "bp_align")
    assert not passed
    assert mean > 1e-3
    assert (tmp_path / "bp_align_diff.log").read_text().endswith("diff check failed\n")
    arguments = [str(tmp_path / f"bp_align_{side}.npy") for side in ("torch", "paddle")]
    assert main(["diff", *arguments, "--quiet"]) == 1
