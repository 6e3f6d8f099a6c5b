"""The benchmark that proves the verdict: its operators, its workers, its counts, and every generic kind of bug."""

import ast
import importlib
import io
import json
import os
import time
from dataclasses import replace
from functools import cache

import pytest
from rich.console import Console

from align.__main__ import main
from align.case import resolve
from align.compare import judge_case
from align.errors import CannotCompareError
from align.progress import Steps
from align.selftest import clean, runner, table, tensors
from align.selftest import pool as pools
from align.selftest.catalogue import catalogue
from align.selftest.clean import judge_clean, judge_rewrite, pick, rewrite_names
from align.selftest.effect import changes, visible
from align.selftest.judge import HAVE_AN_EFFECT, judge
from align.selftest.kinds import forward
from align.selftest.memory import Memory, RememberingClient
from align.selftest.mutation import Mutation
from align.selftest.operators import OPERATORS, Scope
from align.selftest.outcome import ERROR, FOUND, MISSED, SKIPPED, Clean, Outcome
from align.selftest.pool import Job, JobError, Pool
from align.selftest.sabotage import SabotagedSession, change_weights, override
from align.selftest.site import survey
from align.selftest.source import Source, Unit, install, rewritten, units
from align.stages import STAGES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MODELS = ("electra", "funnel")


# Operators -----------------------------------------------------------------------------------------------------------

# A line of a forward, and what operators make of it. Of the modules, `norm` is a LayerNorm and `soft` a Softmax.
LINES = {
    "scores = q @ k / math.sqrt(q.shape[-1])": {
        "no_scale": "scores = q @ k",
        "divided_by_the_width": "scores = q @ k / q.shape[-1]",
        "scale_off_by_1e-6": "scores = q @ k / math.sqrt(q.shape[-1]) * (1 + 1e-06)",
    },
    "q = (q + self.bias) * self.scale": {"bias_not_scaled": "q = q * self.scale + self.bias"},
    "p = self.soft(scores + mask)": {
        "mask_ignored": "p = self.soft(scores)",
        "mask_of_the_other_sign": "p = self.soft(scores - mask)",
        "mask_added_twice": "p = self.soft(scores + mask + mask)",
    },
    "p = F.softmax(scores, axis=-1)": {"softmax_over_queries": "p = F.softmax(scores, axis=-2)"},
    "padding = 1.0 - attention_mask": {"mask_inverted": "padding = attention_mask"},
    "x = padding * torch.finfo(x.dtype).min": {
        "mask_of_10": "x = padding * -10.0",
        "mask_of_1e4": "x = padding * -10000.0",
    },
    "lost = MASKED * (mask.amax(-1) - mask)": {
        "mask_of_10": "lost = 10.0 * (mask.amax(-1) - mask)",
        "empty_row_masked_too": "lost = MASKED * (1 - mask)",
    },
    "k = k.transpose(1, 2)": {"reshaped_not_transposed": "k = tensors.reshaped(k, k.transpose(1, 2))"},
    "x = self.norm(x + self.inner(x))": {
        "no_norm": "x = x + self.inner(x)",
        "norm_before_the_sum": "x = x + self.norm(self.inner(x))",
        "no_residual": "x = self.norm(self.inner(x))",
    },
    "positions = torch.arange(x.shape[1])": {"positions_from_1": "positions = torch.arange(x.shape[1]) + 1"},
    "at = range(start, stop, 2 * step)": {
        "off_by_one": "at = range(start + 1, stop + 1, 2 * step)",
        "step_not_multiplied": "at = range(start, stop, step)",
    },
    "f = [10000 ** (-2 * i / width) for i in range(9)]": {
        "base_times_10": "f = [100000 ** (-2 * i / width) for i in range(9)]",
        "up_to_the_last": "f = [10000 ** (-2 * i / (width - 2)) for i in range(9)]",
    },
    "x = torch.cat([sin, cos], dim=-1)": {
        "sines_after_cosines": "x = torch.cat([cos, sin], -1)",
        "interleaved": "x = tensors.interleaved(torch.cat([sin, cos], dim=-1), -1)",
    },
    "x = x[:, :-1]": {"the_other_end": "x = x[:, 1:]"},
    "x = x[:, n:]": {"the_other_end": "x = x[:, :-n]"},
    "x = x[:, 0]": {"last_for_first": "x = x[:, -1]", "mean_for_first": "x = x.mean(1)"},
    "start, end = logits.unbind(-1)": {"start_and_end_exchanged": "end, start = logits.unbind(-1)"},
    "x = torch.where(same, one, other)": {
        "branches_exchanged": "x = torch.where(same, other, one)",
        "always_one": "x = one",
    },
    "kept = labels != IGNORED": {"only_above_0": "kept = labels > 0"},
    "same = one | other": {"without_other": "same = one | (other != other)"},
    "loss = losses.sum() / kept.sum()": {
        "mean_of_all": "loss = losses.mean()",
        "sum_not_mean": "loss = losses.sum()",
        "mean_of_rows": "loss = (losses.flatten(1).sum(-1) / kept.flatten(1).sum(-1)).mean()",
    },
    "loss = logits.logsumexp(-1) - chosen": {"cut_off_at_64": "loss = (logits.logsumexp(-1) - chosen).clip(max=64.0)"},
    "x = self.weights[0] * x": {"no_weights": "x = x"},
    "q = turned(x) * scale": {"no_scale": "q = turned(x)", "scaled_twice": "q = turned(x) * scale * scale"},
    "x = gate * (p @ v)": {"no_gate": "x = p @ v", "gated_before_mixing": "x = p @ (gate * v)"},
    "x = x * self.weight": {"no_weight": "x = x", "weight_plus_1": "x = x * (1 + self.weight)"},
    "x = even * cos - odd * sin": {
        "of_the_other_sign": "x = even * cos + odd * sin",
        "waves_exchanged": "x = even * sin - odd * cos",
        "not_turned": "x = even",
    },
    "r = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)": {
        "eps_1e-5": "r = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-05)",
        "mean_removed": "r = torch.rsqrt((x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True) + self.eps)",
    },
    "n = mask.sum(-1, keepdim=True).clamp(min=1)": {
        "padding_counts": "n = (mask * 0 + 1).sum(-1, keepdim=True).clamp(min=1)",
        "no_key_is_0_keys": "n = mask.sum(-1, keepdim=True)",
    },
    "s = n.log() / math.log(512)": {"length_doubled": "s = n.log() / math.log(1024)"},
}

