"""From the findings of a replay to the evidence on them: recorded values, weights and settings of both sides."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from align.blame import Finding
from align.edges import ROOT, call_of, is_change, is_input, module_of
from align.explain import Explanation, explain
from align.explain.asking import ask_the_reference
from align.explain.evidence import Arrays, Evidence, Repair
from align.explain.repairs import look_inside, repairs
from align.record import Record
from align.trial import Trial

_EXPLAINED = 4  # findings of one replay; the later ones mostly follow from the first


def explained(trial: Trial, found: Sequence[Finding]) -> list[Finding]:
    """The findings, the first few of them with their explanation among the evidence if there is one."""
    with trial.pair.steps.step(f"{trial.probe}: looking for the cause"):
        evidence = gather(trial, found[:_EXPLAINED])
        causes = {finding: explain(known) for finding, known in evidence.items()}
    for finding, known in evidence.items():
        causes[finding] = causes[finding] or ask_the_reference(trial, known)
    return [_with(finding, causes.get(finding)) for finding in found]


def _with(finding: Finding, cause: Explanation | None) -> Finding:
    return finding if cause is None else replace(finding, evidence={**finding.evidence, "explanation": cause.as_json()})


def gather(trial: Trial, found: Sequence[Finding]) -> dict[Finding, Evidence]:
    """The evidence on each finding whose edge both sides have."""
    edges = {finding: finding.evidence.get("made", finding.edge) for finding in found}
    edges = {finding: edge for finding, edge in edges.items() if _counterpart(edge) in trial.reference}
    if not edges:
        return {}
    own = {edge: np.array(value) for edge, value in trial.actual(list(dict.fromkeys(edges.values()))).items()}
    edges = {finding: edge for finding, edge in edges.items() if edge in own}
    reference, port = look_inside(trial)
    mended = repairs(trial, edges, reference, port)
    return {
        finding: _evidence(trial, finding, edge, own[edge], reference.parameters, mended.get(finding, []))
        for finding, edge in edges.items()
    }


def _counterpart(edge: str) -> str:
    """The reference's edge: what the port alone changes in place should have stayed as it came in."""
    return edge.replace(":after", ":in") if is_change(edge) else edge


def _evidence(
    trial: Trial, finding: Finding, edge: str, actual: np.ndarray, parameters: Arrays, mended: Sequence[Repair]
) -> Evidence:
    reference, own = trial.reference, _counterpart(edge)
    names = list(reference)
    call = _call(names, own, finding.module)
    places = [i for i, name in enumerate(names) if call_of(name) == call]
    between = names[places[0] : places[-1]] if places else []
    prefix = "" if finding.module == ROOT else f"{finding.module}."
    leaves = {name: name.removeprefix(prefix) for name in parameters if name.startswith(prefix)}
    return Evidence(
        module=finding.module,
        edge=edge,
        expected=reference[own],
        actual=actual,
        inputs={name: reference[name] for name in names if call_of(name) == call and is_input(name)},
        inside={
            name: reference[name]
            for name in between
            if call_of(name) != call and reference.entry(name).facts["caller"] == finding.module
        },
        outputs={name: reference[name] for name in names if call_of(name) == call and ":out" in name},
        parameters={leaf: parameters[name].astype(np.float64) for name, leaf in leaves.items() if "." not in leaf},
        batch=dict(Record(trial.pair.batch)),
        facts=trial.pair.descriptions["torch"]["kinds"].get(finding.module, {}),
        repairs=mended,
        limit=0.0 if "made" in finding.evidence else finding.evidence.get("limit", 0.0),
        masked=reference.entry(own).facts["role"] == "masked" and "made" not in finding.evidence,
        literal=reference.entry(own).facts["literal"],
    )


def _call(names: Sequence[str], edge: str, module: str) -> str:
    """The call of `module` that made the value at `edge`: its own, or the last that had begun."""
    if module_of(edge) == module and not is_input(edge):
        return call_of(edge)
    before = [call_of(name) for name in names[: names.index(edge)] if module_of(name) == module]
    return before[-1] if before else module
