"""Two recordings that were made apart: each side ran on its own values, from end to end.

Errors then go on from module to module, and so does rounding: the limit of an edge is 64 times what one unit in the
last place, at every weight and edge before it, makes of it. So an edge is judged less finely than a replay would, the
more so the deeper the network; only the first edge that fails is blamed, since all after it may have it from there.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from align.blame import Finding, findings, one_for_each
from align.client import Client
from align.difference import Difference, difference
from align.edges import ROOT, call_of, is_input, module_of
from align.errors import CannotCompareError
from align.harmless import excuse
from align.record import Record
from align.recording.file import Recording, RecordingWriter
from align.stage import FreeRun, StageReport
from align.stages.forward import misfit
from align.verdict import PERTURBED_RUNS, Verdict, edge_verdict, limit_of

NOTE = (
    "recorded apart, so each side ran on its own values: rounding adds up, small faults deep in the network may hide "
    "in it, only the first difference is blamed, and nothing is explained. Recording the second side --against the "
    "first judges every module alone"
)


def record(client: Client, batch: Path, weights: Mapping[str, Path], model: str, writer: RecordingWriter) -> Any:
    """Run one side on its own values with each probe's weights; what the manifest is to say of it."""
    told = {}
    for probe, path in weights.items():
        kept: dict[str, Any] = {"noise": {}}
        kept["misfits"] = client.submit("load", weights=str(path), model=model).result()
        for dtype in ("float64", "float32"):
            out = batch.with_name(f"free-{probe}-{dtype}.rec")
            facts = client.submit("record", batch=str(batch), dtype=dtype, out=str(out)).result()
            if facts["error"]:
                error = facts["error"]
                raise CannotCompareError(
                    f"the {client.framework} model raised in {error['module']}: {error['message']}"
                )
            kept[dtype] = writer.add(out)
        ask = {"batch": str(batch), "dtype": "float64", "reference": str(batch.with_name(f"free-{probe}-float64.rec"))}
        for seed in PERTURBED_RUNS:
            for edge, change in client.submit("free.noise", **ask, perturb=seed).result().items():
                kept["noise"][edge] = max(kept["noise"].get(edge, 0.0), change)
        told[probe] = kept
    return told


def judge(expected: Recording, actual: Recording) -> StageReport:
    """The forward stage, as far as two recordings made apart can tell.

    Raises:
        CannotCompareError: one of them holds no pass on its own values.
    """
    started = time.perf_counter()
    verdicts: list[Verdict] = []
    blame: list[Finding] = []
    notes: dict[str, None] = {NOTE: None}
    runs: list[FreeRun] = []
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        for probe in _passes(expected):
            one, other = (_Pass(recording, probe, Path(folder)) for recording in (expected, actual))
            both = one.record("float64"), other.record("float64")
            found = list(_judge(probe, *both, one.noise))
            standing, harmless = _standing(found, [*one.misfits, *other.misfits], both[0])
            runs.append(FreeRun.of(one.record("float32"), other.record("float32")))
            if standing and _is_island(standing[0], found):
                text = "computes in float32 inside the float64 run; judged in float32 instead, from end to end"
                harmless.append(f"{standing[0].module}: {text}")
                standing = _in_float32(probe, both[0], one.record("float32"), other.record("float32"))
            standing = standing or runs[-1].undefined
            verdicts += found
            notes |= dict.fromkeys(harmless)
            blame += [replace(f, evidence={**f.evidence, "end_to_end": True}) for f in standing[:1]]
    seconds = time.perf_counter() - started
    return StageReport("forward", seconds, verdicts, one_for_each(blame), list(notes), free_run=runs[0])


def _standing(found: Sequence[Verdict], misfits: Sequence[str], expected: Record) -> tuple[list[Finding], list[str]]:
    """The findings that no enclosing module excuses by agreeing as a whole, and notes on those that one does."""
    wrong = [*map(misfit, misfits), *findings([v for v in found if not v.passed])]
    modules = list(dict.fromkeys(module_of(edge) for edge in expected))
    standing, excused = excuse(wrong, modules, lambda native: found)
    return standing, [e.note for e in excused]


def _is_island(finding: Finding, found: Sequence[Verdict]) -> bool:
    """Whether what was computed in float32 inside the float64 run may alone explain the first difference."""
    mine = [v for v in found if v.piece == finding.module and not v.passed]
    return not finding.stands and bool(mine) and all(v.is_island for v in mine)


def _in_float32(probe: str, exact: Record, expected: Record, actual: Record) -> list[Finding]:
    """What stands in float32, from end to end, beyond what the expected side's own rounding allows."""
    errors = {edge: _rounding(exact, expected, edge) for edge in expected if edge in exact}
    standing, _ = _standing(list(_judge(probe, expected, actual, errors, "float32")), [], expected)
    return [replace(finding, stands=True) for finding in standing]  # the limits in the report are float64's


def _rounding(exact: Record, expected: Record, edge: str) -> float:
    return difference(exact[edge], expected[edge], masked=expected.entry(edge).facts["role"] == "masked").max_abs


def _passes(recording: Recording) -> Mapping[str, Any]:
    free = recording.manifest.get("free")
    if not free:
        raise CannotCompareError(f"{recording.path} holds no forward pass of its own: record it with the forward stage")
    return free


class _Pass:
    """One side's passes on its own values with the weights of one probe."""

    def __init__(self, recording: Recording, probe: str, folder: Path) -> None:
        self._recording, self._folder = recording, folder
        self._kept = _passes(recording)[probe]
        self.noise: Mapping[str, float] = self._kept["noise"]
        self.misfits: Sequence[str] = self._kept["misfits"]

    def record(self, dtype: str) -> Record:
        path = self._folder / self._kept[dtype]
        if not path.exists():
            self._recording.extract(self._kept[dtype], path)
        return Record(path)


def _judge(
    probe: str, expected: Record, actual: Record, noise: Mapping[str, float], dtype: str = "float64"
) -> Iterator[Verdict]:
    """The verdicts in the expected side's order; conventions (masks, tables, plain numbers) show by their effect."""
    common = {call_of(edge) for edge in expected} & {call_of(edge) for edge in actual}
    for edge in expected:
        facts = expected.entry(edge).facts
        if facts["role"] == "constant" or facts["literal"]:
            continue
        if edge not in actual:
            if call_of(edge) in common or module_of(edge) == ROOT:
                lost = Difference("missing", (), "", detail="the actual side has no such edge")
                yield edge_verdict(edge, probe, lost, 0.0, 0.0, facts["caller"])
            continue
        found = difference(expected[edge], actual[edge], masked=facts["role"] == "masked")
        floor = noise.get(edge, 0.0)
        limit = 0.0 if found.dtype.startswith(("int", "uint")) else limit_of(floor, found.scale, dtype)
        yield edge_verdict(edge, probe, found, floor, limit, facts["caller"])
    for edge in actual:
        if edge not in expected and module_of(edge) == ROOT and not is_input(edge):
            more = Difference("unexpected", (), "", detail="only the actual side returns it")
            yield edge_verdict(edge, probe, more, 0.0, 0.0, ROOT)
