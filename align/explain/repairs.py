"""Settings and weights that are not the reference's: mended in the live port, to see whether that restores parity.

This asks for no formula of the module, so it holds for every architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.blame import Finding
from align.edges import ROOT
from align.explain.evidence import Arrays, Repair
from align.explain.numbers import brief
from align.explain.weights import describe
from align.record import Record, write_record
from align.trial import Trial

_TRIED_ALONE = 4  # changes of one module, each in a replay of its own


@dataclass(frozen=True)
class Insides:
    """What one live model is made of: its parameters in the torch layout, and the plain attributes of its modules."""

    parameters: Arrays
    attributes: Mapping[str, Mapping[str, Any]]


def look_inside(trial: Trial) -> tuple[Insides, Insides]:
    """The insides of the reference and of the port, as they are now: a checkpoint may have reached neither whole."""
    pair = trial.pair
    paths = [pair.folder / f"{trial.probe}-own-{side}.rec" for side in ("torch", "paddle")]
    with pair.steps.step(f"{trial.probe}: settings and weights compared"):
        asked = [
            (side.submit("audit.own", dtype=trial.dtype, out=str(path)), side.submit("audit.attributes"))
            for side, path in zip((pair.torch, pair.paddle), paths, strict=True)
        ]
        attributes = [(written.result(), listed.result())[1] for written, listed in asked]
    expected, actual = (Insides(Record(path), found) for path, found in zip(paths, attributes, strict=True))
    return expected, actual


@dataclass(frozen=True)
class _Change:
    """What is mended in one module: one of its attributes, or all of its parameters that differ."""

    text: str
    attributes: Mapping[str, Any]
    parameters: Arrays


def repairs(
    trial: Trial, edges: Mapping[Finding, str], expected: Insides, actual: Insides
) -> dict[Finding, list[Repair]]:
    """For each finding, what stands at its edge once its module is mended: each change alone, then all together."""
    changes = {
        module: [
            *other_attributes(expected.attributes.get(module, {}), actual.attributes.get(module, {})),
            *_other_parameters(module, expected.parameters, actual.parameters),
        ]
        for module in {finding.module for finding in edges}
    }
    several = {module: found for module, found in changes.items() if len(found) > 1}
    rounds = [{module: found[i : i + 1] for module, found in several.items()} for i in range(_TRIED_ALONE)]
    mended: dict[Finding, list[Repair]] = {finding: [] for finding in edges}
    for number, plan in enumerate([*rounds, changes]):
        active = {finding: edge for finding, edge in edges.items() if plan.get(finding.module)}
        values = _replay(trial, plan, set(active.values()), number) if active else {}
        for finding, edge in active.items():
            if edge in values:
                text = " and ".join(change.text for change in plan[finding.module])
                mended[finding].append(Repair(text, np.array(values[edge])))
    return mended


def other_attributes(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[_Change]:
    """The attributes of one module that both sides have, with other values."""
    differing = sorted(name for name in expected.keys() & actual.keys() if expected[name] != actual[name])
    return [
        _Change(f"{name} is {_instead(actual[name], expected[name])}", {name: expected[name]}, {}) for name in differing
    ]


def _instead(actual: Any, expected: Any) -> str:
    texts = [brief(value) if isinstance(value, float) else str(value) for value in (actual, expected)]
    return " instead of ".join(texts if texts[0] != texts[1] else map(repr, (actual, expected)))


def _other_parameters(module: str, parameters: Arrays, own: Arrays) -> list[_Change]:
    mine = {name: due for name, due in parameters.items() if (name.rpartition(".")[0] or ROOT) == module}
    differing = {
        name: due
        for name, due in mine.items()
        if name in own and own[name].shape == due.shape and not np.array_equal(own[name], due)
    }
    text = " and ".join(describe(name, own[name], parameters) for name in differing)
    return [_Change(text, {}, differing)] if differing else []


def _replay(trial: Trial, plan: Mapping[str, list[_Change]], edges: set[str], number: int) -> Arrays:
    """The port's own values at `edges` with all changes of the plan made; nothing there if it then raises."""
    folder, probe = trial.pair.folder, trial.probe
    due = {name: value for found in plan.values() for change in found for name, value in change.parameters.items()}
    attributes = {
        module: {name: value for change in found for name, value in change.attributes.items()}
        for module, found in plan.items()
    }
    out = folder / f"{probe}-mended-{number}-actual.rec"
    ask = {
        "attributes": attributes,
        "weights": str(write_record(folder / f"{probe}-mended-{number}.rec", due)),
        "batch": str(trial.pair.batch),
        "dtype": trial.dtype,
        "reference": str(trial.reference.path),
        "keep": sorted(edges),
        "out": str(out),
    }
    with trial.pair.steps.step(f"{probe}: paddle, mended") as moved:
        trial.pair.paddle.submit("audit.replay", **ask).result(moved)
    return Record(out)
