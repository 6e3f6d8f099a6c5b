"""The report as one page for a browser, which needs no network and runs no code but its own.

The page itself stands in `page/`: a template, its style and its scripts. What a reader must see stands in the page as
text; the heat strips and the table of comparisons are drawn by the scripts from the data that is embedded.
"""

import base64
import hashlib
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from align.blame import Finding
from align.drawn import Curve, Histogram
from align.edges import ROOT, module_of
from align.report import Report
from align.reports import charts, words
from align.stage import NOT_COMPARED, Omission, StageReport
from align.stages import STAGES
from align.verdict import Verdict

_SCRIPTS = ("common.js", "tree.js", "table.js", "charts.js")
_IN_NAMES = re.compile(r"(?<!\d)[.:_]|[.:_](?!\d)")
_NUMBERS = re.compile(r"\d+(\.\d+)?e[+-]\d+")
_ROWS = 3000  # comparisons of one stage that the page holds: those furthest beyond, or nearest to, their limits
_HISTOGRAMS = 60
_FINDINGS = 50


def render(report: Report) -> str:
    """The whole page."""
    script = "\n".join(map(_part, _SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    reference, port = words.frameworks(report)
    curves = [(stage, curve) for stage in report.stages for curve in stage.curves]
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            words=words,
            reference=reference,
            port=port,
            style=Markup(_part("style.css")),
            script=Markup(script),
            policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'",
            data=_data(report, [curve for _, curve in curves]),
            lead=_lead(report),
            findings=[_finding(stage, finding) for stage in report.stages for finding in stage.blame][
                1 : _FINDINGS + 1
            ],
            more_findings=max(0, len(report.blame) - 1 - _FINDINGS),
            stages=[_stage(stage) for stage in words.in_order(report)],
            curves=[{"stage": stage, "curve": curve, "svg": charts.draw_curve(curve)} for stage, curve in curves],
            histograms=[_histograms(stage) for stage in report.stages if stage.histograms],
            runs=[(stage, _outputs(stage)) for stage in report.stages if stage.free_run],
            command=shlex.join(report.command),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"breakable": _breakable, "module": _module, "short": lambda x: f"{x:.2e}"}
    return environment


def _part(name: str) -> str:
    """A file of the page."""
    return resources.files("align.reports").joinpath("page", name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """Text that may be broken within long names, after every dot, colon and underscore, but not within numbers."""
    whole = _IN_NAMES.sub(r"\g<0><wbr>", str(escape(text)))
    return Markup(_NUMBERS.sub(r'<span class="number">\g<0></span>', whole))


def _module(name: str) -> Markup:
    return Markup("the model itself") if name == ROOT else _breakable(name)


def _lead(report: Report) -> dict[str, Any] | None:
    """What is told of the first finding."""
    stage = next((stage for stage in report.stages if stage.blame), None)
    if stage is None:
        return None
    finding = stage.blame[0]
    verdict = _shown_by(stage, finding)
    classes = dict.fromkeys(report.modules.get(finding.module, {}).values())
    return _finding(stage, finding) | {
        "classes": " / ".join(classes),
        "why_there": words.why_there(stage, words.frameworks(report)[0]),
        "gauge": charts.draw_gauge(verdict) if verdict else None,
        "ratio": _times(verdict.ratio) if verdict and verdict.difference.status == "ok" else None,
        "is_replayed": words.is_replayed(stage),
    }


def _finding(stage: StageReport, finding: Finding) -> dict[str, Any]:
    left = words.residual(finding)
    return {
        "stage": stage.stage,
        "finding": finding,
        "cause": finding.evidence.get("explanation", {}).get("text"),
        "left": f"Computed on the recorded inputs, this leaves {left} of the difference." if left else None,
    }


def _shown_by(stage: StageReport, finding: Finding) -> Verdict | None:
    """The comparison that shows what is found: of its probe, if it names one."""
    failing = [v for v in stage.verdicts if v.name == finding.edge and not v.passed]
    probe = finding.evidence.get("probe")
    return next((v for v in failing if v.probe == probe), failing[0] if failing else None)


def _times(ratio: float) -> str | None:
    """How many times the limit, as people say it."""
    if not math.isfinite(ratio) or ratio <= 1:
        return None
    return f"{ratio:,.0f}" if 10 <= ratio < 1e9 else f"{ratio:.2g}"


def _stage(stage: StageReport | Omission) -> dict[str, Any]:
    entry = STAGES.get(stage.stage)
    known = {"name": stage.stage, "summary": entry.summary if entry else "", "alias": entry.alias if entry else None}
    if isinstance(stage, Omission):
        state = "unfinished" if stage.status == NOT_COMPARED else "omitted"
        return known | {"state": state, "result": words.omitted(stage), "warning": None, "notes": [], "blind": []}
    return known | {
        "state": "green" if stage.passed else "red",
        "result": words.result(stage),
        "warning": words.proves_nothing(stage),
        "notes": stage.notes,
        "blind": stage.blind,
    }


def _histograms(stage: StageReport) -> dict[str, Any]:
    """The histograms of a stage, those of parameters that fail first; the rest as far as there is room."""
    failing = {verdict.name for verdict in stage.verdicts if not verdict.passed}
    shown = sorted(stage.histograms, key=lambda h: h.name not in failing)[:_HISTOGRAMS]

    def drawn(histogram: Histogram) -> dict[str, Any]:
        return {
            "histogram": histogram,
            "is_wrong": histogram.name in failing,
            "svg": charts.draw_histogram(histogram),
        }

    wrong = [drawn(h) for h in shown if h.name in failing]
    fine = [drawn(h) for h in shown if h.name not in failing]
    return {"stage": stage.stage, "wrong": wrong, "fine": fine, "of": len(stage.histograms)}


def _outputs(stage: StageReport) -> list[tuple[str, Any]]:
    """What the model returns in plain float32."""
    differences = stage.free_run.differences if stage.free_run else {}
    return [(edge.partition(":")[2], d) for edge, d in differences.items() if module_of(edge) == ROOT]


class _Index:
    """Numbers for texts, so that each stands in the page once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)


def _data(report: Report, curves: Sequence[Curve]) -> Mapping[str, Any]:
    """What the scripts draw: the comparisons by column, the modules in order of execution, and the curves."""
    texts = _Index()
    rows: list[list[Any]] = []
    total = 0
    for stage in report.stages:
        total += len(stage.verdicts)
        rows += [_row(stage, verdict, texts) for verdict in _kept(stage.verdicts)]
    fields = ["stage", "name", "module", "kind", "probe", "status", "harmless", "max", "noise", "limit", "ratio"]
    fields += ["at", "shape"]
    columns = zip(*rows, strict=True) if rows else [()] * len(fields)
    return {
        "rows": {field: list(column) for field, column in zip(fields, columns, strict=True)},
        "texts": texts.texts,
        "total": total,
        "modules": [
            {"name": name, "classes": list(dict.fromkeys(report.modules.get(name, {}).values()))}
            | ({"only": next(iter(report.modules[name]))} if len(report.modules.get(name, "  ")) == 1 else {})
            for name in _executed(report)
        ],
        "strips": _strips(report),
        "blamed": [{"stage": s.stage, "module": f.module, "edge": f.edge} for s in report.stages for f in s.blame],
        "curves": [_curve(curve) for curve in curves],
    }


def _kept(verdicts: Sequence[Verdict]) -> Iterable[Verdict]:
    """As many as the page holds, in their order."""
    if len(verdicts) <= _ROWS:
        return verdicts
    nearest = set(map(id, words.nearest(verdicts, _ROWS)))
    return [verdict for verdict in verdicts if id(verdict) in nearest]


def _row(stage: StageReport, v: Verdict, texts: _Index) -> list[Any]:
    d = v.difference
    place = "" if d.worst_at is None else f"({', '.join(map(str, d.worst_at))})"
    shape = "×".join(map(str, d.shape)) if d.shape else "scalar"
    named = [texts(text) for text in (stage.stage, v.name, v.piece, v.kind, v.probe, v.status)]
    numbers = [_number(x) for x in (d.max_abs, v.noise, v.limit, v.ratio)]
    return [*named, int(stage.passed and not v.passed), *numbers, texts(place), texts(f"{shape} {d.dtype}")]


def _number(value: float) -> float | None:
    """Three digits, which is what the page shows; None for what is not finite."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def _strips(report: Report) -> list[str]:
    """The stages that judge the model piece by piece, and so can be shown on the tree of its modules.

    The loss stage repeats the forward stage with labels: beside that it is shown only for what it alone has found.
    """
    passed = {stage.stage: stage.passed for stage in report.stages}
    repeats = {"loss"} if "forward" in passed and not (passed["forward"] and not passed.get("loss", True)) else set()
    return [
        stage.stage
        for stage in report.stages
        if stage.verdicts and stage.stage not in repeats and all(v.piece in report.modules for v in stage.verdicts)
    ]


def _executed(report: Report) -> list[str]:
    """All modules, in the order in which they are first compared, then those that never are."""
    compared = (module_of(v.name) for s in report.stages for v in s.verdicts if v.kind in ("input", "output"))
    return list(dict.fromkeys([ROOT, *(name for name in compared if name in report.modules), *report.modules]))


def _curve(curve: Curve) -> dict[str, Any]:
    updates = charts.thin(curve)
    sides = {key: getattr(curve, key) for key in ("expected", "actual", "gap", "limit")}
    points = {key: [_exact(float(v)) for v in values[updates]] if values.size else [] for key, values in sides.items()}
    return {"updates": updates.tolist(), "of": len(curve.gap), "judged": curve.judged, **points}


def _exact(value: float) -> float | None:
    return float(f"{value:.9g}") if math.isfinite(value) else None