# Lines in which nothing of the kind is to be found: sizes, indices, loops, constants.
LEFT_ALONE = [
    "n = x.shape[1] + 1",
    "n = len(x) + x.shape[0]",
    "for _ in range(2, 5): pass",
    "x = x[:, :]",
    "x = torch.where(kept, labels, 0).gather(-1, x)",
    "y = x.dtype",
]


@pytest.fixture(scope="module")
def site():
    kinds = {"<root>": {"class": "Net"}, "norm": {"class": "LayerNorm"}, "soft": {"class": "Softmax"}}
    return replace(survey("electra", "torch"), kinds=kinds)


def changed(site, line, monkeypatch):
    """What the operators make of one line of a forward: the name of each change and the new line."""
    source = Source(f"MASKED = 1e6\nIGNORED = -100\nclass Net:\n    def forward(self, x, step: int):\n        {line}")
    unit = Unit(site, "<root>", "Net", "forward", source.classes["Net"].body[0])
    monkeypatch.setattr(Unit, "source", source)
    return {
        change.name: ast.unparse(rewritten(unit.tree, node, change.text).body[0])
        for node in ast.walk(unit.tree.body[0])
        for operator in OPERATORS
        for change in operator(node, Scope(unit))
    }


@pytest.mark.parametrize("line", LINES)
def test_an_operator_rewrites_one_place(site, line, monkeypatch):
    made = changed(site, line, monkeypatch)
    assert LINES[line].items() <= made.items()
    assert all(new != line for new in made.values())


@pytest.mark.parametrize("line", LEFT_ALONE)
def test_what_is_no_place_is_left_alone(site, line, monkeypatch):
    assert changed(site, line, monkeypatch) == {}


