"""What a comparison says: plain data whose verdicts are derived from the recorded numbers, and its JSON form."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from align.blame import Finding
from align.difference import Difference
from align.edges import is_input
from align.verdict import EdgeVerdict

SCHEMA = 1


@dataclass(frozen=True)
class FreeRun:
    """Both models in float32 from end to end, nothing substituted: the differences that reproductions publish."""

    differences: Mapping[str, Difference]

    @classmethod
    def of(cls, replay: Mapping[str, Any]) -> Self:
        found = {edge: Difference.from_json(raw) for edge, raw in replay["differences"].items()}
        return cls({edge: d for edge, d in found.items() if not is_input(edge) and not d.dtype.startswith("int")})

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "name": edge,
                "mean_abs": d.mean_abs,
                "max_abs": d.max_abs,
                "rms": d.rms,
                "scale": d.scale,
                "status": d.status,
            }
            for edge, d in self.differences.items()
        ]


@dataclass(frozen=True)
class StageReport:
    """The verdict on one stage. `blame` are the findings that stand; `notes` what was found harmless."""

    stage: str
    seconds: float
    verdicts: Sequence[EdgeVerdict]
    blame: Sequence[Finding] = ()
    notes: Sequence[str] = ()
    blind: Sequence[str] = ()
    free_run: FreeRun | None = None

    @property
    def passed(self) -> bool:
        """Nothing is blamed, and something was compared."""
        return bool(self.verdicts) and not self.blame

    @property
    def first_divergence(self) -> str | None:
        return self.blame[0].edge if self.blame else None

    @property
    def worst(self) -> EdgeVerdict | None:
        """The edge nearest to its limit, or furthest beyond it."""
        return max(self.verdicts, key=lambda v: (v.difference.status != "ok", v.ratio), default=None)

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "passed": self.passed,
            "seconds": self.seconds,
            "first_divergence": self.first_divergence,
            "blame": [f.as_json() for f in self.blame],
            "notes": list(self.notes),
            "blind_to": list(self.blind),
            "diffs": [v.as_json() for v in self.verdicts],
            "float32_end_to_end": self.free_run.as_json() if self.free_run else [],
        }


@dataclass(frozen=True)
class Report:
    """The verdict on a comparison: `print(report)` for people, `as_json()` for programs."""

    case: Mapping[str, Any]
    environment: Mapping[str, Any]
    stages: Sequence[StageReport] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Every stage passed, and there was one."""
        return bool(self.stages) and all(stage.passed for stage in self.stages)

    @property
    def first_divergence(self) -> str | None:
        return next((s.first_divergence for s in self.stages if s.first_divergence), None)

    @property
    def blame(self) -> list[Finding]:
        return [finding for stage in self.stages for finding in stage.blame]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "case": dict(self.case),
            "environment": dict(self.environment),
            "stages": [stage.as_json() for stage in self.stages],
        }

    def save(self, folder: str | Path) -> None:
        """Write `report.json` and `report.txt` into `folder`, making it if need be."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / "report.json", self)
        _write(Path(folder) / "report.txt", str(self))

    def __str__(self) -> str:
        from align.text import render

        return render(self)


def write_json(path: Path, report: Report) -> None:
    """Write the report as strict JSON, whole or not at all; infinities become null."""
    _write(path, json.dumps(_strict(report.as_json()), indent=1, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
