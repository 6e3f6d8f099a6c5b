"""Judging one bug: does the stage that must find it, name the right module, and explain it truly?"""

import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from align import registry
from align.blame import Finding
from align.compare import judge_case
from align.errors import CannotCompareError
from align.progress import Steps
from align.report import Report
from align.selftest.catalogue import catalogue
from align.selftest.effect import case_of, visible
from align.selftest.memory import Memory, RememberingClient
from align.selftest.mutation import Mutation
from align.selftest.outcome import ERROR, FOUND, MISSED, SKIPPED, Outcome
from align.selftest.sabotage import SabotagedClient
from align.stages import STAGES, Options

HAVE_AN_EFFECT = ("forward", "loss")  # stages whose bugs change what the model returns
OTHER = {"torch": "paddle", "paddle": "torch"}

memory = Memory()  # of the clean sides of this process


def blank(model: str, side: str, mutation: Mutation) -> Outcome:
    """What is known of a bug before it is tried."""
    return Outcome(model, side, mutation.kind, mutation.name, mutation.stage, mutation.blamed)


def outcomes(model: str, side: str) -> list[Outcome]:
    """All bugs of an architecture, none of them tried."""
    return [blank(model, side, mutation) for mutation in catalogue(model, side)]


def judge_number(model: str, side: str, number: int, all_stages: bool) -> Outcome:
    """Try one bug of the catalogue."""
    return judge(model, side, catalogue(model, side)[number], all_stages)


def judge(model: str, side: str, mutation: Mutation, all_stages: bool = False) -> Outcome:
    """Try one bug: in the stage that must find it, or in all stages up to the first that is red."""
    started = time.perf_counter()
    outcome = _tried(blank(model, side, mutation), mutation, all_stages)
    return replace(outcome, seconds=time.perf_counter() - started)


def _tried(outcome: Outcome, mutation: Mutation, all_stages: bool) -> Outcome:
    if mutation.stage not in STAGES:
        return replace(outcome, status=ERROR, why=f"there is no stage {mutation.stage!r}")
    seen: Mutation | None = mutation
    if mutation.stage in HAVE_AN_EFFECT:
        seen = visible(outcome.model, outcome.side, mutation)
    if seen is None:
        return replace(outcome, status=SKIPPED, why=f"changes nothing that the {outcome.side} model returns")
    outcome = replace(outcome, circumstances=_given(outcome.model, seen))
    try:
        report = _report(outcome, seen, tuple(STAGES) if all_stages else (seen.stage,))
    except CannotCompareError as refusal:
        return _refused(outcome, str(refusal))
    return _read(outcome, mutation, report)


def _given(model: str, mutation: Mutation) -> dict[str, Any]:
    """What is not as usual in the comparison that a bug asks for."""
    usual = next(iter(registry.architecture(model).tasks))
    task = {"task": mutation.task} if mutation.task not in (None, usual) else {}
    return {**task, **mutation.case, **mutation.config}


def _report(outcome: Outcome, mutation: Mutation, stages: tuple[str, ...]) -> Report:
    case = case_of(outcome.model, mutation)
    bad, sound = SabotagedClient(outcome.side, mutation), RememberingClient(OTHER[outcome.side], memory)
    torch, paddle = (bad, sound) if outcome.side == "torch" else (sound, bad)
    options = Options(**mutation.options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judge_case(case, torch, paddle, Steps(), stages=stages, options=options, keep_going=False)


def _refused(outcome: Outcome, message: str) -> Outcome:
    """A reference that cannot be compared with is no parity either; its message names what is wrong."""
    where = re.search(r"raised in (\S+):", message)
    named = where.group(1) if where else ""
    return replace(outcome, status=FOUND, found_by=outcome.stage, named=named, why=message.splitlines()[0])


def _read(outcome: Outcome, mutation: Mutation, report: Report) -> Outcome:
    stage = next((stage for stage in report.stages if not stage.passed), None)
    if stage is None:
        return replace(outcome, status=MISSED)
    first = stage.blame[0] if stage.blame else Finding("", "nothing was compared", "")
    explanation = _explanation(first.evidence)
    true = None
    if explanation and mutation.explained:
        true = bool(re.search(mutation.explained, explanation, re.IGNORECASE))
    elif explanation:
        true = True
    return replace(
        outcome,
        status=FOUND,
        found_by=stage.stage,
        named=first.module,
        why=first.why,
        explanation=explanation,
        explained=true,
        ratio=first.evidence.get("ratio"),
    )


def _explanation(evidence: Mapping[str, Any]) -> str:
    found = evidence.get("explanation") or ""
    return found if isinstance(found, str) else str(found.get("text", ""))