def test_rewritten_code_runs_in_the_module_that_it_is_put_into():
    """Also where it calls the method of a base class, and where it is a function of the file."""
    here = survey("electra", "torch")
    found = {str(unit): unit for unit in units(here)}
    inherits, function = found["ElectraForPreTraining.forward"], found["mean_of_kept"]
    for unit in (inherits, function):
        session = SabotagedSession("torch", Mutation("", "", "", "", lambda s, u=unit: install(s, u, u.tree)))
        session.build(here.model, "ElectraForPreTraining", here.config)
        assert not changes("electra", "torch", Mutation("", "", "loss", "", lambda s, u=unit: install(s, u, u.tree)))


# What a bug changes --------------------------------------------------------------------------------------------------


def test_what_changes_nothing_is_left_out():
    here = survey("electra", "paddle")
    nothing = forward.replaced(
        "", "as_it_is", here, "electra", lambda self, original, *given, **named: original(*given)
    )
    assert visible("electra", "paddle", nothing) is None
    [no_key_bias] = [m for m in catalogue("electra", "paddle") if str(m) == "FW51 no_bias" and m.blamed.endswith("key")]
    assert judge("electra", "paddle", no_key_bias).status == SKIPPED


def test_circumstances_are_found_in_which_a_bug_shows():
    """A CLS kept apart has no segment scores, so its own segment does not matter until it is not."""
    bugs = [m for m in catalogue("funnel", "paddle") if m.name.startswith("token_type_ids_first_of_type_0")]
    assert not changes("funnel", "paddle", bugs[0])
    assert visible("funnel", "paddle", bugs[0]).config == {"separate_cls": False}


def test_weights_are_altered_in_the_torch_layout_on_both_sides():
    seen = {}
    for side in ("torch", "paddle"):
        alter = Mutation(
            "", "", "forward", "", lambda s, side=side: change_weights(s, lambda w: seen.update({side: w}))
        )
        assert not changes("electra", side, alter)
    shapes = {side: {name: value.shape for name, value in weights.items()} for side, weights in seen.items()}
    assert shapes["torch"] == shapes["paddle"]


# Every generic kind --------------------------------------------------------------------------------------------------


PARTS = 12


@cache
def one_of_each_kind():
    """A bug for each row of the catalogue that changes what a model returns, in the first model that has a place."""
    first = {}
    for model in MODELS:
        for mutation in catalogue(model, "paddle"):
            if mutation.stage in HAVE_AN_EFFECT:
                first.setdefault((mutation.kind, mutation.stage), (model, mutation))
    return list(first.values())


@pytest.mark.parametrize("part", range(PARTS))
def test_every_generic_kind_is_found_and_its_module_named_first(part):
    """One bug of each; the command tries them all."""
    outcomes = [judge(model, "paddle", mutation) for model, mutation in one_of_each_kind()[part::PARTS]]
    assert [o for o in outcomes if not (o.status == SKIPPED or o.is_named)] == []
    assert [o for o in outcomes if o.explained is False] == []


@pytest.mark.parametrize("model", MODELS)
def test_the_catalogue_is_wide(model):
    bugs = catalogue(model, "paddle")
    assert len(bugs) >= 250
    assert sum(bug.stage in HAVE_AN_EFFECT for bug in bugs) >= 150
    assert len({bug.kind for bug in bugs}) >= 60
    assert {bug.stage for bug in bugs} == set(STAGES)


@pytest.mark.parametrize("model", MODELS)
def test_bugs_in_torch_are_found_too(model):
    """The reference may be the side that is wrong."""
    bugs = [bug for bug in catalogue(model, "torch") if bug.stage == "forward"]
    outcomes = [judge(model, "torch", bug) for bug in bugs[:: len(bugs) // 4]]
    assert [o for o in outcomes if not (o.status == SKIPPED or o.is_named)] == []


def test_all_stages_stop_at_the_first_that_is_red():
    [mutation] = [m for m in catalogue("electra", "paddle") if str(m) == "FW13 gelu_by_tanh"]
    outcome = judge("electra", "paddle", mutation, all_stages=True)
    assert (outcome.found_by, outcome.named) == ("forward", mutation.blamed)


def test_a_bug_of_a_stage_that_is_not_there_counts_as_not_found():
    outcome = judge("electra", "paddle", Mutation("", "", "nonsense", "", lambda session: None))
    assert (outcome.status, outcome.is_found) == (ERROR, False)


def test_casts_do_not_mind_what_paddlenlp_makes_of_tensors():
    """It replaces `paddle.Tensor.to` with one that takes devices only."""
    import paddle

    importlib.import_module("align.tokenization.paddlenlp")
    narrow = tensors.cast(paddle.ones([2], dtype="float64"), "float32")
    assert narrow.dtype == paddle.float32
    assert tensors.cast(narrow, paddle.float64).dtype == paddle.float64


# Clean cases and rewrites --------------------------------------------------------------------------------------------


def test_rewrites_are_green():
    rewrites = [judge_rewrite("electra", "paddle", n) for n in range(len(rewrite_names("electra", "paddle")))]
    assert [case for case in rewrites if not case.is_green or case.skipped] == []
    assert len(rewrites) >= 7


@pytest.mark.parametrize("model", MODELS)
def test_rewrites_are_the_same_function(model):
    found = clean.rewrites(survey(model, "paddle"))
    assert [str(r) for r in found if changes(model, "paddle", r, clean.REWRITE_ROUNDING)] == []
    assert len(found) >= 7


@pytest.mark.parametrize(
    ("model", "number"),
    [
        ("electra", 2),
        ("convbert", 9),  # 24 layers, and scores that are all far below zero without a mask
        ("funnel", 3),
        ("electra", 7),  # a mask of the largest finite number, disturbed, on rows that are masked altogether
        ("electra", 133),  # float32 cannot repeat its first loss
        ("electra", 235),  # logits of some hundreds: a softmax is no more exact than they are
        ("funnel", 63),  # a saturated tanh hides what is dropped before it
        ("funnel", 141),  # a gradient that is what rounding left of larger ones, made a full step by Adam
    ],
)
def test_clean_cases_are_green(model, number):
    case = judge_clean(model, number)
    assert case.is_green, case
    assert case.comparisons > 100


@pytest.mark.parametrize("model", MODELS)
def test_clean_cases_are_of_every_sort(model):
    picks = [pick(model, number) for number in range(120)]
    assert picks == [pick(model, number) for number in range(120)]
    assert len({p.regime for p in picks}) == 6
    assert {stage for p in picks for stage in p.stages} == set(STAGES)
    assert len({p.case.task for p in picks}) == len(survey(model, "torch").tasks)
    assert len({(p.case.batch_size, p.case.length) for p in picks}) > 50


def test_a_red_clean_case_is_a_false_alarm(monkeypatch):
    """A pair that is not clean, handed in as one."""
    bug = Mutation("", "", "forward", "", lambda s: override(s, "<root>", lambda self, original, *a, **n: {}))
    monkeypatch.setattr(clean, "rewrites", lambda site: [bug])
    monkeypatch.setattr(clean, "changes", lambda *given: False)
    case = judge_rewrite("electra", "paddle", 0)
    assert not case.is_green
    assert case.alarms


# The workers ---------------------------------------------------------------------------------------------------------


def test_remembered_passes_are_what_they_were():
    memory, reports = Memory(), []
    for _ in range(2):
        sides = RememberingClient("torch", memory), RememberingClient("paddle", memory)
        report = judge_case(resolve("electra", batch_size=2, length=6), *sides, Steps())
        reports.append([verdict.as_json() for verdict in report.stages[0].verdicts])
    assert reports[0] == reports[1]


def twice(number):
    """A job."""
    return 2 * number


def dies():
    os._exit(7)


def raises():
    raise ValueError("on purpose")


def sleeps():
    time.sleep(60)


def test_the_death_of_a_worker_costs_one_job(monkeypatch):
    monkeypatch.setattr(pools, "LIMIT", 4.0)
    jobs = [Job(__name__, "twice", (n,)) for n in range(4)]
    with Pool(2) as pool:
        results = dict(
            pool.run([*jobs, Job(__name__, "dies"), Job(__name__, "raises"), Job(__name__, "sleeps"), *jobs])
        )
    assert [results[n] for n in (0, 1, 2, 3, 7, 8, 9, 10)] == [0, 2, 4, 6] * 2
    assert [str(results[n]).splitlines()[-1] for n in (4, 5, 6)] == [
        "its process ended with code 7",
        "ValueError: on purpose",
        "took longer than 4 s",
    ]
    assert all(isinstance(results[n], JobError) for n in (4, 5, 6))


# The result ----------------------------------------------------------------------------------------------------------

BUG = Outcome("electra", "paddle", "FW13", "gelu_by_tanh", "forward", "act")
GOOD = replace(BUG, status=FOUND, found_by="forward", named="act", explanation="gelu by tanh", explained=True)
GREEN = Clean("clean 0: backbone", "electra", "the command")


def result(*bugs, clean=(GREEN,)):
    return runner.Result(bugs, clean, 1.0)


def test_what_passes():
    assert result(*[GOOD] * 19, replace(GOOD, named="other")).passed
    assert not result(*[GOOD] * 18, replace(GOOD, named="other")).passed
    assert not result(GOOD, replace(BUG, status=MISSED)).passed
    assert not result(GOOD, replace(BUG, status=ERROR, why="raised")).passed
    assert not result(GOOD, replace(GOOD, found_by="loss")).passed
    assert result(GOOD, replace(BUG, status=SKIPPED)).passed
    assert not result(GOOD, clean=[replace(GREEN, alarms=["forward: x"])]).passed
    assert not result(GOOD, clean=[replace(GREEN, error="crashed")]).passed


def shown(outcome, **options):
    console = Console(width=200, record=True, file=io.StringIO())
    table.show(outcome, console, **options)
    return console.export_text()


def test_what_is_shown():
    wrong = replace(GOOD, name="relu", explained=False, explanation="silu")
    alarm = replace(GREEN, name="clean 1: backbone", alarms=["forward: act: differs"])
    out = shown(result(GOOD, wrong, replace(BUG, status=SKIPPED, why="changes nothing"), clean=[GREEN, alarm]))
    assert "WRONG: silu" in out
    assert "no effect" in out
    assert "electra: 2 bugs, 2 found (100 %), 2 by the right module (100 %), 1 explained (50.0 %), 1 wrongly" in out
    assert "clean cases green: 1 of 2" in out
    assert "false alarm clean 1: backbone: forward: act: differs" in out
    assert "the command" in out
    assert "NOT PROVED" in out
    assert "relu" not in shown(result(GOOD, wrong), quiet=True)


def test_what_went_wrong_is_listed_among_the_counts():
    other = replace(GOOD, named="norm", why="it differs")
    out = shown(result(GOOD, other, replace(BUG, status=MISSED), replace(BUG, status=ERROR, why="raised")), quiet=True)
    assert "names norm first FW13 gelu_by_tanh at act (forward): it differs" in out
    assert "missed FW13 gelu_by_tanh at act (forward)" in out
    assert "error FW13 gelu_by_tanh at act (forward): raised" in out


def test_the_table_for_a_readme():
    lines = table.markdown(result(GOOD, replace(BUG, status=MISSED))).splitlines()
    assert lines[2] == "| electra | forward | 2 | 1 | 1 | 1 |"
    assert lines[3] == "| **electra** | **all** | 2 | 1 | 1 | 1 |"
    assert "clean cases green: 1 of 1." in lines


def test_the_command(tmp_path, capsys):
    files = tmp_path / "result.json", tmp_path / "table.md"
    options = ["--model", "electra", "--only", "^FW13 |^clean 0:", "--clean", "1", "--jobs", "2", "--quiet"]
    assert main(["selftest", *options, "--json", str(files[0]), "--markdown", str(files[1])]) == 0
    assert "ALL FOUND" in capsys.readouterr().out
    written = json.loads(files[0].read_text())
    assert written["passed"]
    assert [bug["kind"] for bug in written["bugs"]] == ["FW13"]
    assert len(written["clean"]) == 1
    assert files[1].read_text().startswith("| model |")


def test_a_pattern_that_matches_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(runner, "_ask", lambda pool, *questions: [[BUG], ["rewrite: by hand"]])
    with pytest.raises(CannotCompareError, match="matches no name"):
        runner.run(runner.Request(["electra"], only="nothing at all", clean=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "("], "no regular expression"),
        (["--model", "elektra"], "did you mean 'electra'"),
        (["--jobs", "many"], "is not a number"),
        (["--json", "/nowhere/at/all.json"], "there is no folder"),
    ],
)
def test_bad_arguments(options, message, capsys):
    assert main(["selftest", "--model", "electra", *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
